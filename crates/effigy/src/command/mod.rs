//! One file a command.

pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod dump;
pub(crate) mod verify;
