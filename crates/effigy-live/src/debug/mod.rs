//! Being there when something happens to a process: signals, exits, execve, threads, functions that are reached.
//!
//! A [`Session`] traces all threads of a process on a thread of its own (`PTRACE_SEIZE`, which stops nobody) and tells on
//! a channel what happens. What happened to a thread stands still until whoever listens has taken a dump, or has said that
//! it may go on ([`Held`]); the others run. Nothing is ever changed or kept from the process: each signal is delivered,
//! each call made. No option of ptrace makes a target die with effigy; when the session's thread ends, by return, panic or
//! death of the whole of effigy, the kernel lets every thread go, with the signal that it was about to get.
//!
//! What it costs the process while nothing of interest happens: a stop of some microseconds for each signal, new thread
//! and execve, and for each exit when exits are asked for; nothing else.

mod breakpoints;
mod launch;
mod link;
mod pass;
mod privileges;
mod process;
mod resolve;
mod sent;
mod session;
mod signals;
#[cfg(test)]
mod tests;
mod thrown;

use std::thread::JoinHandle;

use bstr::BString;
use crossbeam_channel::{Receiver, bounded, unbounded};
use effigy_process::{Address, ProcessId, ThreadId};

pub use breakpoints::{Function, check_breakpoints};
pub use launch::{LaunchError, end_of, launch, launch_untraced};
pub use link::{Held, Member, is_stopped};
pub use pass::{Passage, pass_signals_to};
pub use privileges::Privilege;
pub use resolve::{Image, Resolve, resolve};
pub use signals::{SignalInfo, SignalSet};
pub use thrown::Exception;

use crate::LiveError;
use crate::procfs::ProcDir;
use link::{Command, Link};

/// What is to be told.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// Signals that are told whenever a thread is about to get one of them, whatever the program does about it.
    pub first_chance: SignalSet,
    /// Signals that are told when they are about to kill the process.
    pub second_chance: SignalSet,
    /// Threads that begin, before their first instruction.
    pub thread_start: bool,
    /// Threads that end while the process goes on.
    pub thread_exit: bool,
    /// Another program in the same process (execve).
    pub exec: bool,
    /// The end of the process, while its memory is still there, for any reason but SIGKILL.
    pub exit: bool,
    /// Libraries that are loaded and unloaded.
    pub libraries: bool,
    /// C++ exceptions that are thrown.
    pub exceptions: bool,
    /// Panics of Rust.
    pub panics: bool,
    /// Functions that are reached.
    pub functions: Vec<Function>,
    /// Processes that the process makes, too.
    pub children: bool,
}

impl Wants {
    /// Whether breakpoints are needed.
    fn breakpoints(&self) -> bool {
        self.libraries || self.exceptions || self.panics || !self.functions.is_empty()
    }
}

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    /// The process that it happened to.
    pub process: ProcessId,
    /// The thread.
    pub thread: ThreadId,
    /// What it was.
    pub what: What,
    /// What stands still for it; `None` when nothing does.
    pub held: Option<Held>,
}

