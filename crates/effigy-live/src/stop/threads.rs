//! The threads of the target as the tracer holds them.

mod session;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use effigy_process::{Address, GapReason, NoRegisters, ThreadId, ThreadState};
use nix::errno::Errno;

use super::borrow::deliver;
use super::foreign::{already_traced, release_foreign};
use super::reaper::{BEFORE_REAPING, Reaper};
use super::registers::read_registers;
use super::restart::restart_if_interrupted;
use super::wait::{Stop, Waited, wait};
use super::{StopLimits, Stopped, StoppedThread};
use crate::procfs::{ProcDir, Stat, Status};
use crate::remote::{Code, Twin};
use crate::trace::{self, detach, pid_of};
use crate::{LiveError, permission};
use session::Session;
pub(crate) use session::go_on;

/// A thread's place on the way to standing still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Traced, running.
    Seized,
    /// Asked to stop.
    Interrupted,
    /// Stopped.
    Stopped(Stop),
    /// Stopped by an event that somebody else has to deal with first.
    Event,
    /// In uninterruptible sleep, given up.
    Unstoppable,
}

/// All threads of a target.
#[derive(Debug)]
pub(crate) struct ThreadSet {
    dir: ProcDir,
    threads: BTreeMap<u32, Hold>,
    since: Instant,
    /// When the last thread was let go.
    free: Instant,
    /// When stopping began, seizing included.
    began: Instant,
    /// Set once a leader was found to have exited.
    leader_exited: bool,
    /// Times that a living thread was refused in a row. An execve in progress refuses, too, for a moment.
    refusals: u32,
    /// Threads that were given a signal so that one could be asked for calls.
    quietened: u32,
    /// The twin that was made, and what it was made with.
    pub(crate) twin: Option<(Twin, Code)>,
    reaper: Arc<Reaper>,
    /// Threads that are to be let go and do not stand still yet.
    left: Vec<u32>,
    /// When the threads go on being traced: how.
    session: Option<Session>,
    /// Where breakpoints are in the target's code, and the bytes that belong there.
    breakpoints: Vec<(Address, u8)>,
}

/// Refusals in a row that are taken for final.
const MOST_REFUSALS: u32 = 10;
/// Signals that are let through in one stop, at most.
const MOST_QUIETENED: u32 = 20;
/// Rounds without anybody found, of a process that lives, are this far apart.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

impl ThreadSet {
    pub(super) fn new(dir: ProcDir) -> Self {
        Self::with(dir, None)
    }

    fn with(dir: ProcDir, session: Option<Session>) -> Self {
        let now = Instant::now();
        Self {
            dir,
            threads: BTreeMap::new(),
            since: now,
            free: now,
            began: now,
            leader_exited: false,
            refusals: 0,
            quietened: 0,
            twin: None,
            reaper: Arc::default(),
            left: Vec::new(),
            session,
            breakpoints: Vec::new(),
        }
    }

    /// Someone who keeps an execve of the target from waiting for us while we wait for it; see [`Reaper`].
    pub(super) fn new_reaper(&mut self) -> Arc<Reaper> {
        self.reaper = Arc::default();
        Arc::clone(&self.reaper)
    }

    pub(crate) fn dir(&self) -> &ProcDir {
        &self.dir
    }

    /// Begins to trace a thread, which runs on.
    pub(super) fn seize(&self, tid: u32) -> Result<(), Errno> {
        self.reaper.watched(tid, || trace::seize(tid, self.options()))
    }

    pub(crate) fn insert(&mut self, tid: u32, hold: Hold) {
        self.threads.insert(tid, hold);
    }

    /// The threads that stand still.
    pub(super) fn standing(&self) -> Vec<(u32, Stop)> {
        let standing = self.threads.iter().filter_map(|(tid, hold)| match hold {
            Hold::Stopped(stop) => Some((*tid, *stop)),
            _ => None,
        });
        // The leader first: its stack is the one that is known best.
        let leader = self.dir.id().0;
        let mut standing: Vec<_> = standing.collect();
        standing.sort_unstable_by_key(|(tid, _)| (*tid != leader, *tid));
        standing
    }

    /// When every thread has stopped for a signal, none can make calls: lets one have its signal. It stops again before
    /// it runs its handler. Whether there was such a one.
    fn quieten(&mut self) -> bool {
        let standing = self.standing();
        let quiet = |stop: &Stop| stop.signal == 0 || stop.job_control;
        // A session decides about each signal.
        if self.session.is_some() || self.quietened >= MOST_QUIETENED || standing.iter().any(|(_, stop)| quiet(stop)) {
            return false;
        }
        let Some((tid, stop)) = standing.first() else { return false };
        self.quietened += 1;
        if deliver(*tid, stop.signal).is_ok() {
            self.threads.insert(*tid, Hold::Interrupted);
        }
        true
    }

