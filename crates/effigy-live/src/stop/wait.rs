//! What became of a traced thread.

use std::sync::{Mutex, PoisonError};

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
    match look(tid) {
        Err(Errno::EINTR) | Ok(None) => Waited::Nothing,
        Err(_) => Waited::Gone,
        Ok(Some(found)) => found.stop().unwrap_or_else(|| {
            if !is_kept(tid) {
                reap(tid);
            }
            Waited::Gone
        }),
    }
}

/// The stop that a thread is in, if it is in one. Unlike with [`wait`], one that has ended stays to be seen.
pub(crate) fn peek(tid: u32) -> Option<Waited> {
    look(tid).ok().flatten().and_then(|found| found.stop())
}

fn look(tid: u32) -> Result<Option<Found>, Errno> {
    wait_id(libc::P_PID, tid, libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::WNOHANG)
}

/// How a thread or process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// A stop, or an end.
pub(crate) type Seen = Result<Waited, End>;

/// Sleeps until any thread that the calling thread traces, and that has not been asked about, stands still or has ended;
/// `None` when a signal ended the sleep. Nothing is consumed.
pub(crate) fn wait_for_any() -> Result<Option<(u32, Seen)>, Errno> {
    // Others' children are others' business.
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WNOTHREAD;
    let found = match wait_id(libc::P_ALL, 0, options) {
        Err(Errno::EINTR) | Ok(None) => return Ok(None),
        Err(errno) => return Err(errno),
        Ok(Some(found)) => found,
    };
    Ok(Some((found.id, found.stop().ok_or(found.end()))))
}

/// Sleeps until a child of ours has ended, and collects it; `None` when a signal ended the sleep.
pub(crate) fn wait_for_end(pid: u32) -> Result<Option<End>, Errno> {
    match wait_id(libc::P_PID, pid, libc::WEXITED) {
        Err(Errno::EINTR) => Ok(None),
        found => found.map(|found| found.as_ref().map(Found::end)),
    }
}

/// Consumes a thread's stop, so that [`wait_for_any`] passes it over: for one that is to stay as it is. Had a signal been
/// on its way to it, that would be lost if effigy died.
pub(crate) fn consume(tid: u32) {
    let _ = wait_id(libc::P_PID, tid, libc::WSTOPPED | libc::WNOHANG);
}

/// Collects a thread that has exited. Only one that was seen to have: of another one that is traced it would take the stop.
pub(crate) fn reap(tid: u32) {
    let _ = wait_id(libc::P_PID, tid, libc::WEXITED | libc::WNOHANG);
}

/// Processes whose end somebody wants to hear of: they are not collected by the way.
static KEPT: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Has [`wait`] leave the end of a process to somebody else, or collect it again.
pub(crate) fn keep(pid: u32, kept: bool) {
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|id| *id != pid);
    if kept {
        all.push(pid);
    }
}

fn is_kept(pid: u32) -> bool {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).contains(&pid)
}

/// What waitid(2) tells.
struct Found {
    id: u32,
    code: i32,
    status: i32,
}

impl Found {
    /// The end, if that is what it is.
    fn end(&self) -> End {
        if self.code == libc::CLD_EXITED { End::Exited(self.status) } else { End::Killed(self.status) }
    }

    /// The stop that it is; `None` for an end.
    fn stop(&self) -> Option<Waited> {
        if !matches!(self.code, libc::CLD_TRAPPED | libc::CLD_STOPPED) {
            return None;
        }
        let (signal, event) = (self.status & 0xff, self.status >> 8);
        // With an event (an interrupt, a group stop) no signal is being delivered.
        Some(if event != 0 && event != EVENT_STOP {
            Waited::Event(event)
        } else if signal == libc::SIGTRAP | 0x80 {
            // PTRACE_O_TRACESYSGOOD
            Waited::Event(0)
        } else if event == EVENT_STOP {
            Waited::Stopped(Stop { signal: 0, job_control: signal != libc::SIGTRAP })
        } else {
            Waited::Stopped(Stop { signal, job_control: false })
        })
    }
}

/// waitid(2); `None` when there is nothing to tell and it was not to wait.
fn wait_id(kind: libc::idtype_t, id: u32, options: i32) -> Result<Option<Found>, Errno> {
    // SAFETY: all bytes zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is live and exclusive for the call to write to.
    let result = unsafe { libc::waitid(kind, id, &raw mut info, options | libc::__WALL) };
    Errno::result(result)?;
    // SAFETY: after waitid(2) the structure holds a child's fields, or is still zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(u32::try_from(pid).ok().filter(|id| *id != 0).map(|id| Found { id, code: info.si_code, status }))
}
