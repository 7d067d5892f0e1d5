//! The process itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::{
    Address, Architecture, BuildId, ByteOrder, CountMoment, Fault, Gap, Handle, Journal, Module, Region, System,
    Thread, ThreadId, UnloadedModule,
};

/// A process's id, as seen from where effigy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Who the process is; `None` for what is not known.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Its id.
    pub pid: Option<ProcessId>,
    /// Its ids in nested PID namespaces, outermost first (`NSpid`); one entry when it is in ours.
    pub namespace_pids: Vec<u32>,
    /// Its parent's id.
    pub parent: Option<ProcessId>,
    /// Its process group.
    pub group: Option<u32>,
    /// Its session.
    pub session: Option<u32>,
    /// Short name (`comm`, 15 bytes at most on Linux); empty when not known.
    #[serde(serialize_with = "crate::text::lossy")]
    pub name: BString,
    /// Path of the executable, without the ` (deleted)` mark; empty when it cannot be read.
    #[serde(serialize_with = "crate::text::lossy")]
    pub executable: BString,
    /// Whether the executable's file was deleted or replaced.
    pub executable_deleted: bool,
    /// Build id of the executable.
    pub build_id: Option<BuildId>,
    /// When it started.
    #[serde(with = "crate::text::seconds_since_1970")]
    pub started: Option<SystemTime>,
    /// From the system's start to the process's.
    pub started_since_boot: Option<Duration>,
    /// Time in user mode, all threads.
    pub user_time: Option<Duration>,
    /// Time in the kernel, all threads.
    pub kernel_time: Option<Duration>,
    /// Bottom of the main thread's stack at start (`startstack` of proc_pid_stat(5)): arguments and environment lie
    /// above it. 0 when not known.
    pub start_stack: Address,
}

/// Whose rights the process has, from `/proc/PID/status`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// Real, effective, saved and file-system user id.
    pub uid: [u32; 4],
    /// Real, effective, saved and file-system group id.
    pub gid: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capability masks by the name in `status`: `CapInh`, `CapPrm`, `CapEff`, `CapBnd`, `CapAmb`.
    pub capabilities: BTreeMap<String, u64>,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// seccomp(2) mode: 0 off, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Number of seccomp filters.
    pub seccomp_filters: u32,
    /// Security module's label (`attr/current`), empty for none.
    pub security_label: String,
}

/// A resource limit: one line of `/proc/PID/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Name as the kernel prints it, such as `Max open files`.
    pub name: String,
    /// Soft limit; `None` for unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` for unlimited.
    pub hard: Option<u64>,
    /// Units as the kernel prints them; may be empty.
    pub units: String,
}

/// A namespace that the process is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// `mnt`, `pid`, `net`, …
    pub kind: String,
    /// Its inode.
    pub inode: u64,
    /// Whether effigy is in the same one.
    pub same_as_ours: bool,
}

/// Memory of the process in bytes, from `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryCounters {
    /// Address space (`VmSize`).
    pub size: u64,
    /// Its peak (`VmPeak`).
    pub peak_size: u64,
    /// Resident (`VmRSS`).
    pub resident: u64,
    /// Its peak (`VmHWM`).
    pub peak_resident: u64,
    /// Resident anonymous (`RssAnon`).
    pub resident_anonymous: u64,
    /// Resident file pages (`RssFile`).
    pub resident_file: u64,
    /// Resident shared memory (`RssShmem`).
    pub resident_shared: u64,
    /// Swapped out (`VmSwap`).
    pub swapped: u64,
    /// Locked (`VmLck`).
    pub locked: u64,
    /// Page tables (`VmPTE`).
    pub page_tables: u64,
    /// Private writable (`VmData`).
    pub data: u64,
}

/// Page faults so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PageFaults {
    /// Without disk.
    pub minor: u64,
    /// With disk.
    pub major: u64,
}

/// Files that the kernel offers about process and system, as it prints them; empty where one could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TextFiles {
    /// `/proc/cpuinfo`.
    pub cpuinfo: BString,
    /// `/proc/PID/status`.
    pub status: BString,
    /// `/etc/lsb-release` or `/etc/os-release`, of the target's root.
    pub release: BString,
    /// `/proc/PID/cmdline`: arguments, each ended by a zero byte.
    pub command_line: BString,
    /// `/proc/PID/environ`: variables, each ended by a zero byte.
    pub environment: BString,
    /// `/proc/PID/auxv`: the auxiliary vector, binary.
    pub auxv: BString,
    /// `/proc/PID/limits`.
    pub limits: BString,
    /// `/proc/PID/stat`.
    pub stat: BString,
    /// `/proc/uptime`.
    pub uptime: BString,
    /// `/proc/PID/cgroup`.
    pub cgroup: BString,
}

/// A process at one instant.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The system that it runs on.
    pub system: System,
    /// Its architecture, which is not the system's for a 32-bit program.
    pub architecture: Architecture,
    /// The order of the bytes of numbers in its memory.
    pub byte_order: ByteOrder,
    /// Who it is.
    pub identity: Identity,
    /// When it was captured; `None` when not known.
    pub captured: Option<SystemTime>,
    /// Whose rights it has; `None` when not known.
    pub credentials: Option<Credentials>,
    /// Its resource limits.
    pub limits: Vec<Limit>,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
    /// Its memory; `None` when not known.
    pub counters: Option<MemoryCounters>,
    /// Its page faults; `None` when not known.
    pub page_faults: Option<PageFaults>,
    /// Its threads: by rising id, or in the order of the dump that they were read from.
    pub threads: Vec<Thread>,
    /// Its modules, by rising address.
    pub modules: Vec<Module>,
    /// Modules that it had unloaded before, in the order of the dump.
    pub unloaded_modules: Vec<UnloadedModule>,
    /// Its regions, by rising address.
    pub regions: Vec<Region>,
    /// When the regions' memory was counted; `None` where it was not.
    pub regions_counted: Option<CountMoment>,
    /// Its open handles.
    pub handles: Vec<Handle>,
    /// What it died of, if it did.
    pub fault: Option<Fault>,
    /// What else happened to other threads, where a dump tells of more than one thing.
    pub further_faults: Vec<Fault>,
    /// The thread that a debugger shows first: the one at fault, else the main thread, else any.
    pub selected: Option<ThreadId>,
    /// The kernel's text files.
    pub files: TextFiles,
    /// Who took the dump, with what command line, by which trigger; free text.
    pub comment: String,
    /// What was measured of it before a watch took this dump; `None` when nothing was.
    pub journal: Option<Journal>,
    /// What could not be captured.
    pub gaps: Vec<Gap>,
}

impl Process {
    /// The region that holds `address`.
    #[must_use]
    pub fn region_at(&self, address: Address) -> Option<&Region> {
        crate::stack::region_at(&self.regions, address)
    }

    /// The thread with an id.
    #[must_use]
    pub fn thread(&self, id: ThreadId) -> Option<&Thread> {
        self.threads.iter().find(|thread| thread.id == id)
    }

    /// The module whose image holds `address`. Of two the one that begins later: the kernel may put the vdso into a gap
    /// of another image.
    #[must_use]
    pub fn module_at(&self, address: Address) -> Option<&Module> {
        let after = self.modules.partition_point(|module| module.range.start() <= address);
        self.modules[..after].iter().rev().find(|module| module.range.contains(address))
    }
}
