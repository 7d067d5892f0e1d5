//! minidump.

pub mod write;
