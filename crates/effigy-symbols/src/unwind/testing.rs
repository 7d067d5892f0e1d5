//! Memory, images and instructions that tests are made of.

use std::sync::Arc;

use effigy_process::{
    Address, AddressRange, Architecture, ByteOrder, CompactBytes, Memory, Module, NotRead, Process, Protection, Region,
    RegisterSet, Registers, note,
};

use super::{BreakpadUnwind, UnwindImages};
use crate::image::Image;

/// Memory of a few ranges.
pub(super) struct Bytes(Vec<(u64, Vec<u8>)>);

impl Bytes {
    pub(super) fn new(ranges: &[(u64, Vec<u8>)]) -> Self {
        Self(ranges.to_vec())
    }

    /// A stack of words of eight bytes.
    pub(super) fn words(start: u64, words: &[u64]) -> (u64, Vec<u8>) {
        (start, words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    /// A stack of words of four bytes.
    pub(super) fn halves(start: u64, words: &[u32]) -> (u64, Vec<u8>) {
        (start, words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }
}

impl Memory for Bytes {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        for (start, bytes) in &self.0 {
            let Some(offset) = address.0.checked_sub(*start) else { continue };
            if let Some(from) = bytes.get(usize::try_from(offset).unwrap()..).filter(|from| !from.is_empty()) {
                let count = from.len().min(buffer.len());
                buffer[..count].copy_from_slice(&from[..count]);
                return Ok(count);
            }
        }
        Err(NotRead::NotCaptured)
    }
}

/// No images but one Breakpad file for the first module.
#[derive(Default)]
pub(super) struct NoImages(pub(super) Option<Arc<BreakpadUnwind>>);

impl UnwindImages for NoImages {
    fn image(&self, _: usize) -> Option<Arc<Image>> {
        None
    }

    fn debug(&self, _: usize) -> Option<Arc<Image>> {
        None
    }

    fn breakpad(&self, module: usize) -> Option<Arc<BreakpadUnwind>> {
        self.0.clone().filter(|_| module == 0)
    }
}

/// The same image for every module, and nothing beside it.
pub(super) struct OneImage(pub(super) Arc<Image>);

impl UnwindImages for OneImage {
    fn image(&self, _: usize) -> Option<Arc<Image>> {
        Some(self.0.clone())
    }

    fn debug(&self, _: usize) -> Option<Arc<Image>> {
        None
    }

    fn breakpad(&self, _: usize) -> Option<Arc<BreakpadUnwind>> {
        None
    }
}

/// A process with modules and regions: start, size, executable.
pub(super) fn process(architecture: Architecture, modules: &[(u64, u64)], regions: &[(u64, u64, bool)]) -> Process {
    let range = |start, size| AddressRange::sized(Address(start), size);
    let module = |(start, size): &(u64, u64)| Module { range: range(*start, *size), ..Module::default() };
    let region = |(start, size, code): &(u64, u64, bool)| Region {
        range: range(*start, *size),
        protection: Protection::READ | if *code { Protection::EXECUTE } else { Protection::WRITE },
        ..Region::default()
    };
    Process {
        architecture,
        byte_order: architecture.usual_byte_order(),
        modules: modules.iter().map(module).collect(),
        regions: regions.iter().map(region).collect(),
        ..Process::default()
    }
}

/// A thread's registers; those that are not named are zero.
pub(super) fn thread(architecture: Architecture, values: &[(&str, u64)]) -> Registers {
    let size = architecture.word_size();
    let order = architecture.usual_byte_order();
    let mut registers = Registers { architecture, byte_order: order, ..Registers::default() };
    let mut bytes = vec![0; architecture.general_size()];
    registers.sets = vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&bytes) }];
    let names: Vec<_> = registers.general().unwrap().named().map(|(name, _)| name).collect();
    for (name, value) in values {
        let index = names.iter().position(|known| known == name).unwrap();
        let word = match order {
            ByteOrder::Little => value.to_le_bytes()[..size].to_vec(),
            ByteOrder::Big => value.to_be_bytes()[8 - size..].to_vec(),
        };
        bytes[index * size..][..size].copy_from_slice(&word);
    }
    registers.sets[0].bytes = CompactBytes::new(&bytes);
    registers
}

