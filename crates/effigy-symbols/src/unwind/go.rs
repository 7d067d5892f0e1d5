//! Functions of Go's, by the table of its runtime: it tells for each instruction how deep the stack is.
//!
//! Sources: `gentraceback` in src/runtime/traceback.go of Go 1.19, and what src/cmd/internal/obj/x86/obj6.go and
//! src/cmd/internal/obj/arm64/obj7.go make of a function's beginning. Where calls push the return address, it lies above
//! the frame; elsewhere it is on top of the stack in functions that have a frame, and in its register in those that have
//! none. Go's functions keep no registers but the frame pointer.

use effigy_process::Architecture;

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::{Nature, Walk};
use super::{Frame, Trust};
use crate::go::GoFrame;

impl Walk<'_, '_> {
    /// By Go's table in the module that the frame is in.
    pub(super) fn by_go(&mut self, module: usize, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let told = self.unwinder.modules.go_frame(module, frame.lookup).ok_or(Failure::Nothing)?;
        // What returns to a trampoline was called by the kernel, and the code before that is another function's.
        let sp = frame.registers.stack_pointer().unwrap_or_default();
        if !nature.interrupted && self.returns_to_trampoline(frame.address.0, sp.0) {
            return Err(Failure::Nothing);
        }
        let found = self.go_caller(&frame.registers, told, nature);
        if !told.is_first {
            return found;
        }
        // What a signal calls is a first function, and still is returned from to what the signal interrupted.
        found.ok().filter(|caller| self.is_signal(caller)).ok_or(Failure::End)
    }

    fn is_signal(&mut self, caller: &Caller) -> bool {
        let registers = &caller.registers;
        let place = registers.instruction_pointer().zip(registers.stack_pointer());
        place.is_some_and(|(pc, sp)| self.returns_to_trampoline(pc.0, sp.0))
    }

    fn go_caller(&mut self, registers: &FrameRegisters, told: GoFrame, nature: Nature) -> Result<Caller, Failure> {
        let abi = registers.abi();
        if told.sets_stack || !nature.exact || !abi.cfa_is_sp {
            return Err(Failure::Nothing);
        }
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        let above = sp.checked_add(told.depth).ok_or(Failure::Nothing)?;
        let (cfa, address) = match abi.link {
            None => (above.wrapping_add(self.word()), self.pointer(above)?),
            Some(_) if told.depth > 0 => (above, self.pointer(sp)?),
            Some(link) if nature.interrupted => (above, registers.get(link).ok_or(Failure::Nothing)?),
            // It made a call, by which its return address would be lost.
            Some(_) => return Err(Failure::Nothing),
        };
        let mut caller = registers.kept_by_go();
        if let Some(fp) = self.go_frame_pointer(registers, told, nature, cfa) {
            caller.set(abi.fp, fp);
        }
        if let Some(link) = abi.link {
            caller.set(link, address);
        }
        caller.set_pc(address);
        caller.set_sp(cfa);
        Ok(Caller { registers: caller, cfa: Some(cfa), trust: Trust::Go, signal: false, exact: true })
    }

