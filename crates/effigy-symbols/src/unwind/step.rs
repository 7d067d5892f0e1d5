//! What one step from a frame to its caller comes to.

use super::registers::FrameRegisters;
use super::window::Missing;
use super::{Stop, Trust};

/// The caller of a frame.
pub(super) struct Caller {
    /// Its registers; the program counter is the return address.
    pub(super) registers: FrameRegisters,
    /// The CFA of the frame that it called.
    pub(super) cfa: Option<u64>,
    /// How it was found.
    pub(super) trust: Trust,
    /// Whether the frame that it called is a signal trampoline: then it was interrupted and called nothing.
    pub(super) signal: bool,
    /// Whether its stack pointer is exact. Some frame chains give but a lower bound of it.
    pub(super) exact: bool,
}

/// Why one way leads to no caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It knows nothing of this frame.
    Nothing,
    /// There is no caller.
    End,
    /// Something could not be read.
    Missing(Missing),
    /// It makes no sense.
    Corrupt(String),
}

impl Failure {
    /// Why the stack ends, if no other way leads on.
    pub(super) fn stop(self) -> Option<Stop> {
        match self {
            Self::Nothing => None,
            Self::End => Some(Stop::End),
            Self::Missing((address, reason)) => Some(Stop::Gap(address, reason)),
            Self::Corrupt(what) => Some(Stop::Corrupt(what)),
        }
    }
}
