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

mod borrow;
mod foreign;
mod reaper;
pub(crate) mod registers;
mod restart;
mod road;
mod threads;
pub(crate) mod wait;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use effigy_process::{Address, NoRegisters, ProcessId, Registers, ThreadId, ThreadState};

use crate::debug::Member;
use crate::procfs::ProcDir;
use crate::remote::{Code, Refused, Twin, Userfault};
use crate::{Haste, LiveError, inject};
pub(crate) use foreign::already_traced;
pub(crate) use road::Task;
use road::{Road, ask};
pub(crate) use threads::{Hold, ThreadSet, go_on};

/// How long stopping may take.
#[derive(Clone, Copy, Debug)]
pub struct StopLimits {
    /// Longest time from the first interrupt until every thread stands still; more than this and the target is let go.
    pub all: Duration,
    /// Longest time without any thread newly stopping, when all that still run are in uninterruptible sleep; then the
    /// rest is captured without their registers.
    pub uninterruptible: Duration,
    /// Let a signal through when every thread has stopped for one, so that one of them can make calls.
    pub quiet: bool,
}

impl Default for StopLimits {
    fn default() -> Self {
        Self { all: Duration::from_secs(5), uninterruptible: Duration::from_millis(500), quiet: false }
    }
}

/// How long the tracer may take to let all threads go: thousands of them take milliseconds.
const LONGEST_RELEASE: Duration = Duration::from_secs(5);

/// How long a stop may take whatever it waits for: much longer than it is given, and than the reading of registers takes.
const LONGEST_STOP: Duration = Duration::from_secs(20);

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
    /// When all of them stood still.
    pub still: Instant,
    /// Where the kernel keeps breakpoints for us in the target's code, and the bytes that belong there.
    pub breakpoints: Vec<(Address, u8)>,
}

/// What the tracer tells while and after the target stands still.
pub(crate) enum Event {
    Stopped(Result<Stopped, LiveError>),
    Ended,
}

/// Where the answer to a call inside the target comes.
pub type Answer<T> = Receiver<Result<T, Refused>>;

/// Lets the target go, for another thread than the one that holds the [`Tracer`].
#[derive(Clone, Debug)]
pub struct Release(Road);

impl Release {
    /// Lets the target go. Returns when every thread is free.
    ///
    /// # Errors
    /// When the tracer thread has come to an end: the target is free, and was so for an unknown time.
    pub fn release(&self) -> Result<(), LiveError> {
        let free = ask(&self.0, |threads| threads.detach_all())?;
        free.recv_timeout(LONGEST_RELEASE).map_err(|_| LiveError::OwnThread("tracer"))
    }
}

/// The thread that holds the trace.
#[derive(Debug)]
pub struct Tracer {
    pid: ProcessId,
    events: Receiver<Event>,
    event_sender: Sender<Event>,
    /// Closing it asks the thread to let the target go, and to end.
    road: Road,
    cancelled: Arc<AtomicBool>,
    over: Receiver<Instant>,
    thread: Option<std::thread::JoinHandle<()>>,
    since: Option<Instant>,
    /// Since when a stop is waited for.
    waiting: Option<Instant>,
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
    /// Starts the thread; nothing is stopped yet.
    ///
    /// # Errors
    /// When the thread cannot be started, or there is no such process.
    pub fn start(pid: ProcessId) -> Result<Self, LiveError> {
        let dir = ProcDir::open(pid)?;
        let (event_sender, events) = bounded(4);
        let (tasks, to_do) = bounded::<Task>(4);
        let (over_sender, over) = bounded(1);
        let cancelled = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("tracer".into())
            .spawn({
                let events = event_sender.clone();
                move || work(dir, &to_do, &events, &over_sender)
            })
            .map_err(|_| LiveError::OwnThread("tracer"))?;
        let road = Road::Own(Arc::new(Mutex::new(Some(tasks))));
        Ok(Self { pid, events, event_sender, road, cancelled, over, thread: Some(thread), since: None, waiting: None })
    }

