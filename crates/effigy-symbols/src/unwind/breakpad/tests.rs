//! STACK records, from text to the caller's registers.

use std::sync::Arc;

use effigy_process::{Address, Architecture};
use proptest::prelude::*;

use super::super::testing::{Bytes, NoImages, process, thread};
use super::super::{Stack, Stop, Trust, Unwinder};
use super::BreakpadUnwind;

const BASE: u64 = 0x40_0000;
const STACK: u64 = 0x7000;

/// The first two frames of a thread at an offset into a module with these records. All of the module's code is calls.
fn stack(
    architecture: Architecture,
    text: &str,
    offset: u64,
    memory: (u64, Vec<u8>),
    registers: &[(&str, u64)],
) -> Stack {
    let process = process(architecture, &[(BASE, 0x10000)], &[(STACK, 0x1000, false), (BASE, 0x10000, true)]);
    let memory = Bytes::new(&[memory, (BASE, vec![0xe8; 0x10000])]);
    let images = NoImages(Some(Arc::new(BreakpadUnwind::parse(text.as_bytes()))));
    let names = match architecture {
        Architecture::X86 => ("eip", "esp"),
        Architecture::X86_64 => ("rip", "rsp"),
        _ => ("pc", "sp"),
    };
    let mut all = vec![(names.0, BASE + offset), (names.1, STACK)];
    all.extend_from_slice(registers);
    Unwinder::new(&process, &memory, &images).unwind(&thread(architecture, &all), 2)
}

const CFI: &str = "MODULE Linux x86_64 0 a\nFUNC 1000 40 0 f\nSTACK CFI INIT 1000 40 .cfa: $rsp 8 + .ra: .cfa -8 + ^\n\
                   STACK CFI 1001 .cfa: $rsp 16 + $rbp: .cfa -16 + ^\r\nSTACK CFI 1004 .cfa: $rbp 16 +\n\
                   STACK CFI INIT 2000 10 .cfa: $rsp 8 + .ra: .cfa 8 - ^ $rbx: $rax\n";

#[test]
fn rules_hold_from_their_address_on() {
    let memory = || Bytes::words(STACK, &[BASE + 0x3000, BASE + 0x4000, 7, 8]);
    let at = |offset, registers: &[_]| stack(Architecture::X86_64, CFI, offset, memory(), registers);
    let first = at(0x1000, &[("rbx", 3), ("rax", 4)]);
    let found = &first.frames[1];
    assert_eq!((found.address, found.trust), (Address(BASE + 0x3000), Trust::Breakpad));
    assert_eq!((found.registers.by_name("rsp"), found.registers.by_name("rbx")), (Some(STACK + 8), Some(3)));
    let second = at(0x1003, &[]);
    assert_eq!(second.frames[1].address, Address(BASE + 0x4000));
    assert_eq!(second.frames[1].registers.by_name("rbp"), Some(BASE + 0x3000));
    let third = at(0x1004, &[("rbp", STACK)]);
    assert_eq!(third.frames[0].cfa, Some(Address(STACK + 16)));
    let other = at(0x2000, &[("rax", 5)]);
    assert_eq!(other.frames[1].registers.by_name("rbx"), Some(5));
}

#[test]
fn registers_of_arm64_have_other_names() {
    let text = "STACK CFI INIT 0 100 .cfa: sp 16 + .ra: x30\nSTACK CFI 4 x29: .cfa -16 + ^ lr: .cfa -8 + ^\nSTACK CFI 8 .ra: .cfa -8 + ^";
    let memory = Bytes::words(STACK, &[0xf9, BASE + 0x3000]);
    let found = stack(Architecture::Aarch64, text, 8, memory, &[]);
    let names = ["x29", "x30", "pc"].map(|name| found.frames[1].registers.by_name(name));
    assert_eq!(names, [Some(0xf9), Some(BASE + 0x3000), Some(BASE + 0x3000)]);
}

const RETURNS: u32 = 0x40_3000;

#[test]
fn programs_of_frames_with_and_without_a_frame_pointer() {
    let text = "STACK WIN 4 1000 40 3 0 8 0 c 0 1 $T0 $ebp = $eip $T0 4 + ^ = $ebp $T0 ^ = $esp $T0 8 + =\n\
                STACK WIN 4 2000 40 3 0 0 4 8 0 1 $T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + = $ebx $T0 4 - ^ =\n\
                STACK WIN 4 3000 40 3 0 0 0 0 0 1 $T1 .raSearch = $T0 $T1 4 - 8 @ = $eip $T1 ^ = $esp $T1 4 + =";
    let memory = || Bytes::halves(STACK, &[1, 2, 0xb3, RETURNS, 5, RETURNS + 1]);
    let with = stack(Architecture::X86, text, 0x1000, memory(), &[("ebp", STACK + 8)]);
    let found = &with.frames[1].registers;
    assert_eq!(found.by_name("eip"), Some(u64::from(RETURNS)));
    assert_eq!((found.by_name("ebp"), found.by_name("esp")), (Some(0xb3), Some(STACK + 16)));
    assert_eq!(with.frames[1].trust, Trust::Breakpad);
    let without = stack(Architecture::X86, text, 0x2000, memory(), &[]);
    let found = &without.frames[1].registers;
    assert_eq!((found.by_name("ebx"), found.by_name("esp")), (Some(0xb3), Some(STACK + 16)));
    // A frame that was aligned is sought from the frame pointer on.
    let aligned = stack(Architecture::X86, text, 0x3000, memory(), &[("ebp", STACK + 16)]);
    assert_eq!(aligned.frames[1].address, Address(u64::from(RETURNS) + 1));
}

