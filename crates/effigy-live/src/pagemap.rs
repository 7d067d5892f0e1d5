//! Which pages a process has, without touching any: `/proc/PID/pagemap`.
//!
//! The ioctl `PAGEMAP_SCAN` (Linux 6.7, include/uapi/linux/fs.h) skips empty page tables, so that a reservation of
//! terabytes costs nothing. Older kernels are read entry by entry (Documentation/admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use bitflags::bitflags;
use effigy_process::{Address, AddressRange};

use crate::inject;

bitflags! {
    /// What the page table says of a page; the values are those of `PAGE_IS_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct PageState: u64 {
        /// Not write-protected by a userfaultfd: written to since it was, or never protected.
        const WRITTEN = 1 << 1;
        /// A page of a file or of shared memory, not an anonymous one.
        const FILE = 1 << 2;
        /// In memory.
        const PRESENT = 1 << 3;
        /// In swap, or an entry that is no page: a guard, a poisoned page.
        const SWAPPED = 1 << 4;
        /// The kernel's shared page of zeros.
        const ZERO_PAGE = 1 << 5;
        /// A guard page of `MADV_GUARD_INSTALL` (seen since Linux 6.15).
        const GUARD = 1 << 8;
    }
}

/// `struct pm_scan_arg` of include/uapi/linux/fs.h, Linux 6.7.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of the same header.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ScanResult {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610_u32 as libc::Ioctl;
/// Results a call.
const BATCH: usize = 512;

/// `PM_SCAN_WP_MATCHING`: write-protect what is found.
const PROTECT: u64 = 1;
/// `PM_SCAN_CHECK_WPASYNC`: fail with EPERM where no userfaultfd answers writes by itself.
const CHECK: u64 = 2;

/// Which pages a scan is to find.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    flags: u64,
    inverted: PageState,
    all: PageState,
    any: PageState,
    told: PageState,
}

const PRESENT_OR_SWAPPED: PageState = PageState::PRESENT.union(PageState::SWAPPED);
const TOLD: PageState = PRESENT_OR_SWAPPED.union(PageState::ZERO_PAGE).union(PageState::GUARD);

impl Query {
    /// Pages that were written to, which are write-protected as they are found. Never guard pages: their entries are
    /// none of pages.
    pub(crate) const WRITTEN: Self = Self {
        flags: PROTECT | CHECK,
        inverted: PageState::GUARD,
        all: PageState::WRITTEN.union(PageState::GUARD),
        any: PRESENT_OR_SWAPPED,
        told: TOLD,
    };
    /// Pages that were written to and places where there are no pages (any more), told together; nothing is changed.
    /// Exactly so the kernel has a short way through page tables (`pagemap_scan_pmd_entry`, fs/proc/task_mmu.c): a third
    /// of a millisecond for a GiB. Not every kernel tells of places without
    /// a page table, so that is tried first.
    pub(crate) const CHANGED: Self = Self {
        flags: CHECK,
        inverted: PageState::empty(),
        all: PageState::WRITTEN,
        any: PageState::empty(),
        told: PageState::WRITTEN,
    };
    /// The same in the long way, with what the pages are: for kernels without the short one, and when much has changed.
    pub(crate) const CHANGED_IN_DETAIL: Self = Self {
        flags: CHECK,
        inverted: PageState::PRESENT,
        all: PageState::empty(),
        any: PageState::WRITTEN.union(PageState::PRESENT),
        told: TOLD.union(PageState::WRITTEN),
    };
    /// All pages that there are.
    pub(crate) const THERE: Self = Self {
        flags: 0,
        inverted: PageState::empty(),
        all: PageState::empty(),
        any: PRESENT_OR_SWAPPED,
        told: TOLD.union(PageState::WRITTEN),
    };

    /// The same, and whether pages belong to a file: takes three times as long.
    pub(crate) const fn with_files(self) -> Self {
        Self { told: self.told.union(PageState::FILE), ..self }
    }
}

/// How this kernel shows page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// `PAGEMAP_SCAN`, with guard pages told apart.
    ScanWithGuards,
    /// `PAGEMAP_SCAN` before Linux 6.15.
    Scan,
    /// Entry by entry.
    Entries,
}

/// The page tables of a process, for looking.
#[derive(Debug)]
pub(crate) struct PageTable {
    file: File,
    page_size: u64,
    method: Method,
}

