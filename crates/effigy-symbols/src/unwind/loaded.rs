//! ELF images as they lie in memory, for modules of which there is no file.

use effigy_process::{Address, AddressRange, ByteOrder, Memory};

pub(super) const PT_LOAD: u32 = 1;

/// Most program headers that are looked at: they have to lie in the first page.
const MOST_HEADERS: usize = 72;
/// Most bytes of a table that are read.
const LONGEST: u64 = 64 << 20;
/// Bytes that are read at once: what is allocated follows what there is.
const PIECE: u64 = 256 << 10;

/// A program header, with the address in the process.
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// The program headers of the ELF image that is loaded at `range`; `None` where there is none.
pub(super) fn segments(range: AddressRange, order: ByteOrder, memory: &dyn Memory) -> Option<Vec<Segment>> {
    let mut segments = headers(range, order, memory)?;
    let loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
    let first = loaded.map(|segment| segment.address & !0xfff).min()?;
    for segment in &mut segments {
        segment.address = range.start().0.wrapping_sub(first).wrapping_add(segment.address);
    }
    Some(segments)
}

/// The program headers as they are in the image.
fn headers(range: AddressRange, order: ByteOrder, memory: &dyn Memory) -> Option<Vec<Segment>> {
    let mut head = [0; 64];
    memory.read_exact(range.start(), &mut head).ok()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = head[4] == 2;
    // e_phoff, e_phentsize and e_phnum, and the fields p_vaddr and p_memsz, of the two classes.
    let (table, sizes, entry, at, size) = if wide { (32..40, 54, 56, 16, 40) } else { (28..32, 42, 32, 8, 20) };
    let word = if wide { 8 } else { 4 };
    let table = order.number(head.get(table)?);
    let entry_size = order.number(head.get(sizes..sizes + 2)?);
    let count = usize::try_from(order.number(head.get(sizes + 2..sizes + 4)?)).ok()?;
    if entry_size != entry as u64 {
        return None;
    }
    let start = range.start().checked_add(table)?;
    let bytes = read(memory, start.0, count.min(MOST_HEADERS) as u64 * entry_size);
    let segment = |bytes: &[u8]| {
        let number = |at: usize| bytes.get(at..at + word).map(|bytes| order.number(bytes));
        Some(Segment { kind: order.half(bytes)?, address: number(at)?, size: number(size)? })
    };
    bytes.chunks_exact(entry).map(segment).collect()
}

/// What there is of a range, without gaps.
pub(super) fn read(memory: &dyn Memory, address: u64, size: u64) -> Vec<u8> {
    let size = size.min(LONGEST);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        let before = bytes.len();
        let more = usize::try_from((size - before as u64).min(PIECE)).unwrap_or(0);
        let Some(at) = address.checked_add(before as u64) else { break };
        bytes.resize(before + more, 0);
        let count = memory.read(Address(at), &mut bytes[before..]).unwrap_or(0).min(more);
        bytes.truncate(before + count);
        if count == 0 {
            break;
        }
    }
    bytes
}
