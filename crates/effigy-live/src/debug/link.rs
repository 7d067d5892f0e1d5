//! The way to a session's thread, which sleeps in the kernel until one of its threads stands still.
//!
//! Nothing but a signal wakes it from that sleep. One that comes just before the sleep would be lost, so it is sent again
//! until the thread has looked.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use effigy_process::ProcessId;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::sent::Sent;
use crate::LiveError;
use crate::procfs::{ProcDir, Stat};
use crate::stop::{self, Task};

/// What wakes the thread: programs ignore it unless they have asked for it, and the kernel sends it for urgent data of
/// sockets only.
const ALARM: Signal = Signal::SIGURG;
/// Time between two alarms.
const BETWEEN_ALARMS: Duration = Duration::from_micros(100);

/// How long the thread may take to answer: it may be in the middle of stopping a process.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// What a session is asked.
pub(super) enum Command {
    /// Someone takes a dump of a process and wants to hear of its end, or no longer does.
    Listen(ProcessId, Option<Sender<stop::Event>>),
    /// Something to be done with the threads of a process.
    Task(ProcessId, Task),
    /// What stands still for the event of this number is to go on.
    GoOn(u64),
    /// Has a process got, or is it just getting, a signal that effigy has got too?
    Got(Sent, Sender<bool>),
    /// Does job control keep a process from running?
    Stopped(ProcessId, Sender<bool>),
    /// Let everything go.
    End,
}

/// The way to a session's thread.
#[derive(Clone, Debug)]
pub(super) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: Sender<Command>,
    /// The thread.
    tid: AtomicU32,
    /// Whether it sleeps, or is about to.
    asleep: AtomicBool,
    /// How often it has woken.
    turn: AtomicU64,
    over: AtomicBool,
}

impl Link {
    /// A way to nobody yet, and its other end.
    pub(super) fn new() -> (Self, Receiver<Command>) {
        let (commands, receiver) = unbounded();
        let inner = Inner {
            commands,
            tid: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            over: AtomicBool::new(false),
        };
        (Self(Arc::new(inner)), receiver)
    }

    /// Makes the calling thread the one at the other end.
    pub(super) fn arrive(&self) -> Arrival {
        listen_for_alarms();
        let mut alarm = SigSet::empty();
        alarm.add(ALARM);
        // Blocked by nobody but whoever has started effigy with it blocked.
        let _ = alarm.thread_unblock();
        self.0.tid.store(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(), Ordering::SeqCst);
        Arrival(self.clone())
    }

    /// Sleeps in `sleep`, unless there are commands.
    pub(super) fn sleep<T>(&self, commands: &Receiver<Command>, sleep: impl FnOnce() -> T) -> Option<T> {
        self.0.asleep.store(true, Ordering::SeqCst);
        let slept = commands.is_empty().then(sleep);
        self.0.asleep.store(false, Ordering::SeqCst);
        self.0.turn.fetch_add(1, Ordering::SeqCst);
        slept
    }

    pub(super) fn send(&self, command: Command) -> Result<(), LiveError> {
        if self.is_over() || self.0.commands.send(command).is_err() {
            return Err(LiveError::OwnThread("session"));
        }
        let turn = self.0.turn.load(Ordering::SeqCst);
        while self.0.asleep.load(Ordering::SeqCst) && self.0.turn.load(Ordering::SeqCst) == turn {
            ring(self.0.tid.load(Ordering::SeqCst));
            std::thread::sleep(BETWEEN_ALARMS);
        }
        Ok(())
    }

    /// Whether a process has got, or is just getting, a signal that effigy has got too. Not as far as is known, when nobody
    /// watches any more.
    pub(super) fn has_got(&self, sent: Sent) -> bool {
        let (sender, answer) = bounded(1);
        self.send(Command::Got(sent, sender)).is_ok() && answer.recv_timeout(LONGEST_ANSWER).unwrap_or(false)
    }

    /// Whether the thread has come to an end.
    pub(super) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::SeqCst)
    }
}

/// The thread's presence; dropped when it ends, however it does.
pub(super) struct Arrival(Link);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.0.over.store(true, Ordering::SeqCst);
        self.0.0.asleep.store(false, Ordering::SeqCst);
    }
}

/// A handler that does nothing, and has no call restarted: that is all that an alarm is for.
fn listen_for_alarms() {
    static ONCE: OnceLock<()> = OnceLock::new();
    extern "C" fn nothing(_: libc::c_int) {}
    ONCE.get_or_init(|| {
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler touches nothing.
        let _ = unsafe { sigaction(ALARM, &action) };
    });
}

/// Sends the alarm to a thread of ours.
fn ring(tid: u32) {
    let (pid, tid) = (i64::from(std::process::id()), i64::from(tid));
    // SAFETY: the call takes numbers only; it reaches threads of this process only, which all bear the signal.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, i64::from(ALARM as i32)) };
}

/// Whether job control keeps a process that nobody traces from running.
#[must_use]
pub fn is_stopped(pid: ProcessId) -> bool {
    let stat = ProcDir::open(pid).and_then(|dir| dir.require("stat")).ok();
    stat.and_then(|bytes| Stat::parse(&bytes)).is_some_and(|stat| stat.state == 'T')
}

/// A process that a session traces: through this, a dump is taken of it ([`Tracer::of_session`](stop::Tracer::of_session)).
#[derive(Clone, Debug)]
pub struct Member {
    pid: ProcessId,
    link: Link,
}

impl Member {
    pub(super) fn new(pid: ProcessId, link: Link) -> Self {
        Self { pid, link }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> ProcessId {
        self.pid
    }

    /// Whether job control (SIGSTOP and its kin) keeps it from running.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let (sender, answer) = bounded(1);
        let asked = self.link.send(Command::Stopped(self.pid, sender)).is_ok();
        let answer = asked.then(|| answer.recv_timeout(LONGEST_ANSWER).ok()).flatten();
        // Nobody traces it any more, so that the kernel tells.
        answer.unwrap_or_else(|| is_stopped(self.pid))
    }

    pub(crate) fn send(&self, task: Task) -> Result<(), LiveError> {
        self.link.send(Command::Task(self.pid, task))
    }

    pub(crate) fn listen(&self, events: Option<Sender<stop::Event>>) {
        // A session that is over has let the process go; whoever asks it for something hears that.
        let _ = self.link.send(Command::Listen(self.pid, events));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.link.is_over()
    }
}

/// What stands still for an event, until this is dropped or told to [`go_on`](Self::go_on).
#[derive(Debug)]
pub struct Held {
    member: Member,
    number: u64,
    since: Instant,
    /// How long it stood still, once it has gone on.
    stood: OnceLock<Duration>,
}

impl Held {
    pub(super) fn new(member: Member, number: u64) -> Self {
        Self { member, number, since: Instant::now(), stood: OnceLock::new() }
    }

    /// What a dump of the moment is taken through.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Has the thread go on as it would have without us: it gets its signal, runs its function, exits.
    pub fn go_on(&self) {
        self.stood.get_or_init(|| {
            // A session that is over has let everything go on.
            let _ = self.member.link.send(Command::GoOn(self.number));
            self.since.elapsed()
        });
    }

    /// Whether the moment is over.
    #[must_use]
    pub fn has_gone_on(&self) -> bool {
        self.stood.get().is_some()
    }

    /// How long it has stood still.
    #[must_use]
    pub fn stood(&self) -> Duration {
        self.stood.get().copied().unwrap_or_else(|| self.since.elapsed())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.go_on();
    }
}
