//! A process at one instant.
//!
//! This crate is the waist of effigy's hourglass: whatever can be looked at (a live process, a snapshot, a minidump, an
//! ELF core) becomes a [`Process`] whose memory is read by address, and whatever looks (writers, analyses, views) sees
//! only that. It does no input or output and depends on nothing of ours.
#![forbid(unsafe_code)]

mod address;
mod architecture;
mod compact;
mod extent;
mod fault;
mod gap;
mod handle;
mod journal;
mod memory;
mod module;
mod process;
mod region;
mod registers;
mod snapshot;
pub mod stack;
mod system;
pub mod text;
mod thread;

pub use address::{Address, AddressRange};
pub use architecture::{Architecture, ByteOrder};
pub use compact::CompactBytes;
pub use extent::{Content, Extent, ExtentList, Extents, PageClass, PageRun, PlacedExtent};
pub use fault::{Fault, FaultKind};
pub use gap::{Gap, GapReason, GapSubject};
pub use handle::{Handle, HandleKind, Socket, WindowsHandle};
pub use journal::{Journal, Series};
pub use memory::{CapturedMemory, CapturedRange, Memory, NotRead};
pub use module::{BuildId, FileVersion, Guid, Module, PdbIdentity, PeIdentity, UnloadedModule};
pub use process::{Credentials, Identity, Limit, MemoryCounters, Namespace, PageFaults, Process, ProcessId, TextFiles};
pub use region::{
    CountMoment, Device, PageKind, PageState, Protection, Region, RegionFlags, RegionUsage, Sharing, WindowsPages,
};
pub use registers::{GeneralRegisters, RegisterSet, Registers, note};
pub use snapshot::Snapshot;
pub use system::{Cpu, Platform, System, Version};
pub use thread::{
    KernelFacts, NoRegisters, SchedulingFacts, Thread, ThreadId, ThreadState, ThreadTimes, WindowsThread,
};
