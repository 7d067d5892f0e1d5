//! Epilogues of x64, which no table describes in version 1 of the unwind information: they have one of few forms.
//!
//! "add rsp, n" or "lea rsp, [frame register + n]", then pops, then "ret" or a jump out of the function.

use super::x64::Function;

/// Bytes of code that are looked at: the longest epilogue pops sixteen registers.
pub(super) const LONGEST: usize = 48;

/// The most steps that there can be.
const MOST_STEPS: usize = 17;

/// What an instruction of an epilogue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Adds to the stack pointer.
    Raise(u64),
    /// Pops a register, by its number in the instruction.
    Pop(u8),
    /// Sets the stack pointer to the frame register and so many bytes on.
    FromFrame(i64),
}

/// The steps from `pc`, an offset into the image, to the end of the epilogue; `None` where this is none.
pub(super) fn decode(code: &[u8], pc: u32, function: Function, frame_register: u8) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = code;
    if let Some((step, length)) = release(rest, frame_register) {
        steps.push(step);
        rest = rest.get(length..)?;
    }
    while let Some((register, length)) = pop(rest) {
        if steps.len() == MOST_STEPS {
            return None;
        }
        steps.push(Step::Pop(register));
        rest = rest.get(length..)?;
    }
    let at = pc.checked_add(u32::try_from(code.len() - rest.len()).ok()?)?;
    leaves(rest, at, function).then_some(steps)
}

/// The instruction that gives back the fixed part of the frame, and its length.
fn release(code: &[u8], frame_register: u8) -> Option<(Step, usize)> {
    let byte = |at: usize| code.get(at).map(|byte| i64::from(byte.cast_signed()));
    let word = |at: usize| Some(i64::from(i32::from_le_bytes(*code.get(at..)?.first_chunk()?)));
    let raise = |value: i64| u64::try_from(value).ok().map(Step::Raise);
    match code {
        [0x48, 0x83, 0xc4, ..] => Some((raise(byte(3)?)?, 4)),
        [0x48, 0x81, 0xc4, ..] => Some((raise(word(3)?)?, 7)),
        // lea rsp, [register + n]: the mode in the highest bits, rsp in the middle, the register in the lowest
        [prefix @ (0x48 | 0x49), 0x8d, mode, ..] if mode & 0x38 == 0x20 && frame_register != 0 => {
            let register = mode & 7 | (prefix & 1) << 3;
            // r12 takes another byte
            let at = if mode & 7 == 4 { 4 } else { 3 };
            let fits = register == frame_register;
            match mode >> 6 {
                0 if fits => Some((Step::FromFrame(0), at)),
                1 if fits => Some((Step::FromFrame(byte(at)?), at + 1)),
                2 if fits => Some((Step::FromFrame(word(at)?), at + 4)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn pop(code: &[u8]) -> Option<(u8, usize)> {
    match code {
        // pop rsp is in no epilogue
        [0x5c, ..] => None,
        [byte @ 0x58..=0x5f, ..] => Some((byte - 0x58, 1)),
        [0x41, byte @ 0x58..=0x5f, ..] => Some((byte - 0x58 + 8, 2)),
        _ => None,
    }
}

/// Whether the instruction at an offset leaves the function.
fn leaves(code: &[u8], at: u32, function: Function) -> bool {
    let outside = |length: u32, distance: i32| {
        let target = at.wrapping_add(length).wrapping_add_signed(distance);
        // A jump to its own beginning is a call of itself in tail position.
        target <= function.start || target >= function.end
    };
    match code {
        [0xc3 | 0xc2, ..] | [0xf3, 0xc3, ..] => true,
        [0xe9, a, b, c, d, ..] => outside(5, i32::from_le_bytes([*a, *b, *c, *d])),
        [0xeb, distance, ..] => outside(2, i32::from(distance.cast_signed())),
        // jmp [rip + n]; jmp through a register or memory, with the prefix that marks the end of an epilogue
        [0xff, 0x25, ..] | [0x48, 0xff, 0x25, ..] => true,
        [0x48 | 0x49, 0xff, mode, ..] => mode & 0x38 == 0x20,
        _ => false,
    }
}
