//! x86 without tables: the way to the function's return is gone through, and where that finds the return address is
//! where it is now.
//!
//! Wherever a function is, all ways from there to a return move the stack pointer by as much. So a conditional jump is
//! not taken, a call is stepped over, and of all else only what moves the stack pointer, and what pops registers, is
//! looked at.

use effigy_process::{Address, Architecture};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::Walk;
use super::{Frame, Trust};

/// The most instructions that are gone through.
const MOST_INSTRUCTIONS: usize = 400;
/// The longest instruction of x86, in bytes.
const LONGEST: usize = 15;
/// Bytes of code that are read at once.
const PIECE: usize = 128;
/// The most words that may be pushed on the way: in a prologue, what functions keep.
const MOST_PUSHED: usize = 16;

/// Registers as they will be on the way.
struct Path<'w, 'u, 'a> {
    walk: &'w mut Walk<'u, 'a>,
    registers: FrameRegisters,
    sp: u64,
    word: u64,
    /// What is pushed on the way, which memory does not hold: place and value, where that is known.
    pushed: Vec<(u64, Option<u64>)>,
    info: InstructionInfoFactory,
}

/// What follows an instruction.
enum Next {
    Behind,
    At(u64),
    Returned(u64),
}

impl Walk<'_, '_> {
    /// The caller to which the way from here leads.
    pub(super) fn by_way_to_return(&mut self, frame: &Frame) -> Result<Caller, Failure> {
        let registers = frame.registers;
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        let word = self.word();
        let info = InstructionInfoFactory::new();
        let mut path = Path { walk: self, registers, sp, word, pushed: Vec::new(), info };
        let (address, sp) = path.follow(frame.address.0)?;
        let mut caller = path.registers.kept();
        self.believable(address)?;
        caller.set_pc(address);
        caller.set_sp(sp);
        Ok(Caller { registers: caller, cfa: Some(sp), trust: Trust::FramePointer, signal: false, exact: true })
    }
}

