//! The registers of a frame.

use effigy_process::{Address, Architecture, GeneralRegisters, Registers};

use super::abi::{Abi, SLOTS};

/// The general registers of one frame, as far as they are known. A register that is not known has no value: it was lost
/// when a callee used it.
///
/// Floating-point and vector registers are not followed: no return address depends on one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameRegisters {
    abi: &'static Abi,
    architecture: Architecture,
    known: u64,
    values: [u64; SLOTS],
}

impl PartialEq for Abi {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Abi {}

impl FrameRegisters {
    /// Registers of which none is known yet; `None` for an architecture whose registers effigy does not know.
    #[must_use]
    pub fn empty(architecture: Architecture) -> Option<Self> {
        Some(Self { abi: Abi::of(architecture)?, architecture, known: 0, values: [0; SLOTS] })
    }

    /// The registers of a thread; `None` where they say nothing of where it executes.
    #[must_use]
    pub fn of_thread(registers: &Registers) -> Option<Self> {
        let general = registers.general()?;
        let mut own = Self::empty(registers.architecture)?;
        own.take(&general);
        let pc = general.instruction_pointer()?;
        own.set(own.abi.pc, pc.0);
        own.get(own.abi.sp)?;
        Some(own)
    }

    fn take(&mut self, general: &GeneralRegisters) {
        for (name, value) in general.named() {
            if let Some(slot) = self.abi.names.iter().position(|known| *known == name) {
                self.put(slot, value);
            }
        }
    }

    fn put(&mut self, slot: usize, value: u64) {
        let narrow = self.architecture.word_size() == 4;
        self.values[slot] = if narrow { value & 0xffff_ffff } else { value };
        self.known |= 1 << slot;
    }

    /// The value of a register by its DWARF number; the program counter as well, even where it is no number of DWARF's.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<u64> {
        let slot = self.abi.slot(number)?;
        (self.known >> slot & 1 == 1).then(|| self.values[slot])
    }

    /// Sets a register by its DWARF number; registers that are not followed are passed over.
    pub fn set(&mut self, number: u16, value: u64) {
        if let Some(slot) = self.abi.slot(number) {
            self.put(slot, value);
        }
    }

    /// Forgets a register.
    pub fn forget(&mut self, number: u16) {
        if let Some(slot) = self.abi.slot(number) {
            self.known &= !(1 << slot);
        }
    }

    /// Where it executes.
    #[must_use]
    pub fn instruction_pointer(&self) -> Option<Address> {
        self.get(self.abi.pc).map(Address)
    }

    /// Its stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> Option<Address> {
        self.get(self.abi.sp).map(Address)
    }

    /// The register that holds the frame pointer in code that keeps one.
    #[must_use]
    pub fn frame_pointer(&self) -> Option<Address> {
        self.get(self.abi.fp).map(Address)
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The registers that are known, with the names that debuggers show.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let known = self.abi.names.iter().enumerate().filter(|(slot, _)| self.known >> slot & 1 == 1);
        known.map(|(slot, name)| (*name, self.values[slot]))
    }

    /// The value of a register by its name, as [`named`](Self::named) gives it.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<u64> {
        self.named().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn abi(&self) -> &'static Abi {
        self.abi
    }

    pub(super) fn set_pc(&mut self, value: u64) {
        self.set(self.abi.pc, value);
    }

    pub(super) fn set_sp(&mut self, value: u64) {
        self.set(self.abi.sp, value);
    }

    /// Sets a register by its name; `None` where the architecture has none of that name.
    pub(super) fn set_by_name(&mut self, name: &str, value: u64) -> Option<()> {
        let slot = self.abi.names.iter().position(|known| *known == name)?;
        self.put(slot, value);
        Some(())
    }

    /// Forgets a register by its name.
    pub(super) fn forget_by_name(&mut self, name: &str) {
        if let Some(slot) = self.abi.names.iter().position(|known| *known == name) {
            self.known &= !(1 << slot);
        }
    }

    /// These registers with only those left that functions must keep.
    pub(super) fn kept(&self) -> Self {
        Self { known: self.known & self.abi.kept, ..*self }
    }

    /// The same on Windows, where functions of x64 keep rsi and rdi as well.
    pub(super) fn kept_on_windows(&self) -> Self {
        const RSI_AND_RDI: u64 = 1 << 4 | 1 << 5;
        let more = if self.architecture == Architecture::X86_64 { RSI_AND_RDI } else { 0 };
        Self { known: self.known & (self.abi.kept | more), ..*self }
    }

    /// The same in Go, where functions keep but the frame pointer, by rules of their own. The bases of the segments of
    /// x86-64 are the thread's.
    pub(super) fn kept_by_go(&self) -> Self {
        const BASES: u64 = 1 << 17 | 1 << 18;
        let kept = if self.architecture == Architecture::X86_64 { BASES } else { 0 };
        Self { known: self.known & kept, ..*self }
    }
}

impl std::fmt::Debug for FrameRegisters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.named().map(|(name, value)| (name, format!("{value:#x}")))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_set_is_not_known() {
        let mut registers = FrameRegisters::empty(Architecture::X86).unwrap();
        assert_eq!(registers.get(5), None);
        registers.set(5, 0x1_0000_0004);
        registers.set(99, 1);
        assert_eq!((registers.get(5), registers.by_name("ebp")), (Some(4), Some(4)));
        assert_eq!(registers.named().count(), 1);
        registers.forget(5);
        assert_eq!(registers.get(5), None);
    }

    #[test]
    fn the_program_counter_has_a_number_everywhere() {
        let mut registers = FrameRegisters::empty(Architecture::Riscv64).unwrap();
        registers.set_pc(0x1000);
        assert_eq!(registers.instruction_pointer(), Some(Address(0x1000)));
        assert_eq!(registers.by_name("pc"), Some(0x1000));
    }
}
