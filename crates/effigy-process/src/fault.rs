//! The signal or exception that a process died of.

use serde::Serialize;

use crate::{Address, ThreadId};

/// A fault: which thread, which signal, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The thread that it happened to.
    pub thread: ThreadId,
    /// Signal number.
    pub signal: i32,
    /// `si_code`: what kind of the signal it was, see `sigaction(2)`.
    pub code: i32,
    /// `si_addr`, where the signal has one.
    pub address: Option<Address>,
}