impl PageTable {
    /// Looks through `file`, an open `/proc/PID/pagemap`.
    pub(crate) fn new(file: File, page_size: u64) -> Self {
        let mut table = Self { file, page_size, method: Method::ScanWithGuards };
        if inject::hit(inject::NO_PAGEMAP_SCAN) {
            table.method = Method::Entries;
            return table;
        }
        // An empty scan tells what is understood: EINVAL for an unknown category, ENOTTY for no such call.
        for method in [Method::ScanWithGuards, Method::Scan, Method::Entries] {
            table.method = method;
            if method == Method::Entries || table.scan_batch(0, page_size, &mut [ScanResult::default(); 1]).is_ok() {
                break;
            }
        }
        table
    }

    /// Calls `visit` with each run of pages in `range` that are present or swapped, in rising order; neighbouring runs
    /// differ in their state.
    pub(crate) fn scan(&self, range: AddressRange, visit: &mut dyn FnMut(AddressRange, PageState)) -> io::Result<()> {
        match self.method {
            Method::Entries => self.scan_entries(range, visit),
            Method::Scan | Method::ScanWithGuards => self.scan_runs(range, visit),
        }
    }

    /// Calls `visit` with each run of pages in `range` that a query finds, in rising order. Neighbouring runs may be
    /// alike.
    ///
    /// # Errors
    /// EPERM where memory is not watched by a userfaultfd that answers writes by itself; EINVAL or ENOTTY before Linux
    /// 6.7.
    pub(crate) fn find(
        &self,
        range: AddressRange,
        query: Query,
        visit: &mut dyn FnMut(AddressRange, PageState),
    ) -> io::Result<()> {
        let mut results = [ScanResult::default(); BATCH];
        let mut at = range.start().0;
        while at < range.end().0 {
            // Looking changes nothing.
            if query.flags & PROTECT != 0 {
                inject::step();
            }
            let (count, walked) = self.call(at, range.end().0, query, &mut results)?;
            for result in results.iter().take(count) {
                let run = AddressRange::new(Address(result.start), Address(result.end));
                visit(run, PageState::from_bits_truncate(result.categories));
            }
            if walked <= at {
                break;
            }
            at = walked;
        }
        Ok(())
    }

    /// Whether this kernel knows guard pages and tells written pages from others.
    pub(crate) fn can_protect(&self) -> bool {
        self.method == Method::ScanWithGuards
    }

    fn scan_runs(&self, range: AddressRange, visit: &mut dyn FnMut(AddressRange, PageState)) -> io::Result<()> {
        let mut results = [ScanResult::default(); BATCH];
        let mut joined = Joined::new(visit);
        let mut at = range.start().0;
        while at < range.end().0 {
            let (count, walked) = self.scan_batch(at, range.end().0, &mut results)?;
            for result in results.iter().take(count) {
                let run = AddressRange::new(Address(result.start), Address(result.end));
                joined.add(run, PageState::from_bits_truncate(result.categories));
            }
            if walked <= at {
                break;
            }
            at = walked;
        }
        joined.finish();
        Ok(())
    }

    /// One call; how many results there are, and up to which address was looked.
    fn scan_batch(&self, start: u64, end: u64, results: &mut [ScanResult]) -> io::Result<(usize, u64)> {
        let mut told = TOLD.union(PageState::FILE);
        if self.method != Method::ScanWithGuards {
            told.remove(PageState::GUARD);
        }
        let query =
            Query { flags: 0, inverted: PageState::empty(), all: PageState::empty(), any: PRESENT_OR_SWAPPED, told };
        self.call(start, end, query, results)
    }

