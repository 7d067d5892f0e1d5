//! A userfaultfd(2) as a watch over the target's memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use effigy_process::{Address, AddressRange};

use crate::inject;
use crate::pagemap::{PageTable, Query};
use crate::procfs::ProcDir;
use crate::remote::{Refused, own_userfault};

/// `UFFDIO_API` and the others of include/uapi/linux/userfaultfd.h, by `_IOWR(0xAA, …)`.
const API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
const UNREGISTER: libc::Ioctl = 0x8010_aa01_u32 as libc::Ioctl;
const WRITE_PROTECT: libc::Ioctl = 0xc018_aa06_u32 as libc::Ioctl;
/// `UFFD_API`.
const VERSION: u64 = 0xaa;
/// `UFFDIO_REGISTER_MODE_WP`.
const FOR_WRITES: u64 = 2;
/// `UFFDIO_WRITEPROTECT_MODE_WP`.
const PROTECTED: u64 = 1;
/// `UFFD_EVENT_PAGEFAULT`, the first byte of a message, and where in it the address is.
const PAGE_FAULT: u8 = 0x12;
const FAULT_ADDRESS: usize = 16;
/// Bytes of `struct uffd_msg`.
const MESSAGE: usize = 32;
/// Messages that are taken at a time.
const MESSAGES: usize = 64;

/// Who answers the target's writes to protected pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answerer {
    /// The kernel, at once: it lifts the protection and remembers.
    Kernel,
    /// Us: the writer waits for that.
    Us,
}

impl Answerer {
    /// `UFFD_FEATURE_PAGEFAULT_FLAG_WP`, and for the kernel `UFFD_FEATURE_WP_HUGETLBFS_SHMEM` and `UFFD_FEATURE_WP_ASYNC`.
    fn features(self) -> u64 {
        match self {
            Self::Kernel => 1 << 0 | 1 << 12 | 1 << 15,
            Self::Us => 1 << 0,
        }
    }
}

/// The watch. Its end lifts all protection, whoever or whatever ends it.
#[derive(Debug)]
pub(super) struct Watch(OwnedFd);

impl Watch {
    pub(super) fn begin(descriptor: OwnedFd, answerer: Answerer) -> io::Result<Self> {
        let watch = Self(descriptor);
        watch.control(API, &mut [VERSION, answerer.features(), 0])?;
        Ok(watch)
    }

    /// Watches a range; nothing in it is protected yet.
    pub(super) fn register(&self, range: AddressRange) -> io::Result<()> {
        self.control(REGISTER, &mut [range.start().0, range.size(), FOR_WRITES, 0])
    }

    /// Watches a range no more, which lifts its protection.
    pub(super) fn unregister(&self, range: AddressRange) -> io::Result<()> {
        self.control(UNREGISTER, &mut [range.start().0, range.size()])
    }

    /// Protects all pages that there are in a range.
    pub(super) fn protect(&self, range: AddressRange) -> io::Result<()> {
        self.control(WRITE_PROTECT, &mut [range.start().0, range.size(), PROTECTED])
    }

    /// Lifts the protection of a range, and lets those go on who wait for it.
    pub(super) fn lift(&self, range: AddressRange) -> io::Result<()> {
        self.control(WRITE_PROTECT, &mut [range.start().0, range.size(), 0])
    }

    /// Waits for writes to protected pages, and calls `visit` with their addresses. Says whether there were any.
    pub(super) fn faults(&self, patience: Duration, visit: &mut dyn FnMut(Address)) -> io::Result<bool> {
        let time = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut ready = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut messages = [0; MESSAGE * MESSAGES];
        let count = match rustix::io::read(self.0.as_fd(), &mut messages) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(false),
            result => result?,
        };
        for message in messages[..count].as_chunks::<MESSAGE>().0 {
            if let Some(address) = message.get(FAULT_ADDRESS..FAULT_ADDRESS + 8).filter(|_| message[0] == PAGE_FAULT) {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(address);
                visit(Address(u64::from_ne_bytes(bytes)));
            }
        }
        Ok(count > 0)
    }

    fn control(&self, request: libc::Ioctl, argument: &mut [u64]) -> io::Result<()> {
        inject::step();
        // SAFETY: the argument is live, exclusive and as long as the request's number says; the addresses in it are those
        // of the target's memory, which the descriptor is for.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The longest of several times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Longest(pub(super) Duration);

impl Longest {
    /// Does something that holds the target's address space for itself: page faults may have to wait for it.
    pub(super) fn of<T>(&mut self, action: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = action();
        self.0 = self.0.max(began.elapsed());
        result
    }
}

/// Refuses a target whose memory is written by others than its processors, past its page tables: such writes are seen by
/// nobody.
pub(super) fn hidden_writers(dir: &ProcDir) -> Result<(), Refused> {
    const WHY: &str = "devices write to its memory unseen";
    let status = crate::procfs::Status::parse(&dir.read("status").unwrap_or_default());
    if status.get("VmPin").is_some_and(|pinned| !pinned.starts_with("0 ")) {
        return Err(Refused::new(format!("{WHY} (it has pinned memory)")));
    }
    // /proc/PID/fdinfo/FD: the flags in octal; for io_uring, the registered buffers.
    for number in dir.numbers("fd").unwrap_or_default() {
        let link = dir.read_link(&format!("fd/{number}")).unwrap_or_default();
        if link.starts_with(b"anon_inode:[userfaultfd]") {
            return Err(Refused::new("it uses a userfaultfd itself"));
        }
        if link.starts_with(b"/dev/vfio") || link.starts_with(b"anon_inode:[vfio") {
            return Err(Refused::new(format!("{WHY} (descriptor {number}, {link})")));
        }
        let Ok(about) = dir.read(&format!("fdinfo/{number}")) else { continue };
        let about = String::from_utf8_lossy(&about);
        let value = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // For a pipe, `O_DIRECT` means packets.
        let direct = value("flags:").and_then(|flags| i32::from_str_radix(flags, 8).ok());
        if direct.is_some_and(|flags| flags & libc::O_DIRECT != 0) && !link.starts_with(b"pipe:") {
            return Err(Refused::new(format!("{WHY} (descriptor {number} is for direct input and output)")));
        }
        if value("UserBufs:").is_some_and(|count| count != "0") {
            return Err(Refused::new(format!("{WHY} (io_uring {number} has registered buffers)")));
        }
    }
    Ok(())
}

/// Whether [`Query::CHANGED`] tells of places without a page table on this kernel: tried on memory of our own.
pub(super) fn tells_holes(page: u64) -> bool {
    /// Twice what one page table covers, so that one that is missing lies inside.
    const RANGE: usize = 4 << 20;
    let Some(descriptor) = own_userfault() else { return false };
    let Ok(file) = std::fs::File::open("/proc/self/pagemap") else { return false };
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice; nothing refers to it, now or later.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), RANGE, protection, rustix::mm::MapFlags::PRIVATE) };
    let Ok(base) = mapped else { return false };
    let range = AddressRange::sized(Address(base as u64), RANGE as u64);
    let mut found = 0;
    let result = Watch::begin(descriptor, Answerer::Kernel).and_then(|watch| {
        watch.register(range)?;
        PageTable::new(file, page).find(range, Query::CHANGED, &mut |run, _| found += run.size())
    });
    // SAFETY: the mapping made above, to which there are no references.
    let _ = unsafe { rustix::mm::munmap(base, RANGE) };
    result.is_ok() && found == range.size()
}
