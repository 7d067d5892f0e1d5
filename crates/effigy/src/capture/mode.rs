//! Which ways of freezing a target are tried, and in which order.

use std::fmt;

use effigy_dump::kind::Kind;

use super::{Moment, OutputPlace, Request};

/// A way of freezing a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its pages are copied while it runs, and it stands still for what has changed meanwhile.
    Live,
    /// It stands still while a copy-on-write child is made, from which its pages are copied.
    Clone,
    /// It stands still while its pages are copied.
    Stop,
    /// Not at all: another tracer holds it.
    None,
}

impl Mode {
    /// Stable name, for people and for JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Clone => "clone",
            Self::Stop => "stop",
            Self::None => "none",
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The best for the kind of dump.
    Auto,
    /// A clone or better (ProcDump's `-r`).
    Reflect,
    /// This one, or the next best.
    Exactly(Mode),
}

/// A way that was not taken, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declined {
    pub(crate) mode: Mode,
    pub(crate) why: String,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.mode.name(), self.why)
    }
}

/// Ways to try, the best first, and those that what is asked for rules out.
pub(super) fn modes(request: &Request, moment: Option<&Moment>) -> (Vec<Mode>, Vec<Declined>) {
    if !request.registers {
        return (vec![Mode::None], Vec::new());
    }
    let small = |kind: &Kind| matches!(kind, Kind::Mini | Kind::Triage);
    let wanted = match request.snapshot {
        // It has no time to lose, and nothing is to be made of it any more.
        Wish::Auto | Wish::Reflect if moment.is_some_and(|moment| !moment.goes_on()) => vec![Mode::Stop],
        // Copying a small dump takes less time than any way around it.
        Wish::Auto if request.kinds.iter().all(small) => vec![Mode::Stop],
        Wish::Auto | Wish::Reflect | Wish::Exactly(Mode::Live) => vec![Mode::Live, Mode::Clone, Mode::Stop],
        Wish::Exactly(Mode::Clone) => vec![Mode::Clone, Mode::Stop],
        Wish::Exactly(_) => vec![Mode::Stop],
    };
    let mut declined = Vec::new();
    let modes = wanted
        .into_iter()
        .filter(|mode| match (*mode == Mode::Live).then(|| objection_to_live(request, moment)).flatten() {
            Some(why) => {
                declined.push(Declined { mode: *mode, why: why.to_owned() });
                false
            }
            None => true,
        })
        .collect();
    (modes, declined)
}

/// A live snapshot puts memory into the file before it knows what the file will hold.
fn objection_to_live(request: &Request, moment: Option<&Moment>) -> Option<&'static str> {
    match request.kinds.as_slice() {
        _ if moment.is_some_and(Moment::is_event) => {
            Some("the dump is to be of the instant at which something happened")
        }
        _ if moment.is_some() => Some("the process is being traced"),
        _ if matches!(request.output, OutputPlace::Stream) => Some("the output is a stream"),
        [Kind::Full | Kind::MiniPlus] => {
            if request.size_limit.is_some() {
                Some("the dump is to have a limited size")
            } else if request.keep_partial {
                Some("a partial one is to be kept, and would be of no one instant")
            } else {
                None
            }
        }
        [_] => Some("this kind of dump is chosen by what the stacks hold"),
        _ => Some("dumps of several kinds are of one instant"),
    }
}
