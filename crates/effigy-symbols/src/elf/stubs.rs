//! The stubs of the procedure linkage table, through which functions of other images are called. No symbol names them:
//! each jumps to where a word says, and the relocation of that word says what is called.

use std::collections::HashMap;

use effigy_process::Architecture;

use super::Raw;
use crate::image::Image;
use crate::name::SymbolKind;
use crate::symbol_list::Entry;

/// Longest stub, in bytes.
const LONGEST: u64 = 16;

/// `endbr64`, which a stub may begin with, and `bti c` of 64-bit ARM.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const BTI: u32 = 0xd503_245f;

/// The stubs with the names of what they call.
pub(super) fn stubs(image: &Image, base: u64) -> Vec<Entry> {
    let names = words(image);
    let mut entries = Vec::new();
    for section in [".plt", ".plt.sec", ".plt.got"] {
        let (Some(header), Some(code)) = (image.section(section), image.data(section)) else { continue };
        let mut found = jumps(image, code, header.address);
        found.retain(|(_, word)| names.contains_key(word));
        for (index, (start, word)) in found.iter().enumerate() {
            let next = found.get(index + 1).map_or(u64::MAX, |(next, _)| *next);
            let end = header.address.saturating_add(code.len() as u64);
            let size = next.min(end).saturating_sub(*start).min(LONGEST);
            if let (Some(offset), Some(name)) = (start.checked_sub(base), names.get(word)) {
                entries.push(Entry { offset, size, name: *name, kind: SymbolKind::Stub, global: false, rank: 0 });
            }
        }
    }
    entries
}

/// The words that the loader fills with addresses of functions, with where their names are.
fn words(image: &Image) -> HashMap<u64, u32> {
    let symbols = image.data(".dynsym").unwrap_or_default();
    let length = Raw::length(image.architecture());
    let wide = image.architecture().pointer_size() == 8;
    let order = image.byte_order();
    let word = if wide { 8 } else { 4 };
    let mut names = HashMap::new();
    for (section, size) in [(".rela.dyn", 3), (".rel.dyn", 2), (".rela.plt", 3), (".rel.plt", 2)] {
        for relocation in image.data(section).unwrap_or_default().chunks_exact(size * word) {
            let number = |at: usize| order.number(relocation.get(at * word..(at + 1) * word).unwrap_or_default());
            let index = number(1) >> if wide { 32 } else { 8 };
            let start = usize::try_from(index).ok().and_then(|index| index.checked_mul(length));
            let symbol = start.and_then(|start| symbols.get(start..start.checked_add(length)?));
            let name = symbol.and_then(|symbol| Raw::parse(symbol, order)).map_or(0, |symbol| symbol.name);
            if index != 0 && name != 0 {
                names.insert(number(0), name);
            }
        }
    }
    names
}

/// Where stubs begin, and the words through which they jump, by rising address.
fn jumps(image: &Image, code: &[u8], address: u64) -> Vec<(u64, u64)> {
    match image.architecture() {
        Architecture::X86 | Architecture::X86_64 | Architecture::X32 => x86(image, code, address),
        Architecture::Aarch64 => arm64(code, address),
        _ => Vec::new(),
    }
}

/// `jmp [word]`, of which the word is told from the next instruction on, or from the table of words, or as it is.
fn x86(image: &Image, code: &[u8], address: u64) -> Vec<(u64, u64)> {
    let relative = image.architecture() != Architecture::X86;
    let table = image.section(".got.plt").or_else(|| image.section(".got")).map_or(0, |section| section.address);
    let jump = |at: usize| {
        let distance = code.get(at + 2..at + 6)?;
        let distance = i32::from_le_bytes(*distance.first_chunk()?);
        let from = match (code.get(at..at + 2)?, relative) {
            ([0xff, 0x25], true) => address.checked_add(at as u64 + 6)?,
            ([0xff, 0x25], false) => 0,
            ([0xff, 0xa3], false) => table,
            _ => return None,
        };
        let word = from.wrapping_add_signed(i64::from(distance));
        let word = if relative { word } else { word & 0xffff_ffff };
        // A prefix for bounds that are checked, and the mark of where jumps may lead.
        let start = if at > 0 && code.get(at - 1) == Some(&0xf2) { at - 1 } else { at };
        let is_marked = start.checked_sub(4).is_some_and(|mark| code.get(mark..start) == Some(&ENDBR64));
        let start = if is_marked { start - 4 } else { start };
        Some((address.checked_add(start as u64)?, word))
    };
    (0..code.len()).filter_map(jump).collect()
}

/// `adrp x16, page` and `ldr x17, [x16, word]`.
fn arm64(code: &[u8], address: u64) -> Vec<(u64, u64)> {
    let words: Vec<u32> = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let jump = |(at, pair): (usize, &[u32])| {
        let (page, load) = (pair.first()?, pair.get(1)?);
        if page & 0x9f00_001f != 0x9000_0010 || load & 0xffc0_03ff != 0xf940_0211 {
            return None;
        }
        let here = address.checked_add(at as u64 * 4)?;
        // 21 bits with a sign, the lowest two of which stand elsewhere.
        let bits = u64::from(page >> 5 & 0x7_ffff) << 2 | u64::from(page >> 29 & 3);
        let pages = if bits >> 20 == 1 { bits | !0x1f_ffff } else { bits };
        let word = (here & !0xfff).wrapping_add(pages << 12).wrapping_add(u64::from(load >> 10 & 0xfff) * 8);
        let is_marked = at > 0 && words.get(at - 1) == Some(&BTI);
        Some((if is_marked { here - 4 } else { here }, word))
    };
    words.windows(2).enumerate().filter_map(jump).collect()
}
