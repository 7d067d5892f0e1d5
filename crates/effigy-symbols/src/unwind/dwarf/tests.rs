//! Every rule and instruction, from bytes to the caller's registers.

use std::sync::OnceLock;

use effigy_process::{Architecture, ByteOrder};
use gimli::UnwindContext;
use proptest::prelude::*;

use super::super::registers::FrameRegisters;
use super::super::step::{Caller, Failure};
use super::super::testing::{Bytes, Cfi};
use super::super::window::Window;
use super::index::{FdeRange, Header};
use super::section::{CfiSection, Kind, SectionBytes};
use super::{Row, caller};

const START: u64 = 0x1000;
const STACK: u64 = 0x7000;

/// What the first entry of x86-64 heads is: the CFA is the stack pointer and 8, the return address is below it.
const CALLED: [u8; 5] = [0x0c, 7, 8, 0x80 | 16, 1];

fn section(cfi: &Cfi, architecture: Architecture) -> CfiSection {
    CfiSection {
        kind: Kind::EhFrame,
        bytes: SectionBytes::Owned(cfi.bytes.clone()),
        address: 0x10_0000,
        base: 0,
        text: None,
        got: None,
        header: None,
        order: ByteOrder::Little,
        architecture,
        sorted: OnceLock::new(),
    }
}

fn row(cfi: &Cfi, architecture: Architecture, address: u64) -> Option<Row> {
    section(cfi, architecture).row(address, &mut UnwindContext::new())
}

/// Registers of x86-64 that hold their number times 0x101, and a stack whose words hold 0xa00 and their index.
fn registers() -> FrameRegisters {
    let mut registers = FrameRegisters::empty(Architecture::X86_64).unwrap();
    (0..16).for_each(|number| registers.set(number, u64::from(number) * 0x101));
    registers.set(7, STACK);
    registers.set(16, START);
    registers
}

fn stack() -> Bytes {
    Bytes::new(&[Bytes::words(STACK, &(0..64).map(|index| 0xa00 + index).collect::<Vec<_>>())])
}

fn step(instructions: &[u8], address: u64) -> Result<Caller, Failure> {
    let mut cfi = Cfi::new(false, 16, 1, -8, &CALLED);
    cfi.entry(START, 0x20000, instructions);
    let row = row(&cfi, Architecture::X86_64, address).expect("no row");
    let memory = stack();
    caller(&row, &registers(), &mut Window::new(&memory, ByteOrder::Little), ByteOrder::Little)
}

fn value(instructions: &[u8], register: &str) -> Option<u64> {
    step(instructions, START).unwrap().registers.by_name(register)
}

#[test]
fn a_function_that_was_just_called() {
    let caller = step(&[], START).unwrap();
    assert_eq!(caller.cfa, Some(STACK + 8));
    assert_eq!((caller.registers.by_name("rip"), caller.registers.by_name("rsp")), (Some(0xa00), Some(STACK + 8)));
    // What functions keep is kept, what they may use is lost.
    assert_eq!((caller.registers.by_name("rbx"), caller.registers.by_name("rax")), (Some(0x303), None));
    assert!(!caller.signal);
}

#[test]
fn rules_of_the_canonical_frame_address() {
    // def_cfa, def_cfa_offset, def_cfa_register, def_cfa_sf, def_cfa_offset_sf
    for (instructions, cfa) in [
        (&[0x0c, 7, 0x20][..], STACK + 0x20),
        (&[0x0e, 0x30], STACK + 0x30),
        (&[0x0d, 3], 0x303 + 8),
        (&[0x12, 7, 0x7c], STACK + 32),
        (&[0x13, 0x7d], STACK + 24),
        // def_cfa_expression: breg7 16
        (&[0x0f, 2, 0x77, 16], STACK + 16),
        // breg7 0, deref
        (&[0x0f, 3, 0x77, 0, 0x06], 0xa00),
    ] {
        let caller = step(instructions, START);
        if cfa >= STACK {
            assert_eq!(caller.unwrap().cfa, Some(cfa), "{instructions:x?}");
        } else {
            // The return address is where the CFA says.
            assert!(matches!(caller, Err(Failure::Missing((at, _))) if at.0 == cfa - 8), "{instructions:x?}");
        }
    }
}

