//! The way to the thread that traces.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::threads::ThreadSet;
use crate::LiveError;
use crate::debug::Member;

/// Something that only the thread that traces can do.
pub(crate) type Task = Box<dyn FnOnce(&mut ThreadSet) + Send>;

/// The way there.
#[derive(Clone, Debug)]
pub(super) enum Road {
    /// To a tracer of its own, until that is dropped.
    Own(Arc<Mutex<Option<Sender<Task>>>>),
    /// To the session that traces the target.
    Session(Member),
}

impl Road {
    pub(super) fn send(&self, task: Task) -> Result<(), LiveError> {
        match self {
            Self::Own(tasks) => {
                let tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
                let sent = tasks.as_ref().map(|tasks| tasks.send(task));
                sent.and_then(Result::ok).ok_or(LiveError::OwnThread("tracer"))
            }
            Self::Session(member) => member.send(task),
        }
    }

    /// Ends a tracer's own thread, when it has done what it was asked for.
    pub(super) fn close(&self) {
        if let Self::Own(tasks) = self {
            drop(tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// Has it do something; its result comes on the channel, unless the thread comes to an end before.
pub(super) fn ask<T: Send + 'static>(
    road: &Road,
    task: impl FnOnce(&mut ThreadSet) -> T + Send + 'static,
) -> Result<Receiver<T>, LiveError> {
    let (sender, receiver) = bounded(1);
    road.send(Box::new(move |threads| {
        // Nobody may be waiting any more.
        let _ = sender.send(task(threads));
    }))?;
    Ok(receiver)
}
