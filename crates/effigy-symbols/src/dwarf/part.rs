//! One file with DWARF: the module's own, one that was split off it, or one that several modules share.
//!
//! Only what is asked for is read of it: a unit, a line program, a string. Sections that are compressed are the
//! exception: there is no other way than to have all of them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use effigy_process::ByteOrder;
use gimli::{Abbreviations, DebugAbbrev, DebugAbbrevOffset, EndianSlice, Reader, RunTimeEndian};

use super::header::{Header, LONGEST};
use super::unit::Unit;
use crate::cache::Cache;
use crate::image::Image;

/// Bytes that readers of DWARF take numbers from.
pub(super) type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// Units that are kept, in bytes.
const UNITS_KEPT: usize = 32 << 20;

/// Tables of abbreviations that are kept.
const ABBREVIATIONS_KEPT: usize = 256;

/// Most units of which headers are read: a hostile file may have one every dozen bytes.
const MOST_UNITS: usize = 1 << 22;

/// A section that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Info,
    Abbreviations,
    Lines,
    LineStrings,
    Strings,
    StringOffsets,
    Addresses,
    Ranges,
    RangeLists,
}

/// Where in its sections a unit's share of a package (`.dwp`) lies; elsewhere it is all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    pub(super) info: Option<Range<u64>>,
    pub(super) abbreviations: Option<Range<u64>>,
    pub(super) lines: Option<Range<u64>>,
    pub(super) string_offsets: Option<Range<u64>>,
    pub(super) range_lists: Option<Range<u64>>,
}

/// Where a unit lies in `.debug_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A file with DWARF.
#[derive(Debug)]
pub(super) struct DwarfFile {
    pub(super) image: Arc<Image>,
    /// Whether it was split off: its sections are called `.dwo`.
    pub(super) split: bool,
    shares: Shares,
    spans: OnceLock<Vec<Span>>,
    units: Cache<u64, Unit>,
    abbreviations: Cache<u64, Abbreviations>,
}

impl DwarfFile {
    pub(super) fn new(image: Arc<Image>, split: bool, shares: Shares) -> Self {
        Self {
            image,
            split,
            shares,
            spans: OnceLock::new(),
            units: Cache::new(UNITS_KEPT),
            abbreviations: Cache::new(ABBREVIATIONS_KEPT),
        }
    }

    pub(super) fn endian(&self) -> RunTimeEndian {
        match self.image.byte_order() {
            ByteOrder::Little => RunTimeEndian::Little,
            ByteOrder::Big => RunTimeEndian::Big,
        }
    }