fn half(number: usize) -> u32 {
    number.try_into().unwrap()
}

/// Call frame information as it lies in `.eh_frame`, little-endian, with addresses of eight bytes as they are.
pub(super) struct Cfi {
    pub(super) bytes: Vec<u8>,
    pub(super) head: usize,
    /// Where entries begin, and for which address.
    pub(super) entries: Vec<(u64, usize)>,
}

impl Cfi {
    /// A section with one head: augmentation `zR`, or `zRS` for signal trampolines.
    pub(super) fn new(signal: bool, return_register: u8, code: u8, data: i8, instructions: &[u8]) -> Self {
        let mut cfi = Self { bytes: Vec::new(), head: 0, entries: Vec::new() };
        cfi.head(signal, return_register, code, data, instructions);
        cfi
    }

    /// Another head, for the entries that follow.
    pub(super) fn head(&mut self, signal: bool, return_register: u8, code: u8, data: i8, instructions: &[u8]) {
        self.head = self.bytes.len();
        let mut body = vec![0, 0, 0, 0, 1];
        body.extend_from_slice(if signal { b"zRS\0" } else { b"zR\0" });
        // The length of what the augmentation adds: the encoding of addresses, which is none.
        body.extend_from_slice(&[code, data.cast_unsigned() & 0x7f, return_register, 1, 0]);
        body.extend_from_slice(instructions);
        self.push(body);
    }

    /// An entry.
    pub(super) fn entry(&mut self, start: u64, size: u64, instructions: &[u8]) {
        self.entries.push((start, self.bytes.len()));
        let mut body = half(self.bytes.len() + 4 - self.head).to_le_bytes().to_vec();
        body.extend_from_slice(&start.to_le_bytes());
        body.extend_from_slice(&size.to_le_bytes());
        body.push(0);
        body.extend_from_slice(instructions);
        self.push(body);
    }

    fn push(&mut self, mut body: Vec<u8>) {
        body.resize(body.len().next_multiple_of(8) + 4, 0);
        self.bytes.extend_from_slice(&half(body.len()).to_le_bytes());
        self.bytes.extend_from_slice(&body);
    }

    /// An ELF image of 64 bits at `start` in memory whose `.eh_frame` this is, `size` bytes long, filled with `nop`.
    pub(super) fn image(&self, start: u64, size: usize) -> (u64, Vec<u8>) {
        const HEADER: usize = 0x200;
        let mut bytes = vec![0x90; size];
        bytes[..HEADER].fill(0);
        bytes[..5].copy_from_slice(b"\x7fELF\x02");
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..58].copy_from_slice(&[56, 0, 2, 0]);
        let table = 12 + 8 * self.entries.len();
        let mut segment = |at: usize, kind: u32, address: usize, size: usize| {
            bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            bytes[at + 16..at + 24].copy_from_slice(&(address as u64).to_le_bytes());
            bytes[at + 40..at + 48].copy_from_slice(&(size as u64).to_le_bytes());
        };
        segment(64, 1, 0, size);
        segment(120, 0x6474_e550, HEADER, table);
        let section = HEADER + table;
        let mut header = vec![1, 0x1b, 3, 0x3b];
        header.extend_from_slice(&half(table - 4).to_le_bytes());
        header.extend_from_slice(&half(self.entries.len()).to_le_bytes());
        for (address, entry) in &self.entries {
            let header_at = start + HEADER as u64;
            header.extend_from_slice(&address.wrapping_sub(header_at).to_le_bytes()[..4]);
            header.extend_from_slice(&half(table + entry).to_le_bytes());
        }
        bytes[HEADER..section].copy_from_slice(&header);
        bytes[section..section + self.bytes.len()].copy_from_slice(&self.bytes);
        (start, bytes)
    }
}
