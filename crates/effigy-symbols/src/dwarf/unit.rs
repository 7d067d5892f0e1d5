//! A unit: the entries of one compilation.

use std::sync::Arc;

use bstr::BString;
use gimli::{Abbreviations, AttributeValue, EndianSlice, EntriesRaw, RunTimeEndian, UnitOffset};

use super::header::Header;
use super::part::Slice;

/// Text, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// The text itself.
    Here(BString),
    /// Offset in `.debug_str`.
    Strings(u64),
    /// Offset in `.debug_line_str`.
    LineStrings(u64),
    /// Number in `.debug_str_offsets`.
    Number(u64),
    /// Offset in `.debug_str` of the file that is shared.
    Shared(u64),
}

impl Text {
    pub(super) fn of(value: &AttributeValue<Slice<'_>>) -> Option<Self> {
        Some(match value {
            AttributeValue::String(text) => Self::Here(text.slice().into()),
            AttributeValue::DebugStrRef(offset) => Self::Strings(offset.0 as u64),
            AttributeValue::DebugStrRefSup(offset) => Self::Shared(offset.0 as u64),
            AttributeValue::DebugLineStrRef(offset) => Self::LineStrings(offset.0 as u64),
            AttributeValue::DebugStrOffsetsIndex(index) => Self::Number(index.0 as u64),
            _ => return None,
        })
    }
}

/// An address, or where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The address itself.
    Here(u64),
    /// Number in `.debug_addr`.
    Number(u64),
}

/// A list of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Offset in `.debug_ranges` or `.debug_rnglists`.
    At(u64),
    /// Number in the table of `.debug_rnglists`.
    Number(u64),
}

/// Where the code of an entry lies, as its attributes say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) low: Option<Place>,
    pub(super) high: Option<Place>,
    pub(super) size: Option<u64>,
    pub(super) list: Option<List>,
}

impl Extent {
    /// Takes in an attribute, if it is one of those.
    pub(super) fn take(&mut self, attribute: &gimli::Attribute<Slice<'_>>) {
        let place = |value: AttributeValue<Slice<'_>>| match value {
            AttributeValue::Addr(address) => Some(Place::Here(address)),
            AttributeValue::DebugAddrIndex(index) => Some(Place::Number(index.0 as u64)),
            _ => None,
        };
        match attribute.name() {
            gimli::DW_AT_low_pc => self.low = place(attribute.value()),
            gimli::DW_AT_high_pc => match attribute.value() {
                AttributeValue::Udata(size) => self.size = Some(size),
                value => self.high = place(value),
            },
            gimli::DW_AT_ranges => {
                self.list = match attribute.value() {
                    AttributeValue::RangeListsRef(offset) => Some(List::At(offset.0 as u64)),
                    AttributeValue::DebugRngListsIndex(index) => Some(List::Number(index.0 as u64)),
                    _ => None,
                }
            }
            _ => {}
        }
    }
}

/// What the first entry of a unit says of all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Root {
    pub(super) name: Option<Text>,
    /// Folder in which it was compiled.
    pub(super) directory: Option<Text>,
    pub(super) extent: Extent,
    /// Where its addresses begin in `.debug_addr`.
    pub(super) addresses: Option<u64>,
    /// Where its lists of ranges begin.
    pub(super) ranges: Option<u64>,
    /// Where its offsets begin in `.debug_str_offsets`.
    pub(super) string_offsets: Option<u64>,
    /// Its line program, in `.debug_line`.
    pub(super) lines: Option<u64>,
    /// What ties it to what was split off it.
    pub(super) dwo_id: Option<u64>,
    /// File with what was split off.
    pub(super) dwo_name: Option<Text>,
}

impl Root {
    /// Reads the first entry.
    pub(super) fn parse(mut entries: EntriesRaw<'_, Slice<'_>>, header: &Header) -> Option<Self> {
        let mut root = Self { dwo_id: header.dwo_id, ..Self::default() };
        let abbreviation = entries.read_abbreviation().ok()??;
        for spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(*spec).ok()?;
            root.extent.take(&attribute);
            let value = attribute.value();
            match attribute.name() {
                gimli::DW_AT_name => root.name = Text::of(&value),
                gimli::DW_AT_comp_dir => root.directory = Text::of(&value),
                gimli::DW_AT_dwo_name | gimli::DW_AT_GNU_dwo_name => root.dwo_name = Text::of(&value),
                gimli::DW_AT_stmt_list => root.lines = offset(&attribute),
                gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base => root.addresses = offset(&attribute),
                gimli::DW_AT_rnglists_base | gimli::DW_AT_GNU_ranges_base => root.ranges = offset(&attribute),
                gimli::DW_AT_str_offsets_base => root.string_offsets = offset(&attribute),
                gimli::DW_AT_GNU_dwo_id if root.dwo_id.is_none() => {
                    root.dwo_id = attribute.udata_value();
                }
                _ => {}
            }
        }
        Some(root)
    }
}

/// An attribute that is an offset into a section.
fn offset(attribute: &gimli::Attribute<Slice<'_>>) -> Option<u64> {
    match attribute.raw_value() {
        AttributeValue::SecOffset(offset) => Some(offset as u64),
        // Before DWARF 4 offsets were numbers like others.
        _ => attribute.udata_value(),
    }
}

/// A unit with all its bytes.
#[derive(Debug)]
pub(super) struct Unit {
    /// Where it begins in `.debug_info`.
    pub(super) offset: u64,
    pub(super) header: Header,
    pub(super) root: Root,
    bytes: Vec<u8>,
    endian: RunTimeEndian,
    abbreviations: Arc<Abbreviations>,
}

impl Unit {
    pub(super) fn parse(
        offset: u64,
        header: Header,
        bytes: Vec<u8>,
        endian: RunTimeEndian,
        abbreviations: Arc<Abbreviations>,
    ) -> Option<Self> {
        let mut unit = Self { offset, header, root: Root::default(), bytes, endian, abbreviations };
        unit.root = Root::parse(unit.entries(header.root)?, &header)?;
        Some(unit)
    }

    /// One of which nothing is known but its first entry.
    pub(super) fn without_entries(offset: u64, header: Header, root: Root, abbreviations: Arc<Abbreviations>) -> Self {
        Self { offset, header, root, bytes: Vec::new(), endian: RunTimeEndian::Little, abbreviations }
    }

    /// Reads entries from one on, at `at` bytes from the unit's start.
    pub(super) fn entries(&self, at: usize) -> Option<EntriesRaw<'_, Slice<'_>>> {
        let rest = self.bytes.get(at..).filter(|_| at >= self.header.root)?;
        entries(rest, self.endian, &self.header, &self.abbreviations, at)
    }
}

/// Reads entries out of bytes that begin `at` bytes from the unit's start.
pub(super) fn entries<'a>(
    bytes: &'a [u8],
    endian: RunTimeEndian,
    header: &Header,
    abbreviations: &'a Abbreviations,
    at: usize,
) -> Option<EntriesRaw<'a, Slice<'a>>> {
    // The reader adds the two without looking.
    at.checked_add(bytes.len())?;
    let input = EndianSlice::new(bytes, endian);
    Some(EntriesRaw::new(input, header.encoding, abbreviations, UnitOffset(at)))
}
