//! What a dump's bytes are written to: a file with holes for zeros, or a stream.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Zeros are left as holes in blocks of this size.
const BLOCK: usize = 4096;

/// Where a dump's bytes go.
pub trait Output: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// As `write(2)`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Appends zeros.
    ///
    /// # Errors
    /// As `write(2)`.
    fn append_zeros(&mut self, count: u64) -> io::Result<()>;

    /// Whether what was written can be written again.
    fn can_rewrite(&self) -> bool;

    /// Writes the file's beginning again.
    ///
    /// # Errors
    /// As `pwrite(2)`; an output that cannot does so with [`io::ErrorKind::Unsupported`].
    fn rewrite_start(&mut self, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()>;

    /// Ends the output.
    ///
    /// # Errors
    /// As `write(2)`.
    fn finish(&mut self) -> io::Result<()>;
}

/// Writes a file and leaves holes for zeros.
#[derive(Debug)]
pub struct FileWriter {
    file: File,
    position: u64,
    pending_hole: bool,
}

impl FileWriter {
    /// A writer at the beginning of an open file.
    pub(crate) fn at_start_of(file: File) -> Self {
        Self { file, position: 0, pending_hole: false }
    }

    /// The file, for those who write to places of their own choice.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Cuts or extends the file to `end` bytes and goes on behind them.
    pub(crate) fn set_end(&mut self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.position = end;
        self.pending_hole = true;
        Ok(())
    }

    fn write_at_position(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.pending_hole {
            self.file.seek(SeekFrom::Start(self.position))?;
            self.pending_hole = false;
        }
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, count: u64) {
        self.position += count;
        self.pending_hole = true;
    }
}

impl Output for FileWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Blocks of zeros in the middle become holes; runs of others are written in one call.
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + BLOCK).min(bytes.len());
            let block = &bytes[at..end];
            if block.len() == BLOCK && self.position.is_multiple_of(BLOCK as u64) && is_zero(block) {
                if start < at {
                    self.write_at_position(&bytes[start..at])?;
                }
                self.skip(BLOCK as u64);
                start = end;
            }
            at = end;
        }
        if start < bytes.len() { self.write_at_position(&bytes[start..]) } else { Ok(()) }
    }

    fn append_zeros(&mut self, count: u64) -> io::Result<()> {
        self.skip(count);
        Ok(())
    }

    fn can_rewrite(&self) -> bool {
        true
    }

    fn rewrite_start(&mut self, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut buffered = io::BufWriter::with_capacity(1 << 16, &self.file);
        write(&mut buffered)?;
        buffered.flush()?;
        self.pending_hole = true;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        // A hole at the end is not there until the length says so.
        if self.file.metadata()?.len() < self.position {
            self.file.set_len(self.position)?;
        }
        Ok(())
    }
}

/// Whether a block holds only zeros. Most that do not are found out by their first words.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Writes a stream that cannot be sought in: a pipe, or a compressor.
#[derive(Debug)]
pub struct StreamWriter<W> {
    inner: W,
    written: u64,
}

impl<W: Write + Send> StreamWriter<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, written: 0 }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write + Send> Output for StreamWriter<W> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn append_zeros(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), count), &mut self.inner)?;
        self.written += count;
        Ok(())
    }

    fn can_rewrite(&self) -> bool {
        false
    }

    fn rewrite_start(&mut self, _write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sink::PartialFile;

    #[test]
    fn zeros_become_holes_and_read_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let partial = PartialFile::create(&folder.path().join("a"), false).unwrap();
        let mut writer = partial.writer().unwrap();
        let mut bytes = vec![7u8; BLOCK];
        bytes.extend(vec![0u8; 64 * BLOCK]);
        bytes.extend(vec![8u8; BLOCK]);
        writer.append(&bytes).unwrap();
        writer.append_zeros(1 << 20).unwrap();
        writer.rewrite_start(&mut |out| out.write_all(&[9])).unwrap();
        writer.append(&[5]).unwrap();
        writer.append_zeros(10).unwrap();
        writer.finish().unwrap();
        bytes[0] = 9;
        bytes.resize(bytes.len() + (1 << 20), 0);
        bytes.push(5);
        bytes.resize(bytes.len() + 10, 0);
        let published = partial.publish().unwrap();
        assert!(fs::read(&published.path).unwrap() == bytes);
        assert!(published.disk_bytes < 20 * BLOCK as u64, "{published:?}");
    }
}
