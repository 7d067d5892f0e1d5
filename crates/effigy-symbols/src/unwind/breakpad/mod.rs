//! The STACK records of Breakpad symbol files (docs/symbol_files.md of Breakpad).
//!
//! `STACK CFI` records say for ranges of code how the caller's registers are found; `STACK WIN` records hold what a PDB
//! tells of frames of 32-bit x86. Addresses are offsets into the module, in hexadecimal.

mod cfi;
mod program;
mod records;
#[cfg(test)]
mod tests;
mod windows;

use super::Frame;
use super::step::{Caller, Failure};
use super::walk::{Nature, Walk};

pub use records::BreakpadUnwind;

impl Walk<'_, '_> {
    /// By the STACK records of the module's symbol file.
    pub(super) fn by_breakpad(&mut self, module: usize, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let unwinder = self.unwinder;
        let records = unwinder.modules.breakpad(module).ok_or(Failure::Nothing)?;
        let start = unwinder.modules.module(module).range.start();
        let offset = frame.lookup.0.checked_sub(start.0).ok_or(Failure::Nothing)?;
        match self.by_stack_cfi(records, offset, frame) {
            Err(Failure::Nothing) => self.by_stack_win(records, offset, frame, nature),
            other => other,
        }
    }
}
