//! What is different about the threads of a target that goes on being traced: by a session of [`debug`](crate::debug).
//!
//! They are let go for good only with the session. Those that have stopped for an event wait for the session, and one of
//! them may be *pinned*: the session is just telling somebody what has happened to it.

use std::time::Instant;

use effigy_process::Address;
use nix::errno::Errno;

use super::{BETWEEN_ROUNDS, Hold, ThreadSet, deliver};
use crate::LiveError;
use crate::procfs::ProcDir;
use crate::stop::StopLimits;
use crate::stop::restart::restart_if_interrupted;
use crate::stop::wait::Stop;
use crate::trace::{self, pid_of};

/// How threads go on being traced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// The options that each is traced with (`PTRACE_O_*`).
    options: i32,
    /// The thread that stays as it is until the session has it go on.
    pinned: Option<u32>,
    /// Whether all others stay with it.
    together: bool,
}

impl ThreadSet {
    /// The threads of a target that a session traces, with these options.
    pub(crate) fn of_session(dir: ProcDir, options: i32) -> Self {
        Self::with(dir, Some(Session { options, pinned: None, together: false }))
    }

    /// The options that threads are traced with whenever nothing else is asked of them.
    pub(in crate::stop) fn options(&self) -> i32 {
        self.session.map_or(0, |session| session.options)
    }

    /// Whether the threads go on being traced.
    pub(in crate::stop) fn in_session(&self) -> bool {
        self.session.is_some()
    }

    /// Begins to trace all threads, which run on.
    pub(crate) fn seize_all(&mut self) -> Result<(), LiveError> {
        let limits = StopLimits::default();
        self.began = Instant::now();
        loop {
            // Whoever could still make a thread is traced by then, and hands its trace on.
            if self.seize_new(&|| false)?.is_empty() {
                if !self.threads.is_empty() {
                    return Ok(());
                }
                self.nobody()?;
                std::thread::sleep(BETWEEN_ROUNDS);
            }
            self.check_deadline(limits)?;
        }
    }

    /// Whether a thread was born under our trace, and is one of these from now on. `tracer` is the thread that traces it.
    pub(super) fn takes_in(&mut self, tid: u32, tracer: u32) -> bool {
        let ours = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs() == tracer && self.session.is_some();
        if ours {
            self.threads.insert(tid, Hold::Seized);
        }
        ours
    }

    /// Notes where breakpoints are, and the bytes that belong there.
    pub(crate) fn set_breakpoints(&mut self, breakpoints: Vec<(Address, u8)>) {
        self.breakpoints = breakpoints;
    }

    /// Keeps a thread that stands still as it is, and with it, once they stand still, all others if they are to stay
    /// `together`.
    pub(crate) fn pin(&mut self, tid: u32, together: bool) {
        self.threads.insert(tid, Hold::Event);
        self.since = Instant::now();
        if let Some(session) = &mut self.session {
            (session.pinned, session.together) = (Some(tid), together);
        }
    }

    /// Ends that. The thread itself is for the caller to have go on, and to be the first that does.
    pub(crate) fn unpin(&mut self) {
        if let Some(session) = &mut self.session
            && let Some(tid) = session.pinned.take()
        {
            session.together = false;
            self.threads.entry(tid).and_modify(|hold| *hold = Hold::Seized);
        }
    }

    /// Has threads that stand still for nothing but our asking go on.
    pub(super) fn go_on_traced(&mut self) {
        self.free = Instant::now();
        let Some(Session { pinned, together: false, .. }) = self.session else { return };
        for (tid, hold) in self.threads.iter_mut().filter(|(tid, _)| Some(**tid) != pinned) {
            if let Hold::Stopped(stop) = hold
                && stop.signal == 0
            {
                // ESRCH: it was killed, and whoever waits for it will see.
                let _ = go_on(*tid, *stop);
            }
            *hold = Hold::Seized;
        }
    }

    /// A thread has stopped for an event, and not because it was asked to.
    pub(super) fn take_event(&mut self, tid: u32, event: i32) {
        if matches!(event, libc::PTRACE_EVENT_EXEC | libc::PTRACE_EVENT_EXIT) {
            self.threads.insert(tid, Hold::Event);
        } else {
            // Nobody wants to hear of it, and a thread that stands elsewhere can make calls. It stops again before it runs
            // any further.
            let _ = deliver(tid, 0);
        }
    }

    /// Whether some of the threads stand still, or are about to, because they were asked to.
    pub(crate) fn stands(&self) -> bool {
        self.threads.values().any(|hold| *hold != Hold::Seized)
    }

    /// Whether a thread is one of these.
    pub(crate) fn has(&self, tid: u32) -> bool {
        self.threads.contains_key(&tid)
    }

    /// Forgets a thread that is no more.
    pub(crate) fn remove(&mut self, tid: u32) {
        self.threads.remove(&tid);
    }

    /// Forgets all threads but one: an execve has ended them.
    pub(crate) fn keep_only(&mut self, tid: u32) {
        self.threads.clear();
        self.threads.insert(tid, Hold::Seized);
    }

    /// Their ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.threads.keys().copied()
    }
}

impl Hold {
    /// The signal that a thread which stands still is about to get.
    pub(super) fn signal(self) -> Option<i32> {
        match self {
            Self::Stopped(stop) => (stop.signal != 0).then_some(stop.signal),
            _ => None,
        }
    }
}

/// Has a thread go on that stands still because it was asked to; or by job control, which goes on keeping it then.
pub(crate) fn go_on(tid: u32, stop: Stop) -> Result<(), Errno> {
    if stop.job_control {
        return trace::listen(tid);
    }
    restart_if_interrupted(pid_of(tid));
    trace::resume_with(tid, 0)
}
