//! The file's bytes. Every look at them is checked here, and nothing is read that is not asked for.

use std::fmt;
use std::sync::Arc;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ReadError;
use crate::minidump::layout::Location;
use crate::source::{Buffered, SharedSource, Source, largest_part};

/// Most bytes that are read of one list or text. A file of 100 GB may say that it has a list of 4 GiB; this is ten times
/// what the largest that were ever seen take.
const LARGEST_PART: u64 = 256 << 20;

/// Most bytes of a string. Windows knows no path that is longer.
const LONGEST_STRING: u64 = 64 << 10;

/// A block of the file: all of it, a stream, or a part of that. It lies inside the file; its bytes are read when they
/// are asked for.
#[derive(Clone)]
pub(super) struct Block {
    source: Arc<Buffered>,
    /// What it is, for messages.
    name: &'static str,
    /// Where it begins in the file.
    offset: u64,
    size: u64,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({:#x}, {} bytes)", self.offset, self.size)
    }
}

/// What the head of a list says: its own length, that of an entry, and the number of entries.
pub(super) type ListHead = (u32, u32, u64);

/// A list, and where its entries begin in the file.
pub(super) struct List<T> {
    pub(super) entries: Vec<T>,
    offset: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), offset: 0 }
    }
}

impl<T> List<T> {
    /// The error of what a field of an entry leads to. `at` is where the field begins in the entry.
    pub(super) fn led(
        &self,
        error: ReadError,
        list: &'static str,
        index: usize,
        member: (&'static str, usize),
    ) -> ReadError {
        let (member, at) = member;
        let offset = self.offset.saturating_add((index * size_of::<T>() + at) as u64);
        error.led_by(list, Some(index as u64), member, offset)
    }
}

/// What may be copied out of a file for one list, so that thousands of entries that all lead to the same long text cost
/// no more than a few times the file's length.
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn spend(&mut self, what: &'static str, offset: u64, size: u64) -> Result<(), ReadError> {
        self.0 = self.0.checked_sub(size).ok_or(ReadError::TooLarge { what, offset, size })?;
        Ok(())
    }
}

impl Block {
    /// The whole file.
    pub(super) fn file(source: SharedSource) -> Self {
        let size = source.size();
        Self { source: Arc::new(Buffered::new(source)), name: "the file", offset: 0, size }
    }

    /// Where its bytes come from, by offset in the file.
    pub(super) fn source(&self) -> &SharedSource {
        self.source.inner()
    }

    /// What may be copied out of the file for one list.
    pub(super) fn budget(&self) -> Budget {
        let most = self.source.size().saturating_mul(2).saturating_add(1 << 20).min(LARGEST_PART * 4);
        Budget(largest_part(&*self.source, most))
    }

    /// Most bytes of it that are read at a time.
    fn largest_part(&self) -> u64 {
        largest_part(&*self.source, LARGEST_PART)
    }

    /// Its bytes.
    pub(super) fn bytes(&self, what: &'static str) -> Result<Vec<u8>, ReadError> {
        let (offset, size) = (self.offset, self.size);
        let length = usize::try_from(size).ok().filter(|_| size <= self.largest_part());
        let mut bytes = vec![0; length.ok_or(ReadError::TooLarge { what, offset, size })?];
        self.fill(0, &mut bytes, what)?;
        Ok(bytes)
    }

