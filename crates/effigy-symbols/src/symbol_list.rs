//! Symbols by address: what all tables of plain symbols share, whatever file they come from.

use std::ops::Range;

use crate::image::Image;
use crate::name::SymbolKind;

/// Symbols that are looked at from an address downwards before it is given up: those that begin inside of a function.
const MOST_STEPS: usize = 256;

/// A symbol without its name, which is read when it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) offset: u64,
    /// Length in bytes; 0 where it is not known.
    pub(crate) size: u64,
    /// Where its name is; what that means is up to the table.
    pub(crate) name: u32,
    /// What it stands for.
    pub(crate) kind: SymbolKind,
    /// Whether other files may refer to it.
    pub(crate) global: bool,
    /// Of several symbols at one place the one of the highest rank is taken, and of those the first in the file.
    pub(crate) rank: u8,
}

/// Where code lies in an image: offsets, rising.
pub(crate) fn code_of(image: &Image) -> Vec<Range<u64>> {
    let code = image.sections().iter().filter(|section| section.executable);
    let mut code: Vec<_> = code
        .filter_map(|section| {
            let start = section.address.checked_sub(image.base())?;
            Some(start..start.checked_add(section.size)?)
        })
        .collect();
    code.sort_by_key(|section| section.start);
    code
}

/// The one of rising ranges that holds `offset`.
pub(crate) fn holding(ranges: &[Range<u64>], offset: u64) -> Option<&Range<u64>> {
    let count = ranges.partition_point(|range| range.start <= offset);
    ranges.get(count.checked_sub(1)?).filter(|range| range.contains(&offset))
}

/// Symbols by rising offset.
#[derive(Debug, Default)]
pub(crate) struct SymbolList {
    entries: Vec<Entry>,
    /// Where code lies, by rising offset: a symbol without a length ends where its section does.
    sections: Vec<Range<u64>>,
}

impl SymbolList {
    /// `sections` are those with code, rising, and none where that is not known.
    pub(crate) fn new(mut entries: Vec<Entry>, sections: Vec<Range<u64>>) -> Self {
        // The last of those at one place is met first on the way down.
        entries.reverse();
        entries.sort_by_key(|entry| (entry.offset, entry.size != 0, entry.rank));
        Self { entries, sections }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The function or label that `offset` belongs to: the innermost one of known length that holds it, or a label
    /// without a length that nothing lies between.
    pub(crate) fn function_at(&self, offset: u64) -> Option<&Entry> {
        let mut label: Option<&Entry> = None;
        let mut passed = false;
        for entry in self.downwards(offset).filter(|entry| entry.kind.is_code()).take(MOST_STEPS) {
            if entry.size != 0 && offset - entry.offset < entry.size {
                return Some(entry);
            }
            if entry.size == 0 && label.is_none() && !passed {
                label = Some(entry);
            }
            passed |= entry.size != 0;
        }
        label.filter(|label| self.same_section(label.offset, offset))
    }

    /// The symbol that holds `offset`, of code or data, or else the nearest below.
    pub(crate) fn nearest(&self, offset: u64) -> Option<&Entry> {
        let holds = |entry: &&Entry| entry.size != 0 && offset - entry.offset < entry.size;
        let holding = self.downwards(offset).take(MOST_STEPS).find(holds);
        holding.or_else(|| self.downwards(offset).next())
    }

    fn downwards(&self, offset: u64) -> impl Iterator<Item = &Entry> {
        let count = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries[..count].iter().rev()
    }

    /// Whether both lie in one section with code; `true` where no sections are known.
    fn same_section(&self, first: u64, second: u64) -> bool {
        match holding(&self.sections, first) {
            Some(section) => section.contains(&second),
            None => self.sections.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64, size: u64, name: u32) -> Entry {
        Entry { offset, size, name, kind: SymbolKind::Function, global: true, rank: 0 }
    }

    fn name_at(list: &SymbolList, offset: u64) -> Option<u32> {
        list.function_at(offset).map(|entry| entry.name)
    }

    #[test]
    fn the_innermost_function_that_holds_the_place() {
        let list = SymbolList::new(vec![entry(0x100, 0x100, 1), entry(0x140, 0x10, 2), entry(0x300, 0, 3)], vec![]);
        assert_eq!(name_at(&list, 0x100), Some(1));
        assert_eq!(name_at(&list, 0x14f), Some(2));
        assert_eq!(name_at(&list, 0x150), Some(1));
        assert_eq!(name_at(&list, 0x200), None);
        assert_eq!(name_at(&list, 0x400), Some(3));
        assert_eq!(name_at(&list, 0xff), None);
    }

    #[test]
    fn a_label_ends_with_its_section_and_at_the_next_symbol() {
        let list = SymbolList::new(vec![entry(0x100, 0, 1), entry(0x180, 0x10, 2)], vec![0x100..0x200, 0x200..0x300]);
        assert_eq!(name_at(&list, 0x17f), Some(1));
        assert_eq!(name_at(&list, 0x190), None);
        let list = SymbolList::new(vec![entry(0x100, 0, 1)], vec![0x100..0x200, 0x200..0x300]);
        assert_eq!(name_at(&list, 0x1ff), Some(1));
        assert_eq!(name_at(&list, 0x200), None);
    }

    #[test]
    fn of_several_the_one_of_higher_rank_and_then_the_first() {
        let mut weak = entry(0x100, 0x10, 1);
        weak.rank = 1;
        let mut first = entry(0x100, 0x10, 2);
        first.rank = 2;
        let mut second = entry(0x100, 0x10, 3);
        second.rank = 2;
        let list = SymbolList::new(vec![weak, first, second], vec![]);
        assert_eq!(name_at(&list, 0x105), Some(2));
    }

    #[test]
    fn what_is_nearest_may_be_data_and_past_its_end() {
        let mut data = entry(0x500, 0x10, 7);
        data.kind = SymbolKind::Data;
        let list = SymbolList::new(vec![entry(0x100, 0x10, 1), data], vec![]);
        assert_eq!(list.nearest(0x508).unwrap().name, 7);
        assert_eq!(list.nearest(0x600).unwrap().name, 7);
        assert_eq!(list.nearest(0x200).unwrap().name, 1);
        assert_eq!(list.function_at(0x508), None);
    }
}