    /// Stops all threads, in rounds until a pass over them finds nobody new, and reads their registers.
    /// `tell` hears of each moment at which they all seem to stand still, before the registers are read.
    pub(crate) fn stop_all(
        &mut self,
        limits: StopLimits,
        cancelled: &dyn Fn() -> bool,
        tell: &dyn Fn(Instant),
    ) -> Result<Stopped, LiveError> {
        let mut started = false;
        self.began = Instant::now();
        self.refusals = 0;
        self.quietened = 0;
        // Still traced, and asked to stop.
        if self.session.is_none() {
            for tid in trace::take_left() {
                self.threads.insert(tid, Hold::Interrupted);
            }
        }
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
                if limits.quiet && self.quieten() {
                    self.wait_for_stops(limits, cancelled)?;
                    continue;
                }
                let still = Instant::now();
                tell(still);
                match self.read_registers(still, cancelled)? {
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
                if trace::interrupt(tid).is_ok() {
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
            match self.seize(tid) {
                Ok(()) if self.dir.stat_link(&format!("task/{tid}")).is_err() => {
                    // The id has passed to another process between the listing and the call, or the thread is gone.
                    release_foreign(tid);
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
        if self.takes_in(tid, status.tracer()) {
            return Ok(());
        }
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
            Waited::Event(event) if self.session.is_some() => self.take_event(tid, event),
            Waited::Nothing | Waited::Event(_) => {}
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
    fn read_registers(&mut self, still: Instant, cancelled: &dyn Fn() -> bool) -> Result<Option<Stopped>, LiveError> {
        let mut threads = Vec::with_capacity(self.threads.len());
        let mut moved = Vec::new();
        for (&tid, &hold) in &self.threads {
            if cancelled() {
                return Err(LiveError::Cancelled);
            }
            let id = ThreadId(tid);
            match hold {
                Hold::Stopped(_) | Hold::Event => match read_registers(pid_of(tid)) {
                    // One that has just called execve answers when the session has heard of it.
                    Err(Errno::ESRCH) if hold != Hold::Event => moved.push(tid),
                    registers => threads.push(StoppedThread {
                        id,
                        registers: registers
                            .map_err(|error| NoRegisters { reason: GapReason::Unreadable, detail: error.to_string() }),
                        signal: hold.signal(),
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
                    Waited::Nothing | Waited::Event(_) | Waited::Stopped(_) => self.threads.insert(tid, Hold::Seized),
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
        let breakpoints = self.breakpoints.clone();
        Ok(Some(Stopped { threads, witness: ThreadId(witness), since: self.since, still, breakpoints }))
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
    pub(crate) fn has_ended(&mut self) -> bool {
        // SIGKILL ends all threads; looking at one that was stopped is enough.
        let stands = |hold: &Hold| matches!(hold, Hold::Stopped(_) | Hold::Event);
        let stopped = self.threads.iter().find(|(_, hold)| stands(hold)).map(|(tid, _)| *tid);
        let Some(tid) = stopped else { return false };
        if matches!(wait(tid), Waited::Gone) {
            self.threads.remove(&tid);
            return true;
        }
        false
    }

    /// Lets go of threads that stopped too late for it, and collects dead ones; says whether any are left. The target must
    /// not wait for the end of a tracer that lives on.
    pub(super) fn free_left(&mut self) -> bool {
        for tid in trace::take_left() {
            match wait(tid) {
                Waited::Stopped(stop) => {
                    if stop.signal == 0 && !stop.job_control {
                        restart_if_interrupted(pid_of(tid));
                    }
                    detach(tid, stop.signal);
                }
                Waited::Event(_) => detach(tid, 0),
                Waited::Gone => {}
                Waited::Nothing => self.left.push(tid),
            }
        }
        self.left.drain(..).for_each(trace::leave);
        trace::any_left()
    }

    /// Lets every thread go. One that is stopped gets the signal that it was about to get. A session's threads stay traced.
    pub(crate) fn detach_all(&mut self) {
        if self.session.is_some() {
            return self.go_on_traced();
        }
        if self.threads.is_empty() {
            return;
        }
        for (tid, hold) in std::mem::take(&mut self.threads) {
            let stop = match hold {
                Hold::Stopped(stop) => stop,
                // Not stopped: it cannot be detached, and is freed by the end of this thread. One that has stopped
                // since can.
                Hold::Seized | Hold::Interrupted | Hold::Event | Hold::Unstoppable => match wait(tid) {
                    Waited::Stopped(stop) => stop,
                    Waited::Gone => continue,
                    Waited::Nothing | Waited::Event(_) => {
                        trace::leave(tid);
                        continue;
                    }
                },
            };
            if stop.signal == 0 && !stop.job_control {
                restart_if_interrupted(pid_of(tid));
            }
            detach(tid, stop.signal);
        }
        self.free = Instant::now();
    }

    /// When the last thread was let go.
    pub(super) fn free_since(&self) -> Instant {
        self.free
    }
}
