//! What the loader changes in parts of an image that nobody writes to afterwards: where the file does not tell what was
//! in memory.

use std::ops::Range;

use effigy_process::{ByteOrder, Protection};
use object::pe;
use object::read::pe::RelocationBlockIterator;

use super::{Image, Segment};

/// `DT_TEXTREL`, `DT_FLAGS` and its `DF_TEXTREL`.
const TEXT_RELOCATIONS: u64 = 22;
const FLAGS: u64 = 30;
const FLAG_TEXT_RELOCATIONS: u64 = 4;
/// Most bytes of a dynamic section, and of a table of relocations, that are read.
const LONGEST_DYNAMIC: u64 = 64 << 10;
const LONGEST_RELOCATIONS: u64 = 64 << 20;
/// Most bytes of a load configuration that are read: those of today have 320.
const LONGEST_CONFIGURATION: u64 = 1024;
/// Most entries of the table of dynamic relocations that are looked at.
const MOST_DYNAMIC: usize = 64;
const PAGE: u64 = 0x1000;
/// Longest address that is relocated, in bytes.
const WIDEST: u64 = 8;

/// Where an image says what the loader changes in it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) enum Fixups {
    /// Nothing is known of any.
    #[default]
    None,
    /// ELF: the dynamic section, in the file.
    Dynamic(Range<u64>),
    /// PE.
    Pe(Box<PeFixups>),
    /// Mach-O: the code is encrypted in the file.
    Encrypted,
}

/// Where a PE image says so. Ranges are of image addresses, and empty where there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeFixups {
    /// It was linked to be loaded nowhere but at its base.
    pub(super) stripped: bool,
    /// Base relocations.
    pub(super) relocations: Range<u64>,
    /// The import directory.
    pub(super) imports: Range<u64>,
    /// The import address table: the loader fills it in.
    pub(super) addresses: Range<u64>,
    /// The load configuration: what it points at is filled in as well.
    pub(super) configuration: Range<u64>,
    pub(super) is_64: bool,
    /// Bytes of the headers.
    pub(super) headers: u64,
    /// First image address past the image.
    pub(super) end: u64,
}

/// Why what is in memory cannot be told from an image's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// ELF: code was relocated.
    #[error("the loader relocates its code (DT_TEXTREL)")]
    TextRelocations,
    /// Mach-O: code is encrypted in the file.
    #[error("its code is encrypted in the file")]
    Encrypted,
    /// PE: it is not where it was linked to be, and there is no saying what was relocated.
    #[error(
        "it is loaded elsewhere than it was linked for, and its relocations are missing, damaged or of an unknown kind"
    )]
    Relocations,
    /// PE: the loader chooses between versions of its code.
    #[error("the loader chooses between versions of its code")]
    Chosen,
}

/// What the loader changes in the parts of an image that nobody writes to afterwards.
#[derive(Clone, Debug, Default)]
pub struct LoaderChanges {
    /// Whole pages of which the file does not tell what is in them: image addresses, rising, without overlaps.
    unknown: Vec<Range<u64>>,
    /// Addresses that are relocated, by where they lie and how many bytes they have; rising.
    relocated: Vec<(u64, u8)>,
    /// What is added to each, wrapping.
    shift: u64,
}

impl LoaderChanges {
    /// Image addresses, in whole pages, of which the file does not tell what is there: rising, without overlaps.
    #[must_use]
    pub fn unknown(&self) -> &[Range<u64>] {
        &self.unknown
    }

    /// Fills the beginning of `buffer` with what the loader made of an image's bytes at `address`, and says how many
    /// there were; `None` where there are none.
    #[must_use]
    pub fn read(&self, image: &Image, address: u64, buffer: &mut [u8]) -> Option<usize> {
        let count = image.read(address, buffer)?;
        let end = address.saturating_add(count as u64);
        let first = self.relocated.partition_point(|(at, _)| at.saturating_add(WIDEST) <= address);
        for (at, width) in self.relocated[first..].iter().take_while(|(at, _)| *at < end) {
            // An address may begin before the buffer, or end behind it.
            let mut bytes = [0; 8];
            let bytes = &mut bytes[..usize::from(*width)];
            if image.read(*at, bytes)? < bytes.len() {
                return None;
            }
            let moved = ByteOrder::Little.number(bytes).wrapping_add(self.shift).to_le_bytes();
            for (index, byte) in moved.iter().take(bytes.len()).enumerate() {
                let place = at.saturating_add(index as u64).checked_sub(address);
                let place = place.and_then(|place| usize::try_from(place).ok()).filter(|place| *place < count);
                if let Some(place) = place {
                    buffer[place] = *byte;
                }
            }
        }
        Some(count)
    }
}

