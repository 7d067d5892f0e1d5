//! Minidumps: Microsoft's `MDMP` format with Breakpad's extensions for Linux.
//!
//! `layout` holds what lies on disk, [`write`] makes a dump's prologue from a process, [`read`] takes a dump's bytes
//! apart. What the format means is described in Microsoft's minidumpapiset.h and Breakpad's minidump_format.h.

mod layout;
pub mod read;
pub mod write;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
