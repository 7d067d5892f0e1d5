//! Stopping a process, reading its registers, and letting it go.
//!
//! [`Tracer`] does this on a thread of its own that does nothing else. The kernel binds a trace to the *thread* that
//! made it (ptrace(2)) and undoes it when that thread ends: threads that were stopped run on, a signal that was
//! being delivered is delivered, a thread that never stopped is left alone. So the end of the tracer thread, by return,
//! panic or death of the whole of effigy, is what resumes the target; explicit detaching only makes it quick.
//!
//! Threads are taken with `PTRACE_SEIZE`, which stops nobody, and stopped with `PTRACE_INTERRUPT`, which sends no
//! signal and leaves no trace (unlike `PTRACE_ATTACH`, whose SIGSTOP can be left behind). New threads are looked for in
//! rounds until a whole pass over `/proc/PID/task` finds nobody new: whoever could still make one is stopped by then.

mod reaper;
mod registers;
mod restart;
mod threads;
mod wait;

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use effigy_process::{NoRegisters, ProcessId, Registers, ThreadId, ThreadState};

use crate::procfs::ProcDir;
use crate::{LiveError, inject};
use threads::ThreadSet;
pub(crate) use threads::already_traced;

/// How long stopping may take.
#[derive(Clone, Copy, Debug)]
pub struct StopLimits {
    /// Longest time from the first interrupt until every thread stands still; more than this and the target is let go.
    pub all: Duration,
    /// Longest time without any thread newly stopping, when all that still run are in uninterruptible sleep; then the
    /// rest is captured without their registers.
    pub uninterruptible: Duration,
}

impl Default for StopLimits {
    fn default() -> Self {
        Self { all: Duration::from_secs(5), uninterruptible: Duration::from_millis(500) }
    }
}

/// How long the tracer may take to let all threads go: thousands of them take milliseconds.
const LONGEST_RELEASE: Duration = Duration::from_secs(5);

/// A thread of the stopped target.
#[derive(Clone, Debug)]
pub struct StoppedThread {
    /// Its id.
    pub id: ThreadId,
    /// Its registers, or why there are none.
    pub registers: Result<Registers, NoRegisters>,
    /// The signal that was about to be delivered to it, which it will get when it goes on.
    pub signal: Option<i32>,
    /// Its state when it could not be stopped.
    pub state: Option<ThreadState>,
}

/// The target, stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Its threads by rising id; a leader that has exited while others live is not among them.
    pub threads: Vec<StoppedThread>,
    /// A thread whose `/proc` directory shows the process's memory: the leader, unless that has exited.
    pub witness: ThreadId,
    /// When the first thread was interrupted.
    pub since: Instant,
}

/// What the tracer tells while and after the target stands still.
enum Event {
    Stopped(Result<Stopped, LiveError>),
    Ended,
}

/// The thread that holds the trace.
#[derive(Debug)]
pub struct Tracer {
    pid: ProcessId,
    events: Receiver<Event>,
    /// Dropping it asks the thread to let the target go.
    hold: Option<Sender<()>>,
    resumed: Receiver<Instant>,
    thread: Option<std::thread::JoinHandle<()>>,
    since: Option<Instant>,
}

/// How the target fares while it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It stands still.
    Still,
    /// It was killed.
    Ended,
}

impl Tracer {
    /// Starts to stop the process.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(pid: ProcessId, limits: StopLimits) -> Result<Self, LiveError> {
        let (event_sender, events) = bounded(4);
        let (hold, held) = bounded::<()>(0);
        let (resumed_sender, resumed) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("tracer".into())
            .spawn(move || trace(pid, limits, &event_sender, &held, &resumed_sender))
            .map_err(|_| LiveError::OwnThread("tracer"))?;
        Ok(Self { pid, events, hold: Some(hold), resumed, thread: Some(thread), since: None })
    }

    /// Waits until the target stands still; `None` when `patience` runs out first (call again).
    ///
    /// # Errors
    /// Why it could not be stopped. It runs on then.
    pub fn wait_stopped(&mut self, patience: Duration) -> Option<Result<Stopped, LiveError>> {
        match self.events.recv_timeout(patience) {
            Ok(Event::Stopped(result)) => {
                self.since = result.as_ref().ok().map(|stopped| stopped.since);
                Some(result)
            }
            Ok(Event::Ended) => Some(Err(LiveError::Ended(self.pid))),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(LiveError::OwnThread("tracer"))),
        }
    }

    /// How the target fares now.
    ///
    /// # Errors
    /// When the tracer thread is gone, and the target with it free.
    pub fn poll(&self) -> Result<Held, LiveError> {
        match self.events.try_recv() {
            Ok(Event::Ended) => Ok(Held::Ended),
            Ok(Event::Stopped(_)) | Err(crossbeam_channel::TryRecvError::Empty) => Ok(Held::Still),
            Err(crossbeam_channel::TryRecvError::Disconnected) => Err(LiveError::OwnThread("tracer")),
        }
    }

    /// Lets the target go and says how long it stood still, from the first interrupt to the last detach. Returns when
    /// every thread is free.
    ///
    /// # Errors
    /// When the tracer thread had come to an end before: the target is free, and was so for an unknown part of the time.
    pub fn resume(mut self) -> Result<Duration, LiveError> {
        self.release()
    }

    fn release(&mut self) -> Result<Duration, LiveError> {
        drop(self.hold.take());
        // A tracer that is stuck in the kernel is not waited for: the end of effigy frees it and the target.
        let free = self.resumed.recv_timeout(LONGEST_RELEASE);
        if let Some(thread) = self.thread.take().filter(|_| free != Err(RecvTimeoutError::Timeout)) {
            // A panic there was recorded by the panic hook; its end has freed the target either way.
            let _ = thread.join();
        }
        let free = free.map_err(|_| LiveError::OwnThread("tracer"))?;
        Ok(self.since.map_or(Duration::ZERO, |since| free.duration_since(since)))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

/// Body of the tracer thread.
fn trace(pid: ProcessId, limits: StopLimits, events: &Sender<Event>, hold: &Receiver<()>, resumed: &Sender<Instant>) {
    let mut threads = match ProcDir::open(pid) {
        Ok(dir) => ThreadSet::new(dir),
        Err(error) => {
            let _ = events.send(Event::Stopped(Err(error)));
            return;
        }
    };
    let cancelled = || matches!(hold.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
    let reaper = threads.reaper();
    let watcher = std::thread::Builder::new().name("reaper".into()).spawn({
        let reaper = threads.reaper();
        move || reaper.run()
    });
    let result = match watcher {
        Ok(_) => threads.stop_all(limits, &cancelled),
        Err(_) => Err(LiveError::OwnThread("reaper")),
    };
    reaper.finish();
    let failed = result.is_err();
    if events.send(Event::Stopped(result)).is_err() || failed {
        threads.detach_all();
        let _ = resumed.send(Instant::now());
        return;
    }
    assert!(!inject::hit(inject::TRACER_PANIC), "injected failure");
    let mut told = false;
    // Nothing is ever sent on `hold`; it is closed when the target is to be let go.
    while let Err(RecvTimeoutError::Timeout) = hold.recv_timeout(Duration::from_millis(20)) {
        if !told && threads.has_ended() {
            told = events.try_send(Event::Ended).is_ok();
        }
    }
    threads.detach_all();
    let _ = resumed.send(Instant::now());
}