    /// What a section is called here.
    pub(super) fn name_of(&self, part: Part) -> &'static str {
        match (part, self.split) {
            (Part::Info, false) => ".debug_info",
            (Part::Info, true) => ".debug_info.dwo",
            (Part::Abbreviations, false) => ".debug_abbrev",
            (Part::Abbreviations, true) => ".debug_abbrev.dwo",
            (Part::Lines, false) => ".debug_line",
            (Part::Lines, true) => ".debug_line.dwo",
            (Part::LineStrings, _) => ".debug_line_str",
            (Part::Strings, false) => ".debug_str",
            (Part::Strings, true) => ".debug_str.dwo",
            (Part::StringOffsets, false) => ".debug_str_offsets",
            (Part::StringOffsets, true) => ".debug_str_offsets.dwo",
            (Part::Addresses, _) => ".debug_addr",
            (Part::Ranges, _) => ".debug_ranges",
            (Part::RangeLists, false) => ".debug_rnglists",
            (Part::RangeLists, true) => ".debug_rnglists.dwo",
        }
    }

    /// Where this file's share of a section lies in it.
    fn share(&self, part: Part) -> Range<u64> {
        let share = match part {
            Part::Info => &self.shares.info,
            Part::Abbreviations => &self.shares.abbreviations,
            Part::Lines => &self.shares.lines,
            Part::StringOffsets => &self.shares.string_offsets,
            Part::RangeLists => &self.shares.range_lists,
            Part::LineStrings | Part::Strings | Part::Addresses | Part::Ranges => &None,
        };
        let size = self.image.section(self.name_of(part)).map_or(0, |section| section.size);
        match share {
            Some(share) => share.start.min(size)..share.end.min(size),
            None => 0..size,
        }
    }

    /// All of a section; empty where there is none.
    pub(super) fn all(&self, part: Part) -> Slice<'_> {
        let bytes = self.image.data(self.name_of(part)).unwrap_or_default();
        let share = self.share(part);
        let bounds = usize::try_from(share.start).ok().zip(usize::try_from(share.end).ok());
        let bytes = bounds.and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default();
        EndianSlice::new(bytes, self.endian())
    }

    /// `size` bytes at `offset` of a section, without the rest of it.
    pub(super) fn bytes(&self, part: Part, offset: u64, size: u64) -> Option<Cow<'_, [u8]>> {
        let share = self.share(part);
        let start = share.start.checked_add(offset)?;
        let end = start.checked_add(size).filter(|end| *end <= share.end)?;
        if size == 0 {
            // Behind the last byte there is nothing to read, which is no reason to have the whole section.
            return Some(Cow::Borrowed(&[]));
        }
        let mut buffer = vec![0; usize::try_from(size).ok()?];
        match self.image.read_section(self.name_of(part), start, &mut buffer) {
            Some(count) if count == buffer.len() => Some(buffer.into()),
            Some(_) => None,
            None => {
                let bytes = self.image.data(self.name_of(part))?;
                bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?).map(Cow::from)
            }
        }
    }

    /// As many bytes at `offset` as there are, at most `size`.
    pub(super) fn up_to(&self, part: Part, offset: u64, size: u64) -> Option<Cow<'_, [u8]>> {
        let share = self.share(part);
        let left = (share.end - share.start).checked_sub(offset)?;
        self.bytes(part, offset, left.min(size))
    }

    /// The header of the unit at `offset`, and the bytes from there on: at least the header, at most `size`.
    pub(super) fn header_at(&self, offset: u64, size: usize) -> Option<(Header, Cow<'_, [u8]>)> {
        let bytes = self.up_to(Part::Info, offset, size.max(LONGEST) as u64)?;
        Some((Header::parse(&bytes, self.endian())?, bytes))
    }

    /// All units, by rising offset. Where one is damaged, those behind it cannot be found.
    pub(super) fn spans(&self) -> &[Span] {
        self.spans.get_or_init(|| {
            let mut spans = Vec::new();
            let mut offset = 0;
            while spans.len() < MOST_UNITS
                && let Some((header, _)) = self.header_at(offset, LONGEST)
            {
                spans.push(Span { offset, size: header.size });
                let Some(next) = offset.checked_add(header.size) else { break };
                offset = next;
            }
            spans
        })
    }

    /// Says where the units are, where that is known from before.
    pub(super) fn set_spans(&self, spans: Vec<Span>) {
        // Where they are known already, they are the same.
        let _ = self.spans.set(spans);
    }

    /// The unit that holds the entry at `offset` of `.debug_info`.
    pub(super) fn unit_with(&self, offset: u64) -> Option<Arc<Unit>> {
        let spans = self.spans();
        let count = spans.partition_point(|span| span.offset <= offset);
        let span = spans.get(count.checked_sub(1)?)?;
        (offset - span.offset < span.size).then(|| self.unit_at(span.offset)).flatten()
    }

    /// The unit that begins at `offset`.
    pub(super) fn unit_at(&self, offset: u64) -> Option<Arc<Unit>> {
        self.units.get_or_make(offset, || {
            let (header, _) = self.header_at(offset, LONGEST)?;
            let bytes = self.bytes(Part::Info, offset, header.size)?.into_owned();
            let abbreviations = self.abbreviations(header.abbreviations)?;
            let cost = bytes.len();
            Some((Unit::parse(offset, header, bytes, self.endian(), abbreviations)?, cost))
        })
    }

    /// The table of abbreviations at `offset`.
    pub(super) fn abbreviations(&self, offset: u64) -> Option<Arc<Abbreviations>> {
        self.abbreviations.get_or_make(offset, || {
            let section = DebugAbbrev::from(self.all(Part::Abbreviations));
            let table = section.abbreviations(DebugAbbrevOffset(usize::try_from(offset).ok()?)).ok()?;
            Some((table, 1))
        })
    }

    /// Length in bytes of the table of abbreviations at `offset`, looking at no more than `most`: the rest of the section
    /// where it does not end there.
    pub(super) fn length_of_abbreviations(&self, offset: u64, most: u64) -> Option<u64> {
        let mut input = self.all(Part::Abbreviations);
        input.skip(usize::try_from(offset).ok()?).ok()?;
        let whole = input.len();
        input.truncate(whole.min(usize::try_from(most).unwrap_or(usize::MAX))).ok()?;
        let before = input.len();
        let ended = skip_abbreviations(&mut input).is_some();
        Some(if ended { before - input.len() } else { whole } as u64)
    }
}

fn skip_abbreviations(input: &mut Slice<'_>) -> Option<()> {
    while input.read_uleb128().ok()? != 0 {
        // Tag, and whether others stand below.
        input.read_uleb128().ok()?;
        input.read_u8().ok()?;
        loop {
            let (name, form) = (input.read_uleb128().ok()?, input.read_uleb128().ok()?);
            if (name, form) == (0, 0) {
                break;
            }
            if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                input.read_sleb128().ok()?;
            }
        }
    }
    Some(())
}
