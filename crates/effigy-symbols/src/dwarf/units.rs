//! Which unit an address is in: out of `.debug_aranges` where it knows the unit, else out of the unit's first entry. No
//! other entry is read.

use std::collections::HashSet;
use std::sync::Arc;

use gimli::{DebugAranges, EndianSlice};

use super::header::UnitKind;
use super::part::{DwarfFile, Part, Span};
use super::scope::{Budget, Scope};
use super::unit::{Root, Unit, entries};
use crate::intervals::{Interval, Intervals};

/// Bytes of a unit that are read to find its first entry.
const FIRST_ENTRY: usize = 2048;

/// Most ranges of a file: sixteen million functions that do not lie side by side.
const MOST_RANGES: u64 = 1 << 24;

/// How often the bytes of abbreviations are read: each table once, if no two of them overlap.
const READINGS: u64 = 8;

/// Where the code of all units lies. The values are offsets of units.
#[derive(Debug, Default)]
pub(super) struct UnitMap {
    pub(super) ranges: Intervals,
}

impl UnitMap {
    /// Reads headers and first entries.
    pub(super) fn read(file: &Arc<DwarfFile>) -> Self {
        let mut ranges = Vec::new();
        let mut budget = Budget(MOST_RANGES);
        let listed = address_ranges(file, &mut ranges, &mut budget);
        let mut tables = table_budget(file);
        for span in file.spans().iter().filter(|span| !listed.contains(&span.offset)) {
            if let Some(found) = ranges_of_unit(file, *span, &mut budget, &mut tables) {
                ranges.extend(found);
            }
        }
        Self { ranges: Intervals::new(ranges) }
    }
}

/// How many bytes of abbreviations may be read to look at all units.
pub(super) fn table_budget(file: &DwarfFile) -> Budget {
    let size = file.image.section(file.name_of(Part::Abbreviations)).map_or(0, |section| section.size);
    Budget(size.saturating_mul(READINGS).saturating_add(1 << 20))
}

/// What `.debug_aranges` says, and of which units it says something.
fn address_ranges(file: &DwarfFile, ranges: &mut Vec<Interval>, budget: &mut Budget) -> HashSet<u64> {
    let mut listed = HashSet::new();
    let Some(section) = file.image.data(".debug_aranges") else { return listed };
    let known: HashSet<u64> = file.spans().iter().map(|span| span.offset).collect();
    let mut headers = DebugAranges::from(EndianSlice::new(section, file.endian())).headers();
    while let Ok(Some(header)) = headers.next() {
        let unit = header.debug_info_offset().0 as u64;
        if !known.contains(&unit) {
            continue;
        }
        let mut entries = header.entries();
        let mut any = false;
        while budget.take(1)
            && let Ok(Some(entry)) = entries.next_raw()
        {
            let begin = entry.address();
            if let Some(end) = begin.checked_add(entry.length()).filter(|end| begin < *end) {
                ranges.push(Interval { begin, end, value: unit });
                any = true;
            }
        }
        // A unit of which nothing is listed may have code all the same.
        if any {
            listed.insert(unit);
        }
    }
    listed
}

/// The ranges of a unit's first entry, without the rest of the unit.
fn ranges_of_unit(
    file: &Arc<DwarfFile>,
    span: Span,
    budget: &mut Budget,
    tables: &mut Budget,
) -> Option<Vec<Interval>> {
    let (header, bytes) = file.header_at(span.offset, FIRST_ENTRY)?;
    if !matches!(header.kind, UnitKind::Compilation | UnitKind::Skeleton) {
        return None;
    }
    let length = file.length_of_abbreviations(header.abbreviations, tables.0)?;
    let abbreviations = tables.take(length).then(|| file.abbreviations(header.abbreviations))??;
    let end = bytes.len().min(usize::try_from(span.size).ok()?);
    let first = bytes.get(header.root..end)?;
    let root = entries(first, file.endian(), &header, &abbreviations, header.root)
        .and_then(|entries| Root::parse(entries, &header));
    let unit = match root {
        Some(root) => Arc::new(Unit::without_entries(span.offset, header, root, abbreviations)),
        // Its first entry is longer than that.
        None => file.unit_at(span.offset)?,
    };
    let extent = unit.root.extent;
    let scope = Scope { file: file.clone(), unit, skeleton: None, shared: None };
    Some(scope.ranges(&extent, span.offset, budget))
}
