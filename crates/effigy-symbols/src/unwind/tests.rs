//! Whole walks: which way is taken, and why they end.

use effigy_process::{Address, Architecture, CompactBytes, NotRead, RegisterSet, note};
use proptest::prelude::*;

use super::testing::{Bytes, Cfi, NoImages, process, thread};
use super::{Stack, Stop, Trust, Unwinder};

const BASE: u64 = 0x40_0000;
const SIZE: usize = 0x4000;
const STACK: u64 = 0x7000;
const STACK_SIZE: u64 = 0x1000;

/// Walks the stack of a thread of x86-64 in one image. `nop`s fill it, calls end at multiples of 0x100.
fn walk(cfi: &Cfi, words: &[u64], registers: &[(&str, u64)]) -> Stack {
    walk_with(cfi, words, registers, |_| ())
}

fn walk_with(cfi: &Cfi, words: &[u64], registers: &[(&str, u64)], change: impl FnOnce(&mut Vec<u8>)) -> Stack {
    let regions = [(STACK, STACK_SIZE, false), (BASE, SIZE as u64, true)];
    let process = process(Architecture::X86_64, &[(BASE, SIZE as u64)], &regions);
    let (start, mut image) = cfi.image(BASE, SIZE);
    for call in (0x1000..SIZE).step_by(0x100) {
        image[call - 5] = 0xe8;
    }
    change(&mut image);
    let mut words = words.to_vec();
    words.resize(usize::try_from(STACK_SIZE / 8).unwrap(), 0);
    let memory = Bytes::new(&[(start, image), Bytes::words(STACK, &words)]);
    Unwinder::new(&process, &memory, &NoImages::default()).unwind(&thread(Architecture::X86_64, registers), 100)
}

/// Functions of 0x100 bytes at 0x1000, 0x1100 and so on: the CFA is so many words above the stack pointer, or `None` for
/// a function that nothing called.
fn functions(frames: &[Option<u8>]) -> Cfi {
    let mut cfi = Cfi::new(false, 16, 1, -8, &[0x0c, 7, 8, 0x80 | 16, 1]);
    for (index, frame) in frames.iter().enumerate() {
        let start = BASE + 0x1000 + 0x100 * index as u64;
        match frame {
            Some(words) => cfi.entry(start, 0x100, &[0x0e, 8 * words]),
            None => cfi.entry(start, 0x100, &[0x07, 16]),
        }
    }
    cfi
}

fn addresses(stack: &Stack) -> Vec<u64> {
    stack.frames.iter().map(|frame| frame.address.0 - BASE).collect()
}

fn trusts(stack: &Stack) -> Vec<Trust> {
    stack.frames.iter().map(|frame| frame.trust).collect()
}

#[test]
fn tables_in_memory_lead_to_the_first_function() {
    let cfi = functions(&[Some(2), Some(3), None]);
    // The return address of the second is the first byte behind it: the call is what counts.
    let words = [0, BASE + 0x1200, 0, 0, BASE + 0x1250, 0];
    let stack = walk(&cfi, &words, &[("rip", BASE + 0x1050), ("rsp", STACK)]);
    assert_eq!(addresses(&stack), [0x1050, 0x1200, 0x1250]);
    assert_eq!(trusts(&stack), [Trust::Context, Trust::Cfi, Trust::Cfi]);
    assert_eq!(stack.stop, Stop::End);
    let lookups: Vec<_> = stack.frames.iter().map(|frame| frame.lookup.0 - BASE).collect();
    assert_eq!(lookups, [0x1050, 0x11ff, 0x124f]);
    let frames: Vec<_> = stack.frames.iter().map(|frame| frame.cfa).collect();
    assert_eq!(frames, [Some(Address(STACK + 16)), Some(Address(STACK + 40)), None]);
    assert_eq!(stack.frames[0].module, Some(0));
}

#[test]
fn code_without_tables_between_code_with_tables() {
    let cfi = functions(&[Some(2), Some(1), None]);
    // The second frame is in code that nothing describes, and keeps a frame pointer.
    let words = [0, BASE + 0x2000, 7, 8, STACK + 0x80, BASE + 0x1120, BASE + 0x1240];
    let stack = walk(&cfi, &words, &[("rip", BASE + 0x1050), ("rsp", STACK), ("rbp", STACK + 32)]);
    // Where calls are seen, a return address has to be behind one.
    assert_eq!(addresses(&stack)[..2], [0x1050, 0x2000]);
    let words = [0, BASE + 0x2000, 7, 8, STACK + 0x80, BASE + 0x1200, 0, BASE + 0x1240];
    let cfi = functions(&[Some(2), Some(2), None]);
    let stack = walk(&cfi, &words, &[("rip", BASE + 0x1050), ("rsp", STACK), ("rbp", STACK + 32)]);
    assert_eq!(addresses(&stack), [0x1050, 0x2000, 0x1200, 0x1240]);
    assert_eq!(trusts(&stack), [Trust::Context, Trust::Cfi, Trust::FramePointer, Trust::Cfi]);
    assert_eq!(stack.frames[2].registers.by_name("rbp"), Some(STACK + 0x80));
    assert_eq!(stack.stop, Stop::End);
}

