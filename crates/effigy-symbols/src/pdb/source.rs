//! The bytes of a PDB, read by offset when they are wanted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use pdb_addr2line::pdb::{Source, SourceSlice, SourceView};

/// What may be read besides the file's own length, in bytes: streams do not share pages, but some are read twice.
const SPARE: u64 = 64 << 20;

/// A PDB file.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    size: u64,
    /// Bytes that may still be read: a hostile file may have a thousand streams of the same pages.
    allowance: u64,
}

impl Pages {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size, allowance: size.saturating_mul(2).saturating_add(SPARE) })
    }
}

impl<'s> Source<'s> for Pages {
    fn view(&mut self, slices: &[SourceSlice]) -> io::Result<Box<dyn SourceView<'s> + Send + Sync>> {
        let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let total = slices.iter().try_fold(0u64, |total, slice| total.checked_add(slice.size as u64));
        let total =
            total.filter(|total| *total <= self.size).ok_or_else(|| damaged("a stream is longer than the file"))?;
        self.allowance =
            self.allowance.checked_sub(total).ok_or_else(|| damaged("too many streams of the same pages"))?;
        let mut bytes = vec![0; usize::try_from(total).map_err(|_| damaged("a stream does not fit into memory"))?];
        let mut at = 0;
        for slice in slices {
            let piece = &mut bytes[at..at + slice.size];
            self.file.read_exact_at(piece, slice.offset)?;
            at += slice.size;
        }
        Ok(Box::new(View(bytes)))
    }
}

#[derive(Debug)]
struct View(Vec<u8>);

impl SourceView<'_> for View {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
}
