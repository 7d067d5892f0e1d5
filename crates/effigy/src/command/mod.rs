//! One file a command.

pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod disassemble;
pub(crate) mod dump;
pub(crate) mod handles;
pub(crate) mod info;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod regions;
pub(crate) mod run;
pub(crate) mod source;
pub(crate) mod stacks;
pub(crate) mod streams;
pub(crate) mod symbol;
pub(crate) mod threads;
pub(crate) mod verify;
pub(crate) mod watch;

use crate::exit::Exit;
use crate::print;
use crate::subject::Refused;

/// Says why there is no answer, if there is none.
pub(crate) fn tell(outcome: Result<Exit, Refused>) -> Exit {
    outcome.unwrap_or_else(|(exit, text)| {
        print::error(&text);
        exit
    })
}
