//! The threads of the target as the tracer holds them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Stopped.
    Stopped(Stop),
    /// In uninterruptible sleep, given up.
    Unstoppable,
}

/// What a stopped thread was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stop {
    /// The signal that was being delivered to it, 0 for none.
    signal: i32,
    /// Whether the process is stopped by job control (SIGSTOP and its kin), and stays so.
    job_control: bool,
}

/// All threads of a target.
#[derive(Debug)]
pub(super) struct ThreadSet {
    dir: ProcDir,
    threads: BTreeMap<u32, Hold>,
    since: Instant,
    /// When stopping began, seizing included.
    began: Instant,
    /// Set once a leader was found to have exited.
    leader_exited: bool,
    /// Times that a living thread was refused in a row. An execve in progress refuses, too, for a moment.
    refusals: u32,
    reaper: Arc<Reaper>,
}

/// Refusals in a row that are taken for final.
const MOST_REFUSALS: u32 = 10;
/// Rounds without anybody found, of a process that lives, are this far apart.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

impl ThreadSet {
    pub(super) fn new(dir: ProcDir) -> Self {
        let now = Instant::now();
        Self {
            dir,
            threads: BTreeMap::new(),
            since: now,
            began: now,
            leader_exited: false,
            refusals: 0,
            reaper: Arc::default(),
        }
    }

    /// Someone who keeps an execve of the target from waiting for us while we wait for it; see [`Reaper`].
    pub(super) fn reaper(&self) -> Arc<Reaper> {
        Arc::clone(&self.reaper)
    }

    /// Stops all threads, in rounds until a pass over them finds nobody new, and reads their registers.
    pub(super) fn stop_all(&mut self, limits: StopLimits, cancelled: &dyn Fn() -> bool) -> Result<Stopped, LiveError> {
        let mut started = false;
        loop {
            if cancelled() {
                return Err(LiveError::Cancelled);
            }
            self.check_deadline(limits)?;
            let new = self.seize_new(cancelled)?;
            if new.is_empty() && self.running().next().is_none() {
                if self.threads.is_empty() {
                    self.nobody()?;
                    std::thread::sleep(BETWEEN_ROUNDS);
                    continue;
                }
                match self.read_registers(cancelled)? {
                    Some(stopped) => return Ok(stopped),
                    // A thread is not what it was: an execve has changed who has which id. Look again.
                    None => continue,
                }
            }
            if !started {
                // Seizing stops nobody; the pause begins here.
                self.since = Instant::now();
                started = true;
            }
            let seized = self.threads.iter().filter(|(_, hold)| **hold == Hold::Seized).map(|(tid, _)| *tid);
            for tid in seized.collect::<Vec<_>>() {
                // ESRCH: it exited meanwhile; the wait below will tell.
                if ptrace::interrupt(pid_of(tid)).is_ok() {
                    self.threads.insert(tid, Hold::Interrupted);
                }
            }
            self.wait_for_stops(limits, cancelled)?;
        }
    }

    fn check_deadline(&self, limits: StopLimits) -> Result<(), LiveError> {
        if self.began.elapsed() < limits.all {
            return Ok(());
        }
        Err(LiveError::DidNotStop {
            pid: self.dir.id(),
            running: self.running().count(),
            all: self.threads.len(),
            seconds: limits.all.as_secs_f64(),
        })
    }

