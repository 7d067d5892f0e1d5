//! What the attributes of a unit mean: text, addresses and ranges out of the sections that they point into.

use std::sync::Arc;

use bstr::BString;
use gimli::{DebugRanges, DebugRngLists, Format, RangeLists, RangeListsOffset, RawRngListEntry, Reader};

use super::part::{DwarfFile, Part, Slice};
use super::unit::{Extent, List, Place, Text, Unit};
use crate::intervals::Interval;
use crate::text;

/// Steps that may still be taken: entries of a hostile file may all have the same long list of ranges.
#[derive(Debug)]
pub(super) struct Budget(pub(super) u64);

impl Budget {
    /// Takes steps, if there are as many left.
    pub(super) fn take(&mut self, steps: u64) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Bytes of a list of ranges that are read at first: most have a few entries of 16 bytes. Pieces have odd lengths, so that
/// none ends between two entries, where the list would seem to end.
const FIRST_PIECE: u64 = 511;

/// A unit with the files that it needs.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) file: Arc<DwarfFile>,
    pub(super) unit: Arc<Unit>,
    /// What stayed in the module's own file, where the unit was split off. Addresses are there.
    pub(super) skeleton: Option<(Arc<DwarfFile>, Arc<Unit>)>,
    /// The file that is shared by several (dwz).
    pub(super) shared: Option<Arc<DwarfFile>>,
}

impl Scope {
    /// The text of an attribute.
    pub(super) fn text(&self, text: &Text) -> Option<BString> {
        let file = &self.file;
        match text {
            Text::Here(text) => Some(text.clone()),
            Text::Strings(offset) => text::read(&file.image, file.name_of(Part::Strings), *offset),
            Text::LineStrings(offset) => text::read(&file.image, file.name_of(Part::LineStrings), *offset),
            Text::Shared(offset) => {
                let shared = self.shared.as_ref()?;
                text::read(&shared.image, shared.name_of(Part::Strings), *offset)
            }
            Text::Number(number) => {
                let base = self.unit.root.string_offsets.unwrap_or_else(|| self.usual_string_offsets());
                let offset = self.number(&self.file, Part::StringOffsets, base, *number, self.word_size())?;
                text::read(&file.image, file.name_of(Part::Strings), offset)
            }
        }
    }

    /// The folder in which the unit was compiled.
    pub(super) fn directory(&self) -> Option<BString> {
        match &self.unit.root.directory {
            Some(directory) => self.text(directory),
            None => {
                let skeleton = self.skeleton_scope()?;
                skeleton.text(skeleton.unit.root.directory.as_ref()?)
            }
        }
    }

    /// The skeleton as a unit of its own.
    pub(super) fn skeleton_scope(&self) -> Option<Self> {
        let (file, unit) = self.skeleton.clone()?;
        Some(Self { file, unit, skeleton: None, shared: self.shared.clone() })
    }

    /// Where the code of an entry lies: the first range is the one with its beginning.
    pub(super) fn ranges(&self, extent: &Extent, value: u64, budget: &mut Budget) -> Vec<Interval> {
        if let Some(list) = extent.list {
            return self.list(list, value, budget).unwrap_or_default();
        }
        let Some(begin) = extent.low.and_then(|low| self.address(low)) else { return Vec::new() };
        let end = match (extent.size, extent.high) {
            (Some(size), _) => begin.checked_add(size),
            (None, Some(high)) => self.address(high),
            (None, None) => None,
        };
        let interval = end.map(|end| Interval { begin, end, value });
        interval.into_iter().filter(|interval| interval.begin < interval.end).collect()
    }

    /// An address.
    fn address(&self, place: Place) -> Option<u64> {
        let number = match place {
            Place::Here(address) => return Some(address),
            Place::Number(number) => number,
        };
        let (file, unit) = self.keeper_of_addresses();
        let base = unit.root.addresses.unwrap_or(0);
        self.number(file, Part::Addresses, base, number, self.unit.header.encoding.address_size)
    }

    fn keeper_of_addresses(&self) -> (&Arc<DwarfFile>, &Unit) {
        match &self.skeleton {
            Some((file, unit)) => (file, unit),
            None => (&self.file, &self.unit),
        }
    }

    /// The address that those of a list are relative to.
    fn low(&self) -> u64 {
        let low = self.unit.root.extent.low.or_else(|| self.keeper_of_addresses().1.root.extent.low);
        low.and_then(|low| self.address(low)).unwrap_or(0)
    }

    /// A number of `size` bytes out of a table.
    fn number(&self, file: &DwarfFile, part: Part, base: u64, index: u64, size: u8) -> Option<u64> {
        let offset = base.checked_add(index.checked_mul(u64::from(size))?)?;
        let bytes = file.bytes(part, offset, u64::from(size))?;
        Some(file.image.byte_order().number(&bytes))
    }

    fn word_size(&self) -> u8 {
        self.unit.header.encoding.format.word_size()
    }