    /// One for a process that a session of [`debug`](crate::debug) traces: that session's thread does the work. Its
    /// threads are let go on, and stay traced; one that the session holds for an event stays as it is.
    #[must_use]
    pub fn of_session(member: &Member) -> Self {
        let (event_sender, events) = bounded(4);
        member.listen(Some(event_sender.clone()));
        let (cancelled, over) = (Arc::default(), crossbeam_channel::never());
        let road = Road::Session(member.clone());
        Self {
            pid: member.pid(),
            events,
            event_sender,
            road,
            cancelled,
            over,
            thread: None,
            since: None,
            waiting: None,
        }
    }

    /// Begins to stop the process; [`wait_stopped`](Self::wait_stopped) tells the outcome. `still` is told when all threads
    /// stand still, before their registers are read: what is looked at from then on is of the moment, if
    /// [`Stopped::still`] is that which was told last.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn stop(&self, limits: StopLimits, still: Option<Sender<Instant>>) -> Result<(), LiveError> {
        let events = self.event_sender.clone();
        let given_up = Arc::clone(&self.cancelled);
        let stop: Task = Box::new(move |threads| {
            let cancelled = || given_up.load(Ordering::Relaxed);
            let tell = |moment| {
                if let Some(still) = &still {
                    // Nobody may be waiting, or for nothing but the last.
                    let _ = still.try_send(moment);
                }
            };
            let result = with_reaper(threads, |threads| threads.stop_all(limits, &cancelled, &tell));
            if result.is_err() {
                threads.detach_all();
            }
            if events.send(Event::Stopped(result)).is_err() {
                threads.detach_all();
            }
            assert!(!inject::hit(inject::TRACER_PANIC), "injected failure");
        });
        self.road.send(stop)
    }

    /// What lets the target go, for another thread.
    #[must_use]
    pub fn releaser(&self) -> Release {
        Release(self.road.clone())
    }

    /// Begins to make a twin of the target, which stands still.
    ///
    /// # Errors
    /// When the tracer thread is gone.
    pub fn make_twin(&self, code: Code) -> Result<Answer<Twin>, LiveError> {
        ask(&self.road, move |threads| threads.make_twin(code))
    }

    /// Ends the twin, if there is one, and has the target collect it: one of its threads stands still for that for a
    /// moment, and the result says for how long. The end of the tracer does the same, unasked.
    ///
    /// # Errors
    /// When the tracer thread is gone; the twin is gone with it.
    pub fn end_twin(&self) -> Result<Answer<Duration>, LiveError> {
        ask(&self.road, end_twin)
    }

    /// Begins to make a userfaultfd for the target's memory: one of its threads stands still for that for a moment, and
    /// the result says for how long.
    ///
    /// # Errors
    /// When the tracer thread is gone.
    pub fn open_userfault(&self, code: Code) -> Result<Answer<(Userfault, Duration)>, LiveError> {
        let given_up = Arc::clone(&self.cancelled);
        ask(&self.road, move |threads| {
            let cancelled = || given_up.load(Ordering::Relaxed);
            with_reaper(threads, |threads| Ok(threads.open_userfault(code, &cancelled)))
                .unwrap_or_else(|error| Err(Refused::new(error.to_string())))
        })
    }

    /// Waits until the target stands still; `None` when `patience` runs out first (call again).
    ///
    /// # Errors
    /// Why it could not be stopped. It runs on then.
    pub fn wait_stopped(&mut self, patience: Duration) -> Option<Result<Stopped, LiveError>> {
        let waiting = *self.waiting.get_or_insert_with(Instant::now);
        match self.events.recv_timeout(patience) {
            Ok(Event::Stopped(result)) => {
                self.waiting = None;
                self.since = result.as_ref().ok().map(|stopped| stopped.since);
                Some(result)
            }
            Ok(Event::Ended) => Some(Err(LiveError::Ended(self.pid))),
            Err(_) if self.is_over() => Some(Err(LiveError::OwnThread("tracer"))),
            Err(_) if waiting.elapsed() > LONGEST_STOP => Some(Err(LiveError::Unanswered(self.pid))),
            Err(_) => None,
        }
    }

    /// How the target fares now.
    ///
    /// # Errors
    /// When the tracer thread is gone, and the target with it free.
    pub fn poll(&self) -> Result<Held, LiveError> {
        match self.events.try_recv() {
            Ok(Event::Ended) => Ok(Held::Ended),
            _ if self.is_over() => Err(LiveError::OwnThread("tracer")),
            _ => Ok(Held::Still),
        }
    }

    fn is_over(&self) -> bool {
        match &self.road {
            Road::Own(_) => self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished),
            Road::Session(member) => member.is_over(),
        }
    }

    /// Lets the target go and says how long it stood still, from the first interrupt to the last detach. Returns when
    /// every thread is free. A twin stays held.
    ///
    /// # Errors
    /// When the tracer thread had come to an end before: the target is free, and was so for an unknown part of the time.
    pub fn resume(&mut self) -> Result<Duration, LiveError> {
        let free = ask(&self.road, |threads| {
            threads.detach_all();
            threads.free_since()
        })?;
        // A tracer that is stuck in the kernel is not waited for: the end of effigy frees it and the target.
        let free = free.recv_timeout(LONGEST_RELEASE).map_err(|_| LiveError::OwnThread("tracer"))?;
        Ok(self.since.take().map_or(Duration::ZERO, |since| free.duration_since(since)))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Road::Session(member) = &self.road {
            // A session that is over has let everything go.
            if let Ok(free) = ask(&self.road, let_all_go) {
                let _ = free.recv_timeout(LONGEST_RELEASE);
            }
            return member.listen(None);
        }
        self.road.close();
        let free = self.over.recv_timeout(LONGEST_RELEASE);
        if let Some(thread) = self.thread.take().filter(|_| free != Err(RecvTimeoutError::Timeout)) {
            // A panic there was recorded by the panic hook; its end has freed the target either way.
            let _ = thread.join();
        }
    }
}

