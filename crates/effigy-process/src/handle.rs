//! What a process holds open: on Linux its file descriptors.

use bstr::BString;
use serde::Serialize;

/// An open file descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Handle {
    /// Its number.
    pub number: u64,
    /// What kind of object it is.
    pub kind: HandleKind,
    /// What the descriptor leads to, as the link in `/proc/PID/fd` reads: a path, `socket:[1234]`, `pipe:[99]`.
    #[serde(serialize_with = "crate::text::lossy")]
    pub target: BString,
    /// Position in bytes, from `fdinfo`.
    pub offset: Option<u64>,
    /// Flags of `open(2)` in force, `O_CLOEXEC` included, from `fdinfo`.
    pub flags: Option<u32>,
    /// Inode number, where known.
    pub inode: Option<u64>,
    /// The two ends, for a socket whose table could be read.
    pub socket: Option<Socket>,
}

/// Kind of object behind a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HandleKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Pipe or FIFO.
    Pipe,
    /// Socket of any family.
    Socket,
    /// Character or block device.
    Device,
    /// `memfd_create(2)`.
    Memfd,
    /// `eventfd(2)`.
    Eventfd,
    /// `epoll_create(2)`.
    Epoll,
    /// `timerfd_create(2)`.
    Timerfd,
    /// `signalfd(2)`.
    Signalfd,
    /// `inotify(7)` or `fanotify(7)`.
    Notify,
    /// `pidfd_open(2)`.
    Pidfd,
    /// io_uring instance.
    IoUring,
    /// Anything else.
    Other,
}

impl HandleKind {
    /// The type's name as shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Directory => "Directory",
            Self::Pipe => "Pipe",
            Self::Socket => "Socket",
            Self::Device => "Device",
            Self::Memfd => "Memfd",
            Self::Eventfd => "Eventfd",
            Self::Epoll => "Epoll",
            Self::Timerfd => "Timerfd",
            Self::Signalfd => "Signalfd",
            Self::Notify => "Notify",
            Self::Pidfd => "Pidfd",
            Self::IoUring => "IoUring",
            Self::Other => "Other",
        }
    }
}

/// The two ends of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// `tcp`, `tcp6`, `udp`, `udp6`, `unix`.
    pub protocol: &'static str,
    /// This end: `ADDRESS:PORT`, or a path for unix sockets. May be empty.
    pub local: String,
    /// The other end. May be empty.
    pub remote: String,
    /// State in words: `ESTABLISHED`, `LISTEN`, …
    pub state: &'static str,
}
