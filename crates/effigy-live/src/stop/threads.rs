//! The threads of the target as the tracer holds them.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use effigy_process::{GapReason, NoRegisters, ProcessId, ThreadId, ThreadState};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

use super::registers::read_registers;
use super::restart::restart_if_interrupted;
use super::{StopLimits, Stopped, StoppedThread};
use crate::procfs::{ProcDir, Stat, Status};
use crate::{LiveError, permission};

/// A thread's place on the way to standing still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Traced, running.
    Seized,
    /// Asked to stop.
    Interrupted,
    /// Stopped; holds the signal that was being delivered, 0 for none.
    Stopped(i32),
    /// In uninterruptible sleep, given up.
    Unstoppable,
}

/// All threads of a target.
#[derive(Debug)]
pub(super) struct ThreadSet {
    dir: ProcDir,
    threads: BTreeMap<u32, Hold>,
    since: Instant,
    /// Set once a leader was found to have exited.
    leader_exited: bool,
}

impl ThreadSet {
    pub(super) fn new(dir: ProcDir) -> Self {
        Self { dir, threads: BTreeMap::new(), since: Instant::now(), leader_exited: false }
    }

    /// Stops all threads, in rounds until a pass over them finds nobody new.
    pub(super) fn stop_all(&mut self, limits: StopLimits, cancelled: &dyn Fn() -> bool) -> Result<(), LiveError> {
        self.since = Instant::now();
        let mut started = false;
        loop {
            if cancelled() {
                return Err(LiveError::Cancelled);
            }
            let new = self.seize_new()?;
            if new.is_empty() && self.threads.values().all(|hold| matches!(hold, Hold::Stopped(_) | Hold::Unstoppable))
            {
                return if self.threads.is_empty() { Err(self.nobody()) } else { Ok(()) };
            }
            if !started {
                // Seizing stops nobody; the pause begins here.
                self.since = Instant::now();
                started = true;
            }
            for tid in new {
                // ESRCH: it exited meanwhile; the wait below will tell.
                if ptrace::interrupt(pid_of(tid)).is_ok() {
                    self.threads.insert(tid, Hold::Interrupted);
                }
            }
            self.wait_for_stops(limits, cancelled)?;
        }
    }

    /// Traces every thread that is not traced yet and gives their ids.
    fn seize_new(&mut self) -> Result<Vec<u32>, LiveError> {
        let tids = self.dir.numbers("task").map_err(|source| self.dir.error("task", source))?;
        let mut new = Vec::new();
        for tid in tids {
            if self.threads.contains_key(&tid) {
                continue;
            }
            match ptrace::seize(pid_of(tid), ptrace::Options::empty()) {
                Ok(()) => {
                    self.threads.insert(tid, Hold::Seized);
                    new.push(tid);
                }
                Err(Errno::ESRCH) => {}
                Err(Errno::EPERM) => self.refused(tid)?,
                Err(errno) => {
                    return Err(LiveError::Ptrace {
                        request: "SEIZE",
                        tid: ThreadId(tid),
                        source: io::Error::from(errno),
                    });
                }
            }
        }
        Ok(new)
    }

    /// Finds out why a thread may not be traced. An exited one is no error.
    fn refused(&mut self, tid: u32) -> Result<(), LiveError> {
        let Ok(bytes) = self.dir.read(&format!("task/{tid}/stat")) else { return Ok(()) };
        let Some(stat) = Stat::parse(&bytes) else { return Ok(()) };
        if ThreadState(stat.state).is_exited() {
            self.leader_exited |= tid == self.dir.id().0;
            return Ok(());
        }
        if stat.is_kernel_thread() {
            return Err(LiveError::KernelThread(self.dir.id(), stat.name.to_string()));
        }
        let status = Status::parse(&self.dir.read(&format!("task/{tid}/status")).unwrap_or_default());
        // A tracer may be a process outside our PID namespace: then it is 0 and permission is all we can speak of.
        if status.tracer() != 0 {
            return Err(already_traced(&self.dir, status.tracer()));
        }
        if self.dir.id().0 == std::process::id() {
            return Err(LiveError::Ourselves(self.dir.id()));
        }
        Err(LiveError::NotPermitted(permission::explain(&self.dir, "stop")))
    }