    /// Traces every thread that is not traced yet and gives their ids.
    fn seize_new(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Vec<u32>, LiveError> {
        let tids = self.dir.numbers("task").map_err(|source| self.dir.error("task", source))?;
        let mut new = Vec::new();
        for tid in tids {
            if self.threads.contains_key(&tid) {
                continue;
            }
            if cancelled() {
                return Err(LiveError::Cancelled);
            }
            match self.reaper.watched(tid, || ptrace::seize(pid_of(tid), ptrace::Options::empty())) {
                Ok(()) if self.dir.stat_link(&format!("task/{tid}")).is_err() => {
                    // The id has passed to another process between the listing and the call. Ending this trace at once
                    // is all that can be done, and enough: seizing has changed nothing.
                    ptrace::interrupt(pid_of(tid)).ok();
                    self.threads.insert(tid, Hold::Interrupted);
                }
                Ok(()) => {
                    self.refusals = 0;
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
        self.refusals += 1;
        if self.refusals < MOST_REFUSALS {
            std::thread::sleep(BETWEEN_ROUNDS);
            return Ok(());
        }
        Err(LiveError::NotPermitted(permission::explain(&self.dir, "stop")))
    }

    /// There was no thread to stop. No error when the process lives all the same: threads exit and execve shifts ids
    /// while we look.
    fn nobody(&self) -> Result<(), LiveError> {
        let stat = self.dir.read("stat").ok().and_then(|bytes| Stat::parse(&bytes));
        match stat {
            None => Err(LiveError::Ended(self.dir.id())),
            Some(stat) if ThreadState(stat.state).is_exited() && stat.threads <= 1 => {
                Err(LiveError::Zombie(self.dir.id()))
            }
            Some(_) => Ok(()),
        }
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
            let idle = last_progress.elapsed();
            if idle >= BEFORE_REAPING && self.reap_stopped() {
                last_progress = Instant::now();
                continue;
            }
            let given_up = idle >= limits.uninterruptible && left.iter().all(|tid| self.is_unstoppable(*tid));
            if given_up || idle >= BEFORE_REAPING && left.iter().all(|tid| self.is_frozen(*tid)) {
                for tid in left {
                    self.threads.insert(tid, Hold::Unstoppable);
                }
                return Ok(());
            }
            self.check_deadline(limits)?;
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(1));
        }
    }

    /// Collects threads that were stopped and have died since. The thread that has killed them with its execve sleeps
    /// until their tracer has taken note.
    fn reap_stopped(&mut self) -> bool {
        let stopped: Vec<u32> =
            self.threads.iter().filter(|(_, hold)| matches!(hold, Hold::Stopped(_))).map(|(tid, _)| *tid).collect();
        let mut any = false;
        for tid in stopped {
            if matches!(wait(tid), Waited::Gone) {
                self.threads.remove(&tid);
                any = true;
            }
        }
        any
    }

    /// Whether a thread is frozen by a version 1 control group: such a one does not answer until it is thawed.
    fn is_frozen(&self, tid: u32) -> bool {
        self.dir.read(&format!("task/{tid}/wchan")).is_ok_and(|function| function == b"__refrigerator")
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

    /// Reads the registers of every thread; `None` when one turns out not to stand still.
    fn read_registers(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Option<Stopped>, LiveError> {
        let mut threads = Vec::with_capacity(self.threads.len());
        let mut moved = Vec::new();
        for (&tid, &hold) in &self.threads {
            if cancelled() {
                return Err(LiveError::Cancelled);
            }
            let id = ThreadId(tid);
            match hold {
                Hold::Stopped(stop) => match read_registers(pid_of(tid)) {
                    Err(Errno::ESRCH) => moved.push(tid),
                    registers => threads.push(StoppedThread {
                        id,
                        registers: registers
                            .map_err(|error| NoRegisters { reason: GapReason::Unreadable, detail: error.to_string() }),
                        signal: (stop.signal != 0).then_some(stop.signal),
                        state: None,
                    }),
                },
                Hold::Seized | Hold::Interrupted | Hold::Unstoppable => threads.push(StoppedThread {
                    id,
                    registers: Err(self.unstoppable(tid)),
                    signal: None,
                    state: Some(ThreadState('D')),
                }),
            }
        }
        if !moved.is_empty() {
            for tid in moved {
                match wait(tid) {
                    Waited::Gone => self.threads.remove(&tid),
                    // It runs: it is to be interrupted again.
                    Waited::Nothing | Waited::Stopped(_) => self.threads.insert(tid, Hold::Seized),
                };
            }
            return Ok(None);
        }
        let leader = self.dir.id().0;
        let witness = if self.threads.contains_key(&leader) && !self.leader_exited {
            leader
        } else {
            self.threads.keys().next().copied().unwrap_or(leader)
        };
        Ok(Some(Stopped { threads, witness: ThreadId(witness), since: self.since }))
    }

    fn unstoppable(&self, tid: u32) -> NoRegisters {
        let detail = if self.is_frozen(tid) {
            "the thread is frozen by its control group (version 1) and does not answer until it is thawed"
        } else {
            "the thread did not stop"
        };
        NoRegisters { reason: GapReason::UninterruptibleSleep, detail: detail.into() }
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
            let stop = match hold {
                Hold::Stopped(stop) => stop,
                // Not stopped: it cannot be detached, and is freed by the end of this thread. One that has stopped
                // since can.
                Hold::Seized | Hold::Interrupted | Hold::Unstoppable => match wait(tid) {
                    Waited::Stopped(stop) => stop,
                    Waited::Nothing | Waited::Gone => continue,
                },
            };
            if stop.signal == 0 && !stop.job_control {
                restart_if_interrupted(pid_of(tid));
            }
            detach(tid, stop.signal);
        }
    }
}

/// Collects the exits of traced threads while the tracer is stuck in `PTRACE_SEIZE`.
///
/// A thread that calls execve kills the others, sleeps until they are collected, and holds a lock meanwhile that
/// `PTRACE_SEIZE` of it waits for (`cred_guard_mutex`). Traced threads are collected by their tracer, so tracer and
/// target would wait for each other for ever. Any other thread of effigy may collect in the tracer's place.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    state: Mutex<ReaperState>,
}

#[derive(Debug, Default)]
struct ReaperState {
    seized: Vec<u32>,
    busy_since: Option<Instant>,
    done: bool,
}

/// How long a call may take before exits are collected.
const BEFORE_REAPING: Duration = Duration::from_millis(20);

impl Reaper {
    fn lock(&self) -> MutexGuard<'_, ReaperState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call that may get stuck.
    fn watched(&self, tid: u32, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        self.lock().busy_since = Some(Instant::now());
        let result = call();
        let mut state = self.lock();
        state.busy_since = None;
        if result.is_ok() {
            state.seized.push(tid);
        }
        result
    }

    /// Ends [`run`](Self::run).
    pub(super) fn finish(&self) {
        self.lock().done = true;
    }

    /// Watches over the tracer until [`finish`](Self::finish).
    pub(super) fn run(&self) {
        loop {
            std::thread::sleep(BEFORE_REAPING / 4);
            let state = self.lock();
            if state.done {
                return;
            }
            if state.busy_since.is_some_and(|since| since.elapsed() >= BEFORE_REAPING) {
                let seized = state.seized.clone();
                drop(state);
                seized.into_iter().for_each(reap);
            }
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
    Stopped(Stop),
    /// Exited, or no longer traced by this thread (another thread's execve takes the leader's id).
    Gone,
}

/// `PTRACE_EVENT_STOP`, in the second byte of the status that waitid(2) gives.
const EVENT_STOP: i32 = 128;

/// Looks, without waiting, what became of a thread. A stop is looked at only (`WNOWAIT`), never consumed: the kernel
/// keeps the signal that is being delivered with the stop, and consuming the one would lose the other if effigy died.
fn wait(tid: u32) -> Waited {
    match wait_id(tid, libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT) {
        Err(Errno::EINTR) | Ok(None) => Waited::Nothing,
        Err(_) => Waited::Gone,
        Ok(Some((libc::CLD_TRAPPED | libc::CLD_STOPPED, status))) => {
            let (signal, event) = (status & 0xff, status >> 8);
            // With an event (an interrupt, a group stop) no signal is being delivered.
            if event == EVENT_STOP {
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
fn reap(tid: u32) {
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
