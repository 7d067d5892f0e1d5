//! Packed entries of arm64: a few fields stand for one of the prologues that compilers write, and for its mirror image
//! at the function's end.

use super::arm64::Plan;
use super::arm64_codes::Code;

const LR: u16 = 30;
/// The first register that functions must keep.
const FIRST: u16 = 19;
/// The largest frame that storing its record can make at once, in bytes.
const SMALL_FRAME: u64 = 512;
/// The most that one subtraction takes off the stack pointer here, in bytes.
const ONE_STEP: u64 = 4080;

/// The fields of a packed entry.
struct Packed {
    /// 1 with a prologue and an epilogue, 2 without: a part of a function.
    flag: u32,
    /// Length in instructions.
    length: u32,
    floating: u32,
    integer: u16,
    homes: bool,
    /// 1: the link register is saved; 2: a frame record is, signed; 3: a frame record is.
    chain: u32,
    saved: u64,
    locals: u64,
}

impl Packed {
    fn new(data: u32) -> Self {
        let integer = data >> 16 & 0xf;
        let floating = data >> 13 & 7;
        let homes = data >> 20 & 1;
        let chain = data >> 21 & 3;
        let frame = u64::from(data >> 23) * 16;
        let integer_size = 8 * (integer + u32::from(chain == 1));
        let floating_size = 8 * (floating + u32::from(floating != 0));
        let saved = u64::from(integer_size + floating_size + 64 * homes).next_multiple_of(16);
        Self {
            flag: data & 3,
            length: data >> 2 & 0x7ff,
            floating,
            // Four bits.
            integer: u16::try_from(integer).unwrap_or(0),
            homes: homes == 1,
            chain,
            saved,
            locals: frame.saturating_sub(saved),
        }
    }

    /// The instructions that store registers, in their order; the first lowers the stack pointer.
    fn stores(&self) -> Vec<Code> {
        let mut codes = Vec::new();
        let mut register = FIRST;
        let end = FIRST + self.integer;
        while register < end {
            let offset = 8 * u64::from(register - FIRST);
            codes.push(match end - register {
                1 if self.chain == 1 => Code::pair(register, LR, offset, false),
                1 => Code::one(register, offset, false),
                _ => Code::pair(register, register + 1, offset, false),
            });
            register += 2;
        }
        if self.chain == 1 && self.integer.is_multiple_of(2) {
            codes.push(Code::one(LR, 8 * u64::from(self.integer), false));
        }
        if self.floating != 0 {
            codes.extend((0..(self.floating + 1).div_ceil(2)).map(|_| Code::Nothing));
        }
        codes
    }

    /// The first of the stores moves the stack pointer by all that is saved.
    fn moved(&self, first: &mut Code) {
        *first = match *first {
            Code::Save { first, second, .. } => Code::Save { first, second, offset: self.saved, writes_back: true },
            _ => Code::Raise(self.saved),
        };
    }

    /// The instructions that make room for variables and for the frame record.
    fn room(&self) -> Vec<Code> {
        let steps = match self.locals {
            0 => vec![],
            size if size <= ONE_STEP => vec![Code::Raise(size)],
            size => vec![Code::Raise(ONE_STEP), Code::Raise(size - ONE_STEP)],
        };
        match self.chain {
            2 | 3 if self.locals <= SMALL_FRAME => vec![Code::pair(29, LR, self.locals, true)],
            2 | 3 => [steps, vec![Code::pair(29, LR, 0, false)]].concat(),
            _ => steps,
        }
    }
}

/// What to undo at a position, in instructions from the function's start.
pub(super) fn plan(data: u32, position: u32, interrupted: bool) -> Plan {
    let packed = Packed::new(data);
    let signs = packed.chain == 2;
    let stores = packed.stores();
    let homes = if packed.homes { 4 } else { 0 };
    let mut saves = [stores.clone(), vec![Code::Nothing; homes]].concat();
    if let Some(first) = saves.first_mut() {
        packed.moved(first);
    }
    let room = packed.room();
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    if interrupted && packed.flag == 1 {
        let kept = &saves[..stores.len()];
        // Parameters that were stored are not loaded again: with nothing else stored, their room is one instruction.
        let left = if kept.is_empty() && homes > 0 { &saves[..1] } else { kept };
        let signature = vec![Code::Nothing; usize::from(signs)];
        let epilogue: Vec<Code> = room.iter().rev().chain(left.iter().rev()).chain(&signature).copied().collect();
        let length = usize::try_from(packed.length).unwrap_or(0);
        if let Some(into) = position.checked_sub(length.saturating_sub(epilogue.len() + 1)) {
            return Plan { codes: epilogue, skipped: into };
        }
    }
    let set_frame = vec![Code::SetFrame(0); usize::from(packed.chain >= 2)];
    let signature = vec![Code::Nothing; usize::from(signs)];
    let mut codes = [signature, saves, room, set_frame].concat();
    codes.reverse();
    let skipped = if packed.flag == 1 { codes.len().saturating_sub(position) } else { 0 };
    Plan { codes, skipped }
}