    /// The caller's frame pointer: saved above the frame's own part of the stack on x86-64, and below it on arm64.
    fn go_frame_pointer(&mut self, registers: &FrameRegisters, told: GoFrame, nature: Nature, cfa: u64) -> Option<u64> {
        let saved_at = match registers.architecture() {
            Architecture::X86_64 => cfa.wrapping_sub(16),
            Architecture::Aarch64 => registers.stack_pointer()?.0.wrapping_sub(8),
            _ => return None,
        };
        let own = registers.frame_pointer().map(|own| own.0);
        let is_saved = own == Some(saved_at) || told.keeps_pointer && !nature.interrupted;
        if told.depth > 0 && is_saved {
            return self.pointer(saved_at).ok();
        }
        // It is not saved yet, or no longer. In assembly it may have been used for something else.
        own.filter(|_| told.keeps_pointer)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use effigy_process::Address;
    use proptest::prelude::*;

    use super::super::testing::{Bytes, OneImage, process, thread};
    use super::super::{Stack, Stop, Unwinder};
    use super::*;
    use crate::go::testing::{BASE, Function, Program, SIZE, TEXT};
    use crate::image::Image;

    const STACK: u64 = 0x7000_0000;
    /// Below the stack pointer.
    const LOW: u64 = STACK - 0x100;

    const MAIN: u64 = TEXT;
    const EXIT: u64 = MAIN + 0x100;
    const SWITCH: u64 = EXIT + 0x20;
    const HANDLER: u64 = SWITCH + 0x40;
    const TRAMPOLINE: u64 = HANDLER + 0x40;

    fn function(name: &'static str, size: u32, flags: u8, depths: &[(u32, i32)]) -> Function {
        Function { name, size, flags, depths: depths.to_vec(), ..Function::default() }
    }

    /// The trampoline is `mov rax, 15; syscall`.
    fn image(machine: u16, quantum: u8) -> Arc<Image> {
        let functions = vec![
            function("main.main", 0x100, 0, &[(0x10, 0), (0xe0, 0x20), (0x10, 0)]),
            function("runtime.goexit", 0x20, 5, &[(0x20, 0)]),
            function("runtime.systemstack", 0x40, 6, &[(0x40, 0)]),
            function("runtime.sigtramp", 0x40, 5, &[(0x40, 0x10)]),
            function("runtime.sigreturn", 0x20, 4, &[(0x20, 0)]),
        ];
        let mut bytes = Program { machine, quantum, functions, ..Program::default() }.image();
        let at = usize::try_from(TRAMPOLINE - BASE).unwrap();
        bytes[at..at + 9].copy_from_slice(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]);
        Arc::new(Image::from_bytes(bytes, Path::new("made")).unwrap())
    }

    /// Words of the stack from 0x100 bytes below the stack pointer on.
    fn unwound(architecture: Architecture, words: &[(u64, u64)], registers: &[(&str, u64)]) -> Stack {
        let mut stack = vec![0; 128];
        words.iter().for_each(|(at, word)| stack[usize::try_from((at - LOW) / 8).unwrap()] = *word);
        let process = process(architecture, &[(BASE, SIZE as u64)], &[(LOW, 0x400, false), (TEXT, 0x1000, true)]);
        let (machine, quantum) = if architecture == Architecture::Aarch64 { (183, 4) } else { (62, 1) };
        let images = OneImage(image(machine, quantum));
        let memory = Bytes::new(&[Bytes::words(LOW, &stack)]);
        Unwinder::new(&process, &memory, &images).unwind(&thread(architecture, registers), 10)
    }

    fn addresses(stack: &Stack) -> Vec<u64> {
        stack.frames.iter().map(|frame| frame.address.0).collect()
    }

    #[test]
    fn the_return_address_is_above_the_frame() {
        let words =
            [(STACK + 0x18, STACK + 0x40), (STACK + 0x20, MAIN + 0x90), (STACK + 0x40, 77), (STACK + 0x48, EXIT + 1)];
        let registers = [("rip", MAIN + 0x80), ("rsp", STACK), ("rbp", STACK + 0x18), ("rbx", 3)];
        let stack = unwound(Architecture::X86_64, &words, &registers);
        assert_eq!(addresses(&stack), [MAIN + 0x80, MAIN + 0x90, EXIT + 1]);
        assert_eq!(stack.stop, Stop::End);
        assert!(stack.frames[1..].iter().all(|frame| frame.trust == Trust::Go));
        let second = &stack.frames[1].registers;
        assert_eq!((second.by_name("rsp"), second.by_name("rbp")), (Some(STACK + 0x28), Some(STACK + 0x40)));
        // Nobody keeps it.
        assert_eq!(second.by_name("rbx"), None);
        assert_eq!(stack.frames[2].registers.by_name("rbp"), Some(77));
        assert_eq!(stack.frames[0].cfa, Some(Address(STACK + 0x28)));
    }

    #[test]
    fn a_prologue_has_no_frame_yet() {
        let registers = [("rip", MAIN + 4), ("rsp", STACK), ("rbp", 55)];
        let stack = unwound(Architecture::X86_64, &[(STACK, EXIT + 1)], &registers);
        assert_eq!(addresses(&stack), [MAIN + 4, EXIT + 1]);
        assert_eq!(stack.frames[1].registers.by_name("rbp"), Some(55));
        // The frame is there, and the pointer is not saved in it yet.
        let registers = [("rip", MAIN + 0x12), ("rsp", STACK), ("rbp", 55)];
        let stack = unwound(Architecture::X86_64, &[(STACK + 0x20, EXIT + 1)], &registers);
        assert_eq!(stack.frames[1].registers.by_name("rbp"), Some(55));
    }

