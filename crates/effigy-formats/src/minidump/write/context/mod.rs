//! A thread's CONTEXT from the kernel's register notes; one file an architecture.

mod arm;
mod arm64;
mod x86;
mod x86_64;

use std::io;

use effigy_process::{Architecture, Registers, Thread};

use super::output::Output;
use crate::WriteError;
use crate::minidump::layout::context::{Amd64, Arm, Arm64, X86};

/// Alignment of a CONTEXT in bytes, which winnt.h asks for.
const ALIGNMENT: u64 = 16;

/// The CONTEXT of a process's architecture.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContextLayout(Architecture);

impl ContextLayout {
    /// The layout for `architecture`.
    pub(super) fn of(architecture: Architecture) -> Result<Self, WriteError> {
        match architecture {
            Architecture::X86 | Architecture::X86_64 | Architecture::Arm | Architecture::Aarch64 => {
                Ok(Self(architecture))
            }
            _ => Err(WriteError::Architecture { format: "a minidump", architecture, instead: "an ELF core" }),
        }
    }

    /// Its length in bytes.
    pub(super) fn size(self) -> u64 {
        let size = match self.0 {
            Architecture::X86 => size_of::<X86>(),
            Architecture::Arm => size_of::<Arm>(),
            Architecture::Aarch64 => size_of::<Arm64>(),
            _ => size_of::<Amd64>(),
        };
        size as u64
    }

    /// The first place for a CONTEXT at or after `position`.
    pub(super) fn aligned(self, position: u64) -> u64 {
        position.next_multiple_of(ALIGNMENT)
    }

    /// A thread's registers, if a CONTEXT can be made of them: a thread that runs code of another architecture (32-bit
    /// code in a 64-bit process) has its registers among the register notes only.
    pub(super) fn registers(self, thread: &Thread) -> Option<&Registers> {
        thread.registers.as_ref().ok().filter(|registers| registers.architecture == self.0)
    }

    /// Writes the CONTEXT at the next place for one.
    pub(super) fn write(self, registers: &Registers, out: &mut Output<'_>) -> io::Result<()> {
        out.align(ALIGNMENT)?;
        match self.0 {
            Architecture::X86 => out.record_with(|| x86::context(registers)),
            Architecture::Arm => out.record_with(|| arm::context(registers)),
            Architecture::Aarch64 => out.record_with(|| arm64::context(registers)),
            _ => out.record_with(|| x86_64::context(registers)),
        }
    }
}

/// The general registers by word; fewer than the layout has count as zero.
struct Words(Vec<u64>);

impl Words {
    fn of(registers: &Registers) -> Self {
        Self(registers.general().map(|general| general.words).unwrap_or_default())
    }

    fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// The low half, where only that is meant.
    fn low32(&self, index: usize) -> u32 {
        let [a, b, c, d, ..] = self.word(index).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The low quarter, where only that is meant: segment registers.
    fn low16(&self, index: usize) -> u16 {
        let [a, b, ..] = self.word(index).to_le_bytes();
        u16::from_le_bytes([a, b])
    }
}

/// The first `N` bytes of a register set; `None` when the set is missing or shorter.
fn leading<const N: usize>(registers: &Registers, note: u32) -> Option<[u8; N]> {
    registers.set(note)?.first_chunk().copied()
}

/// The word of a register set at `offset`.
fn word_at(set: &[u8], offset: usize) -> u32 {
    set.get(offset..).and_then(|rest| rest.first_chunk().copied()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
