//! Taking a core apart: headers, notes, and memory by address.
//!
//! This is the ground floor: what stands where. The bytes may come from anywhere: all arithmetic is checked, and nothing
//! is allocated that the file does not have the bytes for.

mod coverage;
mod cursor;
mod error;
mod fields;
mod files;
mod headers;
mod info;
mod names;
mod notes;
mod process;
mod threads;

use std::sync::Arc;

use bstr::BString;
use effigy_process::{Address, AddressRange, Architecture, ByteOrder, Memory, NotRead, Protection};

pub(crate) use self::cursor::{Cursor, Shape};
pub use self::error::CoreError;
pub(crate) use self::fields::of as fields_of;
pub(crate) use self::headers::{FileHeader, ProgramHeader, RawSegment};
pub use self::notes::{Note, Notes};
use super::layout;
pub use super::layout::Class;
use crate::MemoryMap;
use crate::memory::Found;
use crate::opened::{Field, Warning};
use crate::source::{Buffered, SharedSource, Source};

/// Where files are mapped, by rising address, and their paths.
pub(crate) type MappedFiles = Vec<(AddressRange, BString)>;

/// Most bytes of a note that are read: ten times what the list of a process's files takes at the most.
const LARGEST_NOTE: u64 = 256 << 20;

/// A core, its headers read.
#[derive(Clone, Debug)]
pub struct Core {
    file: Arc<Buffered>,
    header: FileHeader,
    segments: Vec<Segment>,
    memory: MemoryMap,
    notes: Vec<notes::Place>,
    header_count: u64,
    headers_cut: u64,
}

/// A piece of memory: a `PT_LOAD`, or what is left of it where another one covers the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its addresses.
    pub range: AddressRange,
    /// What the process may do with them.
    pub protection: Protection,
    /// Where in the file its bytes begin.
    pub offset: u64,
    /// Bytes that are in the file, from the range's start on. The rest was not captured.
    pub captured: u64,
    /// Bytes that would be in the file behind those, had it not been cut short.
    pub cut: u64,
}

impl Core {
    /// What the ELF header says.
    pub(crate) fn header_fields(&self) -> Vec<Field> {
        self.header.named()
    }

    /// Reads the headers of a core from a copy of the bytes of its file; see [`open`](Self::open).
    ///
    /// # Errors
    /// When it is no core, or its headers cannot be made sense of.
    pub fn parse(bytes: &[u8]) -> Result<Self, CoreError> {
        Self::open(Arc::new(bytes.to_vec()))
    }

    /// Reads the headers of a core.
    ///
    /// # Errors
    /// When it is no core, or its headers cannot be made sense of. A core that was cut short behind its ELF header can be
    /// read: see [`Segment::cut`] and [`headers_cut`](Self::headers_cut).
    pub fn open(source: SharedSource) -> Result<Self, CoreError> {
        let size = source.size();
        let start = headers::part(&source, 0, size.min(64), "ELF header")?;
        let header = FileHeader::read(&start)?;
        if header.kind != layout::TYPE_CORE {
            return Err(CoreError::NotCore { kind: header.kind });
        }
        let table = header.program_headers(&source)?;
        let of_kind = |kind| table.headers.iter().filter(move |header| header.kind == kind);
        let segments = apart(of_kind(layout::SEGMENT_LOAD).filter_map(|header| Segment::new(header, size)).collect());
        let notes = of_kind(layout::SEGMENT_NOTE).map(notes::Place::new).collect();
        let mut found = Found::new(source.clone());
        for segment in &segments {
            found.add(segment.range.start().0, segment.offset, segment.captured);
            found.missing = found.missing.saturating_add(segment.cut);
        }
        let memory = found.finish(Some(segments.iter().map(|segment| segment.range).collect()));
        let file = Arc::new(Buffered::new(source));
        let header_count = table.headers.len() as u64 + table.cut;
        Ok(Self { file, header, segments, memory, notes, header_count, headers_cut: table.cut })
    }

    /// Width of its addresses.
    #[must_use]
    pub fn class(&self) -> Class {
        self.header.shape.class
    }

    /// The order of the bytes of its numbers.
    #[must_use]
    pub fn byte_order(&self) -> ByteOrder {
        self.header.shape.order
    }

    /// `e_machine`.
    #[must_use]
    pub fn machine(&self) -> u16 {
        self.header.machine
    }