impl Path<'_, '_, '_> {
    /// The return address, and the stack pointer once it is popped.
    fn follow(&mut self, start: u64) -> Result<(u64, u64), Failure> {
        let bits = if self.walk.unwinder.process.architecture == Architecture::X86 { 32 } else { 64 };
        let (mut code, mut code_at, mut count) = ([0; PIECE], start, 0);
        let mut at = start;
        for _ in 0..MOST_INSTRUCTIONS {
            let left = at
                .checked_sub(code_at)
                .and_then(|into| usize::try_from(into).ok())
                .and_then(|into| code[..count].get(into..));
            let bytes = match left.filter(|left| left.len() >= LONGEST) {
                Some(left) => left,
                None => {
                    (code_at, count) = (at, self.walk.unwinder.code(Address(at), &mut code));
                    &code[..count]
                }
            };
            let mut decoder = Decoder::with_ip(bits, bytes, at, DecoderOptions::NONE);
            let instruction = decoder.decode();
            match self.step(&instruction)? {
                Next::Behind => at = instruction.next_ip(),
                Next::At(target) => at = target,
                Next::Returned(address) => return Ok((address, self.sp)),
            }
        }
        Err(Failure::Nothing)
    }

    fn step(&mut self, instruction: &Instruction) -> Result<Next, Failure> {
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch => self.straight(instruction).map(|()| Next::Behind),
            FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt if !is_trap(instruction) => {
                // What functions may use is lost; they give the stack pointer back as it was.
                self.registers = self.registers.kept();
                Ok(Next::Behind)
            }
            FlowControl::UnconditionalBranch
                if matches!(instruction.op0_kind(), OpKind::NearBranch32 | OpKind::NearBranch64) =>
            {
                Ok(Next::At(instruction.near_branch_target()))
            }
            FlowControl::Return if matches!(instruction.mnemonic(), Mnemonic::Ret) => {
                let address = self.load(self.sp)?.ok_or(Failure::Nothing)?;
                let more = if instruction.op_count() == 1 { u64::from(instruction.immediate16()) } else { 0 };
                self.move_to(self.sp.wrapping_add(self.word + more));
                Ok(Next::Returned(address))
            }
            _ => Err(Failure::Nothing),
        }
    }

    fn straight(&mut self, instruction: &Instruction) -> Result<(), Failure> {
        let first = instruction.op0_register().full_register();
        let moves_sp = first == self.stack_register();
        match instruction.mnemonic() {
            Mnemonic::INVALID => return Err(Failure::Nothing),
            Mnemonic::Push => return self.push(instruction),
            Mnemonic::Pop => return self.pop(instruction, first),
            Mnemonic::Leave => {
                self.sp = self.registers.frame_pointer().ok_or(Failure::Nothing)?.0;
                let value = self.load(self.sp)?;
                self.move_to(self.sp.wrapping_add(self.word));
                self.assign(Register::RBP, value);
                return Ok(());
            }
            Mnemonic::Add | Mnemonic::Sub if moves_sp => {
                let amount = immediate(instruction).ok_or(Failure::Nothing)?;
                let amount = if instruction.mnemonic() == Mnemonic::Sub { amount.wrapping_neg() } else { amount };
                self.move_to(self.sp.wrapping_add_signed(amount));
                return Ok(());
            }
            Mnemonic::Lea if moves_sp => {
                let plain = instruction.memory_index() == Register::None && instruction.memory_base() != Register::RIP;
                let base = self.value(instruction.memory_base()).filter(|_| plain).ok_or(Failure::Nothing)?;
                self.move_to(base.wrapping_add(instruction.memory_displacement64()));
                return Ok(());
            }
            Mnemonic::Mov if moves_sp && instruction.op1_kind() == OpKind::Register => {
                self.sp = self.value(instruction.op1_register()).ok_or(Failure::Nothing)?;
                return Ok(());
            }
            Mnemonic::Mov
                if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Register =>
            {
                let value = self.value(instruction.op1_register());
                self.assign(first, value);
                return Ok(());
            }
            _ => {}
        }
        self.other(instruction)
    }

    /// Any other instruction: the registers that it writes are lost, and the way with them where that is the stack
    /// pointer.
    fn other(&mut self, instruction: &Instruction) -> Result<(), Failure> {
        let stack = self.stack_register();
        let info = self.info.info(instruction);
        let writes =
            |access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess);
        let written = info.used_registers().iter().filter(|used| writes(used.access()));
        let written: Vec<Register> = written.map(|used| used.register().full_register()).collect();
        for register in written {
            if register == stack {
                return Err(Failure::Nothing);
            }
            self.assign(register, None);
        }
        Ok(())
    }

    fn move_to(&mut self, address: u64) {
        self.sp = if self.word == 4 { address & 0xffff_ffff } else { address };
    }

    fn push(&mut self, instruction: &Instruction) -> Result<(), Failure> {
        let wide = matches!(
            instruction.code(),
            Code::Push_r64
                | Code::Push_r32
                | Code::Pushq_imm8
                | Code::Pushd_imm8
                | Code::Pushq_imm32
                | Code::Pushd_imm32
                | Code::Push_rm64
                | Code::Push_rm32
        );
        if !wide || self.pushed.len() == MOST_PUSHED {
            return Err(Failure::Nothing);
        }
        let value = self.value(instruction.op0_register());
        self.move_to(self.sp.wrapping_sub(self.word));
        self.pushed.push((self.sp, value));
        Ok(())
    }

    fn pop(&mut self, instruction: &Instruction, register: Register) -> Result<(), Failure> {
        let whole = matches!(instruction.code(), Code::Pop_r64 | Code::Pop_r32);
        if !whole || register == self.stack_register() {
            return Err(Failure::Nothing);
        }
        let value = self.load(self.sp)?;
        self.assign(register, value);
        self.move_to(self.sp.wrapping_add(self.word));
        Ok(())
    }

    /// A word of the stack; `None` where what was pushed there is not known.
    fn load(&mut self, address: u64) -> Result<Option<u64>, Failure> {
        if let Some((_, value)) = self.pushed.iter().rev().find(|(place, _)| *place == address) {
            return Ok(*value);
        }
        self.walk.pointer(address).map(Some)
    }

    fn value(&self, register: Register) -> Option<u64> {
        let register = register.full_register();
        if register == self.stack_register() { Some(self.sp) } else { self.registers.get(self.number(register)?) }
    }

    fn assign(&mut self, register: Register, value: Option<u64>) {
        let Some(number) = self.number(register.full_register()) else { return };
        match value {
            Some(value) => self.registers.set(number, value),
            None => self.registers.forget(number),
        }
    }

    /// `full_register` is one of 64 bits, whatever the code's width.
    fn stack_register(&self) -> Register {
        Register::RSP
    }

    /// DWARF's number of a register.
    fn number(&self, register: Register) -> Option<u16> {
        const WIDE: [u16; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
        let index = (register as usize).checked_sub(Register::RAX as usize).filter(|index| *index < WIDE.len())?;
        // On 32 bits the two numberings are the same.
        if self.word == 4 { u16::try_from(index).ok().filter(|index| *index < 8) } else { Some(WIDE[index]) }
    }
}

/// Whether an instruction is there to stop the program: what follows it need not be code. All other interrupts are system
/// calls.
fn is_trap(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Int3 | Mnemonic::Int1 | Mnemonic::Into)
}

/// The number in an instruction's second operand.
fn immediate(instruction: &Instruction) -> Option<i64> {
    let is_number = matches!(
        instruction.op1_kind(),
        OpKind::Immediate8to32 | OpKind::Immediate8to64 | OpKind::Immediate32 | OpKind::Immediate32to64
    );
    is_number.then(|| match instruction.op1_kind() {
        OpKind::Immediate32 => i64::from(instruction.immediate32().cast_signed()),
        _ => instruction.immediate(1).cast_signed(),
    })
}

#[cfg(test)]
mod tests {
    use effigy_process::Architecture;
    use proptest::prelude::*;

    use super::super::testing::{Bytes, NoImages, process, thread};
    use super::super::{Stack, Unwinder};
    use super::*;

