//! Regions: the mappings of an address space.

use std::fmt;

use bitflags::bitflags;
use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::AddressRange;

bitflags! {
    /// What may be done with a region's pages.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
    pub struct Protection: u8 {
        /// Pages may be read.
        const READ = 1;
        /// Pages may be written.
        const WRITE = 2;
        /// Pages may be executed.
        const EXECUTE = 4;
    }

    /// Properties of a region that bear on capturing it, from `VmFlags` in `/proc/PID/smaps` (proc_pid_smaps(5)).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
    pub struct RegionFlags: u16 {
        /// `dd`: the program asked with `MADV_DONTDUMP` not to have it in dumps.
        const DONT_DUMP = 1;
        /// `io`: memory-mapped I/O.
        const IO = 2;
        /// `pf`: pure page-frame mapping, no `struct page` behind it.
        const PFN_MAP = 4;
        /// `ht`: huge pages of hugetlbfs.
        const HUGETLB = 8;
        /// `lo`: locked in memory.
        const LOCKED = 16;
        /// `dc`: not copied on fork.
        const DONT_FORK = 32;
        /// `wf`: zeroed in a forked child.
        const WIPE_ON_FORK = 64;
        /// `um` or `uw`: an userfaultfd watches it.
        const USERFAULTFD = 128;
        /// `gd`: grows down, a main thread's stack.
        const GROWS_DOWN = 256;
        /// Memory of `memfd_secret(2)`.
        const SECRET = 512;
    }
}

/// Whether writes to a region are seen by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Copy on write (`MAP_PRIVATE`).
    Private,
    /// `MAP_SHARED`.
    Shared,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// What a region is used for, by its name and nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RegionUsage {
    /// A file is mapped.
    File,
    /// The `brk` heap.
    Heap,
    /// The main thread's stack.
    Stack,
    /// Anonymous memory.
    Anonymous,
    /// Shared memory without a path of its own (shm, memfd, `/dev/zero`).
    SharedMemory,
    /// The kernel's code page for fast calls.
    Vdso,
    /// The kernel's data pages for fast calls: vvar, vvar_vclock, vsyscall.
    KernelData,
}

/// A mapping: one line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Its addresses.
    pub range: AddressRange,
    /// Its protection.
    pub protection: Protection,
    /// Private or shared.
    pub sharing: Sharing,
    /// Offset into the file, in bytes.
    pub offset: u64,
    /// Device of the file.
    pub device: Device,
    /// Inode of the file; 0 for none.
    pub inode: u64,
    /// Name as the kernel prints it, octal escapes and ` (deleted)` included: a path, `[heap]`, `[anon:…]`, or empty.
    #[serde(serialize_with = "crate::text::lossy")]
    pub name: BString,
    /// Properties that bear on capturing it.
    pub flags: RegionFlags,
    /// Bytes resident.
    pub resident: u64,
    /// Bytes swapped out.
    pub swapped: u64,
    /// Bytes resident that are mapped more than once, as a rule by other processes as well.
    #[serde(skip_serializing_if = "is_none")]
    pub mapped_elsewhere: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

impl Region {
    /// What the region is used for.
    #[must_use]
    pub fn usage(&self) -> RegionUsage {
        let name = self.name.as_bstr();
        match name.as_bytes() {
            b"[heap]" => RegionUsage::Heap,
            b"[stack]" => RegionUsage::Stack,
            b"[vdso]" => RegionUsage::Vdso,
            b"[vvar]" | b"[vvar_vclock]" | b"[vsyscall]" => RegionUsage::KernelData,
            _ if self.inode == 0 => RegionUsage::Anonymous,
            _ if name.starts_with(b"/memfd:") || name.starts_with(b"/SYSV") || name.starts_with(b"/dev/zero") => {
                RegionUsage::SharedMemory
            }
            _ if name.starts_with(b"[anon_shmem:") => RegionUsage::SharedMemory,
            _ => RegionUsage::File,
        }
    }

    /// Whether it is memory that other processes may have mapped as well and see writes to.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.sharing == Sharing::Shared && self.inode != 0
    }

    /// The file's path without the mark that the kernel appends to deleted files, and whether the mark was there.
    #[must_use]
    pub fn path(&self) -> (&BStr, bool) {
        match self.name.strip_suffix(b" (deleted)") {
            Some(path) => (path.as_bstr(), true),
            None => (self.name.as_bstr(), false),
        }
    }
}

/// The line of `/proc/PID/maps` for this region, with what is not UTF-8 in its name replaced.
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.maps_line().to_str_lossy())
    }
}

impl Region {
    /// The line of `/proc/PID/maps` for this region, byte for byte, without the newline; spaced as the kernel does
    /// (`show_map_vma`, fs/proc/task_mmu.c: names start at column 73).
    #[must_use]
    pub fn maps_line(&self) -> Vec<u8> {
        let flag = |flag, letter| if self.protection.contains(flag) { letter } else { '-' };
        let head = format!(
            "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
            self.range.start().0,
            self.range.end().0,
            flag(Protection::READ, 'r'),
            flag(Protection::WRITE, 'w'),
            flag(Protection::EXECUTE, 'x'),
            if self.sharing == Sharing::Shared { 's' } else { 'p' },
            self.offset,
            self.device.major,
            self.device.minor,
            self.inode,
        );
        let mut line = head.into_bytes();
        if !self.name.is_empty() {
            line.resize(line.len().max(73), b' ');
            line.extend_from_slice(&self.name);
        }
        line
    }
}
