//! What a process holds open: on Linux its file descriptors.

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Serialize};

/// An open file descriptor, or a handle of Windows.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handle {
    /// Its number.
    pub number: u64,
    /// What kind of object it is.
    pub kind: HandleKind,
    /// What the descriptor leads to, as the link in `/proc/PID/fd` reads: a path, `socket:[1234]`, `pipe:[99]`. The
    /// object's name on Windows, mostly empty.
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
    /// What Windows has of a handle, or a minidump says of one in its terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsHandle>,
}

impl Handle {
    /// The name of the object's type, as shown to people.
    #[must_use]
    pub fn type_name(&self) -> &BStr {
        match &self.windows {
            Some(windows) if !windows.type_name.is_empty() => windows.type_name.as_bstr(),
            _ => BStr::new(self.kind.as_str()),
        }
    }
}

/// What Windows has of a handle (`MINIDUMP_HANDLE_DESCRIPTOR`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowsHandle {
    /// The object's type, such as `Event` or `Key`; may be empty.
    #[serde(serialize_with = "crate::text::lossy")]
    pub type_name: BString,
    /// `OBJ_*` bits: inheritable, protected from being closed.
    pub attributes: u32,
    /// What may be done through the handle, an access mask.
    pub granted_access: u32,
    /// Handles that lead to the object, in all processes.
    pub handle_count: u32,
    /// References to the object, those of the kernel included.
    pub pointer_count: u32,
}

/// Kind of object behind a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
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
    #[default]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// `tcp`, `tcp6`, `udp`, `udp6`, `unix`.
    pub protocol: Cow<'static, str>,
    /// This end: `ADDRESS:PORT`, or a path for unix sockets. May be empty.
    pub local: String,
    /// The other end. May be empty.
    pub remote: String,
    /// State in words: `ESTABLISHED`, `LISTEN`, …
    pub state: Cow<'static, str>,
}