#[test]
fn frames_without_a_program_go_by_their_sizes() {
    // Of kind 0 with the frame pointer saved, the same without; of kind 4 by the frame pointer.
    let text =
        "STACK WIN 0 1000 40 3 0 0 8 0 0 0 1\nSTACK WIN 0 2000 40 3 0 0 4 4 0 0 0\nSTACK WIN 4 3000 40 3 0 0 0 0 0 0 0";
    let memory = || Bytes::halves(STACK, &[0xb5, 2, RETURNS, 4]);
    let saved = stack(Architecture::X86, text, 0x1000, memory(), &[("ebp", 9)]);
    let found = &saved.frames[1].registers;
    assert_eq!((found.by_name("esp"), found.by_name("eip")), (Some(STACK + 12), Some(u64::from(RETURNS))));
    assert_eq!(found.by_name("ebp"), Some(0xb5));
    let kept = stack(Architecture::X86, text, 0x2000, memory(), &[("ebp", 9)]);
    assert_eq!(kept.frames[1].registers.by_name("ebp"), Some(9));
    let chained = stack(Architecture::X86, text, 0x3000, memory(), &[("ebp", STACK + 4)]);
    assert_eq!(chained.frames[1].registers.by_name("ebp"), Some(2));
}

#[test]
fn parameters_of_what_was_called_are_passed_over() {
    // The first function pops 8 bytes of its caller's frame, which has 4 bytes of variables.
    let text = "STACK WIN 4 1000 40 0 0 8 0 0 0 1 $eip .raSearch ^ = $esp .raSearch 4 + =\n\
                STACK WIN 4 3000 40 0 0 0 0 4 0 1 $eip .raSearch ^ = $esp .raSearch 4 + =\n";
    let process = process(Architecture::X86, &[(BASE, 0x10000)], &[(STACK, 0x1000, false), (BASE, 0x10000, true)]);
    let words = [RETURNS + 8, RETURNS + 0x100, RETURNS + 0x200, 0, RETURNS + 0x300, 0];
    let memory = Bytes::new(&[Bytes::halves(STACK, &words), (BASE, vec![0xe8; 0x10000])]);
    let images = NoImages(Some(Arc::new(BreakpadUnwind::parse(text.as_bytes()))));
    let thread = thread(Architecture::X86, &[("eip", BASE + 0x1000), ("esp", STACK)]);
    let stack = Unwinder::new(&process, &memory, &images).unwind(&thread, 3);
    let addresses: Vec<_> = stack.frames.iter().map(|frame| frame.address.0).collect();
    assert_eq!(addresses, [BASE + 0x1000, u64::from(RETURNS) + 8, u64::from(RETURNS) + 0x300]);
}

#[test]
fn programs_that_make_no_sense_have_no_caller() {
    for rules in
        [".cfa: .ra: 8", ".cfa: + .ra: 8", ".cfa: $rsp 0 / .ra: 8", ".cfa: 1 2 .ra: 8", ".cfa: $rsp $rsp = .ra: 8"]
    {
        let text = format!("STACK CFI INIT 0 100 {rules}");
        let found = stack(Architecture::X86_64, &text, 0, Bytes::words(STACK, &[0; 8]), &[]);
        assert!(matches!(&found.stop, Stop::Corrupt(what) if what.contains("program")), "{rules}: {found:?}");
    }
    let deep = format!("STACK CFI INIT 0 100 .cfa: {} .ra: 8", "1 ".repeat(100));
    let found = stack(Architecture::X86_64, &deep, 0, Bytes::words(STACK, &[0; 8]), &[]);
    assert!(matches!(&found.stop, Stop::Corrupt(what) if what.contains("program")));
    // One whose register was lost knows nothing.
    let text = "STACK CFI INIT 0 100 .cfa: $nothing 8 + .ra: .cfa 8 - ^";
    let found = stack(Architecture::X86_64, text, 0, Bytes::words(STACK, &[0; 8]), &[]);
    assert_eq!(found.frames.len(), 1);
}

#[test]
fn records_that_are_damaged_are_passed_over() {
    let text = "STACK\nSTACK CFI\nSTACK CFI 10 x: 1\nSTACK CFI INIT zz 1 x\nSTACK WIN 4 1000\nSTACK CFI INIT ffffffffffffffff 2 .cfa: 1\n";
    assert!(BreakpadUnwind::parse(text.as_bytes()).is_empty());
    let mut bytes = b"STACK CFI INIT 0 1 .cfa: \xff\n".to_vec();
    bytes.extend_from_slice(b"STACK CFI INIT 10 1 .cfa: 1");
    assert!(!BreakpadUnwind::parse(bytes).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_program_ends(words in prop::collection::vec(
        prop::sample::select(vec![
            "+", "-", "*", "/", "%", "@", "^", "=", "1", "-8", "0", "28672", "$rsp", "$esp", "$eip", "$T0", ".cfa", ".ra:",
            ".cfa:", "$rbx:", ".raSearch", "18446744073709551615", "x",
        ]), 0..40)) {
        let program = words.join(" ");
        let text = format!("STACK CFI INIT 0 100 {program}\nSTACK WIN 4 0 100 0 0 0 0 0 0 1 {program}\n");
        for architecture in [Architecture::X86, Architecture::X86_64] {
            let found = stack(architecture, &text, 0, Bytes::words(STACK, &[BASE + 0x100; 64]), &[]);
            prop_assert!(found.frames.len() <= 2);
        }
    }
}
