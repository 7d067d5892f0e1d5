//! The file's bytes. Every look at them is checked here, and nothing is copied that need not be.

use std::fmt::{self, Write as _};

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::ReadError;
use crate::minidump::layout::Location;

/// A block of the file: all of it, a stream, or a part of that.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    /// Where it begins in the file.
    offset: u64,
}

impl<'a> Block<'a> {
    /// The whole file.
    pub(super) fn file(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Its bytes.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Where it begins in the file.
    pub(super) fn offset(self) -> u64 {
        self.offset
    }

    /// Its length in bytes.
    pub(super) fn len(self) -> u64 {
        self.bytes.len() as u64
    }

    /// The `size` bytes from `start` on, counted from the block's beginning.
    pub(super) fn part(self, start: u64, size: u64, what: &'static str) -> Result<Self, ReadError> {
        let beyond = || ReadError::OutOfBounds {
            what,
            offset: self.offset.saturating_add(start),
            size,
            end: self.offset.saturating_add(self.len()),
        };
        let end = start.checked_add(size).ok_or_else(beyond)?;
        let (from, to) = usize::try_from(start).ok().zip(usize::try_from(end).ok()).ok_or_else(beyond)?;
        let bytes = self.bytes.get(from..to).ok_or_else(beyond)?;
        Ok(Self { bytes, offset: self.offset.saturating_add(start) })
    }

    /// The block that a location descriptor describes, when this is the whole file; `None` for an empty one.
    pub(super) fn at(self, location: Location, what: &'static str) -> Result<Option<Self>, ReadError> {
        match location.size.get() {
            0 => Ok(None),
            size => self.part(location.rva.get().into(), size.into(), what).map(Some),
        }
    }

    /// The structure at `start`.
    pub(super) fn record<T>(self, start: u64, what: &'static str) -> Result<&'a T, ReadError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let part = self.part(start, size_of::<T>() as u64, what)?;
        T::ref_from_bytes(part.bytes).map_err(|_| part.misfit(what))
    }

    /// The `count` structures from `start` on.
    pub(super) fn records<T>(self, start: u64, count: u64, what: &'static str) -> Result<&'a [T], ReadError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let entry_size = size_of::<T>() as u64;
        let too_many = || ReadError::Count { what, offset: self.offset, count, entry_size, size: self.len() };
        let size = count.checked_mul(entry_size).ok_or_else(too_many)?;
        let part = self.part(start, size, what).map_err(|_| too_many())?;
        <[T]>::ref_from_bytes(part.bytes).map_err(|_| part.misfit(what))
    }

    /// A list that is a 32-bit count and then its entries. Some of Breakpad's writers put four bytes between the two.
    pub(super) fn counted<T>(self, what: &'static str) -> Result<&'a [T], ReadError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let count = u64::from(self.record::<U32>(0, what)?.get());
        let padded = count.checked_mul(size_of::<T>() as u64).and_then(|size| size.checked_add(8)) == Some(self.len());
        self.records(if padded { 8 } else { 4 }, count, what)
    }

    /// The `MINIDUMP_STRING` at `start`.
    pub(super) fn string(self, start: u64, what: &'static str) -> Result<Text<'a>, ReadError> {
        let size = u64::from(self.record::<U32>(start, what)?.get());
        self.records(start.saturating_add(4), size / 2, what).map(Text::new)
    }

    /// The error for a structure that does not fit bytes of its own length, which cannot be.
    fn misfit(self, what: &'static str) -> ReadError {
        let end = self.offset.saturating_add(self.len());
        ReadError::OutOfBounds { what, offset: self.offset, size: self.len(), end }
    }
}

/// Text as it lies in a minidump, in UTF-16. What is not valid in it is replaced where it is shown.
///
/// It is not copied: a dump whose thousands of modules all have the same endless name costs no more than its file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a [U16]);

impl<'a> Text<'a> {
    /// Text up to its terminator, where it has one.
    pub(super) fn new(units: &'a [U16]) -> Self {
        Self(units.split(|unit| unit.get() == 0).next().unwrap_or(units))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.iter().map(|unit| unit.get());
        char::decode_utf16(units).try_for_each(|unit| f.write_char(unit.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}