#[test]
fn a_call_to_nowhere_has_its_return_address_on_top() {
    let cfi = functions(&[Some(2), None]);
    for pc in [0, 0x1234, STACK + 0x100] {
        let words = [BASE + 0x1100, 0, BASE + 0x1150];
        let stack = walk(&cfi, &words, &[("rip", pc), ("rsp", STACK)]);
        assert_eq!(stack.frames[0].address, Address(pc));
        assert_eq!(stack.frames[1..].iter().map(|frame| frame.address.0 - BASE).collect::<Vec<_>>(), [0x1100, 0x1150]);
        assert_eq!((stack.frames[1].trust, &stack.stop), (Trust::FramePointer, &Stop::End));
    }
}

#[test]
fn the_beginning_of_a_function_that_nothing_describes() {
    let cfi = functions(&[None]);
    let words = [STACK + 0x100, BASE + 0x1100];
    // endbr64; push rbp; mov rbp, rsp; …; pop rbp; ret. The frame pointer is still, or again, the caller's.
    let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x90, 0x5d, 0xc3];
    for (into, skipped) in [(0, 1), (4, 1), (5, 0), (10, 1)] {
        let registers = [("rip", BASE + 0x2000 + into), ("rsp", STACK + 8 * skipped), ("rbp", STACK + 0x200)];
        let stack = walk_with(&cfi, &words, &registers, |image| image[0x2000..0x200b].copy_from_slice(&code));
        assert_eq!((addresses(&stack)[1], stack.frames[1].trust), (0x1100, Trust::FramePointer), "{into}");
        assert_eq!(stack.frames[1].registers.by_name("rsp"), Some(STACK + 16));
    }
}

#[test]
fn the_last_way_is_to_look_for_return_addresses() {
    let cfi = functions(&[None]);
    // Data, an address that no call leads to, one of the stack, and one behind a call.
    let words = [1, BASE + 0x1050, STACK + 8, STACK + 0x80, BASE + 0x1100];
    let stack = walk(&cfi, &words, &[("rip", BASE + 0x2000), ("rsp", STACK), ("rbp", 1)]);
    assert_eq!((addresses(&stack), trusts(&stack)), (vec![0x2000, 0x1100], vec![Trust::Context, Trust::Scan]));
    assert_eq!(stack.frames[1].registers.by_name("rsp"), Some(STACK + 40));
    // The word below looks like a saved frame pointer.
    assert_eq!(stack.frames[1].registers.by_name("rbp"), Some(STACK + 0x80));
    assert_eq!(stack.stop, Stop::End);
}

#[test]
fn a_frame_pointer_of_zero_is_the_end() {
    let stack = walk(&functions(&[]), &[1, 2, 3], &[("rip", BASE + 0x2000), ("rsp", STACK), ("rbp", 0)]);
    assert_eq!((stack.frames.len(), stack.stop), (1, Stop::End));
    let stack = walk(&functions(&[]), &[1, 2, 3], &[("rip", BASE + 0x2000), ("rsp", STACK), ("rbp", 5)]);
    assert!(matches!(stack.stop, Stop::Corrupt(_)));
}

#[test]
fn a_stack_that_is_not_there_is_a_gap() {
    let cfi = functions(&[Some(2)]);
    let end = STACK + STACK_SIZE;
    let stack = walk(&cfi, &[], &[("rip", BASE + 0x1050), ("rsp", end - 8)]);
    assert_eq!(stack.stop, Stop::Gap(Address(end), NotRead::NotCaptured));
}

#[test]
fn a_caller_that_is_the_same_frame_or_below_it_is_none() {
    // The CFA is the stack pointer: nothing was ever pushed.
    let mut cfi = Cfi::new(false, 16, 1, -8, &[0x0c, 7, 0, 0x14, 16, 0]);
    cfi.entry(BASE + 0x1000, 0x100, &[0x09, 16, 16]);
    let stack = walk(&cfi, &[], &[("rip", BASE + 0x1050), ("rsp", STACK)]);
    assert_eq!((stack.frames.len(), stack.stop), (1, Stop::NoProgress));
    let mut cfi = Cfi::new(false, 16, 1, -8, &[0x12, 7, 1]);
    cfi.entry(BASE + 0x1000, 0x100, &[0x09, 16, 16]);
    let stack = walk(&cfi, &[], &[("rip", BASE + 0x1050), ("rsp", STACK + 0x100)]);
    assert!(matches!(&stack.stop, Stop::Corrupt(what) if what.contains("below")), "{stack:?}");
}

