//! Instructions of x86, with 32 and 64 bits.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, IntelFormatter};

use super::Instruction;

/// At most `count` instructions from the beginning.
pub(super) fn forwards(code: &[u8], address: u64, bits: u32, count: usize) -> Vec<Instruction> {
    let mut decoder = Decoder::with_ip(bits, code, address, DecoderOptions::NONE);
    let mut formatter = formatter();
    let mut instructions = Vec::new();
    let mut at = 0;
    while instructions.len() < count && decoder.can_decode() {
        let decoded = decoder.decode();
        let next = decoder.position();
        let Some(bytes) = code.get(at..next).filter(|bytes| !bytes.is_empty()) else { break };
        let here = address.wrapping_add(at as u64);
        if decoded.is_invalid() {
            if decoder.last_error() == iced_x86::DecoderError::NoMoreBytes {
                break;
            }
            // What follows may be an instruction again, but from which byte on nobody knows.
            instructions.push(Instruction::bad(here, &bytes[..1]));
            at += 1;
            if decoder.set_position(at).is_err() {
                break;
            }
            decoder.set_ip(address.wrapping_add(at as u64));
            continue;
        }
        let mut text = String::new();
        formatter.format(&decoded, &mut text);
        instructions.push(Instruction {
            address: here,
            bytes: bytes.to_vec(),
            text,
            target: target(&decoded),
            is_valid: true,
        });
        at = next;
    }
    instructions
}

/// Where in `code` reading is to begin so that an instruction ends with it: as early as that can be.
pub(super) fn beginning(code: &[u8], address: u64, bits: u32) -> usize {
    let mut decoder = Decoder::with_ip(bits, code, address, DecoderOptions::NONE);
    // Whether reading from there meets the end. Each place needs but the one that its instruction leads to.
    let mut meets = vec![false; code.len() + 1];
    meets[code.len()] = true;
    let mut first = code.len();
    for at in (0..code.len()).rev() {
        if decoder.set_position(at).is_err() {
            break;
        }
        decoder.set_ip(address.wrapping_add(at as u64));
        let decoded = decoder.decode();
        if !decoded.is_invalid() && meets.get(decoder.position()) == Some(&true) {
            meets[at] = true;
            first = at;
        }
    }
    first
}

fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    options.set_small_hex_numbers_in_decimal(false);
    formatter
}

/// Where an instruction goes to or what it refers to, if it says so.
fn target(instruction: &iced_x86::Instruction) -> Option<u64> {
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch
        | FlowControl::ConditionalBranch
        | FlowControl::Call
        | FlowControl::XbeginXabortXend => match instruction.near_branch_target() {
            0 => None,
            target => Some(target),
        },
        _ => None,
    }
    .or_else(|| instruction.is_ip_rel_memory_operand().then(|| instruction.ip_rel_memory_address()))
}