/// Body of the tracer thread.
fn work(dir: ProcDir, tasks: &Receiver<Task>, events: &Sender<Event>, over: &Sender<Instant>) {
    // It sleeps unless the target waits for it.
    let _haste = Haste::begin();
    let mut threads = ThreadSet::new(dir);
    let mut told = false;
    loop {
        let nap = Duration::from_millis(if threads.free_left() { 1 } else { 20 });
        match tasks.recv_timeout(nap) {
            Ok(task) => task(&mut threads),
            Err(RecvTimeoutError::Timeout) => {
                if !told && threads.has_ended() {
                    told = events.try_send(Event::Ended).is_ok();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let_all_go(&mut threads);
    let _ = over.send(Instant::now());
}

fn let_all_go(threads: &mut ThreadSet) {
    threads.detach_all();
    // Nobody hears of a failure here; a twin that is not collected is so by the next dump.
    let _ = end_twin(threads);
}

fn end_twin(threads: &mut ThreadSet) -> Result<Duration, Refused> {
    if threads.twin.is_none() {
        return Ok(Duration::ZERO);
    }
    with_reaper(threads, |threads| Ok(threads.end_twin())).unwrap_or_else(|error| Err(Refused::new(error.to_string())))
}

/// Does something that may have to wait for `PTRACE_SEIZE`, with someone who collects dead threads meanwhile.
pub(crate) fn with_reaper<T>(
    threads: &mut ThreadSet,
    task: impl FnOnce(&mut ThreadSet) -> Result<T, LiveError>,
) -> Result<T, LiveError> {
    let reaper = threads.new_reaper();
    let watcher = std::thread::Builder::new().name("reaper".into()).spawn({
        let reaper = Arc::clone(&reaper);
        move || reaper.run()
    });
    let result = match watcher {
        Ok(_) => task(threads),
        Err(_) => Err(LiveError::OwnThread("reaper")),
    };
    reaper.finish();
    result
}
