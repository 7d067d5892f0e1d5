//! The text of a symbol file, read by offset: such files have hundreds of megabytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Longest line that is looked at, in bytes. Names of C++ are long; what is longer than this is none.
pub(super) const LONGEST_LINE: usize = 1 << 18;

/// Bytes that are read at once: a few at first, as often one function is all that is wanted, then more.
const FIRST_CHUNK: usize = 8 << 10;
const LARGEST_CHUNK: usize = 1 << 18;

/// A file, or bytes.
#[derive(Debug)]
pub(super) enum Source {
    File(File, u64),
    Bytes(Arc<[u8]>),
}

impl Source {
    pub(super) fn of_file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self::File(file, metadata.len()))
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// At most `size` bytes at `offset`: fewer at the end, or where nothing can be read.
    pub(super) fn bytes(&self, offset: u64, size: usize) -> Vec<u8> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; size.min(left)];
        let count = match self {
            Self::File(file, _) => read_file(file, offset, &mut buffer),
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let piece = bytes.get(start..).unwrap_or_default().get(..buffer.len()).unwrap_or_default();
                buffer[..piece.len()].copy_from_slice(piece);
                piece.len()
            }
        };
        buffer.truncate(count);
        buffer
    }

    /// Gives every line with its offset until told to stop. Lines end with `\n` or `\r\n`; those that are too long are
    /// left out.
    pub(super) fn each_line(&self, offset: u64, end: u64, line: &mut dyn FnMut(u64, &[u8]) -> bool) {
        let mut at = offset;
        let mut rest: Vec<u8> = Vec::new();
        let mut too_long = false;
        let mut size = FIRST_CHUNK;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(size);
            size = (size * 2).min(LARGEST_CHUNK);
            let chunk = self.bytes(at, wanted);
            if chunk.is_empty() {
                break;
            }
            let mut start = 0;
            for newline in memchr::memchr_iter(b'\n', &chunk) {
                let piece = &chunk[start..newline];
                let begin = (at + start as u64).saturating_sub(rest.len() as u64);
                let go_on = match (too_long, rest.is_empty()) {
                    (true, _) => true,
                    (false, true) => line(begin, trimmed(piece)),
                    (false, false) => {
                        rest.extend_from_slice(piece);
                        line(begin, trimmed(&rest))
                    }
                };
                if !go_on {
                    return;
                }
                rest.clear();
                too_long = false;
                start = newline + 1;
            }
            rest.extend_from_slice(&chunk[start..]);
            if rest.len() > LONGEST_LINE {
                rest.clear();
                too_long = true;
            }
            at += chunk.len() as u64;
        }
        if !rest.is_empty() && !too_long {
            line(at.saturating_sub(rest.len() as u64), trimmed(&rest));
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn read_file(file: &File, offset: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_their_offsets() {
        let long = "x".repeat(LONGEST_LINE * 2);
        let text = format!("first\r\n\n{long}\nlast");
        let source = Source::Bytes(Arc::from(text.as_bytes()));
        let mut lines = Vec::new();
        source.each_line(0, source.size(), &mut |at, line| {
            lines.push((at, String::from_utf8(line.to_vec()).unwrap()));
            true
        });
        let end = text.len() as u64 - 4;
        assert_eq!(lines, [(0, "first".to_owned()), (7, String::new()), (end, "last".to_owned())]);
    }
}
