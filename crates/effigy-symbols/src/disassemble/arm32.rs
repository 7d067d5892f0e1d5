//! Instructions of 32-bit ARM, in both of its encodings: A32 ("ARM"), of four bytes each, and T32 ("Thumb"), of two or four.
//!
//! Where a branch leads is worked out here, from the encodings in chapters A6 and A8 of the ARMv7-A manual: the decoder
//! tells some distances from the instruction and others from the program counter. Of an instruction in an IT block the
//! condition is not told: what stands before it is not looked at.

use effigy_process::ByteOrder;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv7::{DecodeError, InstDecoder, Opcode};

use super::Instruction;

/// At most `count` instructions from the beginning.
pub(super) fn forwards(code: &[u8], address: u64, thumb: bool, count: usize) -> Vec<Instruction> {
    let decoder = if thumb { InstDecoder::default_thumb() } else { InstDecoder::default() };
    let mut instructions = Vec::new();
    let mut rest = code;
    let mut at = address;
    while instructions.len() < count
        && let Some((bytes, behind)) = first(rest, thumb)
    {
        instructions.push(instruction(&decoder, bytes, at));
        at = at.wrapping_add(bytes.len() as u64);
        rest = behind;
    }
    instructions
}

/// Where in `code` reading is to begin so that an instruction ends with it: as early as that can be.
pub(super) fn beginning(code: &[u8], thumb: bool) -> usize {
    if !thumb {
        return code.len() % 4;
    }
    // Whether reading from there meets the end.
    let mut meets = vec![false; code.len() + 1];
    meets[code.len()] = true;
    let mut earliest = code.len();
    for at in (code.len() % 2..code.len()).step_by(2).rev() {
        let length = first(&code[at..], thumb).map(|(bytes, _)| bytes.len());
        if length.and_then(|length| meets.get(at + length)) == Some(&true) {
            meets[at] = true;
            earliest = at;
        }
    }
    earliest
}

/// The bytes of the first instruction, and those behind it.
fn first(code: &[u8], thumb: bool) -> Option<(&[u8], &[u8])> {
    let is_short = thumb && u16::from_le_bytes(*code.first_chunk()?) >> 11 < 0b11101;
    code.split_at_checked(if is_short { 2 } else { 4 })
}

fn instruction(decoder: &InstDecoder, bytes: &[u8], address: u64) -> Instruction {
    let thumb = decoder.in_thumb_mode();
    let word = if thumb { None } else { ByteOrder::Little.half(bytes) };
    if word.is_some_and(has_no_second_register) {
        return Instruction::bad(address, bytes);
    }
    let target = target(bytes, address, thumb);
    let text = match decoder.decode(&mut U8Reader::new(bytes)) {
        Ok(decoded) if decoded.opcode != Opcode::Invalid => decoded.to_string(),
        // Most of the floating-point and vector instructions: they are instructions, though their names are not known.
        Ok(_) | Err(DecodeError::Incomplete) => hint(word).map_or_else(|| unnamed(bytes, thumb), str::to_owned),
        Err(_) => return Instruction::bad(address, bytes),
    };
    let text = match (target, text.split_once('$')) {
        (Some(target), Some((before, _))) => format!("{before}{target:#x}"),
        _ => text,
    };
    Instruction { address, bytes: bytes.to_vec(), text, target, is_valid: true }
}

/// Whether it is LDRD or STRD, in A32, whose first register is the last one there is: the decoder would panic.
fn has_no_second_register(word: u32) -> bool {
    word & 0x0e10_f0d0 == 0x0000_f0d0
}

/// The hints of A32, which the decoder does not know.
fn hint(word: Option<u32>) -> Option<&'static str> {
    const HINTS: [&str; 5] = ["nop", "yield", "wfe", "wfi", "sev"];
    let word = word.filter(|word| word & 0x0fff_ff00 == 0x0320_f000)?;
    HINTS.get(usize::try_from(word & 0xff).ok()?).copied()
}

/// An instruction by its number, as assemblers take it: of the two halves of Thumb's the first is the upper one.
fn unnamed(bytes: &[u8], thumb: bool) -> String {
    let half =
        |at: usize| bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |half| u16::from_le_bytes(*half));
    match (thumb, bytes.len()) {
        (true, 2) => format!(".inst.n {:#06x}", half(0)),
        (true, _) => format!(".inst.w {:#06x}{:04x}", half(0), half(2)),
        (false, _) => format!(".inst {:#06x}{:04x}", half(2), half(0)),
    }
}

