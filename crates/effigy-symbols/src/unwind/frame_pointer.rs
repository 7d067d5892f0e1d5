//! The chain of frame pointers, and what a call leaves in a register or on top of the stack.

use effigy_process::{Address, Architecture};

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::{Nature, Walk};
use super::{Frame, Trust};

/// The largest frame that is believed, in bytes.
const LARGEST_FRAME: u64 = 64 << 20;

impl Walk<'_, '_> {
    /// The caller of a jump to nowhere: the return address is where the call left it.
    pub(super) fn after_bad_call(&mut self, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        if !nature.interrupted || self.unwinder.is_code(frame.address).unwrap_or(frame.address.0 >= 4096) {
            return Err(Failure::Nothing);
        }
        match frame.registers.abi().link {
            Some(link) => self.leaf(&frame.registers, link),
            None => self.returning(&frame.registers),
        }
    }

    /// By the frame pointer, or the chain that the architecture's ABI keeps in its place.
    pub(super) fn by_frame_pointer(&mut self, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let registers = &frame.registers;
        match self.unwinder.process.architecture {
            Architecture::X86 | Architecture::X86_64 | Architecture::X32 => {
                self.by_code_or_chain(frame, nature, Self::by_way_to_return, Self::by_x86_chain)
            }
            Architecture::Aarch64 => {
                self.by_code_or_chain(frame, nature, Self::by_aarch64_way_to_return, Self::by_aarch64_chain)
            }
            Architecture::Arm => self.arm(registers),
            Architecture::Riscv64 => {
                let fp = self.sound(registers, registers.frame_pointer())?;
                let (fp_at, ra_at) = (fp.wrapping_sub(16), fp.wrapping_sub(8));
                self.chained(registers, fp_at, ra_at, fp)
            }
            Architecture::Ppc64 | Architecture::Ppc64le => self.by_back_chain(registers, 16, nature),
            Architecture::S390x => self.by_back_chain(registers, 112, nature),
            _ => Err(Failure::Nothing),
        }
    }

    /// By the code up to the function's return, and by the chain. Where a frame pointer is kept, a leaf, a prologue and an
    /// epilogue still have their caller's, so that in a frame that made no call the code is asked first.
    fn by_code_or_chain(
        &mut self,
        frame: &Frame,
        nature: Nature,
        code: fn(&mut Self, &Frame) -> Result<Caller, Failure>,
        chain: fn(&mut Self, &FrameRegisters) -> Result<Caller, Failure>,
    ) -> Result<Caller, Failure> {
        if nature.interrupted
            && let Ok(caller) = code(self, frame)
        {
            return Ok(caller);
        }
        let chained = chain(self, &frame.registers);
        if chained.is_err() && !nature.interrupted {
            return code(self, frame).or(chained);
        }
        chained
    }

    fn by_x86_chain(&mut self, registers: &FrameRegisters) -> Result<Caller, Failure> {
        let word = self.word();
        let fp = self.sound(registers, registers.frame_pointer())?;
        self.chained(registers, fp, fp.wrapping_add(word), fp.wrapping_add(2 * word))
    }

    /// The caller whose return address lies on top of the stack.
    fn returning(&mut self, registers: &FrameRegisters) -> Result<Caller, Failure> {
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        let address = self.pointer(sp)?;
        self.believable(address)?;
        Ok(found(registers.kept(), address, sp.wrapping_add(self.word()), true))
    }

    /// The caller of a function that has not put its return address anywhere yet.
    fn leaf(&self, registers: &FrameRegisters, link: u16) -> Result<Caller, Failure> {
        let address = registers.get(link).ok_or(Failure::Nothing)?;
        self.believable(address)?;
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        Ok(found(registers.kept(), address, sp, true))
    }

    fn by_aarch64_chain(&mut self, registers: &FrameRegisters) -> Result<Caller, Failure> {
        let fp = self.sound(registers, registers.frame_pointer())?;
        let mut caller = self.chained(registers, fp, fp.wrapping_add(8), fp.wrapping_add(16))?;
        // What lies above the record may be the frame's as well.
        caller.exact = false;
        Ok(caller)
    }

