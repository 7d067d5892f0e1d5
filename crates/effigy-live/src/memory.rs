//! A running process's memory, and which of it there is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::Duration;

use effigy_process::{Address, AddressRange, Memory, NotRead, PageClass, PageRun, Region, RegionUsage, Sharing};
use rustix::fs::SeekFrom;

use crate::pagemap::{PageState, PageTable};
use crate::procfs::{ProcDir, read_regions};
use crate::{LiveError, inject};

/// `TMPFS_MAGIC` of include/uapi/linux/magic.h: tmpfs, memfd, System V and anonymous shared memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The memory of a running process.
///
/// Private memory is read through `/proc/PID/mem`, which reads pages that have no read permission too. Memory of
/// shared mappings is read through its file (`/proc/PID/map_files`): a page that only another process has touched is
/// not in this one's page table, and reading it there would make the target grow.
#[derive(Debug)]
pub struct LiveMemory {
    dir: ProcDir,
    mem: File,
    pages: PageTable,
    page_size: u64,
    shared: Mutex<Option<SharedFile>>,
}

/// The file behind a shared mapping, kept while neighbouring addresses are read.
#[derive(Debug)]
struct SharedFile {
    range: AddressRange,
    offset: u64,
    /// `None` for a file that is not plain shared memory; such a region is read through the process.
    file: Option<File>,
}

/// What is known of the file behind a shared mapping.
enum Backing {
    /// Shared memory that lives in no disk file, opened.
    SharedMemory(File),
    /// A file on a disk, or something else that is not plain shared memory.
    Other,
    /// Shared memory whose file may not be opened.
    OutOfReach(io::Error),
}

impl LiveMemory {
    /// The memory that the process or thread of `dir` uses.
    ///
    /// # Errors
    /// When `mem` or `pagemap` cannot be opened.
    pub fn open(dir: ProcDir, page_size: u64) -> Result<Self, LiveError> {
        let mem = dir.open_file("mem").map_err(|source| dir.error("mem", source))?;
        let pagemap = dir.open_file("pagemap").map_err(|source| dir.error("pagemap", source))?;
        Ok(Self { mem, pages: PageTable::new(pagemap, page_size), page_size, shared: Mutex::new(None), dir })
    }

