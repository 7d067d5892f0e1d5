//! What an address space is used for: each region with its usage, and tables by usage, kind, state and protection.
//!
//! Usage is told by what the system says of a region (its name, its kind), by the modules, and by the threads: a stack is
//! where a stack pointer points. What a process does with memory that it got from the system without a name is not
//! guessed, with one exception: heaps of glibc's other threads have a form that nothing else has.

mod extent;
mod owners;
mod region;
mod tables;
#[cfg(test)]
mod tests;

use bstr::BString;
use effigy_process::{
    Address, AddressRange, Memory, PageState, Process, Protection, Region, Sharing, ThreadId, WindowsPages,
};
use serde::{Serialize, Serializer};

pub use self::tables::{Row, WorkingSet};

/// What a region is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Usage {
    /// Nothing is there.
    Free,
    /// The source of the process does not list anything there, and would not list all.
    NotListed,
    /// A program image, its uninitialised data included.
    Image,
    /// A heap.
    Heap,
    /// A thread's stack, with its guard pages and what is reserved for it.
    Stack,
    /// Thread environment blocks of Windows.
    Teb,
    /// The process environment block of Windows.
    Peb,
    /// A mapped file.
    MappedFile,
    /// Memory shared with other processes; on Windows also a mapped file of which no dump has the name.
    Shared,
    /// Pages that the kernel puts into each process: vdso, vvar and the like; the shared user data of Windows.
    Kernel,
    /// Memory of the process of which nothing more is known: what WinDbg calls `<unknown>`.
    Private,
}

/// Where the contents of a region come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From a program image.
    Image,
    /// From another file, or shared memory.
    Mapped,
    /// From the process alone.
    Private,
}

/// Whether there is memory behind the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is. On systems other than Windows: all that is not reserved.
    Commit,
    /// The addresses are taken, and there is none. On systems other than Windows: private memory without any right and
    /// without resident pages.
    Reserve,
    /// They are not even taken.
    Free,
    /// It is not known, see [`Usage::NotListed`].
    NotListed,
}

/// What may be done with a region, in the terms of its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rights {
    /// As `/proc/PID/maps` says it: the rights as bits of [`Protection`], and whether it is shared.
    Unix {
        /// Bits of [`Protection`].
        bits: u8,
        /// Whether writes are seen by others.
        shared: bool,
    },
    /// `PAGE_*` bits of Windows.
    Windows(u32),
}

/// `rw-p`, or `PAGE_READWRITE | PAGE_GUARD`.
impl std::fmt::Display for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        region::write_rights(*self, f)
    }
}

impl Serialize for Rights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Rights {
    fn of(protection: Protection, sharing: Sharing) -> Self {
        Self::Unix { bits: protection.bits(), shared: sharing == Sharing::Shared }
    }
}

/// A region of the address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpaceRegion {
    /// Its addresses.
    #[serde(flatten)]
    pub range: AddressRange,
    /// What it is used for.
    pub usage: Usage,
    /// Where its contents come from; `None` where there is nothing.
    pub kind: Option<Kind>,
    /// Whether there is memory.
    pub state: State,
    /// What may be done with it; `None` where there is no memory, or when it is not known.
    pub protection: Option<Rights>,
    /// For an image: its place in [`Process::modules`], where it is one of them.
    pub module: Option<usize>,
    /// Path of the file, or the name that the kernel has for it; may be empty.
    #[serde(serialize_with = "effigy_process::text::lossy")]
    pub name: BString,
    /// Threads whose stack or environment block it is, or whose stack pointer lies in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<ThreadId>,
    /// Bytes resident; `None` when not known.
    pub resident: Option<u64>,
    /// Bytes swapped out; `None` when not known.
    pub swapped: Option<u64>,
    /// Bytes resident that other processes have as well; `None` when not known.
    pub shared: Option<u64>,
}

/// A thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadStack {
    /// The thread.
    pub thread: ThreadId,
    /// Its stack pointer; of a thread without registers, where the dump says that its stack begins.
    pub stack_pointer: Address,
    /// The region in which that lies.
    pub region: AddressRange,
}

/// An address space and what it is used for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddressSpace {
    /// Bytes of addresses that a process of this architecture and system can use: the smallest of the sizes that such
    /// systems are made with in which all regions lie.
    pub total_bytes: u64,
    /// Bytes that are in use.
    pub busy_bytes: u64,
    /// Whether the source lists regions. Where not, they are the modules and stacks, and what else there is is not known.
    pub listed: bool,
    /// All regions and what lies between them, by rising address.
    pub regions: Vec<SpaceRegion>,
    /// By usage.
    pub by_usage: Vec<Row<Usage>>,
    /// By where contents come from, of what is in use.
    pub by_kind: Vec<Row<Kind>>,
    /// By state.
    pub by_state: Vec<Row<State>>,
    /// By protection, of what has memory behind it.
    pub by_protection: Vec<Row<Rights>>,
    /// What is in memory; `None` when no region's part is known.
    pub working_set: Option<WorkingSet>,
    /// Where each thread's stack is, for those of which it is known, by thread.
    pub stacks: Vec<ThreadStack>,
}

/// What is known beyond the process itself.
#[derive(Clone, Copy, Default)]
pub struct SpaceOptions<'a> {
    /// Its memory: with it, the process environment block and the heaps of Windows are found.
    pub memory: Option<&'a dyn Memory>,
    /// Whether the source lists all regions there are, so that what lies between them is free. True of live processes,
    /// minidumps with a list of memory, and cores written by the kernel.
    pub lists_all: bool,
}

impl AddressSpace {
    /// Tells what the address space of `process` is used for.
    #[must_use]
    pub fn of(process: &Process, options: SpaceOptions<'_>) -> Self {
        let listed = !process.regions.is_empty();
        let source = if listed { process.regions.clone() } else { region::inferred(process) };
        let source = disjoint(source);
        let owners = owners::Owners::find(process, &source, options.memory);
        let busy = region::classify(process, &source, &owners);
        let limit = extent::user_space(process, &source);
        let hole = if listed && options.lists_all { Usage::Free } else { Usage::NotListed };
        let regions = region::with_holes(busy, limit, hole);
        let mut space = Self {
            total_bytes: regions.iter().map(|region| region.range.size()).fold(0, u64::saturating_add),
            busy_bytes: 0,
            listed,
            regions,
            by_usage: Vec::new(),
            by_kind: Vec::new(),
            by_state: Vec::new(),
            by_protection: Vec::new(),
            working_set: None,
            stacks: owners.into_stacks(),
        };
        space.fill_tables();
        space
    }
}

/// By rising address and without overlaps, which only a damaged dump has: what two regions share is the first one's.
pub(crate) fn disjoint(mut regions: Vec<Region>) -> Vec<Region> {
    regions.sort_by_key(|region| region.range);
    let mut done = Address(0);
    for region in &mut regions {
        region.range = AddressRange::new(region.range.start().max(done), region.range.end());
        done = done.max(region.range.end());
    }
    let is_free = |region: &Region| windows_pages(region).is_some_and(|pages| pages.state == PageState::Free);
    regions.retain(|region| !region.range.is_empty() && !is_free(region));
    regions
}

/// What Windows says of a region, where that is what describes it: a dump of Linux may have it beside the kernel's own
/// words, and knows less there.
fn windows_pages(region: &Region) -> Option<WindowsPages> {
    region.windows.filter(|_| region.inode == 0 && region.name.is_empty())
}
