//! Behaviour of the whole program, tested on real processes: is the dump true, and was the target left as it was?
//!
//! One module a subject; the numbers of cases are those of the acceptance list in the capture reference. Everything is
//! read back by code that is not effigy's. Every test cleans up after itself, also when it fails; tests run side by
//! side, in threads or in processes. `EFFIGY_HEAVY=1` runs the heavy ones too; `EFFIGY_SKIP_LOG=FILE` gathers what was
//! skipped and why.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]
#![allow(clippy::print_stderr, reason = "tests tell the figures that they do not assert")]

mod converting;
mod events;
#[cfg(feature = "fault-injection")]
mod faults;
mod files;
mod harmless;
mod harness;
mod json;
mod kinds;
mod memory;
mod metadata;
mod namespaces;
mod oracles;
mod reading;
mod real_programs;
mod reflection;
mod refusals;
mod special_memory;
mod stacks;
mod threads;
mod watching;
