//! The last way: words of the stack that look like return addresses.

use effigy_process::Address;

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::{Nature, Walk};
use super::{Frame, Trust};

/// Words that are looked at above the stack pointer of a frame that made a call.
const WORDS: u64 = 40;
/// The same for a thread's innermost frame, of which nothing is known of how large it is.
const WORDS_AT_FIRST: u64 = 160;
/// How far above its place on the stack a saved frame pointer may point, in bytes.
const FRAME: u64 = 1 << 20;

impl Walk<'_, '_> {
    /// The nearest word on the stack that leads behind a call, or where calls cannot be seen, into a module's code.
    pub(super) fn by_scan(&mut self, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let registers = &frame.registers;
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        if let Some(caller) = self.by_link(frame, nature) {
            return Ok(caller);
        }
        let word = self.word();
        // An odd stack pointer is nobody's, and words lie where words belong.
        let start = sp.checked_next_multiple_of(word).ok_or(Failure::Nothing)?;
        let words = if nature.interrupted { WORDS_AT_FIRST } else { WORDS };
        for index in 0..words {
            let at = start.checked_add(index * word).ok_or(Failure::Nothing)?;
            let address = match self.pointer(at) {
                Ok(address) => address,
                Err(failure) if index == 0 => return Err(failure),
                Err(_) => break,
            };
            if !self.looks_like_return(address) {
                continue;
            }
            let fp = self.frame_pointer_at(registers.frame_pointer(), at);
            let mut caller = FrameRegisters::empty(registers.architecture()).ok_or(Failure::Nothing)?;
            if let Some(fp) = fp {
                caller.set(registers.abi().fp, fp);
            }
            caller.set_pc(address);
            caller.set_sp(at.wrapping_add(word));
            let exact = registers.abi().link.is_none();
            return Ok(Caller { registers: caller, cfa: None, trust: Trust::Scan, signal: false, exact });
        }
        Err(Failure::Nothing)
    }

    /// By the link register, as long as the frame has made no call.
    fn by_link(&self, frame: &Frame, nature: Nature) -> Option<Caller> {
        let link = frame.registers.abi().link.filter(|_| nature.interrupted)?;
        let address = frame.registers.get(link)?;
        if !self.looks_like_return(address) {
            return None;
        }
        let mut registers = frame.registers.kept();
        registers.set_pc(address);
        Some(Caller { registers, cfa: None, trust: Trust::Scan, signal: false, exact: false })
    }

    pub(super) fn looks_like_return(&self, address: u64) -> bool {
        let clean = self.unsigned(Address(address));
        // Small numbers are most of what is on a stack.
        if clean.0 < 4096 || self.believable(address).is_err() {
            return false;
        }
        self.unwinder.modules.at(clean.saturating_sub(1)).is_some() || self.unwinder.follows_call(clean) == Some(true)
    }

    /// The caller's frame pointer: the word below the return address where that points up the stack, or the frame's own
    /// where that points above the return address and so was not touched.
    fn frame_pointer_at(&mut self, own: Option<Address>, at: u64) -> Option<u64> {
        let above = |pointer: &u64| *pointer > at && *pointer - at <= FRAME && pointer.is_multiple_of(4);
        let saved = self.pointer(at.wrapping_sub(self.word())).ok().filter(above);
        saved.or(own.map(|own| own.0).filter(above))
    }
}