    /// Calls `visit` with the runs of pages of `region` that hold something, in rising order. The result says whether
    /// shared memory outside this process's page table had to be left out, and why.
    ///
    /// # Errors
    /// When the page table cannot be looked at.
    pub fn scan(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> io::Result<Option<io::Error>> {
        if region.sharing == Sharing::Shared && region.inode != 0 {
            match self.backing(region) {
                Backing::SharedMemory(file) => {
                    self.scan_shared_memory(region, &file, visit)?;
                    return Ok(None);
                }
                Backing::Other => {}
                Backing::OutOfReach(error) => {
                    self.scan_page_table(region, visit)?;
                    return Ok(Some(error));
                }
            }
        }
        self.scan_page_table(region, visit)?;
        Ok(None)
    }

    fn scan_page_table(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> io::Result<()> {
        self.pages.scan(region.range, &mut |range, state| {
            let class = if state.contains(PageState::GUARD) {
                PageClass::Guard
            } else if state.contains(PageState::ZERO_PAGE) {
                PageClass::Zero
            } else if region.sharing == Sharing::Shared {
                PageClass::Shared
            } else if state.contains(PageState::FILE) {
                PageClass::File
            } else {
                PageClass::Private
            };
            visit(PageRun { range, class });
        })
    }

    /// The parts of a shared memory file that hold data and are mapped by `region`.
    fn scan_shared_memory(&self, region: &Region, file: &File, visit: &mut dyn FnMut(PageRun)) -> io::Result<()> {
        let end = region.offset.saturating_add(region.range.size());
        let mut at = region.offset;
        while at < end {
            let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) if data < end => data,
                // ENXIO: no data behind this point.
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            // Beyond the end of the file pages cannot be read; SEEK_HOLE knows a hole there.
            let hole = rustix::fs::seek(file, SeekFrom::Hole(data))?.min(end);
            let start = Address(region.range.start().0 + (data - region.offset)).page_floor(self.page_size);
            let stop = Address(region.range.start().0 + (hole - region.offset)).page_ceil(self.page_size);
            visit(PageRun { range: AddressRange::new(start, stop), class: PageClass::Shared });
            at = hole.max(at + 1);
        }
        Ok(())
    }

    /// The file behind a shared mapping.
    fn backing(&self, region: &Region) -> Backing {
        match self.open_backing(region) {
            Ok(file) => match rustix::fs::fstatfs(&file) {
                #[expect(
                    clippy::cast_sign_loss,
                    reason = "the kernel's field is a bit pattern; its sign differs between architectures"
                )]
                Ok(about) if about.f_type as u64 == TMPFS_MAGIC => Backing::SharedMemory(file),
                Ok(_) => Backing::Other,
                Err(error) => Backing::OutOfReach(error.into()),
            },
            Err(error) if region.usage() == RegionUsage::SharedMemory || region.name.starts_with(b"/dev/shm/") => {
                Backing::OutOfReach(error)
            }
            Err(_) => Backing::Other,
        }
    }

    /// Opens the file behind a mapping: by `map_files`, or for callers who may not, by a descriptor that the target
    /// still holds or by its path below the target's root. What is opened is the file with the mapping's inode.
    pub(crate) fn open_backing(&self, region: &Region) -> io::Result<File> {
        let link = format!("map_files/{:x}-{:x}", region.range.start(), region.range.end());
        let refused = if inject::hit(inject::NO_MAP_FILES) {
            io::Error::from_raw_os_error(libc::EPERM)
        } else {
            match self.dir.open_link(&link) {
                Ok(file) => return Ok(file),
                Err(error) => error,
            }
        };
        let (path, deleted) = region.path();
        let by_path = (!deleted).then(|| format!("root{path}"));
        let by_descriptor = self.dir.numbers("fd").unwrap_or_default().into_iter().map(|fd| format!("fd/{fd}"));
        for candidate in by_path.into_iter().chain(by_descriptor) {
            let Ok(about) = self.dir.stat_link(&candidate) else { continue };
            let same = about.st_ino == region.inode
                && rustix::fs::major(about.st_dev) == region.device.major
                && rustix::fs::minor(about.st_dev) == region.device.minor
                && rustix::fs::FileType::from_raw_mode(about.st_mode) == rustix::fs::FileType::RegularFile;
            if same && let Ok(file) = self.dir.open_link(&candidate) {
                return Ok(file);
            }
        }
        Err(refused)
    }

    /// Reads memory of `region`, which holds all of `address .. address + buffer.len()`.
    ///
    /// # Errors
    /// As `pread(2)`; a count of zero means that the process has ended.
    pub fn read_region(&self, region: &Region, address: Address, buffer: &mut [u8]) -> io::Result<usize> {
        if inject::hit(inject::READ_HANGS) {
            std::thread::sleep(Duration::from_secs(600));
        }
        inject::hold_reads();
        if inject::hit(inject::SLOW_READ) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if region.sharing == Sharing::Shared && region.inode != 0 {
            let mut kept = self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if kept.as_ref().is_none_or(|file| file.range != region.range) {
                let file = match self.backing(region) {
                    Backing::SharedMemory(file) => Some(file),
                    Backing::Other | Backing::OutOfReach(_) => None,
                };
                *kept = Some(SharedFile { range: region.range, offset: region.offset, file });
            }
            if let Some(SharedFile { range, offset, file: Some(file) }) = kept.as_ref() {
                return read_padded(file, offset + (address.0 - range.start().0), buffer, self.page_size);
            }
        }
        self.read_mem(address, buffer)
    }

    fn read_mem(&self, address: Address, buffer: &mut [u8]) -> io::Result<usize> {
        if inject::hit(inject::READ_ERROR) {
            let page = address.0 / self.page_size;
            let next = page.next_multiple_of(16);
            if next == page {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let until = usize::try_from((next - page) * self.page_size).unwrap_or(usize::MAX).min(buffer.len());
            return self.mem.read_at(&mut buffer[..until], address.0);
        }
        self.mem.read_at(buffer, address.0)
    }

    /// Pushes pages that were swapped out before they were read out again, so that a dump does not leave the target
    /// with more memory than it had. Best effort: needs Linux 5.10 and CAP_SYS_NICE.
    pub(crate) fn page_out(&self, pidfd: &rustix::fd::OwnedFd, range: AddressRange) {
        let vector = libc::iovec {
            iov_base: range.start().0 as *mut libc::c_void,
            iov_len: usize::try_from(range.size()).unwrap_or(0),
        };
        use std::os::fd::AsRawFd;
        // SAFETY: the vector is read by the kernel only; the addresses in it are the target's, never used here.
        // MADV_PAGEOUT changes no contents.
        unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                pidfd.as_raw_fd(),
                &raw const vector,
                1usize,
                libc::MADV_PAGEOUT,
                0u32,
            );
        }
    }

    /// Runs of `region` that lie in swap.
    pub(crate) fn swapped(&self, region: &Region) -> Vec<AddressRange> {
        let mut runs = Vec::new();
        if region.swapped > Some(0) {
            // A failed scan leaves pages in memory that were in swap; nothing else is lost.
            let _ = self.pages.scan(region.range, &mut |range, state| {
                if state.contains(PageState::SWAPPED) && !state.contains(PageState::GUARD) {
                    runs.push(range);
                }
            });
        }
        runs
    }

    /// Whose memory it is.
    pub(crate) fn process(&self) -> effigy_process::ProcessId {
        self.dir.id()
    }

    /// The page table.
    pub(crate) fn pages(&self) -> &PageTable {
        &self.pages
    }

    /// What the page table says of `range`.
    pub(crate) fn scan_states(
        &self,
        range: AddressRange,
        visit: &mut dyn FnMut(AddressRange, PageState),
    ) -> io::Result<()> {
        self.pages.scan(range, visit)
    }

    /// Whether the page of `address` is present.
    pub(crate) fn is_present(&self, address: Address) -> bool {
        let mut present = false;
        let page = AddressRange::sized(address.page_floor(self.page_size), self.page_size);
        let scan = self.pages.scan(page, &mut |_, state| present |= state.contains(PageState::PRESENT));
        scan.is_ok() && present
    }

    /// The regions as they are now.
    pub(crate) fn regions(&self) -> Result<Vec<Region>, LiveError> {
        read_regions(&self.dir)
    }

    /// Whether the address space is no more: `/proc/PID/maps` is empty then, also while a zombie is left.
    pub(crate) fn is_gone(&self) -> bool {
        self.dir.open_file("maps").and_then(|mut maps| maps.read(&mut [0])).map_or(true, |count| count == 0)
    }

    /// Page size in bytes.
    pub(crate) fn page_size(&self) -> u64 {
        self.page_size
    }
}

/// Reads from a file, and gives zeros for the rest of the page in which the file ends, as a mapping of it does.
pub(crate) fn read_padded(file: &File, offset: u64, buffer: &mut [u8], page_size: u64) -> io::Result<usize> {
    let count = file.read_at(buffer, offset)?;
    if count == buffer.len() || count == 0 {
        return Ok(count);
    }
    let page = usize::try_from(page_size).unwrap_or(4096);
    let padded = count.next_multiple_of(page).min(buffer.len());
    buffer[count..padded].fill(0);
    Ok(padded)
}

impl Memory for LiveMemory {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        match self.read_mem(address, buffer) {
            Ok(0) => Err(NotRead::Ended),
            Ok(count) => Ok(count),
            Err(_) => Err(NotRead::Unreadable),
        }
    }
}
