//! Every unwind code of x64 and arm64, from an image in memory to the caller's registers.

use effigy_process::{Address, Architecture, Module, NotRead, PeIdentity, Process};
use proptest::prelude::*;

use super::super::testing::{Bytes, NoImages, process, thread};
use super::super::{Frame, Stack, Stop, Trust, Unwinder};
use super::arm64_codes::{Code, decode};
use super::epilogue;

const BASE: u64 = 0x1_4000_0000;
const SIZE: usize = 0x3000;
const STACK: u64 = 0x7000;
/// Where in the image the table of functions, the unwind information and the code lie.
const TABLE: usize = 0x400;
const INFO: usize = 0x800;
const INFO_AT: u32 = 0x800;
const CODE: u32 = 0x1000;

fn half(number: usize) -> u32 {
    number.try_into().unwrap()
}

/// A PE image in memory.
struct Program {
    bytes: Vec<u8>,
    architecture: Architecture,
}

impl Program {
    fn new(architecture: Architecture, entries: &[u32], info: &[u8], code: &[u8]) -> Self {
        let mut bytes = vec![0; SIZE];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        let machine: u16 = if architecture == Architecture::X86_64 { 0x8664 } else { 0xaa64 };
        bytes[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
        bytes[0x58..0x5a].copy_from_slice(&0x20bu16.to_le_bytes());
        let table: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let directory = 0x58 + 112 + 24;
        bytes[directory..directory + 4].copy_from_slice(&half(TABLE).to_le_bytes());
        bytes[directory + 4..directory + 8].copy_from_slice(&half(table.len()).to_le_bytes());
        bytes[TABLE..TABLE + table.len()].copy_from_slice(&table);
        bytes[INFO..INFO + info.len()].copy_from_slice(info);
        bytes[CODE as usize..].fill(0xcc);
        bytes[CODE as usize..][..code.len()].copy_from_slice(code);
        Self { bytes, architecture }
    }

    fn process(&self) -> Process {
        let mut process = process(
            self.architecture,
            &[(BASE, SIZE as u64)],
            &[(STACK, 0x1000, false), (BASE, 0x1000, false), (BASE + 0x1000, 0x2000, true)],
        );
        let pe = Some(PeIdentity::default());
        process.modules[0] = Module { pe, ..process.modules[0].clone() };
        process
    }

    /// The stack from an offset into the image on. Words of the stack are given, and then hold their index.
    fn stack(&self, pc: u32, words: &[u64], registers: &[(&str, u64)]) -> Stack {
        let mut words = words.to_vec();
        words.extend(words.len() as u64..64);
        let memory = Bytes::new(&[(BASE, self.bytes.clone()), Bytes::words(STACK, &words)]);
        let (pc_name, sp_name) = if self.architecture == Architecture::X86_64 { ("rip", "rsp") } else { ("pc", "sp") };
        let mut all = vec![(pc_name, BASE + u64::from(pc)), (sp_name, STACK)];
        all.extend_from_slice(registers);
        let process = self.process();
        let images = NoImages::default();
        Unwinder::new(&process, &memory, &images).unwind(&thread(self.architecture, &all), 2)
    }
}

/// A place in the image that a call returns to.
const BACK: u64 = BASE + 0x1800;

fn x64(prologue: u8, frame: u8, codes: &[u8], code: &[u8]) -> Program {
    let mut info = vec![1, prologue, u8::try_from(codes.len() / 2).unwrap(), frame];
    info.extend_from_slice(codes);
    // The code before the return address is a call.
    let mut program = Program::new(Architecture::X86_64, &[CODE, CODE + 0x100, INFO_AT], &info, code);
    program.bytes[0x1800 - 5] = 0xe8;
    program
}

fn caller(stack: &Stack) -> &Frame {
    stack.frames.get(1).unwrap_or_else(|| panic!("no caller: {stack:?}"))
}

#[test]
fn pushes_and_allocations_of_x64() {
    // push rbx; push rdi; sub rsp, 0x20
    let program = x64(6, 0, &[6, 0x32, 2, 0x70, 1, 0x30], &[0x90; 0x100]);
    let stack = program.stack(CODE + 0x10, &[0, 0, 0, 0, 0xd1, 0xb4, BACK], &[]);
    let found = caller(&stack);
    assert_eq!((found.address, found.trust), (Address(BACK), Trust::Pe));
    assert_eq!((found.registers.by_name("rdi"), found.registers.by_name("rbx")), (Some(0xd1), Some(0xb4)));
    assert_eq!(found.registers.by_name("rsp"), Some(STACK + 56));
    assert_eq!(stack.frames[0].cfa, Some(Address(STACK + 56)));
    // In the prologue only what was executed is undone.
    for (into, words, above) in [(0, &[BACK][..], 8), (1, &[0xb4, BACK], 16), (2, &[0xd1, 0xb4, BACK], 24)] {
        let found = program.stack(CODE + into, words, &[]);
        assert_eq!(caller(&found).registers.by_name("rsp"), Some(STACK + above), "{into}");
    }
}

#[test]
fn large_allocations_and_saved_registers_of_x64() {
    // In the order of undoing: mov [rsp+0x18], rsi; movaps [rsp+0x10], xmm6; sub rsp, 0x30, as large; the far kinds
    let near = [20, 0x64, 3, 0, 16, 0x68, 1, 0, 8, 0x01, 6, 0];
    let far = [20, 0x65, 0x18, 0, 0, 0, 16, 0x69, 0x10, 0, 0, 0, 8, 0x11, 0x30, 0, 0, 0];
    for codes in [&near[..], &far] {
        let stack = x64(20, 0, codes, &[0x90; 0x100]).stack(CODE + 0x40, &[0, 0, 0, 0x51, 0, 0, BACK], &[]);
        let found = caller(&stack);
        assert_eq!(found.registers.by_name("rsi"), Some(0x51), "{codes:?}");
        assert_eq!(found.registers.by_name("rsp"), Some(STACK + 56));
    }
}

#[test]
fn a_frame_register_of_x64_stands_for_a_stack_pointer_that_moved() {
    // push rbp; sub rsp, 0x20; lea rbp, [rsp+0x10]
    let program = x64(10, 0x15, &[10, 0x03, 5, 0x32, 1, 0x50], &[0x90; 0x100]);
    let words = [0, 0, 0, 0, 0, 0, 0, 0, 0xb5, BACK];
    let stack = program.stack(CODE + 0x40, &words, &[("rbp", STACK + 32 + 16)]);
    assert_eq!(caller(&stack).registers.by_name("rbp"), Some(0xb5));
    assert_eq!(caller(&stack).registers.by_name("rsp"), Some(STACK + 80));
    // Before it is set the stack pointer is the one to go by.
    let stack = program.stack(CODE + 5, &[0, 0, 0, 0, 0xb5, BACK], &[("rbp", 1)]);
    assert_eq!(caller(&stack).registers.by_name("rbp"), Some(0xb5));
}

#[test]
fn epilogues_of_x64_are_gone_through() {
    // push rbx; sub rsp, 0x20; …; add rsp, 0x20; pop rbx; ret
    let mut code = vec![0x90; 0x100];
    code[0x40..0x46].copy_from_slice(&[0x48, 0x83, 0xc4, 0x20, 0x5b, 0xc3]);
    let program = x64(5, 0, &[5, 0x32, 1, 0x30], &code);
    for (at, words) in [(0x40, &[0, 0, 0, 0, 0xb3, BACK][..]), (0x44, &[0xb3, BACK]), (0x45, &[BACK])] {
        let stack = program.stack(CODE + at, words, &[("rbx", 0xb3)]);
        let found = caller(&stack);
        assert_eq!(found.registers.by_name("rbx"), Some(0xb3), "{at:#x}");
        assert_eq!(found.registers.by_name("rsp"), Some(STACK + 8 * words.len() as u64), "{at:#x}");
    }
}

#[test]
fn epilogues_end_by_return_or_by_leaving() {
    use epilogue::Step::{FromFrame, Pop, Raise};
    let info = x64(0, 0, &[], &[]);
    let function = super::x64::Function::at_for_tests(&info.bytes[TABLE..]);
    let steps = |code: &[u8], frame| epilogue::decode(code, CODE + 0x10, function, frame);
    assert_eq!(steps(&[0xc3], 0), Some(vec![]));
    assert_eq!(steps(&[0xf3, 0xc3], 0), Some(vec![]));
    assert_eq!(steps(&[0x41, 0x5f, 0x5d, 0xc2, 8, 0], 0), Some(vec![Pop(15), Pop(5)]));
    assert_eq!(steps(&[0x48, 0x81, 0xc4, 0, 1, 0, 0, 0xc3], 0), Some(vec![Raise(0x100)]));
    assert_eq!(steps(&[0x48, 0x8d, 0x65, 0x10, 0x5d, 0xc3], 5), Some(vec![FromFrame(16), Pop(5)]));
    assert_eq!(steps(&[0x49, 0x8d, 0xa3, 0, 1, 0, 0, 0xc3], 11), Some(vec![FromFrame(256)]));
    // A jump away, a jump inside, a jump to the beginning, a jump through the import table.
    assert_eq!(steps(&[0x5d, 0xe9, 0, 1, 0, 0], 0), Some(vec![Pop(5)]));
    assert_eq!(steps(&[0x5d, 0xeb, 0x10], 0), None);
    assert_eq!(steps(&[0xeb, 0xee], 0), Some(vec![]));
    assert_eq!(steps(&[0x48, 0xff, 0x25, 0, 0, 0, 0], 0), Some(vec![]));
    for other in [&[0x90, 0xc3][..], &[0x5c, 0xc3], &[], &[0x48, 0x8d, 0x65], &[0x48, 0x8d, 0x65, 0x10, 0xc3]] {
        assert_eq!(steps(other, 0), None, "{other:x?}");
    }
}

#[test]
fn functions_of_x64_without_an_entry_are_leaves() {
    let program = x64(0, 0, &[], &[]);
    let stack = program.stack(CODE + 0x200, &[BACK], &[("rbx", 3)]);
    assert_eq!((caller(&stack).address, caller(&stack).trust), (Address(BACK), Trust::Pe));
    assert_eq!(caller(&stack).registers.by_name("rbx"), Some(3));
}

#[test]
fn chained_entries_of_x64_are_followed_and_end() {
    // The second part saved rsi; what it is chained to pushed rbx.
    let mut info = vec![0x21, 4, 2, 0, 4, 0x64, 1, 0];
    for field in [CODE, CODE + 0x10, INFO_AT + 0x20] {
        info.extend_from_slice(&field.to_le_bytes());
    }
    info.resize(0x20, 0);
    info.extend_from_slice(&[1, 1, 1, 0, 1, 0x30, 0, 0]);
    let entry = [CODE + 0x80, CODE + 0x100, INFO_AT];
    let mut program = Program::new(Architecture::X86_64, &entry, &info, &[0x90; 0x100]);
    program.bytes[0x1800 - 5] = 0xe8;
    let stack = program.stack(CODE + 0xa0, &[0xb3, BACK], &[]);
    // rsi was saved at rsp + 8, where here the return address is.
    assert_eq!(caller(&stack).registers.by_name("rsi"), Some(BACK));
    assert_eq!(caller(&stack).registers.by_name("rbx"), Some(0xb3));
    // One that is chained to itself.
    program.bytes.copy_within(TABLE..TABLE + 12, INFO + 8);
    let stack = program.stack(CODE + 0xa0, &[0; 8], &[]);
    assert_eq!(stack.stop, Stop::Corrupt("unwind information is chained without end".into()));
}

#[test]
fn machine_frames_of_x64_are_interruptions() {
    for (operand, before) in [(0x0a, &[][..]), (0x1a, &[0xe0])] {
        let program = x64(0, 0, &[0, operand], &[0x90; 0x100]);
        let words = [before, &[BACK, 0x33, 0x202, STACK + 0x100, 0x2b]].concat();
        let stack = program.stack(CODE + 0x10, &words, &[]);
        let found = caller(&stack);
        assert_eq!((found.address, found.lookup), (Address(BACK), Address(BACK)));
        assert_eq!(found.registers.by_name("rsp"), Some(STACK + 0x100));
        assert!(stack.frames[0].signal);
    }
}

#[test]
fn a_stack_of_x64_ends_with_a_return_address_of_zero_or_what_is_not_there() {
    let program = x64(0, 0, &[], &[0x90; 0x100]);
    assert_eq!(program.stack(CODE + 0x10, &[0], &[]).stop, Stop::End);
    // sub rsp, 0x4000: more than there is
    let program = x64(7, 0, &[7, 0x01, 0, 8], &[0x90; 0x100]);
    let stop = program.stack(CODE + 0x10, &[], &[]).stop;
    assert_eq!(stop, Stop::Gap(Address(STACK + 0x4000), NotRead::NotCaptured));
}

fn arm64(entries: &[u32], info: &[u8]) -> Program {
    let mut program = Program::new(Architecture::Aarch64, entries, info, &[]);
    // bl
    program.bytes[0x1800 - 4..0x1800].copy_from_slice(&0x9400_0001u32.to_le_bytes());
    program
}

/// A record with one epilogue at the end of a function of 0x100 bytes, whose codes begin at an index.
fn record(codes: &[u8], epilogue: u32) -> Vec<u8> {
    let words = half(codes.len().div_ceil(4));
    let mut bytes = (0x40 | 1 << 21 | epilogue << 22 | words << 27).to_le_bytes().to_vec();
    bytes.extend_from_slice(codes);
    bytes.resize(4 + codes.len().next_multiple_of(4), 0xe3);
    bytes
}

#[test]
fn records_of_arm64() {
    // stp x29, lr, [sp, -0x20]!; stp x19, x20, [sp, 0x10]; mov x29, sp; sub sp, sp, 0x40
    let codes = [0x04, 0xe1, 0xc8, 0x02, 0x83, 0xe4];
    let program = arm64(&[CODE, INFO_AT], &record(&codes, 2));
    let words = [0, 0, 0, 0, 0, 0, 0, 0, 0xf9, BACK, 0x19, 0x20];
    let stack = program.stack(CODE + 0x40, &words, &[("x29", STACK + 0x40), ("x30", 5)]);
    let found = caller(&stack);
    assert_eq!((found.address, found.trust), (Address(BACK), Trust::Pe));
    assert_eq!(found.registers.by_name("sp"), Some(STACK + 0x60));
    let saved = ["x19", "x20", "x29"].map(|name| found.registers.by_name(name));
    assert_eq!(saved, [Some(0x19), Some(0x20), Some(0xf9)]);
    // At its first instruction, and behind the first store.
    let stack = program.stack(CODE, &[], &[("x30", BACK)]);
    assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK));
    let stack = program.stack(CODE + 4, &[0xf9, BACK], &[("x30", BACK)]);
    assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK + 0x20));
    // In the epilogue: ldp x19, x20; ldp x29, lr, [sp], 0x20; ret
    let stack = program.stack(CODE + 0xf8, &[0xf9, BACK], &[("x30", 5), ("x19", 0x19)]);
    assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK + 0x20));
    let stack = program.stack(CODE + 0xfc, &[], &[("x30", BACK)]);
    assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK));
}

