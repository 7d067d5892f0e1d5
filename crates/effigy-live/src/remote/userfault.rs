//! A userfaultfd(2) for the target's memory, held by us alone.
//!
//! The descriptor has to be made by somebody who uses the memory. That is a helper: a thread of the target, of a moment's
//! life, that does not share the table of descriptors with the others. So nothing is ever opened in the target, what the
//! helper has opened ends with it, and being a thread it leaves nothing to collect. The thread that makes the helper
//! waits for its end (`CLONE_VFORK`), so that its stack stays as it is meanwhile, whoever dies when: a helper that effigy
//! leaves behind exits by itself.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::{Place, Refused};
use crate::stop::wait::Stop;

/// Two of them, as one descriptor has one way of answering faults.
#[derive(Debug)]
pub struct Userfault {
    pub(crate) first: OwnedFd,
    pub(crate) second: OwnedFd,
}

/// Makes one with one of the threads that stand still.
pub(crate) fn open_userfault(threads: &[(u32, Stop)], place: Place<'_>) -> Result<Userfault, Refused> {
    #[cfg(target_arch = "x86_64")]
    {
        made::open(threads, place)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (threads, place);
        Err(Refused::new("calls inside the target are written for x86-64 only"))
    }
}

/// `USERFAULTFD_IOC_NEW`, `_IO(0xAA, 0)` of include/uapi/linux/userfaultfd.h, Linux 6.1.
const NEW: u64 = 0xaa00;
const FLAGS: u64 = (libc::O_CLOEXEC | libc::O_NONBLOCK).unsigned_abs() as u64;

/// The device by which those who may open it give the right to others (Documentation/admin-guide/mm/userfaultfd.rst).
fn device() -> Option<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open("/dev/userfaultfd").ok()
}

/// One for our own memory, if we may have one: to try things out.
pub(crate) fn own_userfault() -> Option<OwnedFd> {
    let fd = match device() {
        // SAFETY: the request takes a number and gives a descriptor.
        Some(device) => unsafe { libc::syscall(libc::SYS_ioctl, device.as_raw_fd(), NEW, FLAGS) },
        // SAFETY: the call takes a number and gives a descriptor.
        None => unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) },
    };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(target_arch = "x86_64")]
mod made {
    use std::fs::File;
    use std::io::IoSlice;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::fs::FileExt;

    use effigy_process::Address;
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::super::injection::{Call, Injection, Reached, filter_option};
    use super::super::twin::{LET_GO_OF_FILES, best, hold, let_go_of_files, refused};
    use super::{FLAGS, NEW, Place, Refused, Stop, Userfault, device};
    use crate::inject;

