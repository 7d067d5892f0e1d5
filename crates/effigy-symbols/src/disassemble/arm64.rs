//! Instructions of 64-bit ARM. All are four bytes long.

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};

use super::Instruction;

/// At most `count` instructions from the beginning.
pub(super) fn forwards(code: &[u8], address: u64, count: usize) -> Vec<Instruction> {
    let decoder = InstDecoder::default();
    let words = code.chunks_exact(4).take(count).zip((0..).step_by(4));
    words.map(|(word, at)| instruction(&decoder, word, address.wrapping_add(at))).collect()
}

fn instruction(decoder: &InstDecoder, word: &[u8], address: u64) -> Instruction {
    let Ok(decoded) = decoder.decode(&mut U8Reader::new(word)) else { return Instruction::bad(address, word) };
    let distance = decoded.operands.iter().find_map(|operand| match operand {
        Operand::PCOffset(distance) => Some(*distance),
        _ => None,
    });
    // The address of a page is told from that of its own page.
    let from = if decoded.opcode == Opcode::ADRP { address & !0xfff } else { address };
    let target = distance.map(|distance| from.wrapping_add_signed(distance));
    let text = decoded.to_string();
    let text = match (target, text.split_once('$')) {
        (Some(target), Some((before, after))) => {
            let end = after.find([',', ']']).unwrap_or(after.len());
            format!("{before}{target:#x}{}", &after[end..])
        }
        _ => text,
    };
    Instruction { address, bytes: word.to_vec(), text, target, is_valid: true }
}
