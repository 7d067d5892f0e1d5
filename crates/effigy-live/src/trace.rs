//! The ptrace requests that this crate makes, each one counted for the tests that kill effigy between any two of them.

use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

use crate::inject;

pub(crate) fn pid_of(tid: u32) -> Pid {
    Pid::from_raw(i32::try_from(tid).unwrap_or(i32::MAX))
}

/// Begins to trace a thread, which runs on, with these options (`PTRACE_O_*`).
pub(crate) fn seize(tid: u32, options: i32) -> Result<(), Errno> {
    inject::step();
    ptrace::seize(pid_of(tid), ptrace::Options::from_bits_truncate(options))
}

pub(crate) fn interrupt(tid: u32) -> Result<(), Errno> {
    inject::step();
    ptrace::interrupt(pid_of(tid))
}

/// Lets a stopped thread go, with a signal or none (0). One that was killed meanwhile cannot be let go and has to be
/// collected.
pub(crate) fn detach(tid: u32, signal: i32) {
    if release(tid, signal).is_err() {
        leave(tid);
    }
}

/// Ends the trace of a stopped thread, which goes on with a signal or none (0).
pub(crate) fn release(tid: u32, signal: i32) -> Result<(), Errno> {
    inject::step();
    resume(libc::PTRACE_DETACH, tid, signal)
}

/// Traced threads that could not be let go when they should have been: they did not stand still, or are dead.
static LEFT: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Leaves a thread for later: to be let go when it stops, or collected when it ends.
pub(crate) fn leave(tid: u32) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(tid);
}

