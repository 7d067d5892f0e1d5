//! What became of a traced thread.

use nix::errno::Errno;

/// What a stopped thread was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The signal that was being delivered to it, 0 for none.
    pub(crate) signal: i32,
    /// Whether the process is stopped by job control (SIGSTOP and its kin), and stays so.
    pub(crate) job_control: bool,
}

/// What `wait` found.
pub(crate) enum Waited {
    Nothing,
    Stopped(Stop),
    /// Stopped by an event or at a system call that was asked for: the event's number, 0 for a system call.
    Event(i32),
    /// Exited, or no longer traced by this thread (another thread's execve takes the leader's id).
    Gone,
}

/// `PTRACE_EVENT_STOP`, in the second byte of the status that waitid(2) gives.
const EVENT_STOP: i32 = 128;

/// Looks, without waiting, what became of a thread. A stop is looked at only (`WNOWAIT`), never consumed: the kernel
/// keeps the signal that is being delivered with the stop, and consuming the one would lose the other if effigy died.
pub(crate) fn wait(tid: u32) -> Waited {
    match wait_id(tid, libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT) {
        Err(Errno::EINTR) | Ok(None) => Waited::Nothing,
        Err(_) => Waited::Gone,
        Ok(Some((libc::CLD_TRAPPED | libc::CLD_STOPPED, status))) => {
            let (signal, event) = (status & 0xff, status >> 8);
            // With an event (an interrupt, a group stop) no signal is being delivered.
            if event != 0 && event != EVENT_STOP {
                Waited::Event(event)
            } else if signal == libc::SIGTRAP | 0x80 {
                // PTRACE_O_TRACESYSGOOD
                Waited::Event(0)
            } else if event == EVENT_STOP {
                Waited::Stopped(Stop { signal: 0, job_control: signal != libc::SIGTRAP })
            } else {
                Waited::Stopped(Stop { signal, job_control: false })
            }
        }
        Ok(Some(_)) => {
            reap(tid);
            Waited::Gone
        }
    }
}

/// Collects a thread that has exited.
pub(crate) fn reap(tid: u32) {
    let _ = wait_id(tid, libc::WEXITED);
}

/// waitid(2) for one thread, without waiting: the code and status that it gives.
fn wait_id(tid: u32, options: i32) -> Result<Option<(i32, i32)>, Errno> {
    // SAFETY: all bytes zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is live and exclusive for the call to write to.
    let result = unsafe { libc::waitid(libc::P_PID, tid, &raw mut info, options | libc::WNOHANG | libc::__WALL) };
    Errno::result(result)?;
    // SAFETY: after waitid(2) the structure holds a child's fields, or is still zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some((info.si_code, status)))
}
