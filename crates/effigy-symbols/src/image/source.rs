//! The bytes of an image: a file read with `pread`, bytes that are there already, or a process's memory into which the image
//! was loaded. Either may be one slice of a larger file.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use effigy_process::{Address, Memory};
use object::read::ReadCacheOps;

/// Bytes that are read by offset.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    kind: Kind,
    /// Where in the file or the bytes they begin and end.
    range: Range<u64>,
}

#[derive(Clone, Debug)]
enum Kind {
    File(Arc<File>),
    Bytes(Arc<[u8]>),
    Loaded(Loaded),
}

/// Memory with an image in it that begins at an address.
#[derive(Clone)]
struct Loaded {
    memory: Arc<dyn Memory + Send + Sync>,
    start: Address,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory at {}", self.start)
    }
}

impl Source {
    /// A regular file as long as it is now.
    pub(crate) fn of_file(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { kind: Kind::File(Arc::new(file)), range: 0..size })
    }

    pub(crate) fn of_bytes(bytes: Arc<[u8]>) -> Self {
        let size = bytes.len() as u64;
        Self { kind: Kind::Bytes(bytes), range: 0..size }
    }

    /// An image as it lies in memory from an address on: offsets are not those of its file.
    pub(crate) fn of_memory(memory: Arc<dyn Memory + Send + Sync>, start: Address, size: u64) -> Self {
        Self { kind: Kind::Loaded(Loaded { memory, start }), range: 0..size }
    }

    /// Whether offsets are distances in memory.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded_at().is_some()
    }

    /// Where in memory it begins, where it is in memory.
    pub(crate) fn loaded_at(&self) -> Option<Address> {
        match &self.kind {
            Kind::Loaded(loaded) => loaded.start.checked_add(self.range.start),
            Kind::File(_) | Kind::Bytes(_) => None,
        }
    }

    /// Part of it: `size` bytes at `offset`; `None` where that is not inside.
    pub(crate) fn slice(&self, offset: u64, size: u64) -> Option<Self> {
        let start = self.range.start.checked_add(offset)?;
        let end = start.checked_add(size).filter(|end| *end <= self.range.end)?;
        Some(Self { kind: self.kind.clone(), range: start..end })
    }

    /// Length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Fills the beginning of `buffer` with what lies at `offset` and says how many bytes that were: fewer than asked
    /// for only at the end.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let start = self.range.start.saturating_add(offset);
        match &self.kind {
            Kind::Bytes(_) => {
                let bytes = self.borrowed(offset, length as u64).unwrap_or_default();
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Kind::File(file) => read_file(file, start, &mut buffer[..length]),
            Kind::Loaded(loaded) => Ok(loaded.read(start, &mut buffer[..length])),
        }
    }

    /// Fills the whole of `buffer`; `None` where there are not as many bytes, or they cannot be read.
    pub(crate) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        self.read_at(offset, buffer).ok().filter(|count| *count == buffer.len()).map(|_| ())
    }

    /// `size` bytes at `offset`. Nothing is allocated for what is not in the file.
    pub(crate) fn bytes(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        if offset.checked_add(size)? > self.size() {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.read_exact_at(offset, &mut bytes)?;
        Some(bytes)
    }

    /// The same without a copy, where they are in memory.
    pub(crate) fn borrowed(&self, offset: u64, size: u64) -> Option<&[u8]> {
        let Kind::Bytes(bytes) = &self.kind else { return None };
        let start = self.range.start.checked_add(offset)?;
        let end = start.checked_add(size).filter(|end| *end <= self.range.end)?;
        bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }
}

impl Loaded {
    /// As much as is there without a gap.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(at) = self.start.checked_add(offset.saturating_add(done as u64)).filter(|_| done < buffer.len())
        {
            match self.memory.read(at, &mut buffer[done..]) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        done
    }
}

fn read_file(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// What reads headers through the `object` crate, which goes to a place and reads on from there.
#[derive(Debug)]
pub(crate) struct Headers<'a> {
    source: &'a Source,
    at: u64,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self { source, at: 0 }
    }
}

impl ReadCacheOps for Headers<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.source.size())
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.at = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let count = self.source.read_at(self.at, buffer).map_err(|_| ())?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.source.read_exact_at(self.at, buffer).ok_or(())?;
        self.at = self.at.saturating_add(buffer.len() as u64);
        Ok(())
    }
}
