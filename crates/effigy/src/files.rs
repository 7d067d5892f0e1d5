//! Opening dumps by their paths: the rim of the readers, which know bytes only.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use effigy_formats::source::{FileSource, SharedSource};
use effigy_formats::{OpenError, OpenedDump, Surroundings};
use rustix::fs::OFlags;

/// Why a dump's file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file itself cannot be.
    #[error("opening the file")]
    File(#[source] io::Error),
    /// It is no dump, or a damaged one.
    #[error(transparent)]
    Dump(#[from] OpenError),
}

/// Opens the dump in a file, of whatever kind it is and however it is compressed.
pub(crate) fn open(path: &Path) -> Result<OpenedDump, FileError> {
    let source = regular(path).map_err(FileError::File)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(effigy_formats::open(source, &mut Beside { folder })?)
}

/// The same, with an error that names the file.
pub(crate) fn open_dump(path: &Path) -> Result<OpenedDump> {
    open(path).with_context(|| format!("reading {}", path.display()))
}

/// What is around a dump: the folder that it is in, and the system's place for temporary files.
struct Beside {
    folder: PathBuf,
}

impl Surroundings for Beside {
    fn open(&mut self, path: &Path) -> io::Result<SharedSource> {
        regular(&self.folder.join(path))
    }

    /// In the folder of TMPDIR; else where large files may lie, which `/tmp` often keeps in memory.
    fn scratch(&mut self) -> io::Result<File> {
        match std::env::var_os("TMPDIR") {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile()),
        }
    }
}

/// A regular file. Nothing else is waited for: a pipe would wait for somebody to write, and a device may do anything.
fn regular(path: &Path) -> io::Result<SharedSource> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    // Opening a device may have effects as well. Who replaces the file in between can do nothing worse than that.
    let of_kind = |about: &std::fs::Metadata| match about.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::Error::new(io::ErrorKind::InvalidInput, "a folder, and no dump")),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file, and dumps are read by offset")),
    };
    of_kind(&std::fs::metadata(path)?)?;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    of_kind(&file.metadata()?)?;
    Ok(Arc::new(FileSource::new(file)?))
}