    fn arm(&mut self, registers: &FrameRegisters) -> Result<Caller, Failure> {
        // r11 in ARM code, r7 in Thumb code. The record is {fp, lr} at fp, or with GCC in ARM code, at fp - 4.
        let mut failure = Failure::Nothing;
        for number in [11, 7] {
            let fp = match self.sound(registers, registers.get(number).map(Address)) {
                Ok(fp) => fp,
                Err(other) => {
                    failure = if number == 11 { other } else { failure };
                    continue;
                }
            };
            for at in [fp, fp.wrapping_sub(4)] {
                if let Ok(mut caller) = self.chained(registers, at, at.wrapping_add(4), at.wrapping_add(8)) {
                    let saved = caller.registers.get(11);
                    if let (7, Some(saved)) = (number, saved) {
                        caller.registers.set(7, saved);
                    }
                    caller.exact = false;
                    return Ok(caller);
                }
            }
        }
        Err(failure)
    }

    /// By the chain of stack pointers; by the link register where that leads nowhere and the frame made no call, as it was
    /// not stored yet then.
    fn by_back_chain(&mut self, registers: &FrameRegisters, above: u64, nature: Nature) -> Result<Caller, Failure> {
        let chained = self.back_chain(registers, above);
        match registers.abi().link.filter(|_| nature.interrupted && chained.is_err()) {
            Some(link) => self.leaf(registers, link).or(chained),
            None => chained,
        }
    }

    /// Each frame begins with the address of its caller's, and the return address lies `above` bytes up the caller's.
    fn back_chain(&mut self, registers: &FrameRegisters, above: u64) -> Result<Caller, Failure> {
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        let up = self.pointer(sp)?;
        let up = self.sound(registers, Some(Address(up)))?;
        let address = self.pointer(up.wrapping_add(above))?;
        if address == 0 {
            return Err(Failure::End);
        }
        self.believable(address)?;
        Ok(found(registers.kept(), address, up, true))
    }

    /// A frame pointer that may be one: not below the stack pointer, not far above it, on the same stack, aligned.
    fn sound(&self, registers: &FrameRegisters, pointer: Option<Address>) -> Result<u64, Failure> {
        let pointer = pointer.ok_or(Failure::Nothing)?;
        if pointer.0 == 0 {
            return Err(Failure::End);
        }
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?;
        let region = self.unwinder.process.region_at(sp);
        let on_stack = region.is_none_or(|region| region.range.contains(pointer) || region.range.end() == pointer);
        let near = pointer >= sp && pointer.0 - sp.0 <= LARGEST_FRAME;
        if near && on_stack && pointer.0 % self.word() == 0 { Ok(pointer.0) } else { Err(Failure::Nothing) }
    }

    /// The caller by a record of its frame pointer and the return address.
    fn chained(&mut self, registers: &FrameRegisters, fp_at: u64, ra_at: u64, sp: u64) -> Result<Caller, Failure> {
        let fp = self.pointer(fp_at)?;
        let address = self.pointer(ra_at)?;
        if address == 0 {
            return Err(Failure::End);
        }
        self.believable(address)?;
        let mut caller = registers.kept();
        caller.set(registers.abi().fp, fp);
        if let Some(link) = registers.abi().link {
            caller.set(link, address);
        }
        Ok(found(caller, address, sp, true))
    }

    /// That a word may be a return address: it leads to code, behind a call where that can be seen.
    pub(super) fn believable(&self, address: u64) -> Result<(), Failure> {
        let address = Address(address);
        let clean = self.unsigned(address);
        let is_code = self.unwinder.is_code(clean.saturating_sub(1)).unwrap_or(false);
        // The lowest bit, which tells the instruction set, is wanted here.
        let call = if clean.0 | 1 == address.0 { address } else { clean };
        if is_code && self.unwinder.follows_call(call) != Some(false) { Ok(()) } else { Err(Failure::Nothing) }
    }

    pub(super) fn word(&self) -> u64 {
        self.unwinder.process.architecture.word_size() as u64
    }

    pub(super) fn pointer(&mut self, address: u64) -> Result<u64, Failure> {
        let size = self.unwinder.process.architecture.word_size();
        self.window.number(address, size).map_err(Failure::Missing)
    }
}

fn found(mut registers: FrameRegisters, address: u64, sp: u64, exact: bool) -> Caller {
    registers.set_pc(address);
    registers.set_sp(sp);
    Caller { registers, cfa: Some(sp).filter(|_| exact), trust: Trust::FramePointer, signal: false, exact }
}