/// Whether threads were left.
pub(crate) fn any_left() -> bool {
    !LEFT.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// Takes over all threads that were left.
pub(crate) fn take_left() -> Vec<u32> {
    std::mem::take(&mut *LEFT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Lets a stopped thread run on, with a signal or none (0); it stays traced.
pub(crate) fn resume_with(tid: u32, signal: i32) -> Result<(), Errno> {
    inject::step();
    resume(libc::PTRACE_CONT, tid, signal)
}

/// Leaves a thread that job control has stopped as it is, until job control has it go on.
pub(crate) fn listen(tid: u32) -> Result<(), Errno> {
    inject::step();
    resume(libc::PTRACE_LISTEN, tid, 0)
}

/// What a stopped thread's event is about: a new thread's or process's id, a status, a former id.
pub(crate) fn event_message(tid: u32) -> Result<u32, Errno> {
    inject::step();
    let message = ptrace::getevent(pid_of(tid))?;
    u32::try_from(message).map_err(|_| Errno::ERANGE)
}

/// The signal that a stopped thread is about to get.
pub(crate) fn signal_info(tid: u32) -> Result<libc::siginfo_t, Errno> {
    inject::step();
    ptrace::getsiginfo(pid_of(tid))
}

/// A request that takes a signal number in place of a pointer.
fn resume(request: RequestType, tid: u32, signal: i32) -> Result<(), Errno> {
    let signal = usize::try_from(signal).unwrap_or(0) as *mut libc::c_void;
    // Real-time signals have no name in nix's enumeration, so the number goes in raw.
    // SAFETY: the request takes no address; the signal number is data.
    let result = unsafe { libc::ptrace(request, pid_of(tid).as_raw(), std::ptr::null_mut::<libc::c_void>(), signal) };
    Errno::result(result).map(drop)
}

/// What libc calls the first argument of ptrace(2) differs between C libraries.
#[cfg(target_env = "musl")]
type RequestType = libc::c_int;
#[cfg(not(target_env = "musl"))]
type RequestType = libc::c_uint;

#[cfg(target_arch = "x86_64")]
pub(crate) use calls::*;

/// What only calls inside the target need.
#[cfg(target_arch = "x86_64")]
mod calls {
    use libc::user_regs_struct;
    use nix::errno::Errno;
    use nix::sys::ptrace;

    use super::{RequestType, pid_of, resume};
    use crate::inject;

    /// `PTRACE_SECCOMP_GET_FILTER`, Linux 4.4.
    const SECCOMP_GET_FILTER: RequestType = 0x420c;
    /// `PTRACE_GET_RSEQ_CONFIGURATION`, Linux 5.13.
    const GET_RSEQ_CONFIGURATION: RequestType = 0x420f;
    /// `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG`, Linux 6.4.
    const GET_DISPATCH_CONFIGURATION: RequestType = 0x4211;

    pub(crate) fn registers(tid: u32) -> Result<user_regs_struct, Errno> {
        inject::step();
        ptrace::getregs(pid_of(tid))
    }

    pub(crate) fn set_registers(tid: u32, registers: &user_regs_struct) -> Result<(), Errno> {
        inject::step();
        ptrace::setregs(pid_of(tid), *registers)
    }

    /// Runs a thread to the next entry into or exit from a system call.
    pub(crate) fn run_to_call(tid: u32) -> Result<(), Errno> {
        inject::step();
        resume(libc::PTRACE_SYSCALL, tid, 0)
    }

    /// The same, with a signal for the thread.
    pub(crate) fn run_to_call_with(tid: u32, signal: i32) -> Result<(), Errno> {
        inject::step();
        resume(libc::PTRACE_SYSCALL, tid, signal)
    }

    pub(crate) fn set_options(tid: u32, options: i32) -> Result<(), Errno> {
        inject::step();
        // SAFETY: the request takes a set of bits in place of a pointer.
        let result = unsafe {
            libc::ptrace(
                libc::PTRACE_SETOPTIONS,
                pid_of(tid).as_raw(),
                std::ptr::null_mut::<libc::c_void>(),
                usize::try_from(options).unwrap_or(0) as *mut libc::c_void,
            )
        };
        Errno::result(result).map(drop)
    }

    pub(crate) fn signal_mask(tid: u32) -> Result<u64, Errno> {
        let mut mask = 0u64;
        inject::step();
        // SAFETY: the kernel writes the eight bytes that the length names to `mask`, which is live and exclusive.
        let result =
            unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, pid_of(tid).as_raw(), size_of::<u64>(), &raw mut mask) };
        Errno::result(result).map(|_| mask)
    }

    pub(crate) fn set_signal_mask(tid: u32, mask: u64) -> Result<(), Errno> {
        inject::step();
        // SAFETY: the kernel reads the eight bytes that the length names from `mask`.
        let result =
            unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, pid_of(tid).as_raw(), size_of::<u64>(), &raw const mask) };
        Errno::result(result).map(drop)
    }

    /// A seccomp filter of the thread, the newest first, as `struct sock_filter`s of eight bytes; ENOENT behind the last.
    pub(crate) fn seccomp_filter(tid: u32, index: usize) -> Result<Vec<[u8; 8]>, Errno> {
        let pid = pid_of(tid).as_raw();
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: without a buffer the request only gives the number of instructions.
        let count = Errno::result(unsafe { libc::ptrace(SECCOMP_GET_FILTER, pid, index, none) })?;
        let mut program = vec![[0u8; 8]; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the kernel writes as many instructions as it has just counted; a thread's filters never change, and
        // new ones are put before them under a smaller index only while the thread runs, which it does not.
        Errno::result(unsafe { libc::ptrace(SECCOMP_GET_FILTER, pid, index, program.as_mut_ptr()) })?;
        Ok(program)
    }

    /// Address of the thread's `struct rseq`; 0 for none.
    pub(crate) fn rseq_address(tid: u32) -> Result<u64, Errno> {
        // `struct ptrace_rseq_configuration`: the address, then size, signature, flags and padding.
        let mut about = [0u64; 3];
        // SAFETY: the kernel writes at most the length given, to `about`, which is live and exclusive.
        let result = unsafe {
            libc::ptrace(GET_RSEQ_CONFIGURATION, pid_of(tid).as_raw(), size_of_val(&about), about.as_mut_ptr())
        };
        Errno::result(result).map(|_| about[0])
    }

    /// Whether the thread's system calls are handed to the program itself (prctl(2), PR_SET_SYSCALL_USER_DISPATCH).
    pub(crate) fn has_dispatcher(tid: u32) -> Result<bool, Errno> {
        // `struct ptrace_sud_config`: mode, selector, offset, length.
        let mut about = [0u64; 4];
        // SAFETY: the kernel writes at most the length given, to `about`, which is live and exclusive.
        let result = unsafe {
            libc::ptrace(GET_DISPATCH_CONFIGURATION, pid_of(tid).as_raw(), size_of_val(&about), about.as_mut_ptr())
        };
        Errno::result(result).map(|_| about[0] != 0)
    }
}
