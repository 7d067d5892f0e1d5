//! Where a dump ends up: a file beside its final name until it is whole.
//!
//! A file is created under a name of its own in the folder of the final one, is readable by its owner only, and takes
//! the final name when it is complete. Nothing is ever written through a symbolic link, and no file is replaced unless
//! that was asked for.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::name;
use crate::output::FileWriter;

/// Names tried before giving up, when files are in the way.
const MOST_NAMES: u32 = 10_000;
/// Marks the names of unfinished files; the id of the effigy that writes them follows.
const PARTIAL_MARK: &str = ".partial-";

/// Why a dump could not be put where it was to go.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The folder cannot be opened.
    #[error("the folder {folder} cannot be opened")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be created there.
    #[error("a file cannot be created in {folder}")]
    Create {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is no name of a file.
    #[error("{0} is not the path of a file")]
    NoName(PathBuf),
    /// There is something under that name that is no regular file.
    #[error("{0} exists and is not a regular file; effigy writes regular files, and streams with \"-o -\"")]
    NotAFile(PathBuf),
    /// Not enough room.
    #[error(
        "{folder} has {} free and the dump needs about {}; nothing was stopped or written",
        size(*free),
        size(*needed)
    )]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// Bytes free there.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// Writing failed.
    #[error("writing {path}")]
    Write {
        /// The file, by its final name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The finished file could not be given its name.
    #[error("giving the finished dump its name {path}")]
    Publish {
        /// The name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Bytes for people: powers of 1024 with one digit.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A file that is being written beside its final name. Removed when dropped without [`publish`](Self::publish).
#[derive(Debug)]
pub struct PartialFile {
    folder: Arc<OwnedFd>,
    folder_path: PathBuf,
    partial: String,
    destination: PathBuf,
    overwrite: bool,
    file: Option<File>,
    published: bool,
}

impl PartialFile {
    /// Creates the file for `destination`.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn create(destination: &Path, overwrite: bool) -> Result<Self, SinkError> {
        let no_name = || SinkError::NoName(destination.to_owned());
        let name = destination.file_name().ok_or_else(no_name)?;
        let folder_path = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&folder_path, flags, Mode::empty())
            .map_err(|source| SinkError::Folder { folder: folder_path.clone(), source: source.into() })?;
        if let Ok(about) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            use rustix::fs::FileType;
            // A symbolic link is replaced or stepped aside for like a file; it is never followed.
            let kind = FileType::from_raw_mode(about.st_mode);
            if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
                return Err(SinkError::NotAFile(destination.to_owned()));
            }
        }
        let (partial, file) = create_partial(&folder, &name.to_string_lossy())
            .map_err(|source| SinkError::Create { folder: folder_path.clone(), source })?;
        Ok(Self {
            folder: Arc::new(folder),
            folder_path,
            partial,
            destination: destination.to_owned(),
            overwrite,
            file: Some(file),
            published: false,
        })
    }

    /// The final name, unless something is in the way of it.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Refuses when the folder has less than `needed` bytes free.
    ///
    /// # Errors
    /// [`SinkError::NoRoom`].
    pub fn require_room(&self, needed: u64) -> Result<(), SinkError> {
        let Ok(about) = rustix::fs::fstatvfs(&*self.folder) else { return Ok(()) };
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        if free < needed {
            return Err(SinkError::NoRoom { folder: self.folder_path.clone(), free, needed });
        }
        Ok(())
    }

    /// Bytes free in the folder.
    #[must_use]
    pub fn room(&self) -> u64 {
        rustix::fs::fstatvfs(&*self.folder).map_or(u64::MAX, |about| about.f_bavail.saturating_mul(about.f_frsize))
    }

    /// A handle to write by.
    ///
    /// # Errors
    /// As `dup(2)`.
    pub fn writer(&self) -> io::Result<FileWriter> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        Ok(FileWriter::at_start_of(file))
    }

    /// The file for reading back.
    ///
    /// # Errors
    /// As `dup(2)` and `lseek(2)`.
    pub fn reader(&self) -> io::Result<File> {
        let mut file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Something that can remove the file while it is written by someone who may never come back.
    #[must_use]
    pub fn remover(&self) -> Remover {
        Remover { folder: Arc::clone(&self.folder), partial: self.partial.clone() }
    }

    /// Gives the finished file its final name, or when that is taken and must not be replaced, one with a counter.
    ///
    /// # Errors
    /// When closing the file shows that writing had failed after all, or the name cannot be given.
    pub fn publish(mut self) -> Result<Published, SinkError> {
        let write_error = |source: io::Error| SinkError::Write { path: self.destination.clone(), source };
        let file = self.file.take().ok_or_else(|| write_error(io::ErrorKind::NotFound.into()))?;
        let about = file.metadata().map_err(write_error)?;
        // A network file system tells only now that it could not keep what it took.
        close(file).map_err(write_error)?;
        let path = self.rename()?;
        self.published = true;
        Ok(Published { path, bytes: about.len(), disk_bytes: about.blocks() * 512 })
    }

    fn rename(&self) -> Result<PathBuf, SinkError> {
        let mut path = self.destination.clone();
        for counter in 1..MOST_NAMES {
            let Some(name) = path.file_name() else { return Err(SinkError::NoName(path)) };
            let result = if self.overwrite {
                rustix::fs::renameat(&*self.folder, &self.partial, &*self.folder, name)
            } else {
                self.rename_to_new(name)
            };
            match result {
                Ok(()) => return Ok(path),
                Err(Errno::EXIST) => path = name::numbered(&self.destination, counter),
                Err(source) => return Err(SinkError::Publish { path, source: source.into() }),
            }
        }
        Err(SinkError::Publish { path, source: io::ErrorKind::AlreadyExists.into() })
    }

    fn rename_to_new(&self, name: &std::ffi::OsStr) -> Result<(), Errno> {
        let folder = &*self.folder;
        match rustix::fs::renameat_with(folder, &self.partial, folder, name, RenameFlags::NOREPLACE) {
            // File systems that do not know the flag (some network ones) can link.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(folder, &self.partial, folder, name, AtFlags::empty())?;
                rustix::fs::unlinkat(folder, &self.partial, AtFlags::empty())
            }
            result => result,
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.published {
            self.remover().remove();
        }
    }
}

