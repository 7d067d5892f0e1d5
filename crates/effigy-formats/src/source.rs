//! Bytes that are read by offset: a file, a slice, or what a compressed container holds.
//!
//! Files are read with `pread`, not mapped: one that shrinks while it is read would end effigy with SIGBUS, and what is
//! inside a container has no mapping.

use std::collections::HashMap;
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

    /// Bytes that must be unpacked before the `length` bytes at `offset` can be read; 0 where they lie as they are.
    fn to_unpack(&self, offset: u64, length: u64) -> u64 {
        let _ = (offset, length);
        0
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

    fn to_unpack(&self, offset: u64, length: u64) -> u64 {
        (**self).to_unpack(offset, length)
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

    fn to_unpack(&self, offset: u64, length: u64) -> u64 {
        (**self).to_unpack(offset, length)
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

    fn to_unpack(&self, offset: u64, length: u64) -> u64 {
        SeekableReader::to_unpack(self, offset, length)
    }

    fn stored_size(&self) -> u64 {
        SeekableReader::stored_size(self)
    }
}

/// Bytes of one window of [`Buffered`].
const WINDOW: usize = 64 << 10;
/// Windows that are kept: 16 MiB. Entries of a table may lead all over a file, and each look at it costs a system call.
const WINDOWS: usize = 256;
/// Most bytes that are unpacked for the structure of a dump: a container of a few MB may have frames of many, and a table
/// of which each entry leads to another frame. Sound dumps take less than a frame for each module.
const MOST_UNPACKED: u64 = 4 << 30;

/// A source whose small reads are answered from windows. Tables of dumps are read field by field, and each read of
/// a file is a system call.
#[derive(Debug)]
pub(crate) struct Buffered {
    inner: SharedSource,
    windows: Mutex<Windows>,
}

#[derive(Debug)]
struct Windows {
    /// By number.
    held: HashMap<u64, Vec<u8>>,
    /// Bytes that may still be unpacked.
    allowance: u64,
}

impl Buffered {
    pub(crate) fn new(inner: SharedSource) -> Self {
        Self { inner, windows: Mutex::new(Windows { held: HashMap::new(), allowance: MOST_UNPACKED }) }
    }

    /// The source itself, for what is too large for windows.
    pub(crate) fn inner(&self) -> &SharedSource {
        &self.inner
    }
}

impl Windows {
    /// Accounts for a read.
    fn spend(&mut self, inner: &SharedSource, offset: u64, length: u64) -> io::Result<()> {
        let left = self.allowance.checked_sub(inner.to_unpack(offset, length));
        self.allowance = left.ok_or_else(|| {
            io::Error::other("the compressed file leads to and fro: too much would have to be unpacked again and again")
        })?;
        Ok(())
    }

    /// Reads the window of a number, if it is not held. Whether that is possible: something else in it may be damaged.
    fn hold(&mut self, inner: &SharedSource, number: u64) -> io::Result<bool> {
        if self.held.contains_key(&number) {
            return Ok(true);
        }
        let start = number * WINDOW as u64;
        self.spend(inner, start, WINDOW as u64)?;
        let mut bytes = vec![0; WINDOW];
        let Ok(count) = inner.read_at(start, &mut bytes) else { return Ok(false) };
        bytes.truncate(count);
        if self.held.len() >= WINDOWS {
            self.held.clear();
        }
        self.held.insert(number, bytes);
        Ok(true)
    }
}

impl Source for Buffered {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() > WINDOW / 4 {
            windows.spend(&self.inner, offset, buffer.len() as u64)?;
            drop(windows);
            return self.inner.read_at(offset, buffer);
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            let (number, skip) = (at / WINDOW as u64, at % WINDOW as u64);
            if !windows.hold(&self.inner, number)? {
                drop(windows);
                return self.inner.read_at(offset, buffer);
            }
            let window = windows.held.get(&number).map_or(&[][..], Vec::as_slice);
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

    /// Zeros, each MiB of which has to be unpacked with a GiB of others.
    struct Packed;

    impl Source for Packed {
        fn size(&self) -> u64 {
            1 << 30
        }

        fn read_at(&self, _offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(0);
            Ok(buffer.len())
        }

        fn to_unpack(&self, _offset: u64, _length: u64) -> u64 {
            1 << 30
        }
    }

    #[test]
    fn the_structure_of_a_dump_is_not_worth_any_unpacking() {
        let buffered = Buffered::new(Arc::new(Packed));
        for place in 0..4 {
            assert_eq!(buffered.read_at(place << 20, &mut [1; 8]).unwrap(), 8);
        }
        // What is held costs nothing.
        assert!(buffered.read_at(3 << 20, &mut [1; 8]).is_ok());
        assert!(buffered.read_at(4 << 20, &mut [1; 8]).unwrap_err().to_string().contains("unpacked again"));
        assert!(buffered.read_at(0, &mut vec![1; 1 << 20]).is_err());
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
