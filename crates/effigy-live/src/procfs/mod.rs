//! What `/proc` says of a process. Each file has its parser in a file of its own; parsers take bytes.

mod fd;
mod limits;
mod regions;
mod sockets;
mod stat;
mod status;
mod system;
mod thread;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use bstr::BString;
use effigy_process::ProcessId;
use rustix::fs::{Mode, OFlags};

pub use fd::{HANDLES_WHILE_STOPPED, handles};
pub use limits::parse_limits;
pub use regions::{parse_maps, read_known_regions, read_regions};
pub use sockets::SocketTable;
pub use stat::Stat;
pub use status::Status;
pub use system::{read_system, release_file};
pub use thread::{ThreadFacts, kernel_facts, thread_facts};

use crate::LiveError;

/// The directory of a process (or of one thread of it) in `/proc`, held open: it keeps meaning the same process, and
/// turns dead with it, even when its id is used again.
#[derive(Debug)]
pub struct ProcDir {
    id: ProcessId,
    dir: OwnedFd,
}

/// Refuses when `/proc` shows another PID namespace than ours: its numbers would be other processes than ours.
fn require_own_proc() -> Result<(), LiveError> {
    let shown = std::fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse::<u32>().ok());
    if shown == Some(std::process::id()) { Ok(()) } else { Err(LiveError::ForeignProc) }
}

impl ProcDir {
    /// Opens `/proc/ID`. Takes thread ids too, as the kernel does.
    ///
    /// # Errors
    /// [`LiveError::NoSuchProcess`], or why the directory could not be opened.
    pub fn open(id: ProcessId) -> Result<Self, LiveError> {
        require_own_proc()?;
        let path = format!("/proc/{id}");
        match rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(dir) => Ok(Self { id, dir }),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => Err(LiveError::NoSuchProcess(id)),
            Err(error) => Err(LiveError::Proc { pid: id, file: String::new(), source: error.into() }),
        }
    }

    /// The id that it was opened by.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Opens a file below the directory for reading.
    ///
    /// # Errors
    /// As `open(2)`; `ESRCH` when the process has ended.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        let fd = rustix::fs::openat(&self.dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(File::from(fd))
    }

    /// Opens a file below the directory for reading and writing.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(crate) fn open_for_writing(&self, path: &str) -> io::Result<File> {
        let fd = rustix::fs::openat(&self.dir, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(File::from(fd))
    }

    /// Reads a whole file below the directory.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a whole file below the directory; the error names it.
    ///
    /// # Errors
    /// [`LiveError::Ended`] when the process is gone, else [`LiveError::Proc`].
    pub fn require(&self, path: &str) -> Result<Vec<u8>, LiveError> {
        self.read(path).map_err(|source| self.error(path, source))
    }

    /// What a symbolic link below the directory says.
    ///
    /// # Errors
    /// As `readlink(2)`.
    pub fn read_link(&self, path: &str) -> io::Result<BString> {
        let target = rustix::fs::readlinkat(&self.dir, path, Vec::new())?;
        Ok(BString::from(target.into_bytes()))
    }

    /// Names in a directory below this one that are numbers, in rising order.
    ///
    /// # Errors
    /// As `opendir(3)` and `readdir(3)`.
    pub fn numbers(&self, path: &str) -> io::Result<Vec<u32>> {
        let fd =
            rustix::fs::openat(&self.dir, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in rustix::fs::Dir::read_from(fd)? {
            let entry = entry?;
            if let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens what a magic link below the directory leads to, such as `exe` or `map_files/START-END`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open_link(&self, path: &str) -> io::Result<File> {
        // Never waits on a FIFO or a device that the link might lead to.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(rustix::fs::openat(&self.dir, path, flags, Mode::empty())?))
    }

    /// The inode that a magic link leads to, without opening it.
    ///
    /// # Errors
    /// As `fstatat(2)`.
    pub fn stat_link(&self, path: &str) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(&self.dir, path, rustix::fs::AtFlags::empty())?)
    }

    /// Who owns the files of the process: root for one that is not dumpable, see proc(5). The directory itself always
    /// belongs to the process's user.
    ///
    /// # Errors
    /// As `fstatat(2)`.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(rustix::fs::statat(&self.dir, "environ", rustix::fs::AtFlags::empty())?.st_uid)
    }

    /// Wraps an error of one of the files.
    #[must_use]
    pub fn error(&self, path: &str, source: io::Error) -> LiveError {
        let gone = source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ESRCH);
        if gone && self.read("stat").is_err() {
            LiveError::Ended(self.id)
        } else {
            LiveError::Proc { pid: self.id, file: path.to_owned(), source }
        }
    }

    /// An error about the form of one of the files.
    #[must_use]
    pub fn form(&self, path: &str, what: impl Into<String>) -> LiveError {
        LiveError::Form { pid: self.id, file: path.to_owned(), what: what.into() }
    }
}
