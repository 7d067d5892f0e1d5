//! Between a session and those who act for it: what a dump is for, how it went, and what there is to tell.

use std::time::Duration;

use bstr::{BStr, BString};
use crossbeam_channel::Sender;
use effigy_live::{LiveError, debug};
use effigy_process::{Journal, ProcessId};

use super::Waker;
use super::traced::{Account, Grip, Trouble};
use crate::Target;
use crate::trigger::{Cause, Sight};

/// A dump that is due.
#[derive(Debug)]
pub struct Order {
    /// Of whom.
    pub pid: ProcessId,
    /// Its name.
    pub name: BString,
    /// From the system's start to its own: whoever has its id and started at another time is not it.
    pub started: Duration,
    /// Which dump of this target, from 1.
    pub number: u32,
    /// Why.
    pub cause: Cause,
    /// What was measured before.
    pub journal: Journal,
    /// How it is held, when it is traced.
    pub grip: Option<Grip>,
}

/// How a dump went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It was not; the next time may be better.
    Failed,
    /// It was not, as somebody has asked for an end.
    GivenUp,
}

/// Tells a session how a dump went. Dropped without a word, it says that the dump failed.
#[derive(Debug)]
pub struct Done {
    pub(super) token: u64,
    pub(super) sender: Option<Sender<(u64, Outcome)>>,
    pub(super) waker: Waker,
}

impl Done {
    /// Tells it.
    pub fn tell(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send((self.token, outcome));
            self.waker.wake();
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.send(Outcome::Failed);
    }
}

/// Something to tell people.
#[derive(Debug)]
pub enum Event<'a> {
    /// Processes are awaited.
    Waiting {
        /// How starts become known.
        manner: String,
    },
    /// A target is watched from here on.
    Watching(&'a Target),
    /// A process is no target, though it was asked for.
    Refused {
        /// Its id.
        pid: ProcessId,
        /// Why, when it cannot be looked at.
        error: Option<&'a LiveError>,
        /// Why, when a trigger cannot be armed.
        why: &'a str,
    },
    /// Another effigy is dumping a process that is to be traced. It is tried again until that is over.
    Held {
        /// Its id.
        pid: ProcessId,
        /// The other effigy.
        tracer: u32,
    },
    /// It is the moment.
    Fired {
        /// Of whom.
        target: &'a Target,
        /// Why.
        cause: &'a Cause,
        /// What has happened, if it is for that.
        account: Option<&'a Account>,
    },
    /// Something that is waited for cannot be seen, though the target is watched; or something else is wrong with it.
    Trouble {
        /// Its name.
        name: &'a BStr,
        /// What.
        trouble: &'a Trouble,
    },
    /// A target is watched no more.
    Over(&'a Ending),
    /// A round of looks is over.
    Looked,
}

/// How the watch of a target ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its id.
    pub pid: ProcessId,
    /// Its name.
    pub name: BString,
    /// Dumps that were taken of it.
    pub taken: u32,
    /// Why.
    pub why: Why,
}

/// Why the watch of a target ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Every dump was taken.
    Done,
    /// Dumps failed.
    Failed,
    /// It has ended by itself.
    Ended,
    /// Somebody has asked for it (`cancel`).
    Cancelled,
    /// The whole watch has ended.
    WatchOver,
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is left to watch or to await.
    NothingLeft,
    /// Its number of dumps was taken.
    TotalTaken,
    /// It was asked to, by a signal.
    Asked,
    /// Its time is up.
    TimedOut,
}

/// A watch that is over.
#[derive(Debug)]
pub struct Over {
    /// Why.
    pub reason: Reason,
    /// Its targets, the first 10,000 of them.
    pub endings: Vec<Ending>,
    /// Dumps that were taken in all.
    pub taken: u32,
    /// Whether processes were awaited and none came.
    pub nobody_came: bool,
    /// How the program that was launched has ended, where its trace has seen that.
    pub end: Option<debug::End>,
}

/// A target as a line on a terminal shows it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its id.
    pub pid: ProcessId,
    /// Its name.
    pub name: BString,
    /// Dumps taken.
    pub taken: u32,
    /// A dump is under way.
    pub busy: bool,
    /// What triggers see.
    pub sights: Vec<Sight>,
}

/// Who takes dumps and tells people.
pub trait Hands {
    /// Begins a dump, on another thread.
    fn begin(&mut self, order: Order, done: Done);

    /// The dump of a target that is under way is not wanted any more.
    fn give_up(&mut self, pid: ProcessId);

    /// Whether somebody has asked for the end of it all.
    fn is_asked_to_end(&self) -> bool;

    /// Tells people. `lines` makes a line for each target, for those who want them.
    fn tell(&mut self, event: &Event<'_>, lines: &dyn Fn() -> Vec<Line>);
}
