//! Notes that are made by hand, of architectures whose cores are rare, and cut at every byte.

use std::sync::Arc;

use bstr::BString;
use proptest::prelude::*;

use super::*;
use crate::opened::FieldValue;

/// A file of nothing but an ELF header and a note's contents behind it, and the fields of that note.
fn fields_of(machine: u16, is_64: bool, big: bool, owner: &str, number: u32, bytes: &[u8]) -> Vec<Field> {
    let mut file = vec![0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, if big { 2 } else { 1 }, 1];
    file.resize(16, 0);
    for half in [4, machine] {
        file.extend(if big { u16::to_be_bytes(half) } else { u16::to_le_bytes(half) });
    }
    file.resize(64, 0);
    file.extend(bytes);
    let name = super::super::names::of(owner.as_bytes(), number);
    let size = bytes.len() as u64;
    let part = Part { number, owner: BString::from(owner), name, offset: 64, size, fields: Vec::new() };
    let source: SharedSource = Arc::new(file);
    of(&source, &part).unwrap()
}

fn value<'a>(fields: &'a [Field], name: &str) -> &'a FieldValue {
    &fields.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("no {name}: {fields:?}")).value
}

fn number(fields: &[Field], name: &str) -> i128 {
    match value(fields, name) {
        FieldValue::Number(number) => (*number).into(),
        FieldValue::Signed(number) => (*number).into(),
        other => panic!("{name} is {other:?}"),
    }
}

