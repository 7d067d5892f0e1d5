//! Compact unwind information of Mach-O images: `__unwind_info`.
//!
//! Source: `mach-o/compact_unwind_encoding.h` of Apple's libunwind. A function has 32 bits that say where its frame is and
//! which registers it saved, good for everywhere but its prologue and its epilogue; or that there is call frame
//! information, which is asked before this table anyway.

mod encoding;
mod table;
#[cfg(test)]
mod tests;

use effigy_process::Architecture;

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::{Nature, Walk};
use super::{Frame, Trust};
use encoding::{FrameLayout, Saved};
pub(super) use table::CompactTable;

impl Walk<'_, '_> {
    /// By the compact unwind information of the module that the frame is in.
    pub(super) fn by_compact(&mut self, module: usize, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let unwinder = self.unwinder;
        let table = unwinder.modules.compact(module).ok_or(Failure::Nothing)?;
        let start = unwinder.modules.module(module).range.start();
        let offset = frame.lookup.0.checked_sub(start.0).ok_or(Failure::Nothing)?;
        let entry = table.entry(offset).ok_or(Failure::Nothing)?;
        let layout = match unwinder.process.architecture {
            Architecture::X86_64 => encoding::x86_64(entry.encoding, |into| table.code_word(entry.function, into)),
            Architecture::Aarch64 => encoding::arm64(entry.encoding),
            _ => None,
        };
        let layout = layout.ok_or(Failure::Nothing)?;
        let rests_on_sp = matches!(layout, FrameLayout::WithoutPointer { .. });
        // Once such a function has made a call, its link register leads back into itself.
        let link_is_lost = frame.registers.abi().link.is_some() && !nature.interrupted;
        if rests_on_sp && (!nature.exact || link_is_lost) {
            return Err(Failure::Nothing);
        }
        let caller = self.of_layout(&frame.registers, &layout)?;
        // In a prologue or an epilogue the frame is not there yet, or no longer; the code tells.
        match nature.interrupted.then(|| self.by_code(frame)) {
            Some(Ok(told)) if !same_place(&told, &caller) => Ok(told),
            _ => Ok(caller),
        }
    }

    /// The way to the function's return, for the two architectures that have such tables.
    fn by_code(&mut self, frame: &Frame) -> Result<Caller, Failure> {
        match self.unwinder.process.architecture {
            Architecture::Aarch64 => self.by_aarch64_way_to_return(frame),
            _ => self.by_way_to_return(frame),
        }
    }

    fn of_layout(&mut self, registers: &FrameRegisters, layout: &FrameLayout) -> Result<Caller, Failure> {
        let abi = registers.abi();
        let word = self.word();
        let mut caller = registers.kept();
        let (cfa, return_at, saved) = match layout {
            FrameLayout::WithPointer { saved } => {
                let fp = registers.frame_pointer().ok_or(Failure::Nothing)?.0;
                caller.set(abi.fp, self.pointer(fp)?);
                (fp.wrapping_add(2 * word), Some(fp.wrapping_add(word)), saved)
            }
            FrameLayout::WithoutPointer { size, saved } => {
                let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
                let cfa = sp.wrapping_add(*size);
                (cfa, abi.link.is_none().then(|| cfa.wrapping_sub(word)), saved)
            }
        };
        for Saved { register, below } in saved {
            match self.pointer(cfa.wrapping_sub(*below)) {
                Ok(value) => caller.set(*register, value),
                Err(_) => caller.forget(*register),
            }
        }
        let address = match (return_at, abi.link) {
            (Some(at), _) => self.pointer(at)?,
            (None, Some(link)) => registers.get(link).ok_or(Failure::Nothing)?,
            (None, None) => return Err(Failure::Nothing),
        };
        caller.set_pc(address);
        caller.set_sp(cfa);
        Ok(Caller { registers: caller, cfa: Some(cfa), trust: Trust::Compact, signal: false, exact: true })
    }
}

/// Whether two agree on where the return address and the frame's end are.
fn same_place(one: &Caller, other: &Caller) -> bool {
    one.registers.instruction_pointer() == other.registers.instruction_pointer()
        && one.registers.stack_pointer() == other.registers.stack_pointer()
}