#[test]
fn frames_that_repeat_and_frames_without_end() {
    // A trampoline whose interrupted frame is itself a trampoline, and so on: rsp from the stack.
    let mut cfi = Cfi::new(true, 16, 1, -8, &[0x0c, 7, 8]);
    let restore = [0x10, 16, 2, 0x77, 0, 0x10, 7, 2, 0x77, 8];
    cfi.entry(BASE + 0x1000, 0x200, &restore);
    let words = [BASE + 0x1050, STACK + 16, BASE + 0x1060, STACK];
    let stack = walk(&cfi, &words, &[("rip", BASE + 0x1000), ("rsp", STACK)]);
    assert_eq!(stack.stop, Stop::Loop);
    assert!(stack.frames.len() < 10 && stack.frames.iter().all(|frame| frame.signal));

    let words: Vec<u64> = vec![BASE + 0x1100; 512];
    let stack = walk(&functions(&[Some(1)]), &words, &[("rip", BASE + 0x1050), ("rsp", STACK)]);
    assert_eq!((stack.frames.len(), stack.stop), (100, Stop::Limit));
}

#[test]
fn what_a_signal_interrupted_is_looked_up_by_its_own_address() {
    let mut cfi = functions(&[Some(1), None]);
    cfi.head(true, 16, 1, -8, &[0x0c, 7, 8, 0x80 | 16, 1]);
    // rsp as well, from another stack.
    cfi.entry(BASE + 0x1200, 0x100, &[0x10, 7, 2, 0x77, 8]);
    // The handler returns to the trampoline, which interrupted the first instruction of the second function.
    let words = [BASE + 0x1250, BASE + 0x1100, STACK + 0x800];
    let stack = walk(&cfi, &words, &[("rip", BASE + 0x1010), ("rsp", STACK)]);
    assert_eq!(addresses(&stack), [0x1010, 0x1250, 0x1100]);
    let signals: Vec<_> = stack.frames.iter().map(|frame| frame.signal).collect();
    assert_eq!(signals, [false, true, false]);
    assert_eq!(stack.frames[1].lookup, stack.frames[1].address);
    assert_eq!(stack.frames[2].lookup, Address(BASE + 0x1100));
    assert_eq!(stack.frames[2].registers.by_name("rsp"), Some(STACK + 0x800));
    assert_eq!(stack.stop, Stop::End);
}

#[test]
fn trampolines_of_arm64_by_their_instructions() {
    let regions = [(STACK, STACK_SIZE, false), (BASE, 0x1000, true)];
    let process = process(Architecture::Aarch64, &[(BASE, 0x1000)], &regions);
    let mut code = vec![0; 0x1000];
    code[0x100..0x108].copy_from_slice(&[0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4]);
    let mut words = vec![0; 512];
    // struct rt_sigframe at the stack pointer: x0 to x30, sp, pc.
    for register in 0..31 {
        words[39 + register] = 0x100 + register as u64;
    }
    (words[39 + 31], words[39 + 32]) = (STACK + 0x800, BASE + 0x200);
    let memory = Bytes::new(&[(BASE, code), Bytes::words(STACK, &words)]);
    let registers = thread(Architecture::Aarch64, &[("pc", BASE + 0x100), ("sp", STACK)]);
    let stack = Unwinder::new(&process, &memory, &NoImages::default()).unwind(&registers, 5);
    assert!(stack.frames[0].signal);
    let found = &stack.frames[1];
    assert_eq!((found.address, found.lookup), (Address(BASE + 0x200), Address(BASE + 0x200)));
    assert_eq!((found.registers.by_name("x0"), found.registers.by_name("x30")), (Some(0x100), Some(0x11e)));
    assert_eq!(found.registers.by_name("sp"), Some(STACK + 0x800));
}

/// An image of arm64 whose words at multiples of 0x100 follow a call.
fn arm64(words: &[u64], registers: &[(&str, u64)], mask: Option<u64>) -> Stack {
    let regions = [(STACK, STACK_SIZE, false), (BASE, 0x1000, true)];
    let process = process(Architecture::Aarch64, &[(BASE, 0x1000)], &regions);
    let mut code = vec![0; 0x1000];
    for call in (0x100..0x1000).step_by(0x100) {
        code[call - 4..call].copy_from_slice(&0x9400_0001u32.to_le_bytes());
    }
    let memory = Bytes::new(&[(BASE, code), Bytes::words(STACK, words)]);
    let mut registers = thread(Architecture::Aarch64, registers);
    if let Some(mask) = mask {
        let bytes = [0u64, mask].map(u64::to_le_bytes).concat();
        registers.sets.push(RegisterSet { note: note::ARM_PAC_MASK, bytes: CompactBytes::new(&bytes) });
    }
    Unwinder::new(&process, &memory, &NoImages::default()).unwind(&registers, 10)
}