    const KIND: u64 = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC).unsigned_abs() as u64;

    pub(super) fn open(threads: &[(u32, Stop)], place: Place<'_>) -> Result<Userfault, Refused> {
        if inject::hit(inject::NO_USERFAULTFD) {
            return Err(Refused::new("userfaultfd: EPERM (injected)"));
        }
        let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_VFORK | libc::CLONE_FILES;
        let flags = u64::from(flags.unsigned_abs());
        let calls = [
            Call(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]),
            LET_GO_OF_FILES,
            Call(libc::SYS_socketpair, [u64::from(libc::AF_UNIX.unsigned_abs()), KIND, 0, 0, 0, 0]),
            Call(libc::SYS_recvmsg, [0; 6]),
            Call(libc::SYS_ioctl, [0, NEW, FLAGS, 0, 0, 0]),
            Call(libc::SYS_userfaultfd, [FLAGS, 0, 0, 0, 0, 0]),
        ];
        let tid = best(threads, place, &calls)?;
        let filter = filter_option(place, tid);
        let injection = Injection::begin(tid, place, libc::PTRACE_O_TRACEVFORK | filter)?;
        let result = with_helper(&injection, flags, filter);
        injection.finish();
        result
    }

    fn with_helper(injection: &Injection, flags: u64, filter: i32) -> Result<Userfault, Refused> {
        let call = Call(libc::SYS_clone, [flags, injection.child_stack(), 0, 0, 0, 0]);
        let helper = match injection.call(call)? {
            Reached::Made(helper) => helper,
            Reached::Returned(error) => return Err(refused("clone", error)),
        };
        // Never to be killed: the end of one thread by a signal is the end of all.
        let made = hold(helper, filter).and_then(|()| make(injection, helper));
        // The end of the helper lets the target's thread return from its call.
        injection.end_child(helper)?;
        injection.complete()?;
        made
    }

    /// Has the helper make the descriptor, and takes it over.
    fn make(injection: &Injection, helper: u32) -> Result<Userfault, Refused> {
        let_go_of_files(injection, helper)?;
        let pidfd = pidfd(helper)?;
        let call = match device() {
            Some(device) => {
                let device = pass_device(injection, helper, &pidfd, &device)?;
                Call(libc::SYS_ioctl, [device, NEW, FLAGS, 0, 0, 0])
            }
            None => Call(libc::SYS_userfaultfd, [FLAGS, 0, 0, 0, 0, 0]),
        };
        let new = || take(&pidfd, returned("userfaultfd", injection.call_in_child(helper, call)?)?);
        Ok(Userfault { first: new()?, second: new()? })
    }

    /// Passes the helper the device through a pair of sockets of its own; gives the helper's number for it.
    fn pass_device(injection: &Injection, helper: u32, pidfd: &OwnedFd, device: &File) -> Result<u64, Refused> {
        let scratch = injection.scratch();
        let call = |number: i64, arguments: [u64; 6]| injection.call_in_child(helper, Call(number, arguments));
        let family = u64::from(libc::AF_UNIX.unsigned_abs());
        returned("socketpair", call(libc::SYS_socketpair, [family, KIND, 0, scratch.0, 0, 0])?)?;
        let mut pair = [0; 8];
        read(injection, scratch, &mut pair)?;
        let number = |at: usize| u64::from(u32::from_ne_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]));
        let ours = take(pidfd, number(0))?;
        let payload = [0u8];
        let descriptors = [device.as_raw_fd()];
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(&payload)],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            None,
        )
        .map_err(|errno| Refused::new(format!("passing /dev/userfaultfd: {errno}")))?;
        // `struct msghdr`, its one `struct iovec`, the byte, and room for one `struct cmsghdr` with a descriptor in it.
        let (vector, byte, control) = (scratch.0 + 64, scratch.0 + 96, scratch.0 + 128);
        let words: [u64; 10] = [0, 0, vector, 1, control, 24, 0, 0, byte, 1];
        let message: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        write(injection, scratch, &message)?;
        returned("recvmsg", call(libc::SYS_recvmsg, [number(4), scratch.0, 0, 0, 0, 0])?)?;
        let mut received = [0; 20];
        read(injection, Address(control), &mut received)?;
        Ok(u64::from(u32::from_ne_bytes([received[16], received[17], received[18], received[19]])))
    }

    fn returned(call: &str, result: i64) -> Result<u64, Refused> {
        u64::try_from(result).map_err(|_| refused(call, result))
    }

    fn read(injection: &Injection, at: Address, buffer: &mut [u8]) -> Result<(), Refused> {
        injection.mem().read_exact_at(buffer, at.0).map_err(|error| Refused::new(format!("reading the stack: {error}")))
    }

    fn write(injection: &Injection, at: Address, bytes: &[u8]) -> Result<(), Refused> {
        inject::step();
        injection.mem().write_all_at(bytes, at.0).map_err(|error| Refused::new(format!("writing the stack: {error}")))
    }

    fn pidfd(pid: u32) -> Result<OwnedFd, Refused> {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| Refused::new("a child without an id"))?;
        // `PIDFD_THREAD`, Linux 6.9.
        let of_thread = rustix::process::PidfdFlags::from_bits_retain(libc::O_EXCL.unsigned_abs());
        rustix::process::pidfd_open(pid, of_thread).map_err(|error| Refused::new(format!("pidfd_open: {error}")))
    }

    /// Takes over a descriptor of another process: pidfd_getfd(2), Linux 5.6.
    fn take(pidfd: &OwnedFd, number: u64) -> Result<OwnedFd, Refused> {
        // SAFETY: the call takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
        let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0);
        // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
        fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .ok_or_else(|| Refused::new(format!("pidfd_getfd: {}", std::io::Error::last_os_error())))
    }
}
