//! Writing past the page cache.
//!
//! What goes through the page cache is copied once more, and its way from there to the disk belongs to the kernel: it takes
//! processors from the target when it likes, drives other files' pages out, and on a full cache the writer waits in the
//! end all the same. Long pieces of memory therefore go to the disk from the buffer that they were copied into (`O_DIRECT`
//! of open(2)). docs/decisions/0009 has what was measured.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Offsets, lengths and buffers have to be multiples of a disk's blocks (open(2), "`O_DIRECT`"), which are no longer than
/// this.
pub const ALIGNMENT: usize = 4096;
/// Shorter pieces are faster by way of the page cache: each that goes past it waits for the disk by itself.
const LEAST: usize = 64 << 10;

/// Writes to a file, long pieces past the page cache where the file system has that.
#[derive(Debug)]
pub(crate) struct DirectWriter {
    /// The same file, opened another time.
    direct: Option<File>,
}

impl DirectWriter {
    /// Opens the file once more. Where that cannot be, everything goes through the page cache.
    pub(crate) fn of(file: &File) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        Self { direct: rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from) }
    }

    /// Writes all of `bytes` to `file`, the one that this was opened for.
    ///
    /// # Errors
    /// As `pwrite(2)`.
    pub(crate) fn write_all_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if is_fit(bytes, offset) => match direct.write_all_at(bytes, offset) {
                // The file system wants it otherwise than others do, or cannot do it after all.
                Err(error) if is_refused(&error) => {
                    self.direct = None;
                    file.write_all_at(bytes, offset)
                }
                result => result,
            },
            _ => file.write_all_at(bytes, offset),
        }
    }
}

fn is_fit(bytes: &[u8], offset: u64) -> bool {
    bytes.len() >= LEAST
        && bytes.len().is_multiple_of(ALIGNMENT)
        && offset.is_multiple_of(ALIGNMENT as u64)
        && bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
}

fn is_refused(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS))
}

/// Bytes to be filled and written, whose first one lies where `O_DIRECT` wants it.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    /// Where they begin. The memory never moves, as it never grows.
    start: usize,
    room: usize,
}

impl AlignedBuffer {
    /// An empty one with room for so many bytes.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(room + ALIGNMENT);
        let begin = bytes.as_ptr().addr();
        let start = begin.next_multiple_of(ALIGNMENT) - begin;
        bytes.resize(start, 0);
        Self { bytes, start, room }
    }

    /// What it holds.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether so many bytes more have room.
    #[must_use]
    pub fn fits(&self, more: usize) -> bool {
        more <= self.room - self.filled().len()
    }

    /// Adds bytes. Those that have no room (see [`fits`](Self::fits)) cost the alignment of all.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_written_either_way_is_in_the_file() {
        let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let file = File::create(folder.path().join("file")).unwrap();
        let mut writer = DirectWriter::of(&file);
        let mut buffer = AlignedBuffer::with_room(3 * LEAST);
        buffer.extend(&vec![1; LEAST]);
        buffer.extend(&vec![2; 2 * LEAST]);
        assert!(!buffer.fits(1));
        assert!(is_fit(buffer.filled(), 0));
        writer.write_all_at(&file, buffer.filled(), 0).unwrap();
        // Over what the page cache knows nothing of, and over what it does.
        writer.write_all_at(&file, &[3; 100], LEAST as u64 - 50).unwrap();
        writer.write_all_at(&file, &buffer.filled()[..LEAST], 3 * LEAST as u64).unwrap();
        let mut found = Vec::new();
        File::open(folder.path().join("file")).unwrap().read_to_end(&mut found).unwrap();
        let expected = [vec![1; LEAST - 50], vec![3; 100], vec![2; 2 * LEAST - 50], vec![1; LEAST]].concat();
        assert!(found == expected);
    }

    #[test]
    fn what_does_not_fit_goes_through_the_page_cache() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = DirectWriter::of(&file);
        let bytes = vec![7; 2 * LEAST];
        for (from, offset) in [(1, 0), (0, 1), (3, 4096)] {
            writer.write_all_at(&file, &bytes[from..], offset).unwrap();
        }
        assert_eq!(file.metadata().unwrap().len(), 2 * LEAST as u64 + 4093);
    }

    #[test]
    fn a_refusal_is_final() {
        let file = tempfile::tempfile().unwrap();
        // A pipe's end refuses positions with another error; a file opened for reading only with yet another.
        let mut writer = DirectWriter { direct: Some(File::open("/proc/self/exe").unwrap()) };
        let mut buffer = AlignedBuffer::with_room(LEAST);
        buffer.extend(&vec![1; LEAST]);
        assert!(writer.write_all_at(&file, buffer.filled(), 0).is_err(), "not one that another way would help");
        for errno in [Errno::INVAL, Errno::NOTSUP] {
            assert!(is_refused(&errno.into()));
        }
        assert!(!is_refused(&Errno::NOSPC.into()));
    }

    #[test]
    fn a_buffer_stays_where_it_is() {
        let mut buffer = AlignedBuffer::with_room(LEAST);
        let begin = buffer.filled().as_ptr();
        for _ in 0..3 {
            assert!(buffer.fits(LEAST));
            buffer.extend(&vec![9; LEAST]);
            assert_eq!((buffer.filled().len(), buffer.filled().as_ptr()), (LEAST, begin));
            buffer.clear();
            assert!(buffer.filled().is_empty());
        }
    }
}