    #[test]
    fn the_return_address_is_on_top_where_calls_leave_it_in_a_register() {
        let words = [(STACK - 8, STACK + 0x18), (STACK, MAIN + 0x90), (STACK + 0x18, 77), (STACK + 0x20, EXIT + 4)];
        let registers = [("pc", MAIN + 0x80), ("sp", STACK), ("x29", STACK - 8), ("x30", 1)];
        let stack = unwound(Architecture::Aarch64, &words, &registers);
        assert_eq!(addresses(&stack), [MAIN + 0x80, MAIN + 0x90, EXIT + 4]);
        assert_eq!(stack.frames[2].registers.by_name("sp"), Some(STACK + 0x40));
        assert_eq!([1, 2].map(|frame| stack.frames[frame].registers.by_name("x29")), [Some(STACK + 0x18), Some(77)]);
        // A function without a frame has it in the register still, if it made no call.
        let registers = [("pc", MAIN + 4), ("sp", STACK), ("x30", EXIT + 4)];
        let stack = unwound(Architecture::Aarch64, &[], &registers);
        assert_eq!((addresses(&stack), &stack.stop), (vec![MAIN + 4, EXIT + 4], &Stop::End));
        let stack = unwound(Architecture::Aarch64, &[(STACK, MAIN + 8)], &[("pc", MAIN + 0x80), ("sp", STACK)]);
        assert!(stack.frames[2..].iter().all(|frame| frame.trust != Trust::Go), "{stack:?}");
    }

    #[test]
    fn nothing_is_told_of_who_goes_to_another_stack() {
        let words = [(STACK, MAIN + 0x90)];
        let stack = unwound(Architecture::X86_64, &words, &[("rip", SWITCH + 0x10), ("rsp", STACK), ("rbp", 1)]);
        assert_eq!(addresses(&stack), [SWITCH + 0x10], "{stack:?}");
        assert_ne!(stack.stop, Stop::End);
    }

    #[test]
    fn the_function_that_a_signal_calls_is_returned_from() {
        let saved = STACK + 0x18 + 40;
        let words = [
            (STACK + 0x10, TRAMPOLINE),
            (saved + 8 * 10, 55),
            (saved + 8 * 15, STACK + 0x200),
            (saved + 8 * 16, MAIN + 4),
            (STACK + 0x200, EXIT + 1),
        ];
        let stack = unwound(Architecture::X86_64, &words, &[("rip", HANDLER + 0x10), ("rsp", STACK)]);
        assert_eq!(addresses(&stack), [HANDLER + 0x10, TRAMPOLINE, MAIN + 4, EXIT + 1]);
        let trusts: Vec<_> = stack.frames.iter().map(|frame| (frame.trust, frame.signal)).collect();
        assert_eq!(trusts[1..], [(Trust::Go, true), (Trust::Cfi, false), (Trust::Go, false)]);
        assert_eq!(stack.stop, Stop::End);
        // Whoever else calls it is none of its business.
        let stack = unwound(Architecture::X86_64, &[(STACK + 0x10, MAIN + 0x90)], &[("rip", HANDLER), ("rsp", STACK)]);
        assert_eq!((addresses(&stack), stack.stop), (vec![HANDLER], Stop::End));
    }

    proptest! {
        #[test]
        fn any_stack_ends(
            words in prop::collection::vec((0u64..128, any::<u64>().prop_map(|word| MAIN + word % 0x240)), 0..128),
            pc in 0u64..0x240,
            sp in 0u64..0x500,
            is_arm in any::<bool>(),
        ) {
            let words: Vec<_> = words.into_iter().map(|(at, word)| (LOW + 8 * at, word)).collect();
            let (architecture, names) =
                if is_arm { (Architecture::Aarch64, ["pc", "sp"]) } else { (Architecture::X86_64, ["rip", "rsp"]) };
            let stack = unwound(architecture, &words, &[(names[0], MAIN + pc), (names[1], LOW + sp)]);
            prop_assert!(stack.frames.len() <= 10);
        }
    }
}
