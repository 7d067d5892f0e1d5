//! Where the tables are, in the image's file or in memory.

use std::sync::Arc;

use effigy_process::{Address, AddressRange, Memory};

use crate::image::Image;

const MACHINE_X64: u16 = 0x8664;
const MACHINE_ARM64: u16 = 0xaa64;
/// The magic number of an optional header with 64-bit fields.
const WIDE: u16 = 0x20b;
/// Where in it the directories begin, and which is that of exceptions.
const DIRECTORIES: u64 = 112;
const EXCEPTIONS: u64 = 3;

/// Most bytes of the exception directory that are read.
const LONGEST_TABLE: usize = 64 << 20;
/// Bytes that are read at once: what is allocated follows what there is.
const PIECE: usize = 256 << 10;

/// A PE image: its table of functions, and the way to the rest.
pub(in crate::unwind) struct PeImage {
    image: Option<Arc<Image>>,
    range: AddressRange,
    is_arm64: bool,
    table: Vec<u8>,
}

/// Where bytes of an image are read: its file first, as a dump need not hold it.
struct Places<'p> {
    image: Option<&'p Image>,
    start: Address,
    memory: &'p dyn Memory,
}

impl Places<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let of_file = self.image.and_then(|image| image.read(image.base().checked_add(offset)?, buffer));
        if let Some(count) = of_file.filter(|count| *count > 0) {
            return count;
        }
        let of_memory = self.start.checked_add(offset).map(|address| self.memory.read(address, buffer));
        of_memory.and_then(Result::ok).unwrap_or(0)
    }

    fn exactly<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.read(offset, &mut bytes) >= N).then_some(bytes)
    }
}

impl PeImage {
    /// Finds the tables; `None` for what is no PE image of x64 or arm64, or has none.
    pub(in crate::unwind) fn open(image: Option<Arc<Image>>, range: AddressRange, memory: &dyn Memory) -> Option<Self> {
        let places = Places { image: image.as_deref(), start: range.start(), memory };
        let dos: [u8; 64] = places.exactly(0)?;
        let at = u64::from(u32::from_le_bytes(*dos[0x3c..].first_chunk()?));
        let head: [u8; 26] = places.exactly(at)?;
        let machine = u16::from_le_bytes([head[4], head[5]]);
        let magic = u16::from_le_bytes([head[24], head[25]]);
        let known = matches!(machine, MACHINE_X64 | MACHINE_ARM64) && magic == WIDE;
        if !dos.starts_with(b"MZ") || !head.starts_with(b"PE\0\0") || !known {
            return None;
        }
        let directory: [u8; 8] = places.exactly(at.checked_add(24 + DIRECTORIES + 8 * EXCEPTIONS)?)?;
        let (start, size) = (half(&directory, 0)?, half(&directory, 4)?);
        let table = table(&places, u64::from(start), usize::try_from(size).ok()?);
        Some(Self { is_arm64: machine == MACHINE_ARM64, table, range, image })
    }

    pub(super) fn is_arm64(&self) -> bool {
        self.is_arm64
    }

    /// Where in the process the image begins.
    pub(super) fn start(&self) -> Address {
        self.range.start()
    }

    /// The entry whose code begins at or below an offset, of entries of `N` bytes sorted by their first field.
    pub(super) fn entry<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let entries = self.table.as_chunks::<N>().0;
        let after = entries.partition_point(|entry| half(entry, 0).is_some_and(|start| start <= offset));
        entries[..after].last().copied()
    }

    /// Bytes of the image by their offset into it.
    pub(super) fn exactly<const N: usize>(&self, offset: u32, memory: &dyn Memory) -> Option<[u8; N]> {
        self.places(memory).exactly(u64::from(offset))
    }

    /// Fills a buffer as far as there are bytes, and says how many.
    pub(super) fn read(&self, offset: u32, buffer: &mut [u8], memory: &dyn Memory) -> usize {
        let places = self.places(memory);
        let mut done = 0;
        while done < buffer.len() {
            match places.read(u64::from(offset) + done as u64, &mut buffer[done..]) {
                0 => break,
                count => done += count,
            }
        }
        done
    }

    fn places<'p>(&'p self, memory: &'p dyn Memory) -> Places<'p> {
        Places { image: self.image.as_deref(), start: self.range.start(), memory }
    }
}

fn table(places: &Places<'_>, start: u64, size: usize) -> Vec<u8> {
    let size = size.min(LONGEST_TABLE);
    let mut bytes = Vec::new();
    while bytes.len() < size {
        let before = bytes.len();
        bytes.resize(size.min(before + PIECE), 0);
        let count = places.read(start + before as u64, &mut bytes[before..]);
        bytes.truncate(before + count);
        if count == 0 {
            break;
        }
    }
    bytes
}

/// Four bytes as a number.
pub(super) fn half(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