    /// Where the offsets of strings of a unit that was split off begin: it does not say. In DWARF 5 a header comes
    /// first.
    fn usual_string_offsets(&self) -> u64 {
        match (self.file.split && self.unit.header.encoding.version >= 5, self.unit.header.encoding.format) {
            (false, _) => 0,
            (true, Format::Dwarf32) => 8,
            (true, Format::Dwarf64) => 16,
        }
    }

    /// Where a list of ranges begins.
    fn list_offset(&self, list: List) -> Option<u64> {
        let encoding = self.unit.header.encoding;
        match list {
            List::At(offset) if encoding.version < 5 && self.file.split => {
                offset.checked_add(self.skeleton.as_ref().and_then(|(_, unit)| unit.root.ranges).unwrap_or(0))
            }
            List::At(offset) => Some(offset),
            List::Number(number) => {
                let usual = match (self.file.split, encoding.format) {
                    (false, _) => 0,
                    (true, Format::Dwarf32) => 12,
                    (true, Format::Dwarf64) => 20,
                };
                let base = self.unit.root.ranges.unwrap_or(usual);
                let offset = self.number(&self.file, Part::RangeLists, base, number, self.word_size())?;
                base.checked_add(offset)
            }
        }
    }

    fn list(&self, list: List, value: u64, budget: &mut Budget) -> Option<Vec<Interval>> {
        let offset = self.list_offset(list)?;
        if self.unit.header.encoding.version >= 5 {
            let mut lists = self.file.all(Part::RangeLists);
            lists.skip(usize::try_from(offset).ok()?).ok()?;
            return Some(self.list_in(&lists, value, budget)?.0);
        }
        // How long a list is, is known at its end, and this section is one of the largest.
        let mut size = FIRST_PIECE;
        loop {
            let bytes = self.keeper_of_addresses().0.up_to(Part::Ranges, offset, size)?;
            let is_cut = bytes.len() as u64 == size;
            let (ranges, has_ended) = self.list_in(&bytes, value, budget)?;
            if has_ended || !is_cut {
                return Some(ranges);
            }
            size = size.saturating_mul(8) | 1;
        }
    }

    /// The list at the beginning of `bytes`, and whether more bytes would change nothing of it. What was read before
    /// damage is good.
    fn list_in(&self, bytes: &[u8], value: u64, budget: &mut Budget) -> Option<(Vec<Interval>, bool)> {
        let encoding = self.unit.header.encoding;
        let (bytes, empty) = (Slice::new(bytes, self.file.endian()), Slice::new(&[], self.file.endian()));
        let (old, new) = if encoding.version < 5 { (bytes, empty) } else { (empty, bytes) };
        let lists = RangeLists::new(DebugRanges::from(old), DebugRngLists::from(new));
        let mut entries = lists.raw_ranges(RangeListsOffset(0), encoding).ok()?;
        let mut ranges = Vec::new();
        let mut base = self.low();
        while budget.take(1) {
            let (begin, end) = match entries.next() {
                Err(gimli::Error::UnexpectedEof(_)) => return Some((ranges, false)),
                Ok(None) | Err(_) => return Some((ranges, true)),
                Ok(Some(RawRngListEntry::BaseAddress { addr })) => {
                    base = addr;
                    continue;
                }
                Ok(Some(RawRngListEntry::BaseAddressx { addr })) => {
                    base = self.address(Place::Number(addr.0 as u64))?;
                    continue;
                }
                Ok(Some(entry)) => match self.range(entry, base) {
                    Some(range) => range,
                    None => continue,
                },
            };
            if begin < end && !self.is_tombstone(begin) {
                ranges.push(Interval { begin, end, value });
            }
        }
        Some((ranges, true))
    }

    /// The addresses of an entry of a list.
    fn range(&self, entry: RawRngListEntry<usize>, base: u64) -> Option<(u64, u64)> {
        let number = |index: gimli::DebugAddrIndex| self.address(Place::Number(index.0 as u64));
        match entry {
            RawRngListEntry::AddressOrOffsetPair { begin, end } | RawRngListEntry::OffsetPair { begin, end } => {
                let tombstone = self.is_tombstone(base);
                (!tombstone).then(|| Some((base.checked_add(begin)?, base.checked_add(end)?))).flatten()
            }
            RawRngListEntry::StartEnd { begin, end } => Some((begin, end)),
            RawRngListEntry::StartLength { begin, length } => Some((begin, begin.checked_add(length)?)),
            RawRngListEntry::StartxEndx { begin, end } => Some((number(begin)?, number(end)?)),
            RawRngListEntry::StartxLength { begin, length } => {
                let begin = number(begin)?;
                Some((begin, begin.checked_add(length)?))
            }
            RawRngListEntry::BaseAddress { .. } | RawRngListEntry::BaseAddressx { .. } => None,
        }
    }

    /// Whether an address stands for code that the linker left out.
    fn is_tombstone(&self, address: u64) -> bool {
        let highest = u64::MAX >> (64 - 8 * u32::from(self.unit.header.encoding.address_size));
        address >= highest - 1
    }
}
