//! Opening a dump's file, and others that belong to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effigy_formats::source::{FileSource, SharedSource};
use effigy_formats::{OpenedDump, Surroundings};
use rustix::fs::OFlags;

use crate::exit::Exit;
use crate::print;

/// How effigy ends, and what it says.
pub(crate) type Refused = (Exit, String);

/// Opens a dump.
pub(crate) fn open(path: &Path) -> Result<OpenedDump, Refused> {
    let (source, mut folder) = parts(path)?;
    effigy_formats::open(source, &mut folder).map_err(|error| {
        let name = print::safe(path.as_os_str().as_encoded_bytes());
        (Exit::NotDump, format!("{name} cannot be read as a dump: {}", print::chain(&error)))
    })
}

/// A dump's bytes, and what is around them.
pub(crate) fn parts(path: &Path) -> Result<(SharedSource, Folder), Refused> {
    let name = print::safe(path.as_os_str().as_encoded_bytes());
    let source = source(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => (Exit::NoTarget, format!("there is no file {name}")),
        io::ErrorKind::PermissionDenied => (Exit::NotPermitted, format!("opening {name}: {error}")),
        io::ErrorKind::InvalidInput => (Exit::NotDump, format!("{name} is {error}")),
        _ => (Exit::NotDump, format!("opening {name}: {error}")),
    })?;
    Ok((source, Folder(path.parent().unwrap_or(Path::new("")).to_owned())))
}

/// A regular file's bytes. Nothing else is waited for.
fn source(path: &Path) -> io::Result<SharedSource> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file, and dumps are read by offset"));
    }
    Ok(Arc::new(FileSource::new(file)?))
}

/// The folder that a dump's file is in.
pub(crate) struct Folder(PathBuf);

impl Surroundings for Folder {
    fn open(&mut self, path: &Path) -> io::Result<SharedSource> {
        source(&self.0.join(path))
    }

    /// In the folder of TMPDIR; else where large files may lie, which `/tmp` often keeps in memory.
    fn scratch(&mut self) -> io::Result<File> {
        match std::env::var_os("TMPDIR") {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile()),
        }
    }
}
