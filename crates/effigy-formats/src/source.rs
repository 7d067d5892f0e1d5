//! Bytes that are read by offset: a file, a slice, or what a compressed container holds.
//!
//! Files are read with `pread`, not mapped: one that shrinks while it is read would end effigy with SIGBUS, and what is
//! inside a container has no mapping.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::container::SeekableReader;

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
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
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
}

/// Bytes of one window of [`Buffered`].
const WINDOW: usize = 64 << 10;
/// Windows that are kept: a table, the strings that it leads to, and what these lead to are read in turn.
const WINDOWS: usize = 4;

/// A source whose small reads are answered from a few windows. Tables of dumps are read field by field, and each read of
/// a file is a system call.
#[derive(Debug)]
pub(crate) struct Buffered {
    inner: SharedSource,
    /// The one used last comes first.
    windows: Mutex<Vec<(u64, Vec<u8>)>>,
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

impl Source for Buffered {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.len() > WINDOW / 4 {
            return self.inner.read_at(offset, buffer);
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |(start, bytes): &(u64, Vec<u8>)| {
            offset.checked_sub(*start).is_some_and(|skip| skip + buffer.len() as u64 <= bytes.len() as u64)
        };
        let place = windows.iter().position(holds);
        let window = match place {
            Some(place) => windows.remove(place),
            None => {
                windows.truncate(WINDOWS - 1);
                let mut bytes = vec![0; WINDOW];
                let count = self.inner.read_at(offset, &mut bytes)?;
                bytes.truncate(count);
                (offset, bytes)
            }
        };
        let skip = usize::try_from(offset - window.0).unwrap_or(usize::MAX);
        let from = window.1.get(skip..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        windows.insert(0, window);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