/// What can happen.
#[derive(Debug)]
#[non_exhaustive]
pub enum What {
    /// A thread is about to get a signal.
    Signal {
        /// The signal.
        info: SignalInfo,
        /// Whether it will kill the process.
        kills: bool,
    },
    /// A thread begins.
    ThreadStarted,
    /// A thread ends, with this exit status, and the process goes on.
    ThreadExiting(i32),
    /// The process has become another program.
    Executed(BString),
    /// The process is about to end, and its memory is still there.
    Exiting(End),
    /// The dynamic loader has changed what is loaded.
    Libraries {
        /// Paths of what was loaded.
        loaded: Vec<BString>,
        /// Paths of what was unloaded.
        unloaded: Vec<BString>,
    },
    /// A C++ exception is being thrown.
    Thrown(Exception),
    /// A Rust thread panics; the message, where it can be read.
    Panicked(Option<BString>),
    /// A function was reached, by its place in [`Wants::functions`].
    Reached(usize),
    /// A child was born and is traced too.
    Born {
        /// Its parent.
        parent: ProcessId,
    },
    /// The process has ended: how, where that can be known.
    Ended(Option<End>),
    /// The process has become another program without privileges that its file would have given it: the kernel gives none
    /// to a program whose tracer has no right to them.
    Withheld {
        /// The privileges.
        what: Privilege,
        /// The file.
        path: BString,
    },
    /// A breakpoint that was asked for cannot be set, and why.
    NoBreakpoint(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// From a status as wait(2) gives it.
    fn from_wait(status: u32) -> Self {
        let [low, high, ..] = status.to_le_bytes();
        if low & 0x7f == 0 { Self::Exited(i32::from(high)) } else { Self::Killed(i32::from(low & 0x7f)) }
    }
}

/// A traced process, until this is dropped.
#[derive(Debug)]
pub struct Session {
    pid: ProcessId,
    events: Receiver<Event>,
    link: Link,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Traces a running process from here on. Its threads are not stopped for it.
    ///
    /// # Errors
    /// Why it cannot be traced.
    pub fn attach(pid: ProcessId, wants: Wants, resolve: Box<dyn Resolve>) -> Result<Self, LiveError> {
        let dir = ProcDir::open(pid)?;
        let (begun, outcome) = bounded(1);
        let session = Self::start(pid, move |link, commands, events| {
            let mut session = session::State::new(wants, resolve, link, commands, events);
            let attached = session.attach(dir);
            let failed = attached.is_err();
            // Whoever waits for it is there: it waits without end.
            let _ = begun.send(attached);
            if !failed {
                session.run();
            }
        })?;
        outcome.recv().map_err(|_| LiveError::OwnThread("session"))??;
        Ok(session)
    }

    /// Starts the thread.
    fn start(
        pid: ProcessId,
        body: impl FnOnce(Link, Receiver<Command>, crossbeam_channel::Sender<Event>) + Send + 'static,
    ) -> Result<Self, LiveError> {
        let (link, commands) = Link::new();
        let (sender, events) = unbounded();
        let there = link.clone();
        let thread = std::thread::Builder::new().name("session".into()).spawn(move || {
            let _arrival = there.arrive();
            body(there, commands, sender);
        });
        let thread = thread.map_err(|_| LiveError::OwnThread("session"))?;
        Ok(Self { pid, events, link, thread: Some(thread) })
    }

    /// The process that was attached to or launched.
    #[must_use]
    pub fn pid(&self) -> ProcessId {
        self.pid
    }

    /// Where events come. The channel closes when no process is traced any more.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Passes on to the process, for as long as effigy runs, what somebody sends to effigy. What it gets itself, being in
    /// effigy's process group, it gets once: what comes from the terminal, and, while it is traced, what is sent to the
    /// whole group.
    ///
    /// # Errors
    /// When no thread can be started for it.
    pub fn pass_signals(&self) -> Result<(), LiveError> {
        pass::lead_to(self.pid, Some(self.link.clone()))
    }

    /// What a dump of a traced process is taken through when nothing has happened to it.
    #[must_use]
    pub fn member(&self, pid: ProcessId) -> Member {
        Member::new(pid, self.link.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.link.send(Command::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was recorded by the panic hook; its end has freed the process either way.
            let _ = thread.join();
        }
    }
}

/// Where in the program a thread stands: for what is told of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instruction.
    pub address: Address,
    /// The file that it lies in; empty for none.
    pub path: BString,
    /// How far from the beginning of the file.
    pub offset: u64,
}

/// Where a thread that stands still is; `None` when that cannot be read. The thread has to be one that an event is told of,
/// and it must not have gone on.
#[must_use]
pub fn place(held: &Held, thread: ThreadId) -> Option<Place> {
    let (sender, answer) = bounded(1);
    let task = Box::new(move |threads: &mut crate::stop::ThreadSet| {
        let _ = sender.send(process::place(threads.dir(), thread.0));
    });
    held.member().send(task).ok()?;
    answer.recv().ok().flatten()
}