#[test]
fn packed_entries_of_arm64() {
    // Chained, x19 and x20 saved (0x10 bytes), a frame of 0x30: stp x19, x20, [sp, -0x10]!; stp x29, lr, [sp, -0x20]!
    let data = 1 | 0x40 << 2 | 2 << 16 | 3 << 21 | 3 << 23;
    let program = arm64(&[CODE, data], &[]);
    let words = [0xf9, BACK, 0, 0, 0x19, 0x20];
    let stack = program.stack(CODE + 0x40, &words, &[("x29", STACK)]);
    let found = caller(&stack);
    assert_eq!((found.address, found.registers.by_name("sp")), (Address(BACK), Some(STACK + 0x30)));
    assert_eq!(["x19", "x29"].map(|name| found.registers.by_name(name)), [Some(0x19), Some(0xf9)]);
    // Behind the first store; at the second load of the epilogue, which is the last but one instruction.
    for at in [4, 0xf8] {
        let stack = program.stack(CODE + at, &[0x19, 0x20], &[("x30", BACK)]);
        assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK + 0x10), "{at:#x}");
        assert_eq!(caller(&stack).registers.by_name("x20"), Some(0x20));
    }
    // The link register alone with an odd register: stp x19, lr, [sp, -0x10]!; sub sp, sp, 0x20
    let data = 1 | 0x40 << 2 | 1 << 16 | 1 << 21 | 3 << 23;
    let stack = arm64(&[CODE, data], &[]).stack(CODE + 0x40, &[0, 0, 0, 0, 0x19, BACK], &[]);
    assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK + 0x30));
    assert_eq!(caller(&stack).registers.by_name("x19"), Some(0x19));
    // A leaf with a large frame and nothing saved.
    let data = 1 | 0x40 << 2 | 0x108 << 23;
    let program = arm64(&[CODE, data], &[]);
    let stack = program.stack(CODE + 4, &[], &[("x30", BACK)]);
    assert_eq!(caller(&stack).registers.by_name("sp"), Some(STACK + 4080));
}