    fn call(&self, start: u64, end: u64, query: Query, results: &mut [ScanResult]) -> io::Result<(usize, u64)> {
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            flags: query.flags,
            start,
            end,
            vec: results.as_mut_ptr() as u64,
            vec_len: results.len() as u64,
            category_inverted: query.inverted.bits(),
            category_mask: query.all.bits(),
            category_anyof_mask: query.any.bits(),
            return_mask: query.told.bits(),
            ..ScanArgument::default()
        };
        // SAFETY: the argument is a live, exclusive structure of the size that the request's number encodes, and its
        // vector points at `results`, which is exclusive and of the length that it gives. Write-protecting pages that a
        // userfaultfd of ours watches changes nothing that their owner could see.
        let count = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
        usize::try_from(count).map(|count| (count, argument.walk_end)).map_err(|_| io::Error::last_os_error())
    }

    fn scan_entries(&self, range: AddressRange, visit: &mut dyn FnMut(AddressRange, PageState)) -> io::Result<()> {
        let mut joined = Joined::new(visit);
        let mut buffer = vec![0u8; 64 << 10];
        let mut page = range.start().0 / self.page_size;
        let last = range.end().0 / self.page_size;
        while page < last {
            let want = usize::try_from((last - page).saturating_mul(8)).unwrap_or(usize::MAX).min(buffer.len());
            let got = self.file.read_at(&mut buffer[..want], page * 8)?;
            if got < 8 {
                break;
            }
            for entry in buffer[..got].as_chunks::<8>().0 {
                let state = state_of(u64::from_ne_bytes(*entry));
                if state.intersects(PageState::PRESENT | PageState::SWAPPED) {
                    joined.add(AddressRange::sized(Address(page * self.page_size), self.page_size), state);
                }
                page += 1;
            }
        }
        joined.finish();
        Ok(())
    }
}

/// A pagemap entry: bit 63 present, 62 swapped, 61 file or shared, 58 guard.
fn state_of(entry: u64) -> PageState {
    let mut state = PageState::empty();
    state.set(PageState::PRESENT, entry & 1 << 63 != 0);
    state.set(PageState::SWAPPED, entry & 1 << 62 != 0);
    state.set(PageState::FILE, entry & 1 << 61 != 0);
    state.set(PageState::GUARD, entry & 1 << 58 != 0);
    if state.contains(PageState::GUARD) {
        state |= PageState::SWAPPED;
    }
    state
}

/// Joins neighbouring runs of one state.
struct Joined<'a> {
    visit: &'a mut dyn FnMut(AddressRange, PageState),
    run: Option<(AddressRange, PageState)>,
}

impl<'a> Joined<'a> {
    fn new(visit: &'a mut dyn FnMut(AddressRange, PageState)) -> Self {
        Self { visit, run: None }
    }

    fn add(&mut self, range: AddressRange, state: PageState) {
        match self.run {
            Some((last, same)) if same == state && last.end() == range.start() => {
                self.run = Some((AddressRange::new(last.start(), range.end()), state));
            }
            last => {
                if let Some((range, state)) = last {
                    (self.visit)(range, state);
                }
                self.run = Some((range, state));
            }
        }
    }

    fn finish(self) {
        if let Some((range, state)) = self.run {
            (self.visit)(range, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps pages of our own, touches some, and compares both methods.
    #[test]
    fn both_methods_see_the_same_pages() {
        let page = rustix::param::page_size();
        let pages = 64;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice; nothing else refers to it.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                pages * page,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::PRIVATE,
            )
        }
        .unwrap();
        // SAFETY: the advice is about the mapping above and changes no bytes.
        unsafe { rustix::mm::madvise(base, pages * page, rustix::mm::Advice::LinuxNoHugepage) }.unwrap();
        let touched = [3usize, 4, 5, 20, 63];
        for index in touched {
            // SAFETY: the byte lies inside the mapping above, which is writable.
            unsafe { base.cast::<u8>().add(index * page).write(1) };
        }
        let range = AddressRange::sized(Address(base as u64), (pages * page) as u64);
        let seen = |method| {
            let mut table = PageTable::new(File::open("/proc/self/pagemap").unwrap(), page as u64);
            if table.method == Method::Entries && method != Method::Entries {
                return None;
            }
            table.method = method;
            let mut runs = Vec::new();
            table.scan(range, &mut |run, _| runs.push(run)).unwrap();
            Some(runs)
        };
        let expected: Vec<AddressRange> = [(3, 3), (20, 1), (63, 1)]
            .map(|(first, count)| {
                AddressRange::sized(Address((base as usize + first * page) as u64), (count * page) as u64)
            })
            .into();
        assert_eq!(seen(Method::Entries), Some(expected.clone()));
        if let Some(runs) = seen(Method::Scan) {
            assert_eq!(runs, expected);
        }
        // SAFETY: the mapping made above; no reference into it is left.
        unsafe { rustix::mm::munmap(base, pages * page) }.unwrap();
    }
}