/// Creates a file under a name that nobody else has.
fn create_partial(folder: &OwnedFd, name: &str) -> io::Result<(String, File)> {
    remove_stale(folder);
    // Leaves room for the longest name that file systems take, 255 bytes.
    let stem: String = name.chars().take(50).collect();
    for attempt in 0..100 {
        let partial = format!(".{stem}{PARTIAL_MARK}{}-{attempt}", std::process::id());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, partial.as_str(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => {
                // Whatever the umask says.
                rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
                return Ok((partial, File::from(fd)));
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes what an effigy that was killed has left in the folder.
fn remove_stale(folder: &OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        let Some((_, tail)) = name.split_once(PARTIAL_MARK).filter(|_| name.starts_with('.')) else { continue };
        let Some(pid) = tail.split('-').next().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        // Of this machine and boot: a folder that several machines write to is left alone by the age check.
        let old = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|about| is_old(&about));
        if old && !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        }
    }
}

/// Whether nobody has written to a file for an hour.
fn is_old(about: &rustix::fs::Stat) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    now.saturating_sub(u64::try_from(about.st_mtime).unwrap_or(u64::MAX)) > 3600
}

/// Closes a file and tells if that failed, which `drop` would not.
fn close(file: File) -> io::Result<()> {
    nix::unistd::close(file).map_err(io::Error::from)
}

/// A dump under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that it takes on the disk.
    pub disk_bytes: u64,
}

/// Removes a partial file.
#[derive(Clone, Debug)]
pub struct Remover {
    folder: Arc<OwnedFd>,
    partial: String,
}

impl Remover {
    /// Removes the file; one that is gone already is no matter.
    pub fn remove(&self) {
        let _ = rustix::fs::unlinkat(&*self.folder, &self.partial, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::output::Output;

    fn written(folder: &Path, name: &str, overwrite: bool) -> Published {
        let partial = PartialFile::create(&folder.join(name), overwrite).unwrap();
        partial.writer().unwrap().append(name.as_bytes()).unwrap();
        partial.publish().unwrap()
    }

    #[test]
    fn a_name_that_is_taken_gets_a_counter() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(written(folder.path(), "a.dmp", false).path, folder.path().join("a.dmp"));
        assert_eq!(written(folder.path(), "a.dmp", false).path, folder.path().join("a-1.dmp"));
        assert_eq!(written(folder.path(), "a.dmp", false).path, folder.path().join("a-2.dmp"));
        assert_eq!(written(folder.path(), "a.dmp", true).path, folder.path().join("a.dmp"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let mode = fs::metadata(folder.path().join("a.dmp")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_symbolic_link_is_never_written_through() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("victim"), "mine").unwrap();
        std::os::unix::fs::symlink("victim", folder.path().join("a.dmp")).unwrap();
        assert_eq!(written(folder.path(), "a.dmp", false).path, folder.path().join("a-1.dmp"));
        assert_eq!(written(folder.path(), "a.dmp", true).path, folder.path().join("a.dmp"));
        assert!(fs::symlink_metadata(folder.path().join("a.dmp")).unwrap().is_file());
        assert_eq!(fs::read(folder.path().join("victim")).unwrap(), b"mine");
    }

    #[test]
    fn nothing_is_left_of_an_unfinished_dump() {
        let folder = tempfile::tempdir().unwrap();
        drop(PartialFile::create(&folder.path().join("a.dmp"), false).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