#[test]
fn rules_of_registers() {
    for (instructions, register, expected) in [
        // offset, offset_extended, offset_extended_sf, GNU_negative_offset_extended has no meaning here
        (&[0x0e, 64, 0x83, 2][..], "rbx", Some(0xa06)),
        (&[0x0e, 64, 0x05, 3, 3], "rbx", Some(0xa05)),
        (&[0x0e, 64, 0x11, 3, 0x7c], "rbx", Some(0xa0c)),
        // val_offset, val_offset_sf
        (&[0x14, 3, 2], "rbx", Some(STACK + 8 - 16)),
        (&[0x15, 3, 0x7e], "rbx", Some(STACK + 8 + 16)),
        // register, same_value, undefined
        (&[0x09, 3, 1], "rbx", Some(0x101)),
        (&[0x08, 0], "rax", Some(0)),
        (&[0x08, 1], "rdx", Some(0x101)),
        (&[0x07, 3], "rbx", None),
        // expression: the CFA is on its stack; lit16, plus
        (&[0x10, 3, 2, 0x40, 0x22], "rbx", Some(0xa03)),
        // val_expression: lit16, plus
        (&[0x16, 3, 2, 0x40, 0x22], "rbx", Some(STACK + 24)),
        // restore, restore_extended: as the head has it
        (&[0x0e, 64, 0x83, 2, 0xc3], "rbx", Some(0x303)),
        (&[0x0e, 64, 0x83, 2, 0x06, 3], "rbx", Some(0x303)),
        // remember_state, restore_state
        (&[0x0a, 0x83, 1, 0x0b], "rbx", Some(0x303)),
        // GNU_args_size and nop say nothing
        (&[0x2e, 16, 0x00], "rbx", Some(0x303)),
    ] {
        assert_eq!(value(instructions, register), expected, "{instructions:x?}");
    }
}

#[test]
fn rows_begin_where_they_say() {
    // advance_loc 4; advance_loc1; advance_loc2; advance_loc4; each followed by another offset
    let instructions = [0x44, 0x0e, 16, 0x02, 0x10, 0x0e, 24, 0x03, 0, 1, 0x0e, 32, 0x04, 0, 0, 1, 0, 0x0e, 40];
    for (into, offset) in [(0, 8), (3, 8), (4, 16), (0x13, 16), (0x14, 24), (0x113, 24), (0x114, 32), (0x10114, 40)] {
        assert_eq!(step(&instructions, START + into).unwrap().cfa, Some(STACK + offset), "{into:#x}");
    }
    // set_loc
    let mut instructions = vec![0x01];
    instructions.extend_from_slice(&(START + 0x40).to_le_bytes());
    instructions.extend_from_slice(&[0x0e, 16]);
    assert_eq!(step(&instructions, START + 0x3f).unwrap().cfa, Some(STACK + 8));
    assert_eq!(step(&instructions, START + 0x40).unwrap().cfa, Some(STACK + 16));
}

#[test]
fn the_first_function_says_that_it_is() {
    assert!(matches!(step(&[0x07, 16], START), Err(Failure::End)));
}