    /// `e_ident[EI_OSABI]`: 0 on Linux, as a rule.
    #[must_use]
    pub fn system(&self) -> u8 {
        self.header.system
    }

    /// The architecture; [`Architecture::Other`] when it is none that effigy knows.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        architecture(&self.header)
    }

    /// Its memory, by rising address; no two segments overlap.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The program headers of memory and notes, as they lie in the file.
    pub(crate) fn raw_segments(&self) -> Result<Vec<RawSegment>, CoreError> {
        let table = self.header.program_headers(&*self.file)?;
        Ok(table.headers.iter().filter_map(RawSegment::new).collect())
    }

    /// Where in the file `NT_FILE` lies, and what it lists; `None` when there is none.
    pub(crate) fn mapped_files(&self) -> Result<Option<(u64, MappedFiles)>, CoreError> {
        let is_list = |note: &Note| note.kind == layout::note::FILE && matches!(&note.owner[..], b"CORE" | b"");
        let Some(note) = self.notes().filter_map(Result::ok).find(is_list) else { return Ok(None) };
        // What is wrong with the list itself was told before.
        let files = files::table(self.header.shape, &note.description()?, note.offset).unwrap_or_default();
        Ok(Some((note.offset, files.into_iter().map(|mapped| (mapped.range, mapped.path)).collect())))
    }

    /// Its memory, by address.
    #[must_use]
    pub fn memory(&self) -> &MemoryMap {
        &self.memory
    }

    /// Program headers that the core should have and the file ends before.
    #[must_use]
    pub fn headers_cut(&self) -> u64 {
        self.headers_cut
    }

    /// What is wrong where some of its program headers were not read.
    pub(crate) fn cut_headers(&self) -> Option<Warning> {
        let (cut, count, end) = (self.headers_cut, self.header_count, self.file.size());
        let at = self.header.program_headers;
        let size = count.saturating_mul(u64::from(self.header.shape.class.program_header_size()));
        let text = if at.saturating_add(size) > end {
            format!(
                "the core ends at {end:#x}, before {cut} of its {count} program headers, which begin at {at:#x} (e_phoff)"
            )
        } else {
            format!(
                "{cut} of the core's {count} program headers at {at:#x} (e_phoff) are not read: it is too short for so many"
            )
        };
        (cut > 0).then(|| Warning::at(end, text))
    }

    /// Its notes, in the order of the file.
    #[must_use]
    pub fn notes(&self) -> Notes<'_> {
        Notes::new(&self.file, self.header.shape, &self.notes)
    }
}

/// The architecture of an ELF file.
fn architecture(header: &FileHeader) -> Architecture {
    Architecture::of_elf(header.machine, header.shape.class == Class::Elf64, header.shape.order)
}

impl Memory for Core {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        self.memory.read(address, buffer)
    }

    fn try_again_at(&self, address: Address) -> Option<Address> {
        self.memory.try_again_at(address)
    }
}

impl Segment {
    /// `None` for one without addresses. `file` is the file's length in bytes.
    fn new(header: &headers::ProgramHeader, file: u64) -> Option<Self> {
        // Some writers leave the size in memory at zero.
        let range = AddressRange::sized(Address(header.address), header.memory_size.max(header.file_size));
        let promised = header.file_size.min(range.size());
        let captured = promised.min(file.saturating_sub(header.offset));
        (!range.is_empty()).then_some(Self {
            range,
            protection: header.protection(),
            offset: header.offset,
            captured,
            cut: promised - captured,
        })
    }

    /// What lies at or after `start`; `None` when nothing does.
    fn from(self, start: Address) -> Option<Self> {
        if self.range.start() >= start {
            return Some(self);
        }
        let skip = start.0 - self.range.start().0;
        let range = AddressRange::new(start, self.range.end());
        let captured = self.captured.saturating_sub(skip);
        let cut = self.cut.saturating_sub(skip.saturating_sub(self.captured));
        let offset = self.offset.saturating_add(skip);
        (!range.is_empty()).then_some(Self { range, offset, captured, cut, ..self })
    }
}

/// Sorts segments by address; where two overlap, the one that begins first keeps what both cover.
fn apart(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.sort_by_key(|segment| segment.range.start());
    let mut end = Address(0);
    segments.retain_mut(|segment| {
        let Some(rest) = segment.from(end) else { return false };
        *segment = rest;
        end = rest.range.end();
        true
    });
    segments
}

#[cfg(test)]
mod tests;
