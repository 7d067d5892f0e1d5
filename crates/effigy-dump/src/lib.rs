//! From a process to a finished file.
//!
//! [`kind`] says which memory belongs to a dump, [`select`] finds it in a snapshot, [`redact`] takes out what a triage
//! dump must not hold, [`write`] moves it ([`live`] while the target runs) to an [`output`], [`attachments`] are
//! the files behind it, [`convert`] has a dump take the same road, [`sink`] is where it ends up, [`name`] is what that is called, [`pair`] what the files are called when one process becomes two dumps.
#![forbid(unsafe_code)]

pub mod attachments;
pub mod convert;
pub mod direct;
pub mod kind;
pub mod live;
pub mod name;
pub mod output;
pub mod pair;
pub mod redact;
mod reference;
pub mod select;
pub mod sink;
pub mod write;

#[cfg(test)]
mod fake;
