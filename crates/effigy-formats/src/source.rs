//! Bytes that are read by offset: a file, a slice, or what a compressed container holds.
//!
//! Files are read with `pread`, not mapped: one that shrinks while it is read would end effigy with SIGBUS, and what is
//! inside a container has no mapping.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use effigy_process::NotRead;

use crate::container::SeekableReader;

/// Bytes of a source that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Their offsets.
    pub range: Range<u64>,
    /// Why not.
    pub reason: NotRead,
}

/// Bytes that are read by offset. Several threads may read at once.
pub trait Source: Send + Sync {
    /// Their number. A file may have shrunk or grown since it was opened; then reads say less, and what is behind this
    /// number is not read.
    fn size(&self) -> u64;

    /// Fills the beginning of `buffer` with the bytes at `offset` and says how many there were: fewer than asked for only
    /// at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The first of the `length` bytes at `offset` of which a read has shown that they cannot be read, with those behind
    /// them of which the same is true; `None` where nothing is known. What lies before them may be readable.
    fn unreadable(&self, offset: u64, length: u64) -> Option<Unreadable> {
        let _ = (offset, length);
        None
    }

    /// Length of what the bytes are stored in, which is less where that is compressed.
    fn stored_size(&self) -> u64 {
        self.size()
    }

    /// Fills the whole of `buffer`.
    ///
    /// # Errors
    /// When the bytes cannot be read, or there are not as many.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let count = self.read_at(offset, buffer)?;
        if count == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A source that is shared by all who read parts of it.
pub type SharedSource = Arc<dyn Source>;

impl fmt::Debug for dyn Source + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes)", self.size())
    }
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn unreadable(&self, offset: u64, length: u64) -> Option<Unreadable> {
        (**self).unreadable(offset, length)
    }

    fn stored_size(&self) -> u64 {
        (**self).stored_size()
    }
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn unreadable(&self, offset: u64, length: u64) -> Option<Unreadable> {
        (**self).unreadable(offset, length)
    }

    fn stored_size(&self) -> u64 {
        (**self).stored_size()
    }
}

/// A regular file and its length when it was opened.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    /// The bytes of a regular file.
    ///
    /// # Errors
    /// When its length cannot be found out.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let mut done = 0;
        while done < length {
            match self.file.read_at(&mut buffer[done..length], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl<S: Source> Source for SeekableReader<S> {
    fn size(&self) -> u64 {
        self.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        SeekableReader::read_at(self, offset, buffer).map_err(io::Error::other)
    }

    fn unreadable(&self, offset: u64, length: u64) -> Option<Unreadable> {
        SeekableReader::unreadable(self, offset, length)
    }

    fn stored_size(&self) -> u64 {
        SeekableReader::stored_size(self)
    }
}

/// How much of a list or a table of a compressed file is taken: so many bytes, and so many times the file's length. What is in
/// it may be thousands of times as long as the file, and each entry costs far more memory than it has bytes.
const LEAST_PART: u64 = 32 << 20;
const PART_TIMES: u64 = 2;

/// Most bytes of a list or a table of a file that are read, where of any file `most` are. Where it lies as it is, it may be as
/// long as that.
pub(crate) fn largest_part(source: &dyn Source, most: u64) -> u64 {
    most.min(LEAST_PART.saturating_add(source.stored_size().saturating_mul(PART_TIMES)))
}

/// Bytes of one window of [`Buffered`].
const WINDOW: usize = 64 << 10;
/// Windows that are kept: 16 MiB. Entries of a table may lead all over a file, and each look at it costs a system call.
const WINDOWS: usize = 256;

/// A source whose small reads are answered from windows. Tables of dumps are read field by field, and each read of
/// a file is a system call.
#[derive(Debug)]
pub(crate) struct Buffered {
    inner: SharedSource,
    /// By number.
    windows: Mutex<HashMap<u64, Vec<u8>>>,
}

impl Buffered {
    pub(crate) fn new(inner: SharedSource) -> Self {
        Self { inner, windows: Mutex::default() }
    }

    /// The source itself, for what is too large for windows.
    pub(crate) fn inner(&self) -> &SharedSource {
        &self.inner
    }
}

/// Reads the window of a number, if it is not held. Whether that is possible: something else in it may be damaged.
fn hold(windows: &mut HashMap<u64, Vec<u8>>, inner: &SharedSource, number: u64) -> bool {
    if windows.contains_key(&number) {
        return true;
    }
    let mut bytes = vec![0; WINDOW];
    let Ok(count) = inner.read_at(number * WINDOW as u64, &mut bytes) else { return false };
    bytes.truncate(count);
    if windows.len() >= WINDOWS {
        windows.clear();
    }
    windows.insert(number, bytes);
    true
}

impl Source for Buffered {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn unreadable(&self, offset: u64, length: u64) -> Option<Unreadable> {
        self.inner.unreadable(offset, length)
    }

    fn stored_size(&self) -> u64 {
        self.inner.stored_size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.len() > WINDOW / 4 {
            return self.inner.read_at(offset, buffer);
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            let (number, skip) = (at / WINDOW as u64, at % WINDOW as u64);
            if !hold(&mut windows, &self.inner, number) {
                drop(windows);
                return self.inner.read_at(offset, buffer);
            }
            let window = windows.get(&number).map_or(&[][..], Vec::as_slice);
            let from = usize::try_from(skip).ok().and_then(|skip| window.get(skip..)).unwrap_or_default();
            let count = from.len().min(buffer.len() - done);
            if count == 0 {
                break;
            }
            buffer[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_file_is_too_short_for_is_not_read_of_it() {
        let short = vec![0; 100];
        assert_eq!(largest_part(&short, 1 << 30), (32 << 20) + 200);
        assert_eq!(largest_part(&short, 1 << 20), 1 << 20);
    }

    proptest! {
        #[test]
        fn windows_give_what_is_there(
            size in 0usize..200_000,
            reads in proptest::collection::vec((0u64..210_000, 0usize..40_000), 1..20),
        ) {
            let bytes: Vec<u8> = (0..size).map(|index| index.to_le_bytes()[index % 2]).collect();
            let buffered = Buffered::new(Arc::new(bytes.clone()));
            for (offset, length) in reads {
                let mut buffer = vec![0; length];
                let count = buffered.read_at(offset, &mut buffer).unwrap();
                let from = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
                prop_assert_eq!(&buffer[..count], &from[..from.len().min(length)]);
            }
        }
    }

    #[test]
    fn a_file_that_shrank_ends_early() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        let source = FileSource::new(file.try_clone().unwrap()).unwrap();
        file.set_len(10).unwrap();
        assert_eq!(source.read_at(4, &mut [0; 20]).unwrap(), 6);
        assert_eq!(source.read_at(200, &mut [0; 20]).unwrap(), 0);
        assert_eq!(source.read_exact_at(4, &mut [0; 20]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