    const BASE: u64 = 0x40_0000;
    const STACK: u64 = 0x7000;
    const BACK: u64 = BASE + 0x800;

    fn stack(architecture: Architecture, code: &[u8], stack: (u64, Vec<u8>), registers: &[(&str, u64)]) -> Stack {
        let process = process(architecture, &[(BASE, 0x1000)], &[(STACK, 0x1000, false), (BASE, 0x1000, true)]);
        let mut image = vec![0xcc; 0x1000];
        image[0x100..0x100 + code.len()].copy_from_slice(code);
        image[0x800 - 5] = 0xe8;
        let memory = Bytes::new(&[(BASE, image), stack]);
        let names = if architecture == Architecture::X86 { ["eip", "esp"] } else { ["rip", "rsp"] };
        let mut all = vec![(names[0], BASE + 0x100), (names[1], STACK)];
        all.extend_from_slice(registers);
        Unwinder::new(&process, &memory, &NoImages::default()).unwind(&thread(architecture, &all), 2)
    }

    fn found(code: &[u8], words: &[u64], registers: &[(&str, u64)]) -> Option<(u64, Option<u64>)> {
        let stack = stack(Architecture::X86_64, code, Bytes::words(STACK, words), registers);
        let caller = stack.frames.get(1).filter(|caller| caller.trust == Trust::FramePointer)?;
        assert_eq!(caller.address, Address(BACK));
        Some((caller.registers.by_name("rsp")? - STACK, caller.registers.by_name("rbx")))
    }

    #[test]
    fn ways_to_a_return() {
        for (code, words, expected) in [
            // mov rax, rcx; ret
            (&[0x48, 0x89, 0xc8, 0xc3][..], &[BACK][..], Some((8, Some(3)))),
            // push rbx; mov ebx, 1; pop rbx; ret: what is pushed comes back
            (&[0x53, 0xbb, 1, 0, 0, 0, 0x5b, 0xc3], &[BACK], Some((8, Some(3)))),
            // mov ebx, 1; ret: a function that does not keep what it must
            (&[0xbb, 1, 0, 0, 0, 0xc3], &[BACK], Some((8, None))),
            // add rsp, 8; pop rbx; ret
            (&[0x48, 0x83, 0xc4, 8, 0x5b, 0xc3], &[0, 0xb3, BACK], Some((24, Some(0xb3)))),
            // sub rsp, 8; call; je; add rsp, 8; ret 16
            (
                &[0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x74, 0x10, 0x48, 0x83, 0xc4, 8, 0xc2, 16, 0],
                &[BACK],
                Some((24, Some(3))),
            ),
            // lea rsp, [rbp-8]; pop rbx; pop rbp; ret
            (&[0x48, 0x8d, 0x65, 0xf8, 0x5b, 0x5d, 0xc3], &[0, 0xb3, 0xb5, BACK], Some((32, Some(0xb3)))),
            // leave; ret
            (&[0xc9, 0xc3], &[0, 0, 0xb5, BACK], Some((32, Some(3)))),
            // push rbp; mov rbp, rsp; sub rsp, 0x20; leave; ret
            (&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xc9, 0xc3], &[BACK], Some((8, Some(3)))),
            // jmp +1; int3; ret
            (&[0xeb, 1, 0xcc, 0xc3], &[BACK], Some((8, Some(3)))),
            // and rsp, -16; a jump through a register; int3; jmp to itself
            (&[0x48, 0x83, 0xe4, 0xf0, 0xc3], &[BACK], None),
            (&[0xff, 0xe0], &[BACK], None),
            (&[0xcc], &[BACK], None),
            (&[0xeb, 0xfe], &[BACK], None),
        ] {
            let registers = [("rbx", 3), ("rbp", STACK + 16)];
            let ways = if expected.is_none() { &[("rbx", 3), ("rbp", 0)][..] } else { &registers };
            assert_eq!(found(code, words, ways), expected, "{code:x?}");
        }
    }

    #[test]
    fn ways_of_32_bits() {
        // push ebp; mov ebp, esp; …; leave; ret
        let code = [0x55, 0x89, 0xe5, 0x83, 0xec, 0x08, 0xc9, 0xc3];
        let back = u32::try_from(BACK).unwrap();
        let stack = stack(Architecture::X86, &code, Bytes::halves(STACK, &[back]), &[("ebp", 5)]);
        let caller = &stack.frames[1];
        assert_eq!((caller.address, caller.registers.by_name("esp")), (Address(BACK), Some(STACK + 4)));
        assert_eq!(caller.registers.by_name("ebp"), Some(5));
    }

    proptest! {
        #[test]
        fn any_code_ends(code in prop::collection::vec(any::<u8>(), 0..200), is_wide in any::<bool>()) {
            let architecture = if is_wide { Architecture::X86_64 } else { Architecture::X86 };
            let stack = stack(architecture, &code, Bytes::words(STACK, &[BACK; 32]), &[]);
            prop_assert!(stack.frames.len() <= 2);
        }
    }
}
