//! What a dump does not hold although one might look for it there, and why.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{AddressRange, ThreadId};

/// Something that could not be, or was not to be, captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What is missing.
    pub subject: GapSubject,
    /// Why.
    pub reason: GapReason,
    /// More for a human: the name of the region, the system's error text. May be empty.
    pub detail: String,
}

/// What a gap is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapSubject {
    /// A range of memory.
    Memory(AddressRange),
    /// The registers of a thread.
    Registers(ThreadId),
    /// A fact about the process or the system, named by where it would come from, such as `limits` or `fd/7`.
    Fact(String),
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// The program asked for it with `madvise(MADV_DONTDUMP)`.
    DontDump,
    /// Memory of `memfd_secret(2)`, which the kernel shows to nobody but the program.
    SecretMemory,
    /// A device's memory (`VM_IO`, `VM_PFNMAP`): reading it may have effects.
    DeviceMemory,
    /// The kernel's own clock pages (vvar), unreadable from outside.
    KernelData,
    /// A guard page: there to be never read (`MADV_GUARD_INSTALL`).
    GuardPage,
    /// The mapping reaches beyond the end of its file; there is nothing to read.
    PastEndOfFile,
    /// Over the asked-for size limit.
    SizeLimit,
    /// The largest area of private memory, left out of a miniplus dump.
    LargestArea,
    /// Left out because the dump is to hold no secrets (triage).
    Redacted,
    /// The read failed: the page is poisoned, or its storage is.
    Unreadable,
    /// effigy lacks a right that it would have needed.
    NotPermitted,
    /// The thread was in uninterruptible sleep and did not stop in time.
    UninterruptibleSleep,
    /// Another tracer holds the threads and a dump without registers was asked for.
    AlreadyTraced,
    /// The memory is in the dump, and may have been changed by other processes while it was copied: it is shared with
    /// them, and they were not stopped.
    NotFrozen,
    /// It ended while it was being looked at.
    Ended,
    /// This system does not offer it.
    Unsupported,
    /// The dump that it is read from does not hold it, and does not say why.
    NotInDump,
    /// The part of the dump that should hold it is damaged.
    Damaged,
}

impl GapReason {
    /// Whether the dump is the poorer for it against what its kind promises. Gaps that the program or the user asked
    /// for, and pages that no one could ever read, are no loss.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Unreadable | Self::NotPermitted | Self::UninterruptibleSleep | Self::Ended | Self::Damaged)
    }

    /// All reasons.
    pub const ALL: [Self; 18] = [
        Self::DontDump,
        Self::SecretMemory,
        Self::DeviceMemory,
        Self::KernelData,
        Self::GuardPage,
        Self::PastEndOfFile,
        Self::SizeLimit,
        Self::LargestArea,
        Self::Redacted,
        Self::Unreadable,
        Self::NotPermitted,
        Self::UninterruptibleSleep,
        Self::AlreadyTraced,
        Self::NotFrozen,
        Self::Ended,
        Self::Unsupported,
        Self::NotInDump,
        Self::Damaged,
    ];

    /// The reason with a name, as [`as_str`](Self::as_str) gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Stable name for JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DontDump => "dontdump",
            Self::SecretMemory => "secret_memory",
            Self::DeviceMemory => "device_memory",
            Self::KernelData => "kernel_data",
            Self::GuardPage => "guard_page",
            Self::PastEndOfFile => "past_end_of_file",
            Self::SizeLimit => "size_limit",
            Self::LargestArea => "largest_area",
            Self::Redacted => "redacted",
            Self::Unreadable => "unreadable",
            Self::NotPermitted => "not_permitted",
            Self::UninterruptibleSleep => "uninterruptible_sleep",
            Self::AlreadyTraced => "already_traced",
            Self::NotFrozen => "not_frozen",
            Self::Ended => "ended",
            Self::Unsupported => "unsupported",
            Self::NotInDump => "not_in_dump",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DontDump => "the program excludes it from dumps (MADV_DONTDUMP)",
            Self::SecretMemory => "secret memory (memfd_secret)",
            Self::DeviceMemory => "device memory",
            Self::KernelData => "the kernel's own data pages",
            Self::GuardPage => "guard page",
            Self::PastEndOfFile => "beyond the end of the mapped file",
            Self::SizeLimit => "left out to stay under the size limit",
            Self::LargestArea => "the largest private area, left out of a miniplus dump",
            Self::Redacted => "left out of a triage dump",
            Self::Unreadable => "could not be read",
            Self::NotPermitted => "not permitted",
            Self::UninterruptibleSleep => "the thread is in uninterruptible sleep",
            Self::AlreadyTraced => "another tracer holds the process",
            Self::NotFrozen => "shared with other processes, which may have changed it meanwhile",
            Self::Ended => "ended during the capture",
            Self::Unsupported => "not offered by this system",
            Self::NotInDump => "not in the dump",
            Self::Damaged => "damaged in the dump",
        })
    }
}

/// `{"subject":"memory","start":"0x…","end":"0x…","reason":"unreadable","loss":true,"detail":"…"}`, or `"tid"` or
/// `"fact"` in place of the bounds.
impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.subject {
            GapSubject::Memory(range) => {
                map.serialize_entry("subject", "memory")?;
                map.serialize_entry("start", &range.start())?;
                map.serialize_entry("end", &range.end())?;
            }
            GapSubject::Registers(tid) => {
                map.serialize_entry("subject", "registers")?;
                map.serialize_entry("tid", &tid.0)?;
            }
            GapSubject::Fact(name) => {
                map.serialize_entry("subject", "fact")?;
                map.serialize_entry("fact", name)?;
            }
        }
        map.serialize_entry("reason", self.reason.as_str())?;
        map.serialize_entry("loss", &self.reason.is_loss())?;
        map.serialize_entry("detail", &self.detail)?;
        map.end()
    }
}
