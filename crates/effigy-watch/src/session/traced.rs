//! Targets that are traced, for triggers that are about what happens to a program and not about numbers.
//!
//! Each has a session of [`effigy_live::debug`], its own or the one that has launched it, shared with the children that it
//! follows, and a thread that listens to it. What counts is decided there ([`Judge`]), so that a program to which much happens is not held up by a watch that is
//! busy with something else; what does is handed on with the thread that stands still for it. Dropping that at any point
//! lets it go on.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use effigy_live::LiveError;
use effigy_live::debug::{self, Held, Wants, What};
use effigy_process::{Fault, ProcessId, ThreadId};

use super::Waker;

/// Which events are triggers.
#[derive(Clone, Debug)]
pub struct Events {
    /// What sessions are to tell.
    pub wants: Wants,
    /// What of it counts.
    pub judge: Arc<dyn Judge>,
    /// The same in words, one for each.
    pub words: Vec<String>,
}

/// Decides what counts.
pub trait Judge: fmt::Debug + Send + Sync {
    /// What is to be said of an event; `None` when it does not count. It may take its time: only the thread to which it
    /// happened waits.
    fn judge(&self, event: &debug::Event) -> Option<Account>;

    /// What is to be said of an event that is none, but something that is wrong; whether it counts or not.
    fn trouble(&self, event: &debug::Event) -> Trouble;
}

/// Something that is wrong with a target that is traced, or with its trace.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Whose.
    pub pid: ProcessId,
    /// The thread that it was noticed at.
    pub thread: ThreadId,
    /// Which kind, a stable name.
    pub event: &'static str,
    /// What it is, for people.
    pub why: String,
}

/// What is said of an event.
#[derive(Clone, Debug)]
pub struct Account {
    /// Which kind of event, a stable name.
    pub event: &'static str,
    /// For names of files, as ProcDump has them: `signal`, `exception`, `manual`.
    pub kind: &'static str,
    /// What happened, for people.
    pub what: String,
    /// The same without words of the program's own.
    pub brief: String,
    /// The signal, if it was one.
    pub fault: Option<Fault>,
    /// Whether the process dies of it.
    pub last: bool,
}

/// Something that happened and counts.
#[derive(Debug)]
pub struct Incident {
    /// The thread.
    pub thread: ThreadId,
    /// What is said of it.
    pub account: Account,
    /// Whether nothing can come after it: the process dies of it, or is about to end.
    pub ends: bool,
    /// What stands still for it.
    pub held: Held,
}

/// How a traced target is dumped.
#[derive(Debug)]
pub struct Grip {
    /// Who traces it; kept for as long as the dump takes.
    pub session: Arc<debug::Session>,
    /// What has happened, if it is for that.
    pub incident: Option<Incident>,
}

/// What is handed on to the watch.
#[derive(Debug)]
pub(super) enum Report {
    /// Something counts.
    Happened(ProcessId, Incident),
    /// A child of a target was born under its trace.
    Born(ProcessId, Arc<debug::Session>),
    /// Something is wrong.
    Trouble(Trouble),
    /// The program that was launched has ended; all that has happened to it was told before.
    Ended,
    /// It is traced no more.
    LetGo,
}

/// Where reports go.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) reports: Sender<Report>,
    pub(super) waker: Waker,
}

impl Desk {
    pub(super) fn put(&self, report: Report) {
        // A watch that is over wants none; what stands still goes on then.
        let _ = self.reports.send(report);
        self.waker.wake();
    }
}

/// Traces a process from here on.
pub(super) fn trace(pid: ProcessId, events: &Events, desk: &Desk) -> Result<Arc<debug::Session>, LiveError> {
    let session = Arc::new(debug::Session::attach(pid, events.wants.clone(), Box::new(debug::resolve))?);
    listen(&session, events, desk, |_| {})?;
    Ok(session)
}

/// Listens to a session until it is over. `also` hears of each event before it is told, and at last of none.
pub(super) fn listen(
    session: &Arc<debug::Session>,
    events: &Events,
    desk: &Desk,
    also: impl Fn(Option<&debug::Event>) + Send + 'static,
) -> Result<JoinHandle<()>, LiveError> {
    let (told, of) = (session.events().clone(), Arc::downgrade(session));
    let (judge, desk) = (Arc::clone(&events.judge), desk.clone());
    let listen = move || {
        for event in told {
            also(Some(&event));
            // A defect in what is said of one event lets it go on, and the next ones are heard of.
            let _ = catch_unwind(AssertUnwindSafe(|| hear(event, &of, judge.as_ref(), &desk)));
        }
        also(None);
    };
    std::thread::Builder::new().name("events".into()).spawn(listen).map_err(|_| LiveError::OwnThread("events"))
}

fn hear(event: debug::Event, of: &Weak<debug::Session>, judge: &dyn Judge, desk: &Desk) {
    match &event.what {
        What::Born { .. } => {
            if let Some(session) = of.upgrade() {
                desk.put(Report::Born(event.process, session));
            }
            return;
        }
        What::NoBreakpoint(_) | What::Withheld { .. } => return desk.put(Report::Trouble(judge.trouble(&event))),
        _ => {}
    }
    let account = event.held.is_some().then(|| judge.judge(&event)).flatten();
    let ends = matches!(event.what, What::Exiting(_)) || account.as_ref().is_some_and(|account| account.last);
    if let (Some(account), Some(held)) = (account, event.held) {
        desk.put(Report::Happened(event.process, Incident { thread: event.thread, account, ends, held }));
    }
}
