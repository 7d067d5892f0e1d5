//! Taking a core apart: headers, notes, and memory by address.
//!
//! This is the ground floor: what stands where. What the notes mean for a process is not decided here. The bytes may come
//! from anywhere: all arithmetic is checked, and nothing is allocated that the file does not have the bytes for.

mod headers;
mod notes;

use effigy_process::{Address, AddressRange, Architecture, Memory, NotRead, Protection};

pub use self::notes::{Note, Notes};
pub use super::layout::Class;

/// Why a core cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// It does not begin as ELF files do.
    #[error("not an ELF file")]
    NotElf,
    /// It is an ELF file of another type.
    #[error("an ELF file of type {kind}, not a core (type 4)")]
    NotCore {
        /// Its `e_type`.
        kind: u16,
    },
    /// It is of a kind that effigy does not read.
    #[error("{what} are not supported")]
    Unsupported {
        /// Which kind.
        what: &'static str,
    },
    /// It ends before something that it must have.
    #[error("the core ends before the end of its {what}")]
    Truncated {
        /// What it must have.
        what: &'static str,
    },
    /// A header says something impossible.
    #[error("the core's headers are damaged: {what}")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A core, its headers read.
#[derive(Debug)]
pub struct Core<'a> {
    bytes: &'a [u8],
    class: Class,
    machine: u16,
    segments: Vec<Segment>,
    notes: Vec<notes::Place>,
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

impl<'a> Core<'a> {
    /// Reads the headers of a core, which is all of `bytes`.
    ///
    /// # Errors
    /// When it is no core, or its headers cannot be made sense of. A core that was cut short behind its headers can be
    /// read: see [`Segment::cut`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CoreError> {
        let file = headers::FileHeader::read(bytes)?;
        let (mut segments, mut notes) = (Vec::new(), Vec::new());
        for header in file.program_headers(bytes)? {
            match header.kind {
                super::layout::SEGMENT_LOAD => segments.extend(Segment::new(&header, bytes.len() as u64)),
                super::layout::SEGMENT_NOTE => notes.push(notes::Place::new(&header)),
                _ => {}
            }
        }
        Ok(Self { bytes, class: file.class, machine: file.machine, segments: apart(segments), notes })
    }

    /// Width of its addresses.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// `e_machine`.
    #[must_use]
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// The architecture, when it is one that effigy knows.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        [Architecture::X86, Architecture::X86_64, Architecture::Arm, Architecture::Aarch64, Architecture::Riscv64]
            .into_iter()
            .find(|known| (super::layout::machine(*known).0, Class::of(*known)) == (self.machine, self.class))
    }

    /// Its memory, by rising address; no two segments overlap.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its notes, in the order of the file.
    #[must_use]
    pub fn notes(&self) -> Notes<'a, '_> {
        Notes::new(self.bytes, &self.notes)
    }
}

impl<'a> Core<'a> {
    /// All bytes from `address` on that lie in one piece in the file.
    fn slice(&self, address: Address) -> Result<&'a [u8], NotRead> {
        let after = self.segments.partition_point(|segment| segment.range.end() <= address);
        let segment =
            self.segments.get(after).filter(|segment| segment.range.contains(address)).ok_or(NotRead::Unmapped)?;
        let skip = address.0 - segment.range.start().0;
        let left = segment.captured.checked_sub(skip).filter(|left| *left > 0).ok_or(NotRead::NotCaptured)?;
        let bytes = segment
            .offset
            .checked_add(skip)
            .and_then(|from| usize::try_from(from).ok())
            .and_then(|from| self.bytes.get(from..))
            .ok_or(NotRead::NotCaptured)?;
        Ok(&bytes[..usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())])
    }
}

impl Memory for Core<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let mut bytes = self.slice(address)?;
        let mut done = 0;
        // Memory that is whole may lie in pieces in the file.
        loop {
            let count = bytes.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&bytes[..count]);
            done += count;
            let next = address.checked_add(done as u64).filter(|_| done < buffer.len());
            match next.and_then(|next| self.slice(next).ok()).filter(|more| !more.is_empty()) {
                Some(more) => bytes = more,
                None => return Ok(done),
            }
        }
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
