//! Opening dumps by their paths: the rim of the readers, which know bytes only.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use effigy_formats::source::{FileSource, SharedSource};
use effigy_formats::{OpenedDump, Surroundings};

/// Opens the dump in a file, of whatever kind it is and however it is compressed.
pub(crate) fn open_dump(path: &Path) -> Result<OpenedDump> {
    let source = regular(path).with_context(|| format!("opening {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    effigy_formats::open(source, &mut Beside { folder }).with_context(|| format!("reading {}", path.display()))
}

/// What is around a dump: the folder that it is in, and the system's place for temporary files.
struct Beside {
    folder: PathBuf,
}

impl Surroundings for Beside {
    fn open(&mut self, path: &Path) -> io::Result<SharedSource> {
        regular(&self.folder.join(path))
    }

    fn scratch(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }
}

/// A regular file. Opening a pipe would wait for somebody to write, and opening a device may do anything.
fn regular(path: &Path) -> io::Result<SharedSource> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Arc::new(FileSource::new(File::open(path)?)?))
}