    /// There was no thread to stop.
    fn nobody(&self) -> LiveError {
        if self.leader_exited { LiveError::Zombie(self.dir.id()) } else { LiveError::Ended(self.dir.id()) }
    }

    /// Waits until every interrupted thread has stopped, exited, or is given up as unstoppable.
    fn wait_for_stops(&mut self, limits: StopLimits, cancelled: &dyn Fn() -> bool) -> Result<(), LiveError> {
        let mut last_progress = Instant::now();
        let mut nap = Duration::from_micros(20);
        loop {
            let pending: Vec<u32> = self.running().collect();
            if pending.is_empty() {
                return Ok(());
            }
            let before = pending.len();
            for tid in pending {
                self.collect(tid);
            }
            let left: Vec<u32> = self.running().collect();
            if left.len() < before {
                last_progress = Instant::now();
                nap = Duration::from_micros(20);
                continue;
            }
            if cancelled() {
                return Err(LiveError::Cancelled);
            }
            if last_progress.elapsed() >= limits.uninterruptible && left.iter().all(|tid| self.is_unstoppable(*tid)) {
                for tid in left {
                    self.threads.insert(tid, Hold::Unstoppable);
                }
                return Ok(());
            }
            if self.since.elapsed() >= limits.all {
                return Err(LiveError::DidNotStop {
                    pid: self.dir.id(),
                    running: left.len(),
                    all: self.threads.len(),
                    seconds: limits.all.as_secs_f64(),
                });
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(1));
        }
    }

    fn running(&self) -> impl Iterator<Item = u32> + '_ {
        self.threads.iter().filter(|(_, hold)| matches!(hold, Hold::Seized | Hold::Interrupted)).map(|(tid, _)| *tid)
    }

    fn is_unstoppable(&self, tid: u32) -> bool {
        self.dir
            .read(&format!("task/{tid}/stat"))
            .ok()
            .and_then(|bytes| Stat::parse(&bytes))
            .is_some_and(|stat| ThreadState(stat.state).is_uninterruptible())
    }

    /// Asks the kernel, without waiting, what became of a thread.
    fn collect(&mut self, tid: u32) {
        match wait(tid) {
            Waited::Nothing => {}
            Waited::Stopped(signal) => {
                self.threads.insert(tid, Hold::Stopped(signal));
            }
            Waited::Gone => {
                self.threads.remove(&tid);
                // A leader that exits while others live stays as a zombie that no one can trace.
                self.leader_exited |= tid == self.dir.id().0;
            }
        }
    }

    /// Reads the registers of every stopped thread.
    pub(super) fn read_registers(&mut self) -> Stopped {
        let mut threads = Vec::with_capacity(self.threads.len());
        for (&tid, &hold) in &self.threads {
            let id = ThreadId(tid);
            threads.push(match hold {
                Hold::Stopped(signal) => StoppedThread {
                    id,
                    registers: read_registers(pid_of(tid)).map_err(|error| NoRegisters {
                        reason: if error == Errno::ESRCH { GapReason::Ended } else { GapReason::Unreadable },
                        detail: error.to_string(),
                    }),
                    signal: (signal != 0).then_some(signal),
                    state: None,
                },
                Hold::Seized | Hold::Interrupted | Hold::Unstoppable => StoppedThread {
                    id,
                    registers: Err(NoRegisters {
                        reason: GapReason::UninterruptibleSleep,
                        detail: "the thread did not stop".into(),
                    }),
                    signal: None,
                    state: Some(ThreadState('D')),
                },
            });
        }
        let leader = self.dir.id().0;
        let witness = if self.threads.contains_key(&leader) && !self.leader_exited {
            leader
        } else {
            self.threads.keys().next().copied().unwrap_or(leader)
        };
        Stopped { threads, witness: ThreadId(witness), since: self.since }
    }

    /// Whether the target was killed while it was held.
    pub(super) fn has_ended(&mut self) -> bool {
        // SIGKILL ends all threads; looking at one that was stopped is enough.
        let stopped = self.threads.iter().find(|(_, hold)| matches!(hold, Hold::Stopped(_))).map(|(tid, _)| *tid);
        let Some(tid) = stopped else { return false };
        if matches!(wait(tid), Waited::Gone) {
            self.threads.remove(&tid);
            return true;
        }
        false
    }

    /// Lets every thread go. One that is stopped gets the signal that it was about to get.
    pub(super) fn detach_all(&mut self) {
        for (tid, hold) in std::mem::take(&mut self.threads) {
            let signal = match hold {
                Hold::Stopped(signal) => signal,
                // Not stopped: it cannot be detached, and is freed by the end of this thread. One that has stopped
                // since can.
                Hold::Seized | Hold::Interrupted | Hold::Unstoppable => match wait(tid) {
                    Waited::Stopped(signal) => signal,
                    Waited::Nothing | Waited::Gone => continue,
                },
            };
            if signal == 0 {
                restart_if_interrupted(&self.dir, pid_of(tid));
            }
            detach(tid, signal);
        }
    }
}