    /// Where it begins in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.size
    }

    /// The `size` bytes from `start` on, counted from the block's beginning.
    pub(super) fn part(&self, start: u64, size: u64, what: &'static str) -> Result<Self, ReadError> {
        let fits = start.checked_add(size).is_some_and(|end| end <= self.size);
        let offset = self.offset.saturating_add(start);
        if !fits {
            let end = self.offset.saturating_add(self.size);
            return Err(ReadError::OutOfBounds { what, holder: self.name, offset, size, end });
        }
        Ok(Self { source: Arc::clone(&self.source), name: what, offset, size })
    }

    /// The block that a location descriptor describes, when this is the whole file; `None` for an empty one.
    pub(super) fn at(&self, location: Location, what: &'static str) -> Result<Option<Self>, ReadError> {
        match location.size.get() {
            0 => Ok(None),
            size => self.part(location.rva.get().into(), size.into(), what).map(Some),
        }
    }

    /// The structure at `start`.
    pub(super) fn record<T>(&self, start: u64, what: &'static str) -> Result<T, ReadError>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let part = self.part(start, size_of::<T>() as u64, what)?;
        let mut record = T::new_zeroed();
        part.fill(0, record.as_mut_bytes(), what)?;
        Ok(record)
    }

    /// The structure at the block's beginning, of which an older writer may have written less: the rest is zeros.
    pub(super) fn prefix<T>(&self, what: &'static str) -> Result<T, ReadError>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let mut record = T::new_zeroed();
        let bytes = record.as_mut_bytes();
        let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
        self.fill(0, &mut bytes[..length], what)?;
        Ok(record)
    }

    /// The `count` structures from `start` on.
    pub(super) fn records<T>(&self, start: u64, count: u64, what: &'static str) -> Result<Vec<T>, ReadError>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let entry_size = size_of::<T>() as u64;
        let too_many = || ReadError::Count { what, offset: self.offset, count, entry_size, size: self.len() };
        let size = count.checked_mul(entry_size).ok_or_else(too_many)?;
        let part = self.part(start, size, what).map_err(|_| too_many())?;
        if size > self.largest_part() {
            return Err(ReadError::TooLarge { what, offset: part.offset, size });
        }
        let mut records = T::new_vec_zeroed(usize::try_from(count).map_err(|_| too_many())?)
            .map_err(|_| ReadError::TooLarge { what, offset: part.offset, size })?;
        part.fill(0, records.as_mut_bytes(), what)?;
        Ok(records)
    }

    /// A list that is a 32-bit count and then its entries. Some of Breakpad's writers put four bytes between the two.
    pub(super) fn counted<T>(&self, what: &'static str) -> Result<Vec<T>, ReadError>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        self.list(what).map(|list| list.entries)
    }

    /// The same, with the place of its entries.
    pub(super) fn list<T>(&self, what: &'static str) -> Result<List<T>, ReadError>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let count = u64::from(self.record::<U32>(0, what)?.get());
        let padded = count.checked_mul(size_of::<T>() as u64).and_then(|size| size.checked_add(8)) == Some(self.len());
        let start = if padded { 8 } else { 4 };
        Ok(List { entries: self.records(start, count, what)?, offset: self.offset.saturating_add(start) })
    }

    /// A list whose head says how long head and entries are, and which both may have grown since: at the end of each
    /// entry may stand more, or less, than we know. `head` are lengths of head and entry, and the number of entries.
    pub(super) fn sized<T>(&self, head: ListHead, least: usize, what: &'static str) -> Result<Vec<T>, ReadError>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let (_, entry_size, count) = head;
        let (entries, entry_size) = (self.entries(head, least, what)?, u64::from(entry_size));
        (0..count).map(|index| entries.part(index * entry_size, entry_size, what)?.prefix(what)).collect()
    }

    /// Where the entries of such a list lie.
    pub(super) fn entries(&self, head: ListHead, least: usize, what: &'static str) -> Result<Self, ReadError> {
        let (head_size, entry_size, count) = head;
        if u64::from(head_size) > self.size {
            return Err(ReadError::HeadSize { what, offset: self.offset, size: head_size, room: self.size });
        }
        if (entry_size as usize) < least {
            return Err(ReadError::EntrySize { what, offset: self.offset, size: entry_size, least });
        }
        let entry_size = u64::from(entry_size);
        let size = count.saturating_mul(entry_size);
        let too_many = || ReadError::Count { what, offset: self.offset, count, entry_size, size: self.len() };
        let entries = self.part(head_size.into(), size, what).map_err(|_| too_many())?;
        if size > self.largest_part() {
            return Err(ReadError::TooLarge { what, offset: entries.offset, size });
        }
        Ok(entries)
    }

    /// Where a field stands that begins at `at` in an entry of such a list.
    pub(super) fn field_of(&self, head: ListHead, index: usize, at: usize) -> u64 {
        let (head_size, entry_size, _) = head;
        let start = self.offset.saturating_add(head_size.into());
        start.saturating_add((index as u64).saturating_mul(entry_size.into())).saturating_add(at as u64)
    }

    /// The `MINIDUMP_STRING` at `start`.
    pub(super) fn string(&self, start: u64, what: &'static str, budget: &mut Budget) -> Result<String, ReadError> {
        let size = u64::from(self.record::<U32>(start, what)?.get());
        let offset = start.saturating_add(4);
        let text = self.part(offset, size & !1, what)?;
        if size > LONGEST_STRING {
            return Err(ReadError::TooLarge { what, offset, size });
        }
        budget.spend(what, offset, size)?;
        Ok(utf16(&text.records::<U16>(0, size / 2, what)?))
    }

    fn fill(&self, start: u64, buffer: &mut [u8], what: &'static str) -> Result<(), ReadError> {
        let offset = self.offset.saturating_add(start);
        self.source.read_exact_at(offset, buffer).map_err(|error| ReadError::Input {
            what,
            offset,
            kind: error.kind(),
            detail: error.to_string(),
        })
    }
}

/// Text in UTF-16, up to its terminator, where it has one. What is not valid in it is replaced.
pub(super) fn utf16(units: &[U16]) -> String {
    let units = units.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
