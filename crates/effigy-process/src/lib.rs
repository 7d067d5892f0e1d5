//! A process at one instant.
//!
//! This crate is the waist of effigy's hourglass: whatever can be looked at (a live process, a snapshot, a minidump, an
//! ELF core) becomes a [`Process`] whose memory is read by address, and whatever looks (writers, analyses, views) sees
//! only that. It does no input or output and depends on nothing of ours.
#![forbid(unsafe_code)]

mod address;
mod compact;
mod extent;
mod fault;
mod gap;
mod handle;
mod memory;
mod module;
mod process;
mod region;
mod registers;
mod snapshot;
mod system;
pub mod text;
mod thread;

pub use address::{Address, AddressRange};
pub use compact::CompactBytes;
pub use extent::{Content, Extent, ExtentList, Extents, PageClass, PageRun, PlacedExtent};
pub use fault::Fault;
pub use gap::{Gap, GapReason, GapSubject};
pub use handle::{Handle, HandleKind, Socket};
pub use memory::{Memory, NotRead};
pub use module::{BuildId, Module};
pub use process::{Credentials, Identity, Limit, MemoryCounters, Namespace, PageFaults, Process, ProcessId, TextFiles};
pub use region::{Device, Protection, Region, RegionFlags, RegionUsage, Sharing};
pub use registers::{Architecture, GeneralRegisters, RegisterSet, Registers, note};
pub use snapshot::Snapshot;
pub use system::{Cpu, System};
pub use thread::{KernelFacts, NoRegisters, SchedulingFacts, Thread, ThreadId, ThreadState, ThreadTimes};