#[test]
fn a_stub_that_pushes_finds_its_caller_by_its_own_address() {
    // As in .plt: rsp + 8, and 8 more from the twelfth byte of sixteen on.
    let expression = [0x0f, 0x0b, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
    let mut cfi = Cfi::new(false, 16, 1, -8, &CALLED);
    cfi.entry(START, 0x100, &expression);
    let row = row(&cfi, Architecture::X86_64, START).unwrap();
    let memory = stack();
    for (pc, cfa) in [(START, 8), (START + 0x0a, 8), (START + 0x0b, 16), (START + 0x1b, 16)] {
        let mut registers = registers();
        registers.set(16, pc);
        let found = caller(&row, &registers, &mut Window::new(&memory, ByteOrder::Little), ByteOrder::Little);
        assert_eq!(found.unwrap().cfa, Some(STACK + cfa), "{pc:#x}");
    }
}

#[test]
fn trampolines_are_known_by_their_head() {
    let mut cfi = Cfi::new(true, 16, 1, -8, &CALLED);
    cfi.entry(START, 0x10, &[]);
    assert!(row(&cfi, Architecture::X86_64, START).unwrap().signal);
}

#[test]
fn signed_return_addresses_of_arm64_have_a_rule_that_is_passed_over() {
    let mut cfi = Cfi::new(false, 30, 4, -8, &[0x0c, 31, 0]);
    cfi.entry(START, 0x100, &[0x41, 0x2d, 0x41, 0x0e, 16, 0x9d, 2, 0x9e, 1]);
    let row = row(&cfi, Architecture::Aarch64, START + 8).unwrap();
    let mut registers = FrameRegisters::empty(Architecture::Aarch64).unwrap();
    registers.set(31, STACK);
    let memory = stack();
    let found = caller(&row, &registers, &mut Window::new(&memory, ByteOrder::Little), ByteOrder::Little).unwrap();
    assert_eq!((found.registers.by_name("x29"), found.registers.by_name("pc")), (Some(0xa00), Some(0xa01)));
    assert_eq!(found.registers.by_name("sp"), Some(STACK + 16));
}

#[test]
fn a_leaf_of_arm64_returns_to_its_link_register() {
    let mut cfi = Cfi::new(false, 30, 4, -8, &[0x0c, 31, 0]);
    cfi.entry(START, 0x100, &[]);
    let row = row(&cfi, Architecture::Aarch64, START).unwrap();
    let mut registers = FrameRegisters::empty(Architecture::Aarch64).unwrap();
    registers.set(31, STACK);
    let memory = stack();
    let mut window = Window::new(&memory, ByteOrder::Little);
    assert!(matches!(caller(&row, &registers, &mut window, ByteOrder::Little), Err(Failure::Nothing)));
    registers.set(30, 0x4444);
    let found = caller(&row, &registers, &mut window, ByteOrder::Little).unwrap();
    assert_eq!((found.registers.by_name("pc"), found.registers.by_name("sp")), (Some(0x4444), Some(STACK)));
}

#[test]
fn expressions_end_and_fail_with_a_reason() {
    // skip -3: for ever
    assert!(matches!(step(&[0x0f, 3, 0x2f, 0xfd, 0xff], START), Err(Failure::Corrupt(_))));
    // Nothing left, a division by zero, an operator that is none, a frame base.
    for expression in [&[0x0f, 1, 0x96][..], &[0x0f, 3, 0x31, 0x30, 0x1b], &[0x0f, 1, 0xff], &[0x0f, 2, 0x91, 0]] {
        assert!(matches!(step(expression, START), Err(Failure::Corrupt(_))), "{expression:x?}");
    }
    // A register that is not followed.
    assert!(matches!(step(&[0x0f, 3, 0x92, 40, 0], START), Err(Failure::Nothing)));
}

#[test]
fn entries_are_found_by_binary_search_and_by_a_list_of_our_own() {
    let mut cfi = Cfi::new(false, 16, 1, -8, &CALLED);
    for index in [5u64, 1, 3] {
        cfi.entry(index * 0x100, 0x80, &[0x0e, 16 * u8::try_from(index).unwrap()]);
    }
    let section = section(&cfi, Architecture::X86_64);
    let mut context = UnwindContext::new();
    let mut offset = |address| section.row(address, &mut context).map(|row| row.cfa);
    assert_eq!(offset(0x120), Some(super::row::CfaRule::Register(7, 16)));
    assert_eq!(offset(0x57f), Some(super::row::CfaRule::Register(7, 80)));
    for outside in [0, 0xff, 0x180, 0x2ff, 0x580, u64::MAX] {
        assert_eq!(offset(outside), None, "{outside:#x}");
    }
    let list = section.sorted.get().unwrap();
    assert!(
        list.is_sorted() && list.len() == 3 && list[0] == FdeRange { start: 0x100, end: 0x180, entry: list[0].entry }
    );

    let mut header = vec![1, 0x1b, 3, 0x3b, 0, 0, 0, 0, 3, 0, 0, 0];
    for (start, entry) in [(0x10i32, 0x1000i32), (0x20, 0x2000), (-0x10, 0x3000)] {
        header.extend_from_slice(&start.to_le_bytes());
        header.extend_from_slice(&entry.to_le_bytes());
    }
    let header = Header::parse(&header[..28], 0x40, ByteOrder::Little).unwrap();
    assert_eq!((header.entry(0x4f), header.entry(0x50), header.entry(0x7f)), (None, Some(0x1040), Some(0x2040)));
    assert!(Header::parse(&[1, 0x1b, 3, 0x3b, 0, 0, 0, 0, 0, 0, 0, 0], 0, ByteOrder::Little).is_none());
    assert!(Header::parse(&[1, 0xff, 0xff, 0xff], 0, ByteOrder::Little).is_none());
}

#[test]
fn what_is_too_long_to_interpret_has_no_row() {
    let mut cfi = Cfi::new(false, 16, 1, -8, &CALLED);
    cfi.entry(START, 0x10, &[0; 70_000]);
    assert!(row(&cfi, Architecture::X86_64, START).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_instructions_end(instructions in prop::collection::vec(any::<u8>(), 0..60), into in 0u64..0x40) {
        let mut cfi = Cfi::new(false, 16, 1, -8, &CALLED);
        cfi.entry(START, 0x1000, &instructions);
        if let Some(row) = row(&cfi, Architecture::X86_64, START + into) {
            let memory = stack();
            let _ = caller(&row, &registers(), &mut Window::new(&memory, ByteOrder::Little), ByteOrder::Little);
        }
    }

    #[test]
    fn any_section_ends(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<u16>()) {
        for kind in [Kind::EhFrame, Kind::DebugFrame] {
            for architecture in [Architecture::X86, Architecture::Aarch64] {
                let cfi = Cfi { bytes: bytes.clone(), ..Cfi::new(false, 16, 1, -8, &[]) };
                let section = CfiSection { kind, ..section(&cfi, architecture) };
                let _ = section.row(u64::from(at), &mut UnwindContext::new());
            }
        }
    }

    #[test]
    fn damaged_sections_end(place in 0usize..200, byte in any::<u8>(), into in 0u64..0x40) {
        let mut cfi = Cfi::new(false, 16, 1, -8, &CALLED);
        cfi.entry(START, 0x1000, &[0x44, 0x0e, 16, 0x83, 2, 0x0f, 2, 0x77, 16, 0x0a, 0x44, 0x0b]);
        let place = place % cfi.bytes.len();
        cfi.bytes[place] = byte;
        if let Some(row) = row(&cfi, Architecture::X86_64, START + into) {
            let memory = stack();
            let _ = caller(&row, &registers(), &mut Window::new(&memory, ByteOrder::Little), ByteOrder::Little);
        }
    }
}
