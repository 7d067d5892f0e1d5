//! When to dump.
//!
//! [`sample`] reads numbers of a running process and of what is around it, [`trigger`] tells from them when the moment
//! has come, [`events`] hears of processes that start, [`session`] holds any number of targets and triggers and says
//! when a dump is due, [`control`] lets another effigy end a watch, [`shell`] runs commands of the user's, [`journal`] keeps what was measured. Nobody is
//! stopped here, and traced only for what happens to a program ([`session::Events`]); no dump is taken: who runs a session
//! gives it [`session::Hands`] that do.
#![forbid(unsafe_code)]

pub mod control;
pub mod events;
mod http;
pub mod journal;
mod lines;
pub mod sample;
pub mod session;
pub mod shell;
pub mod target;
pub mod trigger;
pub mod wildcard;

pub use target::Target;
