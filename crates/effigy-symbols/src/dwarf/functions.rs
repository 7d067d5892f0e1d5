//! The functions of a unit: where each lies, and at an address which were inlined into which.

use gimli::{Attribute, AttributeValue, DwTag, EntriesRaw};

use super::part::Slice;
use super::scope::{Budget, Scope};
use super::unit::{Extent, Text, Unit};
use crate::intervals::{Interval, Intervals};

/// Calls that were inlined into each other, at most.
const DEEPEST: usize = 256;

/// Ranges that are read of a unit's functions, and of the calls below one of them.
const MOST_RANGES: u64 = 1 << 24;
const MOST_CALL_RANGES: u64 = 1 << 20;

/// The functions of a unit. The values are offsets of entries from the unit's start.
pub(super) type Functions = Intervals;

/// A call that was inlined.
#[derive(Clone, Debug)]
pub(super) struct Inlined {
    /// Its entry, from the unit's start.
    pub(super) entry: usize,
    /// The piece of it that holds the address.
    pub(super) piece: Interval,
    /// File of the call, as a number of the line program.
    pub(super) file: Option<u64>,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// The calls that were inlined at an address.
#[derive(Debug)]
pub(super) struct Chain {
    /// Outermost first.
    pub(super) inlined: Vec<Inlined>,
    /// Around the address, within which all of this stays as it is.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Chain {
    fn narrow(&mut self, piece: Interval) {
        self.begin = self.begin.max(piece.begin);
        self.end = self.end.min(piece.end);
    }

    /// Takes out what belongs to others.
    fn leave_out(&mut self, address: u64, ranges: &[Interval]) {
        for range in ranges {
            if range.end <= address {
                self.begin = self.begin.max(range.end);
            } else {
                self.end = self.end.min(range.begin);
            }
        }
    }
}

/// Reads all entries of a unit for those that are functions with code. Attributes of others are skipped.
pub(super) fn functions(scope: &Scope) -> Functions {
    let mut ranges = Vec::new();
    // What was read before the damage is good.
    let _ = collect(scope, &mut ranges);
    Intervals::new(ranges)
}

fn collect(scope: &Scope, ranges: &mut Vec<Interval>) -> Option<()> {
    let unit = &scope.unit;
    let mut budget = Budget(MOST_RANGES);
    let mut entries = unit.entries(unit.header.root)?;
    while !entries.is_empty() {
        let entry = entries.next_offset().0 as u64;
        let Some(abbreviation) = entries.read_abbreviation().ok()? else { continue };
        if abbreviation.tag() != gimli::DW_TAG_subprogram {
            entries.skip_attributes(abbreviation.attributes()).ok()?;
            continue;
        }
        let mut extent = Extent::default();
        for spec in abbreviation.attributes() {
            extent.take(&entries.read_attribute(*spec).ok()?);
        }
        if extent != Extent::default() {
            ranges.extend(scope.ranges(&extent, entry, &mut budget));
        }
    }
    Some(())
}

/// The calls inlined at `address` into the function whose entry is `function.value`; `function` is the piece of it that
/// holds the address.
pub(super) fn chain(scope: &Scope, function: Interval, address: u64) -> Chain {
    let mut chain = Chain { inlined: Vec::new(), begin: function.begin, end: function.end };
    // What was read before the damage is good.
    let _ = Walk { scope, address, deepest: 0, budget: Budget(MOST_CALL_RANGES) }.walk(function.value, &mut chain);
    chain
}

/// On the way through the entries below a function.
struct Walk<'a> {
    scope: &'a Scope,
    address: u64,
    /// Depth of the innermost call that was found.
    deepest: isize,
    budget: Budget,
}

