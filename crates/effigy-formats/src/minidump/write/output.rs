//! Where a prologue goes: to the file, or nowhere, to learn how long it is.

use std::io::{self, BufWriter, Write};

use zerocopy::{Immutable, IntoBytes};

/// Counts what is written to it and, unless it is only measuring, passes it on.
///
/// A prologue is written twice by the same code, first to be measured, so that its length and its content cannot
/// disagree and no part of it need be kept in memory.
pub(in crate::minidump) struct Output<'a> {
    sink: Option<BufWriter<&'a mut dyn Write>>,
    position: u64,
}

impl<'a> Output<'a> {
    /// An output that only counts.
    pub(in crate::minidump) fn measuring() -> Self {
        Self { sink: None, position: 0 }
    }

    /// An output that writes.
    pub(in crate::minidump) fn writing(sink: &'a mut dyn Write) -> Self {
        Self { sink: Some(BufWriter::with_capacity(1 << 16, sink)), position: 0 }
    }

    /// Whether it only counts.
    pub(in crate::minidump) fn is_measuring(&self) -> bool {
        self.sink.is_none()
    }

    /// Bytes written so far: the offset in the file of what is written next.
    pub(in crate::minidump) fn position(&self) -> u64 {
        self.position
    }

    /// Writes a structure.
    pub(in crate::minidump) fn record(&mut self, record: &(impl IntoBytes + Immutable)) -> io::Result<()> {
        self.write_all(record.as_bytes())
    }

    /// Writes a structure that is laborious to make, and makes it only when it is really written.
    pub(in crate::minidump) fn record_with<T: IntoBytes + Immutable>(
        &mut self,
        make: impl FnOnce() -> T,
    ) -> io::Result<()> {
        if self.sink.is_none() {
            self.position += size_of::<T>() as u64;
            return Ok(());
        }
        self.record(&make())
    }

    /// Writes `size` bytes that are laborious to make, likewise.
    pub(in crate::minidump) fn bytes_with(&mut self, size: usize, make: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        if self.sink.is_none() {
            self.position += size as u64;
            return Ok(());
        }
        let bytes = make();
        debug_assert_eq!(bytes.len(), size, "the measured length is the written length");
        self.write_all(&bytes)
    }

    /// Passes over `count` bytes, which become `filler`.
    pub(in crate::minidump) fn fill(&mut self, count: u64, filler: u8) -> io::Result<()> {
        if let Some(sink) = &mut self.sink {
            io::copy(&mut io::Read::take(io::repeat(filler), count), sink)?;
        }
        self.position += count;
        Ok(())
    }

    /// Passes over zeros up to a multiple of `alignment`.
    pub(in crate::minidump) fn align(&mut self, alignment: u64) -> io::Result<()> {
        self.fill(self.position.next_multiple_of(alignment) - self.position, 0)
    }

    /// Writes a `MINIDUMP_STRING`: its length in bytes, UTF-16 text, a terminator that the length does not count, and
    /// padding to four bytes. It takes [`string_size`] bytes.
    pub(in crate::minidump) fn string(&mut self, text: &str) -> io::Result<()> {
        let bytes = 2 * text.encode_utf16().count();
        self.record(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes())?;
        self.utf16(text)?;
        self.write_all(&[0; 2])?;
        self.align(4)
    }

    /// Writes text as UTF-16.
    pub(in crate::minidump) fn utf16(&mut self, text: &str) -> io::Result<()> {
        text.encode_utf16().try_for_each(|unit| self.write_all(&unit.to_le_bytes()))
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(sink) = &mut self.sink {
            sink.write_all(bytes)?;
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Bytes that [`Output::string`] writes for `text`, when it begins at a multiple of four.
pub(in crate::minidump) fn string_size(text: &str) -> u64 {
    let bytes = 4 + 2 * text.encode_utf16().count() + 2;
    (bytes as u64).next_multiple_of(4)
}

/// An offset into the prologue, or a length in it, in the 32 bits that a minidump has for it.
///
/// Nothing is lost: a prologue that reaches beyond 4 GiB is refused once it is measured, before it is written.
pub(in crate::minidump) fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The length of a structure, as a field of another gives it.
pub(in crate::minidump) fn size_of_u32<T>() -> u32 {
    narrow(size_of::<T>() as u64)
}