/// The error for a target that someone else traces. `tracer` may be any thread of the tracing process.
pub(crate) fn already_traced(dir: &ProcDir, tracer: u32) -> LiveError {
    let leader = ProcDir::open(ProcessId(tracer))
        .ok()
        .and_then(|thread| u32::try_from(Status::parse(&thread.read("status").ok()?).number("Tgid")?).ok())
        .unwrap_or(tracer);
    let tracer_name = std::fs::read_to_string(format!("/proc/{leader}/comm")).unwrap_or_default().trim().to_owned();
    LiveError::AlreadyTraced { pid: dir.id(), tracer: leader, tracer_name }
}

/// What `wait` found.
enum Waited {
    Nothing,
    /// Stopped; with the signal that is being delivered, or 0.
    Stopped(i32),
    /// Exited, or no longer traced by this thread (another thread's execve takes the leader's id).
    Gone,
}

/// `PTRACE_EVENT_STOP`, in the third byte of a wait status.
const EVENT_STOP: i32 = 128;

fn wait(tid: u32) -> Waited {
    let mut status = 0;
    // SAFETY: `status` is a live, exclusive integer that the call writes to.
    let found = unsafe { libc::waitpid(pid_of(tid).as_raw(), &raw mut status, libc::__WALL | libc::WNOHANG) };
    match found {
        0 => Waited::Nothing,
        -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => Waited::Nothing,
        -1 => Waited::Gone,
        _ if libc::WIFSTOPPED(status) => {
            // With an event (an interrupt, a group stop) no signal is being delivered; without one WSTOPSIG is.
            if status >> 16 == EVENT_STOP { Waited::Stopped(0) } else { Waited::Stopped(libc::WSTOPSIG(status)) }
        }
        _ => Waited::Gone,
    }
}

fn detach(tid: u32, signal: i32) {
    // Real-time signals have no name in nix's enumeration, so the number goes in raw.
    // SAFETY: PTRACE_DETACH takes no address; the signal number is data.
    unsafe {
        libc::ptrace(
            libc::PTRACE_DETACH,
            pid_of(tid).as_raw(),
            std::ptr::null_mut::<libc::c_void>(),
            usize::try_from(signal).unwrap_or(0) as *mut libc::c_void,
        );
    }
}

fn pid_of(tid: u32) -> Pid {
    Pid::from_raw(i32::try_from(tid).unwrap_or(i32::MAX))
}
