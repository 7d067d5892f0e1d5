//! The moment that a dump is to be of, when a session holds the target for it.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use effigy_live::debug::{Held, Member};
use effigy_live::stop::Tracer;
use effigy_process::{Fault, ThreadId};

use super::LONGEST_STALL;

/// A target that a session traces.
#[derive(Debug)]
pub(crate) enum Moment {
    /// Something has just happened to it.
    Event {
        /// What stands still for it.
        held: Arc<Held>,
        /// The thread that it happened to.
        thread: ThreadId,
        /// The signal, if it was one.
        fault: Option<Fault>,
        /// Whether it dies of it.
        last: bool,
    },
    /// Nothing has happened; it is traced for something else.
    Any(Member),
}

impl Moment {
    /// Whether something has happened, so that the dump is to be of this instant.
    pub(super) fn is_event(&self) -> bool {
        matches!(self, Self::Event { .. })
    }

    /// Whether the target goes on after it.
    pub(super) fn goes_on(&self) -> bool {
        !matches!(self, Self::Event { last: true, .. })
    }

    /// Whether the target has gone on already.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Event { held, .. } if held.has_gone_on())
    }

    pub(super) fn tracer(&self) -> Tracer {
        match self {
            Self::Event { held, .. } => Tracer::of_session(held.member()),
            Self::Any(member) => Tracer::of_session(member),
        }
    }

    /// What is there has been copied: the target may go on with its life, though not yet with its death.
    pub(super) fn is_seen(&self) {
        if self.goes_on() {
            self.is_done();
        }
    }

    /// Nothing is wanted of the target any more.
    pub(super) fn is_done(&self) {
        if let Self::Event { held, .. } = self {
            held.go_on();
        }
    }

    /// How long the thread that something has happened to has stood still.
    pub(super) fn stood(&self) -> Duration {
        match self {
            Self::Event { held, .. } => held.stood(),
            Self::Any(_) => Duration::ZERO,
        }
    }

    pub(super) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Event { fault, .. } => fault.as_ref(),
            Self::Any(_) => None,
        }
    }

    /// What a dump is about.
    pub(super) fn cause(&self) -> Option<(ThreadId, Option<Fault>)> {
        match self {
            Self::Event { thread, fault, .. } => Some((*thread, fault.clone())),
            Self::Any(_) => None,
        }
    }
}

/// How long something stands still before its dump has begun: what is looked at, and where the dump is to lie, may be on a
/// dead disk or network. When that is over it goes on. Dropped when the dump has begun, which has limits of its own.
pub(super) struct Patience {
    _begun: Option<Sender<()>>,
}

impl Patience {
    pub(super) fn begin(moment: &Moment) -> Self {
        let Moment::Event { held, .. } = moment else { return Self { _begun: None } };
        let (sender, begun): (_, Receiver<()>) = bounded(0);
        let held = Arc::clone(held);
        let wait = move || {
            if begun.recv_timeout(LONGEST_STALL) == Err(RecvTimeoutError::Timeout) {
                held.go_on();
            }
        };
        // Without a thread for it, there is none for the dump either.
        let _ = std::thread::Builder::new().name("patience".into()).spawn(wait);
        Self { _begun: Some(sender) }
    }
}
