//! Registers of a thread.

use effigy_formats::elf_core::vector_registers;
use effigy_process::{Registers, Thread, note};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::print::{self, Page};
use crate::subject::Subject;
use crate::words;

/// Registers that are printed on a line.
const A_LINE: usize = 3;
/// Bytes of a register set that are printed on a line.
const BYTES_A_LINE: usize = 32;

/// A register set, as the kernel lays it out.
#[derive(Debug, Serialize)]
pub(super) struct Set {
    /// Its note type.
    note: u32,
    name: Option<&'static str>,
    /// Its bytes, as hexadecimal digits.
    bytes: String,
}

/// General registers by name.
pub(super) fn named(registers: &Registers) -> Map<String, Value> {
    let Some(general) = registers.general() else { return Map::new() };
    general.named().map(|(name, value)| (name.to_owned(), Value::from(format!("{value:#x}")))).collect()
}

/// All register sets.
pub(super) fn sets(registers: &Registers) -> Vec<Set> {
    let set = |set: &effigy_process::RegisterSet| Set {
        note: set.note,
        name: name_of(set.note),
        bytes: hexadecimal(&set.bytes.to_vec()),
    };
    registers.sets.iter().map(set).collect()
}

/// Vector registers by name.
pub(super) fn vectors(registers: &Registers) -> Map<String, Value> {
    let digits = |bytes: &[u8]| Value::from(format!("0x{}", highest_first(bytes)));
    vector_registers(registers).into_iter().map(|(name, bytes)| (name, digits(&bytes))).collect()
}

/// Bytes as one number's digits.
fn highest_first(bytes: &[u8]) -> String {
    let bytes: Vec<u8> = bytes.iter().rev().copied().collect();
    hexadecimal(&bytes)
}

/// Prints the registers of a thread, or why there are none.
pub(super) fn print(subject: &Subject, thread: &Thread, all: bool, page: &mut Page) {
    let Some(registers) = subject.registers_of(thread) else {
        if let Err(missing) = &thread.registers {
            let detail = print::safe(missing.detail.as_bytes());
            let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
            page.line(format!("  no registers: {}{detail}", missing.reason));
        }
        return;
    };
    let own = thread.registers.as_ref().ok();
    if own.is_some_and(|own| !std::ptr::eq(own, registers)) {
        page.line("  those of the moment of the fault; the thread went on to write the dump");
    }
    let size = registers.architecture.word_size();
    let named: Vec<_> = registers.general().iter().flat_map(|general| general.named().collect::<Vec<_>>()).collect();
    let width = named.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for line in named.chunks(A_LINE) {
        let cells: Vec<_> =
            line.iter().map(|(name, value)| format!("{name:>width$}={}", words::number(*value, size))).collect();
        page.line(format!("  {}", cells.join("  ")));
    }
    for (name, bytes) in vector_registers(registers).iter().filter(|_| all) {
        page.line(format!("  {name:>width$}={}", highest_first(bytes)));
    }
    for set in registers.sets.iter().filter(|set| all && set.note != note::PRSTATUS) {
        let bytes = set.bytes.to_vec();
        page.line(format!("  {} ({:#x}), {} bytes", name_of(set.note).unwrap_or("unknown"), set.note, bytes.len()));
        for (index, line) in bytes.chunks(BYTES_A_LINE).enumerate() {
            page.line(format!("    {:04x}  {}", index * BYTES_A_LINE, hexadecimal(line)));
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The name of a note type of registers, from include/uapi/linux/elf.h.
fn name_of(kind: u32) -> Option<&'static str> {
    Some(match kind {
        note::PRSTATUS => "NT_PRSTATUS",
        note::PRFPREG => "NT_PRFPREG",
        note::PRXFPREG => "NT_PRXFPREG",
        note::I386_TLS => "NT_386_TLS",
        note::X86_XSTATE => "NT_X86_XSTATE",
        note::X86_SHSTK => "NT_X86_SHSTK",
        note::X86_XSAVE_LAYOUT => "NT_X86_XSAVE_LAYOUT",
        note::ARM_VFP => "NT_ARM_VFP",
        note::ARM_TLS => "NT_ARM_TLS",
        note::ARM_SYSTEM_CALL => "NT_ARM_SYSTEM_CALL",
        note::ARM_SVE => "NT_ARM_SVE",
        note::ARM_PAC_MASK => "NT_ARM_PAC_MASK",
        note::ARM_TAGGED_ADDR_CTRL => "NT_ARM_TAGGED_ADDR_CTRL",
        note::ARM_SSVE => "NT_ARM_SSVE",
        note::ARM_ZA => "NT_ARM_ZA",
        note::ARM_ZT => "NT_ARM_ZT",
        note::ARM_FPMR => "NT_ARM_FPMR",
        note::RISCV_VECTOR => "NT_RISCV_VECTOR",
        _ => return None,
    })
}
