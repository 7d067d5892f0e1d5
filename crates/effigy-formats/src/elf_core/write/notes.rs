//! The notes' framing: header, owner, description, padding.

use std::io::{self, Write};

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::super::layout::{NOTE_ALIGN, NoteHeader, OWNER_LINUX, note};

/// Writes notes, or only measures them.
pub(super) struct Notes<'a> {
    out: Option<&'a mut dyn Write>,
    length: u64,
    has_linux: bool,
}

impl<'a> Notes<'a> {
    /// Measures.
    pub(super) fn measuring() -> Self {
        Self { out: None, length: 0, has_linux: false }
    }

    /// Writes to `out`.
    pub(super) fn writing(out: &'a mut dyn Write) -> Self {
        Self { out: Some(out), length: 0, has_linux: false }
    }

    /// Bytes of all notes so far, padding included.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// A note whose description is at hand.
    pub(super) fn add(&mut self, owner: &str, kind: u32, description: &[u8]) -> io::Result<()> {
        self.begin(owner, kind, description.len() as u64)?;
        self.put(description)?;
        self.pad()
    }

    /// A note whose description is too long to be at hand: `describe` writes it, twice when its length must be known
    /// first, and the same both times.
    pub(super) fn stream(
        &mut self,
        owner: &str,
        kind: u32,
        describe: impl Fn(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut counter = Counter(0);
        describe(&mut counter)?;
        self.begin(owner, kind, counter.0)?;
        if let Some(out) = &mut self.out {
            describe(out)?;
        }
        self.length += counter.0;
        self.pad()
    }

    /// Adds a note that says nothing when no note so far is Linux's own.
    ///
    /// lldb 19 refuses a core as of an unsupported system unless some note's owner is `LINUX` or the name of a mapped
    /// file looks like Debian's. The kernel's cores escape because their threads carry vector registers; a core of
    /// threads with general registers only, or of an architecture where those are all, would not.
    pub(super) fn ensure_linux(&mut self) -> io::Result<()> {
        if self.has_linux { Ok(()) } else { self.add(OWNER_LINUX, note::NOTHING, &[]) }
    }

    fn begin(&mut self, owner: &str, kind: u32, description_size: u64) -> io::Result<()> {
        self.has_linux |= owner == OWNER_LINUX;
        let header = NoteHeader {
            name_size: length_field(owner.len() as u64 + 1)?,
            description_size: length_field(description_size)?,
            kind: U32::new(kind),
        };
        self.put(header.as_bytes())?;
        self.put(owner.as_bytes())?;
        self.put(&[0])?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.out.as_mut().map_or(Ok(()), |out| out.write_all(bytes))
    }

    /// Notes begin in the file at a multiple of [`NOTE_ALIGN`], so the length so far tells how much to pad.
    fn pad(&mut self) -> io::Result<()> {
        while !self.length.is_multiple_of(NOTE_ALIGN) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

fn length_field(length: u64) -> io::Result<U32> {
    u32::try_from(length)
        .map(U32::new)
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a note of an ELF core holds at most 4 GiB"))
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_note_is_a_note() {
        let (mut added, mut streamed) = (Vec::new(), Vec::new());
        Notes::writing(&mut added).add("OWNER", 7, b"hello").unwrap();
        Notes::writing(&mut streamed).stream("OWNER", 7, |out| out.write_all(b"hello")).unwrap();
        assert_eq!(added, streamed);
        assert_eq!(added, b"\x06\0\0\0\x05\0\0\0\x07\0\0\0OWNER\0\0\0hello\0\0\0");
    }

    #[test]
    fn measuring_counts_what_writing_writes() {
        let mut bytes = Vec::new();
        let mut writing = Notes::writing(&mut bytes);
        let mut measuring = Notes::measuring();
        for notes in [&mut writing, &mut measuring] {
            notes.add("CORE", 1, &[1; 13]).unwrap();
            notes.stream("CORE", 2, |out| out.write_all(&[2; 9])).unwrap();
            notes.ensure_linux().unwrap();
            notes.ensure_linux().unwrap();
        }
        assert_eq!(writing.length(), measuring.length());
        assert_eq!(measuring.length(), bytes.len() as u64);
    }
}
