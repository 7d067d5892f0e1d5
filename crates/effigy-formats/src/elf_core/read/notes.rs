//! The notes, one after the other.

use std::sync::Arc;

use bstr::{BString, ByteSlice};

use super::super::layout::NOTE_ALIGN;
use super::cursor::Shape;
use super::headers::{ProgramHeader, part};
use super::{CoreError, LARGEST_NOTE};
use crate::source::{Buffered, Source, largest_part};

/// Bytes of a note's header.
const HEADER_SIZE: u64 = 12;
/// Longest owner that we take, in bytes.
const LONGEST_OWNER: u64 = 256;
/// What a note counts as at least, in bytes: it costs as much however short it is.
const LEAST_COST: u64 = 64;
/// How much of all notes together is looked at: so many bytes, and so many times the file's length. 10,000 threads have 34 MB,
/// and compress to a twentieth of that.
const LEAST_NOTES: u64 = 64 << 20;
const NOTES_TIMES: u64 = 8;

/// A note, and where its contents lie.
#[derive(Clone, Debug)]
pub struct Note {
    /// Who says what its type means: `CORE`, `LINUX`, `EFFIGY`, …; without the final zero byte.
    pub owner: BString,
    /// Its type, `n_type`.
    pub kind: u32,
    /// Where its contents begin, from the start of the file, in bytes.
    pub offset: u64,
    /// Length of its contents in bytes.
    pub size: u64,
    pub(super) file: Arc<Buffered>,
}

impl Note {
    /// Its contents.
    ///
    /// # Errors
    /// When the file cannot be read, or they are longer than any note's.
    pub fn description(&self) -> Result<Vec<u8>, CoreError> {
        if self.size > largest_part(&*self.file, LARGEST_NOTE) {
            return Err(CoreError::TooLarge { what: "note", offset: self.offset, size: self.size });
        }
        part(&*self.file, self.offset, self.size, "notes")
    }
}

/// A `PT_NOTE`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    offset: u64,
    size: u64,
    align: u64,
}

impl Place {
    pub(super) fn new(header: &ProgramHeader) -> Self {
        // Notes of 64-bit files should be aligned to 8 bytes, and are only where the header says so.
        let align = if header.align == 8 { 8 } else { NOTE_ALIGN };
        Self { offset: header.offset, size: header.file_size, align }
    }
}

/// Iterator over the notes of a core. After the first error there is nothing more: where the next note begins is not
/// known.
#[derive(Clone, Debug)]
pub struct Notes<'p> {
    file: &'p Arc<Buffered>,
    shape: Shape,
    places: std::slice::Iter<'p, Place>,
    /// What is left of the segment at hand, as far as the file has it.
    at: u64,
    end: u64,
    align: u64,
    /// The segment at hand, where the file ends before it does.
    cut: Option<Place>,
    /// How long the segments that follow may be, all together. Those that lie over each other would be read as often as
    /// there are headers for them, which may be a million.
    left: u64,
    /// What the notes that follow may cost, all together: those of a compressed file may be thousands of times as long as it is.
    allowance: u64,
}

impl<'p> Notes<'p> {
    pub(super) fn new(file: &'p Arc<Buffered>, shape: Shape, places: &'p [Place]) -> Self {
        let (left, allowance) =
            (file.size(), LEAST_NOTES.saturating_add(file.stored_size().saturating_mul(NOTES_TIMES)));
        Self { file, shape, places: places.iter(), at: 0, end: 0, align: 4, cut: None, left, allowance }
    }

    fn stop(&mut self) {
        (self.at, self.end, self.cut) = (0, 0, None);
        self.places = [].iter();
    }

    /// What is wrong where the file ends before the segment does.
    fn truncated(&self, place: Place) -> CoreError {
        CoreError::Truncated { what: "notes", offset: place.offset, size: place.size, end: self.file.size() }
    }

    /// The note at hand.
    fn take(&mut self) -> Result<Note, CoreError> {
        let (offset, end_of_segment) = (self.at, self.end);
        let left = self.end - self.at;
        let cut = self.cut.map(|place| self.truncated(place));
        let headless = || CoreError::NoteHeader { offset, end: end_of_segment };
        if left < HEADER_SIZE {
            return Err(cut.unwrap_or_else(headless));
        }
        let header = part(&**self.file, self.at, HEADER_SIZE, "notes")?;
        let mut fields = self.shape.cursor(&header);
        let (Some(name_size), Some(size), Some(kind)) = (fields.half(), fields.half(), fields.half()) else {
            return Err(headless());
        };
        // Lengths are counted from the segment's beginning, which is aligned in memory if not in the file.
        let name_end = HEADER_SIZE + u64::from(name_size);
        let start = name_end.next_multiple_of(self.align);
        let end = start + u64::from(size);
        if name_end > left || end > left {
            return Err(cut.unwrap_or(CoreError::NoteSize { offset, name_size, size, end: end_of_segment }));
        }
        self.allowance = self.allowance.checked_sub(end.max(LEAST_COST)).ok_or(CoreError::TooLarge {
            what: "note after so many others",
            offset: self.at,
            size: size.into(),
        })?;
        let owner = part(&**self.file, self.at + HEADER_SIZE, u64::from(name_size).min(LONGEST_OWNER), "notes")?;
        let note = Note {
            owner: owner.trim_end_with(|end| end == '\0').into(),
            kind,
            offset: self.at + start,
            size: size.into(),
            file: Arc::clone(self.file),
        };
        // The last note's padding may be missing.
        self.at += end.next_multiple_of(self.align).min(left);
        Ok(note)
    }
}

impl Iterator for Notes<'_> {
    type Item = Result<Note, CoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at >= self.end {
            if let Some(place) = self.cut {
                self.stop();
                return Some(Err(self.truncated(place)));
            }
            let place = self.places.next()?;
            let file = self.file.size();
            let promised = place.offset.saturating_add(place.size);
            (self.at, self.end) = (place.offset.min(file), promised.min(file));
            (self.align, self.cut) = (place.align, Some(*place).filter(|_| promised > file));
            match self.left.checked_sub(self.end - self.at) {
                Some(left) => self.left = left,
                None => {
                    self.stop();
                    return Some(Err(CoreError::Overlap { offset: place.offset }));
                }
            }
        }
        let outcome = self.take();
        if outcome.is_err() {
            self.stop();
        }
        Some(outcome)
    }
}