#[test]
fn codes_of_arm64() {
    let cases: [(&[u8], Code); 22] = [
        (&[0x05], Code::Raise(80)),
        (&[0x24], Code::pair(19, 20, 32, true)),
        (&[0x42], Code::pair(29, 30, 16, false)),
        (&[0x83], Code::pair(29, 30, 32, true)),
        (&[0xc1, 0x02], Code::Raise(0x102 * 16)),
        (&[0xc8, 0x82], Code::pair(21, 22, 16, false)),
        (&[0xcc, 0x83], Code::pair(21, 22, 32, true)),
        (&[0xd0, 0x42], Code::one(20, 16, false)),
        (&[0xd4, 0x23], Code::one(20, 32, true)),
        (&[0xd6, 0x82], Code::pair(23, 30, 16, false)),
        (&[0xd8, 0x02], Code::Nothing),
        (&[0xda, 0x03], Code::Raise(32)),
        (&[0xdc, 0x02], Code::Nothing),
        (&[0xde, 0x03], Code::Raise(32)),
        (&[0xe0, 0x01, 0x02, 0x03], Code::Raise(0x1_0203 * 16)),
        (&[0xe1], Code::SetFrame(0)),
        (&[0xe2, 0x02], Code::SetFrame(16)),
        (&[0xe3], Code::Nothing),
        (&[0xfc], Code::Nothing),
        (&[0xe7, 0x45, 0x02], Code::pair(5, 6, 32, false)),
        (&[0xe9], Code::MachineFrame),
        (&[0xe8], Code::Unknown(0xe8)),
    ];
    for (bytes, code) in cases {
        assert_eq!(decode(bytes), [code], "{bytes:x?}");
        assert_eq!(decode(&[bytes, &[0xe4, 0xe1]].concat()), [code], "{bytes:x?}");
    }
    // Two pairs above the one that moved the stack pointer.
    let pairs = decode(&[0xe6, 0xe6, 0xcc, 0x05]);
    let expected = [Code::pair(23, 24, 32, false), Code::pair(21, 22, 16, false), Code::pair(19, 20, 48, true)];
    assert_eq!(pairs, expected);
    assert_eq!(decode(&[0xe6]), [Code::Next]);
    assert_eq!(decode(&[0xe0, 1]), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_unwind_information_ends(
        is_arm in any::<bool>(),
        entry in any::<[u32; 3]>(),
        packed in any::<u32>(),
        info in prop::collection::vec(any::<u8>(), 0..200),
        code in prop::collection::vec(any::<u8>(), 0..64),
        into in 0u32..0x100,
        words in prop::collection::vec(0u64..0x2_0000_0000, 0..64),
    ) {
        let architecture = if is_arm { Architecture::Aarch64 } else { Architecture::X86_64 };
        let entries = if is_arm { vec![CODE, packed] } else { vec![CODE, CODE + 0x1000, INFO_AT] };
        for entries in [entries, entry.to_vec()] {
            let stack = Program::new(architecture, &entries, &info, &code).stack(CODE + into, &words, &[]);
            prop_assert!(stack.frames.len() <= 2);
        }
    }
}