fn text(fields: &[Field], name: &str) -> String {
    let FieldValue::Text(text) = value(fields, name) else { panic!("{name} is no text") };
    text.clone()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn registers_of_arm64() {
    let tls = fields_of(183, true, false, "LINUX", 0x401, &words(&[0x1234, 0x5678]));
    assert_eq!((number(&tls, "tpidr_el0"), number(&tls, "tpidr2_el0")), (0x1234, 0x5678));
    // Older kernels have only the first.
    let tls = fields_of(183, true, false, "LINUX", 0x401, &words(&[0x1234]));
    assert_eq!(tls.len(), 1);
    let sve = [&[0x20, 2, 0, 0, 0x20, 0x20, 0, 0, 16, 0, 0, 1, 1, 0, 0, 0][..], &[0; 8]].concat();
    let sve = fields_of(183, true, false, "LINUX", 0x405, &sve);
    assert_eq!((number(&sve, "size"), number(&sve, "vl"), number(&sve, "max_vl")), (0x220, 16, 256));
    assert_eq!(text(&sve, "content"), "SVE registers");
    let mut vectors = vec![0; 528];
    (vectors[0], vectors[15], vectors[512], vectors[516]) = (1, 0xff, 7, 9);
    let vectors = fields_of(183, true, false, "CORE", 2, &vectors);
    assert_eq!(text(&vectors, "v0"), "0xff000000000000000000000000000001");
    assert_eq!((number(&vectors, "fpsr"), number(&vectors, "fpcr")), (7, 9));
}

#[test]
fn a_guests_processor() {
    let mut state = vec![1, 0, 0, 0, 0xb8, 1, 0, 0];
    state.extend(words(&[5; 18]));
    for segment in 0..10u64 {
        state.extend(words(&[0xffff_ffff_0000_0010 | segment << 8, 0xa0_9b00, segment]));
    }
    state.extend(words(&[0x8005_0033, 0, 0, 0x1000, 0x6f0, 0xdead]));
    assert_eq!(state.len() as u64, qemu::SIZE);
    let fields = fields_of(62, true, false, "QEMU", 0, &state);
    assert_eq!(
        (number(&fields, "rip"), number(&fields, "cr3"), number(&fields, "kernel_gs_base")),
        (5, 0x1000, 0xdead)
    );
    let FieldValue::List(segments) = value(&fields, "Segments") else { panic!("no segments") };
    assert_eq!(number(&segments[7], "selector"), 0x710);
    assert_eq!(number(&segments[7], "limit"), 0xffff_ffff);
}

#[test]
fn signals_have_what_their_code_says() {
    let mut info = [0u8; 128];
    let mut with = |number: u8, code: i32, rest: &[u8]| {
        info[0] = number;
        info[8..12].copy_from_slice(&code.to_le_bytes());
        info[16..16 + rest.len()].copy_from_slice(rest);
        fields_of(62, true, false, "CORE", 0x5349_4749, &info)
    };
    let sent = with(6, -6, &[7, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!((number(&sent, "si_code"), number(&sent, "si_pid"), number(&sent, "si_uid")), (-6, 7, 8));
    let key = with(11, 4, &words(&[0x1000, 0, 5]));
    assert_eq!((number(&key, "si_addr"), number(&key, "si_pkey")), (0x1000, 5));
    let call = with(31, 1, &[&words(&[0x4000])[..], &[9, 0, 0, 0, 62, 0, 0, 0xc0]].concat());
    assert_eq!((number(&call, "si_syscall"), number(&call, "si_arch")), (9, 0xc000_003e));
    // SI_KERNEL tells no address.
    assert_eq!(with(11, 0x80, &words(&[0])).len(), 3);
}

#[test]
fn what_is_not_known_is_shown_with_the_reason() {
    for (owner, number) in [("FreeBSD", 7), ("LINUX", 0x30a), ("EFFIGY", 0x4546_46ff), ("GDB", 1)] {
        let fields = fields_of(62, true, false, owner, number, &[0xab; 300]);
        assert!(text(&fields, "NotDecoded").starts_with("effigy"), "{owner}");
        assert_eq!(text(&fields, "Content"), "ab".repeat(256), "{owner}");
    }
    assert!(fields_of(62, true, false, "LINUX", 0, &[]).is_empty());
    assert_eq!(text(&fields_of(62, true, false, "EFFIGY", effigy::COMMENT, b"by hand"), "Text"), "by hand");
}

#[test]
fn an_area_has_its_components() {
    let area = crate::elf_core::sample::amd_xsave();
    let fields = fields_of(62, true, false, "LINUX", 0x202, &area);
    assert_eq!((number(&fields, "xcr0"), number(&fields, "xstate_bv"), number(&fields, "mxcsr")), (0xe7, 0xe7, 0x1f80));
    let FieldValue::List(components) = value(&fields, "Components") else { panic!("no components") };
    let places: Vec<_> = components.iter().map(|each| (number(each, "Component"), number(each, "Offset"))).collect();
    assert_eq!(places, [(2, 576), (5, 832), (6, 896), (7, 1408)]);
    let odd = fields_of(62, true, false, "LINUX", 0x202, &area[..2000]);
    assert!(text(&odd, "Layout").starts_with("not known"));
}

/// Every note of every architecture, of any length.
fn any_note() -> impl Strategy<Value = (u16, bool, bool, u32, Vec<u8>)> {
    let machine = prop_oneof![Just(3u16), Just(62), Just(40), Just(183), Just(243), Just(21), Just(22), Just(999)];
    let kind = prop_oneof![
        0u32..10,
        0x100u32..0x111,
        0x200u32..0x206,
        0x300u32..0x30e,
        0x400u32..0x411,
        Just(note::FILE),
        Just(note::SIGINFO),
        Just(set::PRXFPREG),
    ];
    (machine, any::<bool>(), any::<bool>(), kind, proptest::collection::vec(any::<u8>(), 0..600))
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_shown((machine, is_64, big, number, bytes) in any_note()) {
        for owner in ["CORE", "", "QEMU", "GDB"] {
            let fields = fields_of(machine, is_64, big, owner, number, &bytes);
            let lists = |field: &Field| match &field.value {
                FieldValue::List(records) => records.len(),
                _ => 0,
            };
            prop_assert!(fields.iter().map(lists).sum::<usize>() <= 600);
        }
    }
}
