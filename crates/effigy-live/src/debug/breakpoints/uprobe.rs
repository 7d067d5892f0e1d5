//! Breakpoints that the kernel keeps for a descriptor: uprobes (Documentation/trace/uprobetracer.rst), opened as
//! performance events of one process (perf_event_open(2)), with a program of four instructions that sends a signal to the
//! thread (bpf-helpers(7), `bpf_send_signal_thread`, Linux 5.5).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::inject;

/// `BPF_PROG_LOAD`.
const LOAD: i64 = 5;
/// `BPF_PROG_TYPE_KPROBE`, which is that of uprobes too.
const KPROBE: u32 = 2;
/// `PERF_EVENT_IOC_SET_BPF` and `PERF_EVENT_IOC_ENABLE` of include/uapi/linux/perf_event.h.
const SET_PROGRAM: u64 = 0x4004_2408;
const ENABLE: u64 = 0x2400;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: u64 = 8;
/// `disabled`, the first of the bits.
const DISABLED: u64 = 1;

/// The beginning of `union bpf_attr` for a program that is loaded.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// `struct perf_event_attr` as far as `config2` (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample: u64,
    read: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    path: u64,
    offset: u64,
}

/// A breakpoint, until it is dropped.
pub(super) struct Probe {
    _event: OwnedFd,
}

impl Probe {
    /// Sets one in a process, at an offset of the file that a link in its directory leads to. `sender` says what happens
    /// to who reaches it.
    pub(super) fn set(pid: u32, link: &str, offset: u64, sender: &OwnedFd) -> Result<Self, String> {
        let fail = |what: &str, error: io::Error| format!("{what}: {error}");
        let path = CString::new(format!("/proc/{pid}/{link}")).map_err(|error| error.to_string())?;
        let attributes = Attributes {
            kind: kind()?,
            size: u32::try_from(size_of::<Attributes>()).unwrap_or(0),
            config: 0,
            period: 1,
            sample: 0,
            read: 0,
            flags: DISABLED,
            wakeup: 0,
            breakpoint: 0,
            path: path.as_ptr() as u64,
            offset,
        };
        let (any_processor, no_group) = (-1i64, -1i64);
        inject::step();
        // SAFETY: the kernel reads as many bytes of `attributes` as it says, and the string that it points to; both live.
        let event = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                i64::from(pid),
                any_processor,
                no_group,
                CLOSE_ON_EXEC,
            )
        });
        let event = event.map_err(|errno| fail("a uprobe (needs CAP_PERFMON)", errno.into()))?;
        let event = owned(event).ok_or("a uprobe without a descriptor")?;
        inject::step();
        // SAFETY: the request takes a descriptor as its argument.
        Errno::result(unsafe { libc::ioctl(event.as_raw_fd(), SET_PROGRAM as libc::Ioctl, sender.as_raw_fd()) })
            .map_err(|errno| fail("a program for a uprobe", errno.into()))?;
        inject::step();
        // SAFETY: the request takes no argument.
        Errno::result(unsafe { libc::ioctl(event.as_raw_fd(), ENABLE as libc::Ioctl, 0) })
            .map_err(|errno| fail("enabling a uprobe", errno.into()))?;
        Ok(Self { _event: event })
    }
}

/// Whether breakpoints can be set here at all, and if not, why.
///
/// # Errors
/// The reason, as the end of a sentence.
pub fn check() -> Result<(), String> {
    kind()?;
    sender(libc::SIGURG).map(drop)
}

/// The number by which the kernel knows uprobes among performance events.
fn kind() -> Result<u32, String> {
    let text = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type");
    let text = text.map_err(|error| format!("this kernel has no uprobes (CONFIG_UPROBE_EVENTS): {error}"))?;
    text.trim().parse().map_err(|_| format!("the kernel's number for uprobes is none: {text}"))
}

/// A program in the kernel that sends a signal to the thread that runs it.
pub(super) fn sender(signal: i32) -> Result<OwnedFd, String> {
    // Instructions of eight bytes: operation, registers, offset, number.
    let instruction = |operation: u64, register: u64, number: i32| {
        operation | register << 8 | u64::from(number.cast_unsigned()) << 32
    };
    const MOVE: u64 = 0xb7;
    const CALL: u64 = 0x85;
    const EXIT: u64 = 0x95;
    /// `BPF_FUNC_send_signal_thread`.
    const SEND_SIGNAL_THREAD: i32 = 117;
    let program = [
        instruction(MOVE, 1, signal),
        instruction(CALL, 0, SEND_SIGNAL_THREAD),
        // No sample is wanted.
        instruction(MOVE, 0, 0),
        instruction(EXIT, 0, 0),
    ];
    let load = Load {
        kind: KPROBE,
        instructions: u32::try_from(program.len()).unwrap_or(0),
        program: program.as_ptr() as u64,
        // None of its calls is for programs under the GPL only.
        license: c"".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads as many bytes of `load` as it is told, and the program and text that it points to; all live.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<Load>()) };
    let loaded = Errno::result(loaded).map_err(|errno| {
        format!("the kernel does not take the program that breakpoints need (needs CAP_BPF and CAP_PERFMON): {errno}")
    })?;
    owned(loaded).ok_or_else(|| "a program without a descriptor".to_owned())
}

fn owned(descriptor: i64) -> Option<OwnedFd> {
    let descriptor = i32::try_from(descriptor).ok()?;
    // SAFETY: the kernel has just made the descriptor for us, and nobody else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 72);
        assert_eq!(size_of::<Load>(), 48);
    }
}
