//! Regions: the mappings of an address space.

use std::fmt;
use std::time::SystemTime;

use bitflags::bitflags;
use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::{Address, AddressRange};

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
        /// A part of a region that was whole when its memory was counted: its counters are those of the whole.
        const CUT = 1024;
    }
}

/// Whether writes to a region are seen by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Copy on write (`MAP_PRIVATE`).
    #[default]
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

/// Whether Windows keeps anything for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageState {
    /// `MEM_COMMIT`: there is memory behind it.
    Commit,
    /// `MEM_RESERVE`: only the addresses are taken.
    Reserve,
    /// `MEM_FREE`: nothing. Such a region is listed by some dumps, and is none of [`Process::regions`].
    ///
    /// [`Process::regions`]: crate::Process::regions
    Free,
}

/// Where the contents of a region come from, in the terms of Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    /// `MEM_IMAGE`: a program image.
    Image,
    /// `MEM_MAPPED`: a mapped file or shared memory.
    Mapped,
    /// `MEM_PRIVATE`: memory of this process alone.
    Private,
}

/// What Windows has of a region (`MEMORY_BASIC_INFORMATION`), or a minidump says of one in its terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct WindowsPages {
    /// Committed or reserved.
    pub state: PageState,
    /// Where its contents come from; `None` where the dump has a value that means nothing, as for reserved memory.
    pub kind: Option<PageKind>,
    /// `PAGE_*` bits, `PAGE_GUARD` and the like included; 0 for reserved memory.
    pub protection: u32,
    /// Start of the allocation that it is a part of.
    pub allocation_base: Address,
    /// `PAGE_*` bits that the whole allocation was made with.
    pub allocation_protection: u32,
}

impl WindowsPages {
    /// `PAGE_GUARD`: the first access raises an exception.
    pub const GUARD: u32 = 0x100;

    /// What may be done with pages of a protection, `PAGE_*` of winnt.h. Guard pages may be nothing done with: the first
    /// access raises an exception.
    #[must_use]
    pub fn rights(protection: u32) -> Protection {
        let (read, write, execute) = (Protection::READ, Protection::WRITE, Protection::EXECUTE);
        match protection & 0xff {
            _ if protection & Self::GUARD != 0 => Protection::empty(),
            0x02 => read,
            0x04 | 0x08 => read | write,
            0x10 => execute,
            0x20 => read | execute,
            0x40 | 0x80 => read | write | execute,
            _ => Protection::empty(),
        }
    }
}

/// When the memory of a process's regions was counted ([`Region::resident`] and the like).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountMoment {
    /// The time; `None` when not known.
    pub time: Option<SystemTime>,
    /// Whether the process stood still meanwhile. A capture counts before it stops the process, as the kernel takes long
    /// for it.
    pub while_stopped: bool,
}

/// A mapping: one line of `/proc/PID/maps`, or what Windows calls a region.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
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
    /// Bytes resident; `None` when not known.
    pub resident: Option<u64>,
    /// Bytes swapped out; `None` when not known.
    pub swapped: Option<u64>,
    /// Bytes resident that are mapped more than once, as a rule by other processes as well; `None` when not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapped_elsewhere: Option<u64>,
    /// Bytes, resident or swapped out, that belong to the process alone and to no file: in a private mapping of a file the
    /// pages that it has written to, whose copy-on-write was broken; `None` when not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<u64>,
    /// What Windows has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsPages>,
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
            _ if self.inode == 0 && self.windows_kind() == Some(PageKind::Image) => RegionUsage::File,
            _ if self.inode == 0 && self.windows_kind() == Some(PageKind::Mapped) => RegionUsage::SharedMemory,
            _ if self.inode == 0 => RegionUsage::Anonymous,
            _ if name.starts_with(b"/memfd:") || name.starts_with(b"/SYSV") || name.starts_with(b"/dev/zero") => {
                RegionUsage::SharedMemory
            }
            _ if name.starts_with(b"[anon_shmem:") => RegionUsage::SharedMemory,
            _ => RegionUsage::File,
        }
    }

    fn windows_kind(&self) -> Option<PageKind> {
        self.windows.and_then(|windows| windows.kind)
    }

    /// Bytes of a private mapping of a file that the process has copies of, as it wrote to them; `None` when not known, or
    /// for another kind of region.
    #[must_use]
    pub fn copied_on_write(&self) -> Option<u64> {
        self.counted(self.anonymous).filter(|_| self.sharing == Sharing::Private && self.inode != 0)
    }

    /// One of the region's counters, unless it is that of a larger region that this one was a part of.
    #[must_use]
    pub fn counted(&self, counter: Option<u64>) -> Option<u64> {
        counter.filter(|_| !self.flags.contains(RegionFlags::CUT))
    }

    /// A part of the region, which has no counters unless it is all of it.
    #[must_use]
    pub fn part(&self, range: AddressRange) -> Self {
        let part = Self { range, ..self.clone() };
        if range == self.range {
            return part;
        }
        Self { resident: None, swapped: None, mapped_elsewhere: None, anonymous: None, ..part }
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

impl Region {
    /// The region of one line of `/proc/PID/maps`, without its newline; `None` when the line has another form.
    #[must_use]
    pub fn from_maps_line(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let (start, end) = fields.next()?.split_once_str("-")?;
        let permissions = fields.next()?;
        let offset = hex(fields.next()?)?;
        let (major, minor) = fields.next()?.split_once_str(":")?;
        let inode = fields.next()?.to_str().ok()?.parse().ok()?;
        let name = fields.next().unwrap_or(b"").trim_start_with(|letter| letter == ' ');
        let mut protection = Protection::empty();
        protection.set(Protection::READ, permissions.first() == Some(&b'r'));
        protection.set(Protection::WRITE, permissions.get(1) == Some(&b'w'));
        protection.set(Protection::EXECUTE, permissions.get(2) == Some(&b'x'));
        let mut flags = RegionFlags::empty();
        flags.set(RegionFlags::SECRET, name.starts_with(b"/secretmem"));
        Some(Self {
            range: AddressRange::new(Address(hex(start)?), Address(hex(end)?)),
            protection,
            sharing: if permissions.get(3) == Some(&b's') { Sharing::Shared } else { Sharing::Private },
            offset,
            device: Device { major: u32::try_from(hex(major)?).ok()?, minor: u32::try_from(hex(minor)?).ok()? },
            inode,
            name: name.into(),
            flags,
            ..Self::default()
        })
    }
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(text.to_str().ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_comes_back() {
        for line in [
            "00400000-00401000 r-xp 00001000 08:01 77                                 /usr/bin/with space",
            "7ffc1000-7ffc3000 rw-s 00000000 00:00 0 ",
        ] {
            assert_eq!(Region::from_maps_line(line.as_bytes()).unwrap().maps_line(), line.as_bytes());
        }
        assert_eq!(Region::from_maps_line(b"nonsense"), None);
    }

    #[test]
    fn protections_of_windows() {
        assert_eq!(WindowsPages::rights(0x04), Protection::READ | Protection::WRITE);
        assert_eq!(WindowsPages::rights(0x104), Protection::empty());
        assert_eq!(WindowsPages::rights(0x220), Protection::READ | Protection::EXECUTE);
    }
}