impl Walk<'_> {
    fn walk(&mut self, function: u64, chain: &mut Chain) -> Option<()> {
        let mut entries = self.scope.unit.entries(usize::try_from(function).ok()?)?;
        let abbreviation = entries.read_abbreviation().ok()??;
        entries.skip_attributes(abbreviation.attributes()).ok()?;
        // Entries deeper than this are of no interest.
        let mut skipped: Option<isize> = None;
        while !entries.is_empty() && entries.next_depth() > 0 {
            let depth = entries.next_depth();
            let entry = entries.next_offset().0;
            let Some(abbreviation) = entries.read_abbreviation().ok()? else { continue };
            if depth <= self.deepest {
                // Past the innermost call: nothing that follows holds the address.
                return Some(());
            }
            let below = skipped.is_some_and(|limit| depth > limit);
            if !below {
                skipped = None;
            }
            if below || abbreviation.tag() != gimli::DW_TAG_inlined_subroutine {
                entries.skip_attributes(abbreviation.attributes()).ok()?;
                if !below && !may_hold_calls(abbreviation.tag()) {
                    skipped = Some(depth);
                }
                continue;
            }
            let (call, ranges) = self.call(entry, &mut entries, abbreviation.attributes())?;
            match ranges.iter().find(|range| range.contains(self.address)) {
                Some(piece) if chain.inlined.len() < DEEPEST => {
                    chain.narrow(*piece);
                    chain.inlined.push(Inlined { piece: *piece, ..call });
                    self.deepest = depth;
                }
                _ => {
                    chain.leave_out(self.address, &ranges);
                    skipped = Some(depth);
                }
            }
        }
        Some(())
    }

    /// Reads the entry of a call.
    fn call(
        &mut self,
        entry: usize,
        entries: &mut EntriesRaw<'_, Slice<'_>>,
        attributes: &[gimli::AttributeSpecification],
    ) -> Option<(Inlined, Vec<Interval>)> {
        let piece = Interval { begin: 0, end: 0, value: 0 };
        let mut call = Inlined { entry, piece, file: None, line: 0, column: 0 };
        let mut extent = Extent::default();
        for spec in attributes {
            let attribute = entries.read_attribute(*spec).ok()?;
            match attribute.name() {
                gimli::DW_AT_call_file => call.file = file_number(&attribute),
                gimli::DW_AT_call_line => call.line = small_number(&attribute),
                gimli::DW_AT_call_column => call.column = small_number(&attribute),
                _ => extent.take(&attribute),
            }
        }
        let ranges = self.scope.ranges(&extent, entry as u64, &mut self.budget);
        Some((call, ranges))
    }
}

/// Whether calls that were inlined into a function may stand below an entry of that kind. A function within a function
/// has its own.
fn may_hold_calls(tag: DwTag) -> bool {
    tag != gimli::DW_TAG_subprogram
}

fn file_number(attribute: &Attribute<Slice<'_>>) -> Option<u64> {
    match attribute.value() {
        AttributeValue::FileIndex(number) => Some(number),
        _ => attribute.udata_value(),
    }
}

fn small_number(attribute: &Attribute<Slice<'_>>) -> u32 {
    attribute.udata_value().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

/// Where the name of a function goes on: another entry that says what this one leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the same unit, from its start.
    Unit(usize),
    /// In `.debug_info` of the same file.
    File(u64),
    /// In `.debug_info` of the shared file.
    Shared(u64),
}

/// What an entry says of its name.
#[derive(Debug, Default)]
pub(super) struct Naming {
    pub(super) linkage: Option<Text>,
    pub(super) name: Option<Text>,
    pub(super) origin: Option<Origin>,
}

/// Reads what the entry at `entry` from the unit's start says of its name.
pub(super) fn naming(unit: &Unit, entry: usize) -> Option<Naming> {
    let mut entries = unit.entries(entry)?;
    let abbreviation = entries.read_abbreviation().ok()??;
    let mut naming = Naming::default();
    for spec in abbreviation.attributes() {
        let attribute = entries.read_attribute(*spec).ok()?;
        let value = attribute.value();
        match attribute.name() {
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                naming.linkage = Text::of(&value);
            }
            gimli::DW_AT_name => naming.name = Text::of(&value),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => naming.origin = origin(&value),
            _ => {}
        }
    }
    Some(naming)
}

fn origin(value: &AttributeValue<Slice<'_>>) -> Option<Origin> {
    match value {
        AttributeValue::UnitRef(offset) => Some(Origin::Unit(offset.0)),
        AttributeValue::DebugInfoRef(offset) => Some(Origin::File(offset.0 as u64)),
        AttributeValue::DebugInfoRefSup(offset) => Some(Origin::Shared(offset.0 as u64)),
        _ => None,
    }
}
