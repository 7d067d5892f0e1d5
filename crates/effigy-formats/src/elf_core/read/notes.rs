//! The notes, one after the other.

use bstr::{BStr, ByteSlice};
use zerocopy::FromBytes;

use super::super::layout::{NOTE_ALIGN, NoteHeader};
use super::CoreError;
use super::headers::ProgramHeader;

/// A note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Who says what its type means: `CORE`, `LINUX`, `EFFIGY`, …; without the final zero byte.
    pub owner: &'a BStr,
    /// Its type, `n_type`.
    pub kind: u32,
    /// Its contents.
    pub description: &'a [u8],
}

/// A `PT_NOTE`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    offset: u64,
    size: u64,
    align: usize,
}

impl Place {
    pub(super) fn new(header: &ProgramHeader) -> Self {
        // Notes of 64-bit files should be aligned to 8 bytes, and are only where the header says so.
        let align = if header.align == 8 { 8 } else { NOTE_ALIGN };
        Self { offset: header.offset, size: header.file_size, align: usize::try_from(align).unwrap_or(4) }
    }

    /// Its bytes, as many as the file has, and whether those are all.
    fn bytes<'a>(&self, file: &'a [u8]) -> (&'a [u8], bool) {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX).min(file.len());
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let rest = &file[start..];
        (&rest[..size.min(rest.len())], size <= rest.len())
    }
}

/// Iterator over the notes of a core. After the first error there is nothing more: where the next note begins is not
/// known.
#[derive(Clone, Debug)]
pub struct Notes<'a, 'p> {
    file: &'a [u8],
    places: std::slice::Iter<'p, Place>,
    rest: &'a [u8],
    align: usize,
    /// Whether the file has all of the segment at hand.
    whole: bool,
}

impl<'a, 'p> Notes<'a, 'p> {
    pub(super) fn new(file: &'a [u8], places: &'p [Place]) -> Self {
        Self { file, places: places.iter(), rest: &[], align: 4, whole: true }
    }

    fn stop(&mut self) {
        self.rest = &[];
        self.whole = true;
        self.places = [].iter();
    }

    /// The note at the beginning of `rest`.
    fn take(&mut self) -> Option<Note<'a>> {
        let (header, _) = NoteHeader::read_from_prefix(self.rest).ok()?;
        let name_end = size_of::<NoteHeader>().checked_add(usize::try_from(header.name_size.get()).ok()?)?;
        let owner = self.rest.get(size_of::<NoteHeader>()..name_end)?;
        let start = name_end.checked_next_multiple_of(self.align)?;
        let end = start.checked_add(usize::try_from(header.description_size.get()).ok()?)?;
        let description = self.rest.get(start..end)?;
        // The last note's padding may be missing.
        let next = end.checked_next_multiple_of(self.align)?.min(self.rest.len());
        self.rest = &self.rest[next..];
        Some(Note { owner: owner.trim_end_with(|end| end == '\0').as_bstr(), kind: header.kind.get(), description })
    }
}

impl<'a> Iterator for Notes<'a, '_> {
    type Item = Result<Note<'a>, CoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.is_empty() {
            if !self.whole {
                self.stop();
                return Some(Err(CoreError::Truncated { what: "notes" }));
            }
            let place = self.places.next()?;
            (self.rest, self.whole) = place.bytes(self.file);
            self.align = place.align;
        }
        Some(self.take().ok_or_else(|| {
            let whole = self.whole;
            self.stop();
            if whole {
                CoreError::Damaged { what: "a note is longer than its segment" }
            } else {
                CoreError::Truncated { what: "notes" }
            }
        }))
    }
}
