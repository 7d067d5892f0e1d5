//! Exit codes. This is the one place that decides them; docs/exit-codes.md explains them to users.

use std::process::ExitCode;

use effigy_formats::{OpenError, UnpackError};
use effigy_live::LiveError;

use crate::capture::Failure;

/// How effigy ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for was done, completely.
    Done,
    /// The command line makes no sense, or fits more than one process.
    Usage,
    /// There is no such target, or it ended.
    NoTarget,
    /// The system does not allow it.
    NotPermitted,
    /// Another tracer holds the target.
    Traced,
    /// The output could not be written.
    Output,
    /// A dump was written that lacks something its kind promises.
    Partial,
    /// Time ran out.
    TimedOut,
    /// No dump was taken, as it would have held the target up (`--avoid-outage`).
    Skipped,
    /// The file is no dump that effigy can read, or it is too damaged.
    NotDump,
    /// A dump that was to be checked has defects.
    Defects,
    /// What was asked for cannot be made of this dump.
    NotPossible,
    /// As the program that was started has ended, or could not be started.
    Program(u8),
    /// A signal asked for an end.
    Cancelled(i32),
}

impl Exit {
    /// Its number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 1,
            Self::NoTarget => 2,
            Self::NotPermitted => 3,
            Self::Traced => 4,
            Self::Output => 5,
            Self::Partial => 6,
            Self::TimedOut => 7,
            Self::Skipped => 8,
            Self::NotDump => 9,
            Self::Defects => 10,
            Self::NotPossible => 11,
            Self::Program(code) => code,
            // As shells count a death by signal: 130 for SIGINT, 143 for SIGTERM.
            Self::Cancelled(signal) => u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)),
        }
    }

    /// Of several dumps, the first that was not done decides.
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::Done { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Live(error) => Self::from(error),
            Failure::Ended(_) => Self::NoTarget,
            Failure::Select(_)
            | Failure::Limit(_)
            | Failure::Pair(_)
            | Failure::Sink(_)
            | Failure::Move(_)
            | Failure::Output(_) => Self::Output,
            Failure::TimedOut { .. } | Failure::Stalled { .. } => Self::TimedOut,
            Failure::Skipped { .. } => Self::Skipped,
            Failure::Cancelled { signal } => Self::Cancelled(*signal),
            Failure::OwnThread => Self::Output,
        }
    }
}

impl From<&OpenError> for Exit {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::Unpack(UnpackError::Scratch(_)) => Self::Output,
            _ => Self::NotDump,
        }
    }
}

impl From<&LiveError> for Exit {
    fn from(error: &LiveError) -> Self {
        match error {
            LiveError::NotPermitted(_) => Self::NotPermitted,
            LiveError::AlreadyTraced { .. } => Self::Traced,
            LiveError::DidNotStop { .. } | LiveError::Unanswered(_) => Self::TimedOut,
            LiveError::Proc { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::NotPermitted
            }
            LiveError::Ptrace { .. } => Self::NotPermitted,
            LiveError::OwnThread(_) | LiveError::NoSnapshot(_) => Self::Output,
            _ => Self::NoTarget,
        }
    }
}
