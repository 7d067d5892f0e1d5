//! The moment that a dump is to be of, when a session holds the target for it.

use std::time::Duration;

use effigy_live::debug::{Held, Member};
use effigy_live::stop::Tracer;
use effigy_process::{Fault, ThreadId};

/// A target that a session traces.
#[derive(Debug)]
pub(crate) enum Moment {
    /// Something has just happened to it.
    Event {
        /// What stands still for it.
        held: Held,
        /// The thread that it happened to.
        thread: ThreadId,
        /// The signal, if it was one.
        fault: Option<Fault>,
        /// Whether it dies of it.
        last: bool,
    },
    /// Nothing has happened; it is traced for something else.
    #[expect(dead_code, reason = "for triggers that look at what the target uses")]
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
