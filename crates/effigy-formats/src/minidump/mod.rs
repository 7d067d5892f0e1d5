//! Minidumps: Microsoft's `MDMP` format with Breakpad's extensions for Linux.
//!
//! `layout` holds what lies on disk, [`write`] makes a dump's prologue from a process, [`read`] takes a dump's bytes
//! apart, [`carry`] puts other memory into a dump. What the format means is described in Microsoft's minidumpapiset.h and Breakpad's minidump_format.h.

pub mod carry;
mod layout;
pub mod read;
pub mod write;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