impl Image {
    /// What the loader changed in read-only parts of the image when it loaded it at `address`.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn loader_changes(&self, address: u64) -> Result<LoaderChanges, Unfit> {
        match &self.facts.fixups {
            Fixups::None => Ok(LoaderChanges::default()),
            Fixups::Encrypted => Err(Unfit::Encrypted),
            Fixups::Dynamic(file) if self.relocates_text(file) => Err(Unfit::TextRelocations),
            Fixups::Dynamic(_) => Ok(LoaderChanges::default()),
            Fixups::Pe(fixups) => self.pe_changes(fixups, address.wrapping_sub(self.base())),
        }
    }

    fn relocates_text(&self, file: &Range<u64>) -> bool {
        let size = file.end.saturating_sub(file.start).min(LONGEST_DYNAMIC);
        // What cannot be read cannot be trusted either.
        let Some(bytes) = self.source.bytes(file.start, size) else { return true };
        let (word, order) = (self.architecture().pointer_size(), self.byte_order());
        let mut entries = bytes.chunks_exact(2 * word).map(|entry| {
            let (tag, value) = entry.split_at(word);
            (order.number(tag), order.number(value))
        });
        entries.any(|(tag, value)| tag == TEXT_RELOCATIONS || tag == FLAGS && value & FLAG_TEXT_RELOCATIONS != 0)
    }

    fn pe_changes(&self, fixups: &PeFixups, shift: u64) -> Result<LoaderChanges, Unfit> {
        let configuration = self.configuration(fixups);
        if self.chooses_code(fixups, &configuration) {
            return Err(Unfit::Chosen);
        }
        let mut changes = LoaderChanges { shift, ..LoaderChanges::default() };
        let mut unknown = self.filled_in(fixups, &configuration);
        if shift != 0 {
            if fixups.stripped || fixups.relocations.is_empty() {
                return Err(Unfit::Relocations);
            }
            changes.relocated = self.base_relocations(fixups).ok_or(Unfit::Relocations)?;
            // The loader writes where it is into the headers.
            unknown.push(self.base()..self.base().saturating_add(fixups.headers));
        }
        changes.unknown = whole_pages(unknown);
        Ok(changes)
    }

    /// The bytes of the load configuration; what it does not have is not there.
    fn configuration(&self, fixups: &PeFixups) -> Vec<u8> {
        let Range { start, end } = fixups.configuration;
        let size = end.saturating_sub(start).min(LONGEST_CONFIGURATION);
        // The directory's size is a fixed one in images for old systems; the true one comes first.
        let stated = self.bytes_at(start, 4).map_or(0, |bytes| ByteOrder::Little.number(&bytes));
        self.bytes_at(start, stated.max(size).min(LONGEST_CONFIGURATION)).unwrap_or_default()
    }

    /// Read-only data that the loader writes to: import addresses, and what the load configuration points at, such as the
    /// addresses of the functions that check calls. It has addresses of other things as well; to leave their pages out
    /// costs little.
    fn filled_in(&self, fixups: &PeFixups, configuration: &[u8]) -> Vec<Range<u64>> {
        let is_code = |segment: &Segment| segment.protection.contains(Protection::EXECUTE);
        let mut filled = vec![fixups.addresses.clone()];
        if fixups.addresses.is_empty() && !fixups.imports.is_empty() {
            // Nothing says where the addresses are: any data may be.
            let data = self.segments().iter().filter(|segment| !is_code(segment));
            filled.extend(data.map(|segment| segment.address..segment.end()));
        }
        let word = if fixups.is_64 { 8 } else { 4 };
        let pointers = configuration.chunks_exact(word).map(|word| ByteOrder::Little.number(word));
        let inside = pointers.filter(|pointer| (self.base()..fixups.end).contains(pointer));
        let data = inside.filter(|pointer| self.segment_at(*pointer).is_some_and(|segment| !is_code(segment)));
        filled.extend(data.map(|pointer| pointer..pointer.saturating_add(1)));
        filled
    }

    /// Whether the table of dynamic relocations has some that change code in a process: those of ARM64X images, and
    /// functions that exist in several versions. Others are for the kernel alone.
    fn chooses_code(&self, fixups: &PeFixups, configuration: &[u8]) -> bool {
        let (offset, word) = if fixups.is_64 { (224, 8) } else { (136, 4) };
        let number =
            |at: usize, size: usize| configuration.get(at..at + size).map(|bytes| ByteOrder::Little.number(bytes));
        let (Some(offset), Some(section)) = (number(offset, 4), number(offset + 4, 2)) else { return false };
        let index = usize::try_from(section).ok().and_then(|section| section.checked_sub(1));
        let Some(section) = index.and_then(|index| self.sections().get(index)) else { return false };
        let Some(start) = section.address.checked_add(offset) else { return true };
        self.has_other_than_kernels(start, word).unwrap_or(true)
    }

    /// Whether a table of dynamic relocations (`IMAGE_DYNAMIC_RELOCATION_TABLE`) has a kind that is not only for the
    /// kernel; `None` when it cannot be read.
    fn has_other_than_kernels(&self, start: u64, word: u64) -> Option<bool> {
        let head = self.bytes_at(start, 8)?;
        let (version, size) = (ByteOrder::Little.number(&head[..4]), ByteOrder::Little.number(&head[4..]));
        let end = start.checked_add(8)?.checked_add(size)?;
        let mut at = start.checked_add(8)?;
        for _ in 0..MOST_DYNAMIC {
            if at >= end {
                return Some(false);
            }
            let entry = self.bytes_at(at, word + 4)?;
            let (kind, size) = entry.split_at(usize::try_from(word).ok()?);
            // Prologue and epilogue of functions, and three kinds of branches: for the kernel's retpolines.
            if version != 1 || !(1..=5).contains(&ByteOrder::Little.number(kind)) {
                return Some(true);
            }
            at = at.checked_add(word + 4)?.checked_add(ByteOrder::Little.number(size))?;
        }
        None
    }

    /// Bytes at an image address, all of them in one piece of the file.
    fn bytes_at(&self, address: u64, size: u64) -> Option<Vec<u8>> {
        let (_, file) = self.mapped(address)?;
        (size <= file.end.saturating_sub(file.start)).then(|| self.source.bytes(file.start, size))?
    }

    /// What is relocated; `None` when the table is damaged, or has a kind that we do not know.
    fn base_relocations(&self, fixups: &PeFixups) -> Option<Vec<(u64, u8)>> {
        let Range { start, end } = fixups.relocations;
        let size = end.checked_sub(start).filter(|size| *size <= LONGEST_RELOCATIONS)?;
        let table = self.bytes_at(start, size)?;
        let mut blocks = RelocationBlockIterator::new(&table);
        let mut relocated = Vec::new();
        // What pads the table reads as a block of no bytes.
        while let Ok(Some(block)) = blocks.next() {
            for relocation in block {
                let width = match relocation.typ {
                    pe::IMAGE_REL_BASED_ABSOLUTE => continue,
                    pe::IMAGE_REL_BASED_HIGHLOW => 4,
                    pe::IMAGE_REL_BASED_DIR64 => 8,
                    _ => return None,
                };
                relocated.push((self.base().checked_add(relocation.virtual_address.into())?, width));
            }
        }
        relocated.sort_unstable();
        Some(relocated)
    }
}

/// The pages of ranges: rising, without overlaps.
fn whole_pages(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let pages = |range: Range<u64>| {
        let end = range.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        (!range.is_empty()).then_some(range.start & !(PAGE - 1)..end)
    };
    let mut all: Vec<Range<u64>> = ranges.into_iter().filter_map(pages).collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in all {
        match joined.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => joined.push(range),
        }
    }
    joined
}