/// The address that an instruction branches to or loads from, where it says so itself.
fn target(bytes: &[u8], address: u64, thumb: bool) -> Option<u64> {
    let distance = match (thumb, bytes.len()) {
        (false, _) => a32(ByteOrder::Little.half(bytes)?),
        (true, 2) => t16(u16::from_le_bytes(*bytes.first_chunk()?)),
        (true, _) => t32(u16::from_le_bytes(*bytes.first_chunk()?), u16::from_le_bytes(*bytes.last_chunk()?)),
    }?;
    // The program counter is two instructions ahead.
    let counter = address.wrapping_add(if thumb { 4 } else { 8 });
    let (from, distance) = match distance {
        Distance::Counter(distance) => (counter, distance),
        Distance::Aligned(distance) => (counter & !3, distance),
    };
    Some(from.wrapping_add_signed(distance.into()) & 0xffff_ffff)
}

/// How far away something is.
enum Distance {
    /// From the program counter.
    Counter(i32),
    /// From the program counter, rounded down to a multiple of four.
    Aligned(i32),
}

/// The lowest `bits` bits as a number with a sign.
fn signed(value: u32, bits: u32) -> i32 {
    (value << (32 - bits)).cast_signed() >> (32 - bits)
}

fn up_or_down(distance: u32, up: bool) -> i32 {
    let distance = distance.cast_signed();
    if up { distance } else { -distance }
}

fn a32(word: u32) -> Option<Distance> {
    match word {
        // BLX to an address: to T32 code, and so to every second byte.
        _ if word >> 25 == 0b111_1101 => {
            Some(Distance::Counter(signed(word, 24) << 2 | (word >> 23 & 2).cast_signed()))
        }
        // B, BL
        _ if word >> 25 & 0b111 == 0b101 => Some(Distance::Counter(signed(word, 24) << 2)),
        // LDR (literal)
        _ if word >> 28 != 0xf && word & 0x0f7f_0000 == 0x051f_0000 => {
            Some(Distance::Aligned(up_or_down(word & 0xfff, word >> 23 & 1 == 1)))
        }
        _ => None,
    }
}

fn t16(half: u16) -> Option<Distance> {
    let word = u32::from(half);
    match word >> 11 {
        // LDR (literal)
        0b01001 => Some(Distance::Aligned(up_or_down((word & 0xff) << 2, true))),
        // B
        0b11100 => Some(Distance::Counter(signed(word, 11) << 1)),
        // B with a condition: the last two are UDF and SVC.
        0b11010 | 0b11011 if word >> 8 & 0xf < 14 => Some(Distance::Counter(signed(word, 8) << 1)),
        // CBZ, CBNZ
        0b10110 | 0b10111 if word & 0x0500 == 0x0100 => {
            Some(Distance::Counter(up_or_down(word >> 3 & 0x40 | word >> 2 & 0x3e, true)))
        }
        _ => None,
    }
}

fn t32(first: u16, second: u16) -> Option<Distance> {
    let (first, second) = (u32::from(first), u32::from(second));
    if first & 0xff7f == 0xf85f {
        // LDR (literal)
        return Some(Distance::Aligned(up_or_down(second & 0xfff, first >> 7 & 1 == 1)));
    }
    if first & 0xf800 != 0xf000 {
        return None;
    }
    let (sign, j1, j2) = (first >> 10 & 1, second >> 13 & 1, second >> 11 & 1);
    let low = second & 0x7ff;
    // The two upper bits are kept so that what was the prefix of an older BL means the same.
    let (i1, i2) = (j1 ^ sign ^ 1, j2 ^ sign ^ 1);
    let far = signed(sign << 23 | i1 << 22 | i2 << 21 | (first & 0x3ff) << 11 | low, 24) << 1;
    match second & 0xd000 {
        // B with a condition
        0x8000 if first >> 6 & 0xf < 14 => {
            Some(Distance::Counter(signed(sign << 19 | j2 << 18 | j1 << 17 | (first & 0x3f) << 11 | low, 20) << 1))
        }
        // B, BL
        0x9000 | 0xd000 => Some(Distance::Counter(far)),
        // BLX: to A32 code
        0xc000 if second & 1 == 0 => Some(Distance::Aligned(far)),
        _ => None,
    }
}