#[test]
fn frame_records_of_arm64_with_and_without_signatures() {
    for (signature, mask) in [(0, None), (0x2a_0000 << 40, None), (0x7f << 48, Some(0x7f << 48))] {
        let words = [STACK + 0x20, signature | (BASE + 0x300), 0, 0, 0, signature | (BASE + 0x400)];
        let stack = arm64(&words, &[("pc", BASE + 0x210), ("sp", STACK), ("x29", STACK)], mask);
        assert_eq!(addresses(&stack), [0x210, 0x300, 0x400], "{signature:#x}");
        assert_eq!(stack.stop, Stop::End);
    }
}

#[test]
fn chains_of_other_architectures() {
    for (architecture, words, registers, sp) in [
        // riscv64: the record lies below the frame pointer.
        (Architecture::Riscv64, vec![0, 0, BASE + 0x300], vec![("s0", STACK + 24), ("sp", STACK)], STACK + 24),
        // ppc64le: the address of the caller's frame, and the return address in that.
        (Architecture::Ppc64le, vec![STACK + 16, 0, 0, 0, BASE + 0x300], vec![("r1", STACK)], STACK + 16),
    ] {
        let process = process(architecture, &[(BASE, 0x1000)], &[(STACK, STACK_SIZE, false), (BASE, 0x1000, true)]);
        let mut code = vec![0; 0x1000];
        // jalr
        code[0x2fc..0x300].copy_from_slice(&0x0007_80e7u32.to_le_bytes());
        let memory = Bytes::new(&[(BASE, code), Bytes::words(STACK, &words)]);
        let mut registers = registers;
        registers.push(("pc", BASE + 0x200));
        let stack = Unwinder::new(&process, &memory, &NoImages::default()).unwind(&thread(architecture, &registers), 2);
        assert_eq!(stack.frames.get(1).map(|frame| frame.address), Some(Address(BASE + 0x300)), "{stack:?}");
        assert_eq!(stack.frames[1].registers.stack_pointer(), Some(Address(sp)));
    }
}

#[test]
fn threads_whose_registers_are_not_known() {
    let process = process(Architecture::X86_64, &[], &[]);
    let memory = Bytes::new(&[]);
    let unwinder = Unwinder::new(&process, &memory, &NoImages(None));
    assert_eq!(unwinder.unwind(&effigy_process::Registers::default(), 10).stop, Stop::NoRegisters);
    let stack = unwinder.unwind(&thread(Architecture::X86_64, &[("rip", 0x5000), ("rsp", STACK)]), 0);
    assert_eq!((stack.frames.len(), stack.stop), (0, Stop::Limit));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_stack_ends(
        words in prop::collection::vec(prop_oneof![
            any::<u64>(),
            (0u64..SIZE as u64).prop_map(|offset| BASE + offset),
            (0u64..STACK_SIZE).prop_map(|offset| STACK + offset),
        ], 0..200),
        registers in prop::array::uniform4(prop_oneof![
            any::<u64>(),
            (0u64..SIZE as u64).prop_map(|offset| BASE + offset),
            (0u64..STACK_SIZE).prop_map(|offset| STACK + offset),
        ]),
        which in 0usize..7,
    ) {
        use Architecture::{Aarch64, Arm, Ppc64le, Riscv64, S390x, X86, X86_64};
        let architecture = [X86_64, X86, Aarch64, Arm, Riscv64, Ppc64le, S390x][which];
        let names: [&[&str]; 7] = [
            &["rip", "rsp", "rbp"], &["eip", "esp", "ebp"], &["pc", "sp", "x29", "x30"], &["pc", "sp", "r11", "lr"],
            &["pc", "sp", "s0", "ra"], &["pc", "r1", "lr"], &["pswa", "r15", "r14"],
        ];
        let cfi = functions(&[Some(1), Some(2), Some(3), None]);
        let regions = [(STACK, STACK_SIZE, false), (BASE, SIZE as u64, true)];
        let process = process(architecture, &[(BASE, SIZE as u64)], &regions);
        let memory = Bytes::new(&[cfi.image(BASE, SIZE), Bytes::words(STACK, &words)]);
        let values: Vec<_> = names[which].iter().copied().zip(registers).collect();
        let stack = Unwinder::new(&process, &memory, &NoImages::default()).unwind(&thread(architecture, &values), 50);
        prop_assert!(!stack.frames.is_empty() && stack.frames.len() <= 50);
    }
}
