//! A snapshot of a process that runs on while its memory is copied.
//!
//! A userfaultfd of ours watches the target's memory. A page is write-protected and then copied; should the target write
//! to it, the kernel lifts the protection by itself (`UFFD_FEATURE_WP_ASYNC`, Linux 6.7) and the page counts as written.
//! Rounds protect and copy again what was written, until little is left. Then all threads stop, the page tables tell what
//! was written since, that is copied, and the target goes on. Nobody in the target ever waits for effigy: a write to a
//! protected page costs it a microsecond. When effigy dies, the end of the descriptor lifts all protection.
//!
//! What is known of a page at the stop: it is in a mapping that is still watched by us, it is present or swapped out, and
//! it was not written since it was protected. Then the copy that was made after it was protected is what it holds. Pages
//! that were unmapped, moved, discarded or mapped anew meanwhile are not protected, or not there, whatever else happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use effigy_process::{Address, AddressRange, Gap, GapReason, GapSubject, PageClass, PageRun, Region, RegionFlags};

use super::known::{Known, MOST_SHARED, may_be_read, not_frozen};
use super::{LiveSnapshot, Prelude};
use crate::memory::read_padded;
use crate::pagemap::{PageState, PageTable, Query};
use crate::procfs::{ProcDir, parse_maps, read_known_regions};
use crate::remote::{Refused, Userfault, own_userfault};
use crate::stop::Stopped;
use crate::{Haste, LiveError, LiveMemory, inject};

/// Pages are protected and copied in pieces of this many bytes: a huge page is protected whole or split.
const CHUNK: u64 = 2 << 20;
/// Memory that is let go of at a time. The target's page faults there wait for as long as that takes.
const RELEASED: u64 = 8 << 20;
/// Bytes that are copied while the target stands still, at most: 256 MiB take some 100 ms.
const MOST_COPIED: u64 = 256 << 20;
/// Bytes of memory that cannot be watched and are copied while the target stands still, at most.
const MOST_UNWATCHED: u64 = 32 << 20;
/// Changed runs that are asked about one by one; each takes half a microsecond.
const MOST_DETAILS: usize = 2000;
/// Runs of pages of different state that are kept track of; each costs 24 bytes.
const MOST_RUNS: usize = 1_000_000;

/// `UFFDIO_API` and the others of include/uapi/linux/userfaultfd.h, by `_IOWR(0xAA, …)`.
const API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
const UNREGISTER: libc::Ioctl = 0x8010_aa01_u32 as libc::Ioctl;
const WRITE_PROTECT: libc::Ioctl = 0xc018_aa06_u32 as libc::Ioctl;
/// `UFFD_API`.
const VERSION: u64 = 0xaa;
/// `UFFD_FEATURE_PAGEFAULT_FLAG_WP`, `UFFD_FEATURE_WP_HUGETLBFS_SHMEM`, `UFFD_FEATURE_WP_ASYNC`.
const FEATURES: u64 = 1 << 0 | 1 << 12 | 1 << 15;
/// `UFFDIO_REGISTER_MODE_WP`.
const FOR_WRITES: u64 = 2;

/// Seconds and nanoseconds, whatever numbers they are on this architecture.
type FileTime = String;

/// Where copied pages go. The last argument is whether the page is copied for the first time.
type Sink<'a> = dyn FnMut(Address, &[u8], bool) -> io::Result<()> + 'a;

/// Why copying came to an end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// This way is not possible with this target.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The output failed.
    #[error("writing the dump")]
    Output(#[source] io::Error),
    /// The target has ended.
    #[error("the process ended")]
    Ended,
}

/// The copying of a target's memory while it runs.
#[derive(Debug)]
pub struct Precopy {
    dir: ProcDir,
    memory: LiveMemory,
    userfault: Userfault,
    pidfd: Option<OwnedFd>,
    page: u64,
    /// Ranges that are watched, in rising order, neighbours joined.
    watched: Vec<AddressRange>,
    /// Whether this kernel has a short way to tell what has changed.
    tells_holes: bool,
    /// Whether anything was watched before.
    has_begun: bool,
    /// The regions as they were when copying began.
    known: Vec<Region>,
    /// Whether pages of files that were not written to are wanted.
    with_files: bool,
    /// Memory that is not to be in the dump.
    excluded: Vec<AddressRange>,
    /// What is known of pages that were protected, in rising order.
    states: Vec<(AddressRange, PageState)>,
    /// When files that are mapped were last changed, by the mappings' addresses.
    file_times: BTreeMap<AddressRange, FileTime>,
    /// Pages that could not be read.
    broken: BTreeSet<u64>,
    /// The longest time for which the target's page faults may have had to wait.
    longest_wait: Duration,
    buffer: Vec<u8>,
}

impl Precopy {
    /// Prepares it.
    ///
    /// # Errors
    /// When this kernel or this target do not allow for it.
    pub fn new(prelude: &Prelude, userfault: Userfault, with_files: bool) -> Result<Self, Refused> {
        let refused = |error: LiveError| Refused::new(error.to_string());
        let page = prelude.system.page_size;
        let open = || ProcDir::open(prelude.dir.id()).map_err(refused);
        let memory = LiveMemory::open(open()?, page).map_err(refused)?;
        if !memory.pages().can_protect() {
            return Err(Refused::new("this kernel cannot tell which pages were written (Linux 6.15 can)"));
        }
        hidden_writers(&prelude.dir)?;
        let mut about = [VERSION, FEATURES, 0];
        control(&userfault, API, &mut about)
            .map_err(|_| Refused::new("this kernel's userfaultfd cannot answer writes by itself (Linux 6.7 can)"))?;
        Ok(Self {
            dir: open()?,
            memory,
            userfault,
            pidfd: super::pidfd(prelude.dir.id()),
            page,
            watched: Vec::new(),
            tells_holes: tells_holes(page),
            has_begun: false,
            known: prelude.regions.clone(),
            with_files,
            excluded: Vec::new(),
            states: Vec::new(),
            file_times: BTreeMap::new(),
            broken: BTreeSet::new(),
            longest_wait: Duration::ZERO,
            buffer: vec![0; usize::try_from(CHUNK).unwrap_or(1 << 21)],
        })
    }

    /// Looks again for what a target may have begun since that live snapshots do not see.
    ///
    /// # Errors
    /// What it is.
    pub fn look_again(&self) -> Result<(), Refused> {
        hidden_writers(&self.dir)
    }

    /// Says which memory is not to be in the dump, so that it is left alone.
    pub fn exclude(&mut self, ranges: impl IntoIterator<Item = AddressRange>) {
        self.excluded.extend(ranges);
        self.excluded.sort_unstable_by_key(AddressRange::start);
    }

    /// Watches all regions that can be and are not yet.
    ///
    /// # Errors
    /// When the target has ended.
    pub fn watch(&mut self, regions: &[Region]) -> Result<(), CopyError> {
        for region in regions.iter().filter(|region| is_tracked(region)) {
            if self.is_excluded(region.range) || self.is_watched(region.range) {
                continue;
            }
            let range = region.range;
            let mut argument = [range.start().0, range.size(), FOR_WRITES, 0];
            match self.timed(REGISTER, &mut argument) {
                Ok(()) => {
                    if self.has_begun {
                        // A page that was moved here from memory that we watch may come with its protection.
                        let mut argument = [range.start().0, range.size(), 0];
                        let _ = control(&self.userfault, WRITE_PROTECT, &mut argument);
                    }
                    self.add_watched(range);
                }
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(CopyError::Ended),
                // Another userfaultfd watches it, or it has gone meanwhile. The stop deals with what is there then.
                Err(_) => {}
            }
        }
        if !self.has_begun {
            self.file_times =
                regions.iter().filter_map(|region| Some((region.range, self.file_time(region)?))).collect();
        }
        self.has_begun = true;
        Ok(())
    }

    /// When the file behind a private mapping was last changed.
    fn file_time(&self, region: &Region) -> Option<FileTime> {
        if region.inode == 0 || region.is_shared() || !may_be_read(region) {
            return None;
        }
        let link = format!("map_files/{:x}-{:x}", region.range.start(), region.range.end());
        let about = self.dir.stat_link(&link).ok()?;
        Some(format!("{}.{:09}", about.st_mtime, about.st_mtime_nsec))
    }

    fn is_excluded(&self, range: AddressRange) -> bool {
        self.excluded.iter().any(|excluded| excluded.intersection(&range).is_some())
    }

    fn is_watched(&self, range: AddressRange) -> bool {
        let index = self.watched.partition_point(|watched| watched.end() <= range.start());
        self.watched.get(index).is_some_and(|watched| watched.start() <= range.start() && range.end() <= watched.end())
    }

    fn add_watched(&mut self, range: AddressRange) {
        self.watched.push(range);
        self.watched.sort_unstable_by_key(AddressRange::start);
        let mut joined: Vec<AddressRange> = Vec::with_capacity(self.watched.len());
        for range in self.watched.drain(..) {
            match joined.last_mut().filter(|last| last.end() >= range.start()) {
                Some(last) => *last = AddressRange::new(last.start(), last.end().max(range.end())),
                None => joined.push(range),
            }
        }
        self.watched = joined;
    }

    fn forget(&mut self, range: AddressRange) {
        let mut rest = Vec::with_capacity(self.watched.len() + 1);
        for watched in self.watched.drain(..) {
            if watched.intersection(&range).is_none() {
                rest.push(watched);
                continue;
            }
            rest.push(AddressRange::new(watched.start(), watched.start().max(range.start().min(watched.end()))));
            rest.push(AddressRange::new(watched.end().min(range.end().max(watched.start())), watched.end()));
        }
        rest.retain(|range| !range.is_empty());
        self.watched = rest;
    }

    /// Protects and copies memory of one region for the first time.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_first(&mut self, region: &Region, range: AddressRange, sink: &mut Sink<'_>) -> Result<(), CopyError> {
        let mut at = range.start();
        while at < range.end() {
            let end = Address((at.0 / CHUNK + 1).saturating_mul(CHUNK)).min(range.end());
            let chunk = AddressRange::new(at, end);
            let mut runs = Vec::new();
            let tracked = is_tracked(region);
            // Only what we watch ourselves: another userfaultfd's protection is another's knowledge.
            if tracked && self.is_watched(region.range) {
                let found = self.memory.pages().find(chunk, Query::WRITTEN, &mut |run, state| runs.push((run, state)));
                if found.is_err() {
                    // It is not watched, or not any more. Pages may have been protected without being told of, so nothing
                    // is known of the region from here on.
                    self.forget(region.range);
                    runs.clear();
                }
            } else if !(tracked || region.is_shared() || self.with_files && region.inode != 0) {
                runs.push((chunk, PageState::PRESENT));
            }
            for (run, state) in runs {
                if tracked {
                    self.note(run, state);
                }
                self.copy(region, run, state, true, sink)?;
            }
            at = end;
        }
        Ok(())
    }

    /// Protects and copies again what was written since; says how many pages that were.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn round(&mut self, sink: &mut Sink<'_>) -> Result<u64, CopyError> {
        let regions = self.regions()?;
        self.watch(&regions)?;
        let mut changes = Vec::new();
        let mut pages = 0;
        for region in regions.iter().filter(|region| is_tracked(region)) {
            if !self.is_watched(region.range) || self.is_excluded(region.range) {
                continue;
            }
            let mut runs = Vec::new();
            let found =
                self.memory.pages().find(region.range, Query::WRITTEN, &mut |run, state| runs.push((run, state)));
            // Pages that were found are protected now, and have to be copied, also when it then went wrong.
            for (run, state) in runs {
                changes.push((run, state));
                pages += run.size() / self.page;
                self.copy(region, run, state, false, sink)?;
            }
            if let Err(error) = found {
                if error.raw_os_error() == Some(libc::ESRCH) {
                    return Err(CopyError::Ended);
                }
                self.forget(region.range);
            }
        }
        self.states = overlay(std::mem::take(&mut self.states), changes);
        if self.states.len() > MOST_RUNS {
            return Err(Refused::new("its memory is in too many pieces to be kept track of").into());
        }
        Ok(pages)
    }

    /// The regions as they are now. Of new ones that map devices nothing is known, so they are left out.
    fn regions(&self) -> Result<Vec<Region>, CopyError> {
        match read_known_regions(&self.dir, &self.known) {
            Ok(Some(regions)) => Ok(regions),
            Ok(None) => {
                let mut regions = parse_maps(&self.dir).map_err(|_| CopyError::Ended)?;
                regions.retain(|region| !region.name.starts_with(b"/dev/"));
                Ok(regions)
            }
            Err(_) => Err(CopyError::Ended),
        }
    }

    fn note(&mut self, run: AddressRange, state: PageState) {
        match self.states.last_mut().filter(|(last, same)| last.end() == run.start() && *same == state) {
            Some((last, _)) => *last = AddressRange::new(last.start(), run.end()),
            None => self.states.push((run, state)),
        }
    }

    /// Copies a run of pages to the sink.
    fn copy(
        &mut self,
        region: &Region,
        run: AddressRange,
        state: PageState,
        first: bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), CopyError> {
        if state.intersects(PageState::ZERO_PAGE | PageState::GUARD) {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.copy_by(region, run, first, &mut buffer, sink);
        self.buffer = buffer;
        if let Some(pidfd) = self.pidfd.as_ref().filter(|_| state.contains(PageState::SWAPPED)) {
            // It was in swap, and goes back there: a dump does not make the target grow.
            self.memory.page_out(pidfd, run);
        }
        result
    }

    fn copy_by(
        &mut self,
        region: &Region,
        run: AddressRange,
        first: bool,
        buffer: &mut [u8],
        sink: &mut Sink<'_>,
    ) -> Result<(), CopyError> {
        let mut at = run.start();
        while at < run.end() {
            let want = usize::try_from(run.end().0 - at.0).unwrap_or(usize::MAX).min(buffer.len());
            let count = match self.memory.read_region(region, at, &mut buffer[..want]) {
                Ok(0) => return Err(CopyError::Ended),
                Ok(count) => count as u64 / self.page * self.page,
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(CopyError::Ended),
                Err(_) => 0,
            };
            if count == 0 {
                // It may have gone meanwhile; if it is there at the end, it is a page that cannot be read.
                self.broken.insert(at.0);
                at = at.saturating_add(self.page);
                continue;
            }
            if !self.broken.is_empty() {
                let read: Vec<u64> = self.broken.range(at.0..at.0 + count).copied().collect();
                read.iter().for_each(|page| {
                    self.broken.remove(page);
                });
            }
            let length = usize::try_from(count).unwrap_or(want);
            sink(at, &buffer[..length], first).map_err(CopyError::Output)?;
            at = at.saturating_add(count);
        }
        Ok(())
    }

    /// Reads the facts of the target, which stands still, and copies what was written since the last round. The target may
    /// go on afterwards.
    ///
    /// # Errors
    /// When too much cannot be had in this way, or the target has ended.
    pub fn freeze(&mut self, prelude: Prelude, stopped: Stopped) -> Result<Frozen, LiveError> {
        let _haste = Haste::begin();
        let mut regions = read_known_regions(&self.dir, &prelude.regions)?.map_or_else(|| parse_maps(&self.dir), Ok)?;
        regions.retain(|region| may_be_read(region) && !self.is_excluded(region.range));
        // Facts and page tables are read side by side: every millisecond counts.
        let (facts, changed) = std::thread::scope(|scope| {
            let facts = std::thread::Builder::new()
                .name("facts".into())
                .spawn_scoped(scope, || LiveSnapshot::of_stopped(prelude, stopped))
                .map_err(|_| LiveError::OwnThread("facts"))?;
            let changed = self.changed(&regions);
            Ok::<_, LiveError>((facts.join().map_err(|_| LiveError::OwnThread("facts"))?, changed))
        })?;
        let mut frozen = Frozen {
            snapshot: facts?,
            changes: Vec::new(),
            bytes: Vec::new(),
            copied: Vec::new(),
            broken: Vec::new(),
            late: Vec::new(),
        };
        let to_copy: u64 = changed.iter().flatten().flat_map(|changed| &changed.runs).map(to_be_copied).sum();
        if to_copy > MOST_COPIED {
            return Err(Refused::new(format!("it has just written to {} MiB of its memory", to_copy >> 20)).into());
        }
        frozen.bytes.reserve(usize::try_from(to_copy).unwrap_or(0));
        let mut unwatched = MOST_UNWATCHED;
        let mut shared = MOST_SHARED;
        for (region, changed) in regions.iter().zip(changed) {
            if region.is_shared() {
                self.freeze_shared(region, &mut shared, &mut frozen)?;
            } else {
                let changed = changed.map_err(|error| Refused::new(format!("looking at pages: {error}")))?;
                self.freeze_private(region, changed, &mut unwatched, &mut frozen)?;
            }
        }
        Ok(frozen)
    }

    /// What has changed in each region; by two threads, each of which looks at half of the memory.
    fn changed(&self, regions: &[Region]) -> Vec<io::Result<Changed>> {
        let size = |region: &Region| if region.is_shared() { 0 } else { region.range.size() };
        let total: u64 = regions.iter().map(size).sum();
        let mut before = 0;
        let half = regions.iter().position(|region| {
            before += size(region);
            before * 2 >= total
        });
        let Some(half) = half.filter(|_| total > 64 << 20) else {
            return regions.iter().map(|region| self.changed_in(region, region.range)).collect();
        };
        // The region in the middle is looked at by both.
        let middle = &regions[half];
        let first_half = (before * 2).saturating_sub(total) / 2;
        let cut = Address((middle.range.end().0 - first_half.min(middle.range.size())) / CHUNK * CHUNK);
        let cut = cut.max(middle.range.start());
        let (front, back) = (AddressRange::new(middle.range.start(), cut), AddressRange::new(cut, middle.range.end()));
        let other = || -> Vec<io::Result<Changed>> {
            let rest = regions[half + 1..].iter().map(|region| self.changed_in(region, region.range));
            std::iter::once(self.changed_in(middle, back)).chain(rest).collect()
        };
        std::thread::scope(|scope| {
            let other = std::thread::Builder::new().name("pages".into()).spawn_scoped(scope, other);
            let mut all: Vec<_> = regions[..half].iter().map(|region| self.changed_in(region, region.range)).collect();
            let front = self.changed_in(middle, front);
            let failed = || io::Error::other("effigy's own thread failed");
            let mut rest = match other.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(rest)) => rest.into_iter(),
                _ => return regions.iter().map(|_| Err(failed())).collect(),
            };
            all.push(match (front, rest.next()) {
                (Ok(front), Some(Ok(back))) => Ok(front.and(back)),
                (Err(error), _) | (_, Some(Err(error))) => Err(error),
                (Ok(_), None) => Err(failed()),
            });
            all.extend(rest);
            all
        })
    }

    /// What has changed in a part of a region; everything, where nobody has watched.
    fn changed_in(&self, region: &Region, range: AddressRange) -> io::Result<Changed> {
        if region.is_shared() {
            return Ok(Changed::default());
        }
        let pages = self.memory.pages();
        let with_files = |query: Query| if region.inode == 0 { query } else { query.with_files() };
        let there = with_files(Query::THERE);
        let mut runs = Vec::new();
        let mut find = || -> io::Result<()> {
            if self.tells_holes {
                let mut found = Vec::new();
                pages.find(range, Query::CHANGED, &mut |run, _| found.push(run))?;
                if found.len() <= MOST_DETAILS {
                    return found.into_iter().try_for_each(|run| details(pages, run, there, &mut runs));
                }
            }
            pages.find(range, with_files(Query::CHANGED_IN_DETAIL), &mut |run, state| runs.push((run, state)))
        };
        let found = if self.is_watched(region.range) { find() } else { Err(io::Error::from_raw_os_error(libc::EPERM)) };
        let watched = match found {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => false,
            Err(error) => return Err(error),
        };
        if !watched {
            runs.clear();
            details(pages, range, there, &mut runs)?;
            runs.iter_mut().for_each(|(_, state)| *state |= PageState::WRITTEN);
        }
        Ok(Changed { runs, watched })
    }

    fn freeze_private(
        &self,
        region: &Region,
        changed: Changed,
        left: &mut u64,
        frozen: &mut Frozen,
    ) -> Result<(), LiveError> {
        if !changed.watched {
            let size: u64 = changed.runs.iter().map(to_be_copied).sum();
            *left = left
                .checked_sub(size)
                .ok_or_else(|| Refused::new(format!("{} MiB of its memory cannot be watched: {region}", size >> 20)))?;
        }
        for (run, state) in &changed.runs {
            if must_copy(*state) {
                frozen.copy(&self.memory, region, *run, self.page)?;
            } else if self.with_files && state.contains(PageState::FILE) {
                frozen.late.push((region.clone(), *run));
            }
        }
        frozen.changes.extend(changed.runs);
        Ok(())
    }

    /// Shared memory is copied when there is little of it. Of a larger one the copy is made when the target runs again.
    fn freeze_shared(&self, region: &Region, left: &mut u64, frozen: &mut Frozen) -> Result<(), LiveError> {
        let mut runs = Vec::new();
        let out_of_reach = self
            .memory
            .scan(region, &mut |run| runs.push(run))
            .map_err(|error| Refused::new(format!("looking at shared pages: {error}")))?;
        frozen.snapshot.add_gaps(out_of_reach.map(|error| super::out_of_reach(region, &error)).into_iter().collect());
        let size: u64 = runs.iter().map(|run| run.range.size()).sum();
        if size > *left {
            return Ok(());
        }
        *left -= size;
        for run in &runs {
            if matches!(run.class, PageClass::Shared | PageClass::File | PageClass::Private) {
                frozen.copy(&self.memory, region, run.range, self.page)?;
            }
        }
        frozen.snapshot.known.insert(region.range, runs);
        Ok(())
    }

    /// Brings what is known into the snapshot and what was copied to the sink. The target runs again.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn settle(&mut self, frozen: Frozen, sink: &mut Sink<'_>) -> Result<LiveSnapshot, CopyError> {
        let Frozen { mut snapshot, changes, bytes, copied, broken, late } = frozen;
        let mut at = 0;
        for range in copied {
            let length = usize::try_from(range.size()).unwrap_or(0);
            sink(range.start(), &bytes[at..at + length], false).map_err(CopyError::Output)?;
            at += length;
            let read: Vec<u64> = self.broken.range(range.start().0..range.end().0).copied().collect();
            read.iter().for_each(|page| {
                self.broken.remove(page);
            });
        }
        self.broken.extend(broken.into_iter().map(|page| page.0));
        for (region, run) in late {
            self.copy_of_file(&region, run, sink)?;
        }
        self.states = overlay(std::mem::take(&mut self.states), changes);
        let mut regions = snapshot.process.regions.clone();
        regions.retain(|region| may_be_read(region) && !self.is_excluded(region.range));
        let mut gaps = Vec::new();
        for region in &regions {
            if !region.is_shared() {
                snapshot.known.insert(region.range, self.runs(region));
                // Its pages were copied over a while; written to meanwhile by way of the file, they are of no one instant.
                let before = self.file_times.get(&region.range);
                if self.with_files && region.inode != 0 && before != self.file_time(region).as_ref() {
                    gaps.push(not_frozen(region));
                }
            } else if !snapshot.known.has(region.range) {
                gaps.extend(self.copy_shared(region, &mut snapshot.known, sink)?);
            }
        }
        for page in &self.broken {
            let range = AddressRange::sized(Address(*page), self.page);
            if snapshot.known.remove(range) {
                let detail = snapshot.process.region_at(range.start()).map(|region| region.name.to_string());
                gaps.push(Gap {
                    subject: GapSubject::Memory(range),
                    reason: GapReason::Unreadable,
                    detail: detail.unwrap_or_default(),
                });
            }
        }
        snapshot.add_gaps(gaps);
        Ok(snapshot)
    }

    /// Copies pages that belonged to a mapped file at the stop, from the file: in the target, which runs again, they may be
    /// its own by now.
    fn copy_of_file(&mut self, region: &Region, run: AddressRange, sink: &mut Sink<'_>) -> Result<(), CopyError> {
        let Ok(file) = self.memory.open_backing(region) else {
            return Err(Refused::new(format!("a mapped file cannot be opened: {}", region.name)).into());
        };
        let mut at = run.start();
        while at < run.end() {
            let want = usize::try_from(run.end().0 - at.0).unwrap_or(usize::MAX).min(self.buffer.len());
            let offset = region.offset + (at.0 - region.range.start().0);
            let count = read_padded(&file, offset, &mut self.buffer[..want], self.page).unwrap_or(0) as u64;
            let count = count / self.page * self.page;
            if count == 0 {
                self.broken.insert(at.0);
            } else {
                let length = usize::try_from(count).unwrap_or(want);
                sink(at, &self.buffer[..length], false).map_err(CopyError::Output)?;
            }
            at = at.saturating_add(count.max(self.page));
        }
        Ok(())
    }

    /// The runs of a private region, from what is known of its pages.
    fn runs(&self, region: &Region) -> Vec<PageRun> {
        let from = self.states.partition_point(|(run, _)| run.end() <= region.range.start());
        self.states[from..]
            .iter()
            .take_while(|(run, _)| run.start() < region.range.end())
            .filter_map(|(run, state)| {
                let class = if state.contains(PageState::GUARD) {
                    PageClass::Guard
                } else if state.contains(PageState::ZERO_PAGE) {
                    PageClass::Zero
                } else if state.contains(PageState::FILE) {
                    PageClass::File
                } else {
                    PageClass::Private
                };
                Some(PageRun { range: run.intersection(&region.range)?, class })
            })
            .collect()
    }

    /// Copies shared memory that was too much to be copied while the target stood still.
    fn copy_shared(
        &mut self,
        region: &Region,
        known: &mut Known,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Gap>, CopyError> {
        let mut runs = Vec::new();
        // It may be gone by now. Then there is nothing to be had of it any more.
        if self.memory.scan(region, &mut |run| runs.push(run)).is_err() {
            runs.clear();
        }
        for run in &runs {
            self.copy(region, run.range, PageState::PRESENT, false, sink)?;
        }
        known.insert(region.range, runs);
        // Also when nothing is left of it: what there was at the stop is not known.
        Ok(Some(not_frozen(region)))
    }

    /// Stops watching, in pieces, so that the target's page faults wait for no longer than a piece takes. Says how long
    /// they may have waited at most, all the time that memory was watched.
    pub fn release(&mut self) -> Duration {
        for range in std::mem::take(&mut self.watched) {
            let mut at = range.start();
            while at < range.end() {
                let end = Address((at.0 / RELEASED + 1).saturating_mul(RELEASED)).min(range.end());
                let mut argument = [at.0, end.0 - at.0];
                // What has been unmapped meanwhile is watched no more; the end of the descriptor ends the rest.
                let _ = self.timed(UNREGISTER, &mut argument);
                at = end;
            }
        }
        self.longest_wait
    }

    /// A request that holds the target's address space for itself: page faults may have to wait for it.
    fn timed(&mut self, request: libc::Ioctl, argument: &mut [u64]) -> io::Result<()> {
        let began = Instant::now();
        let result = control(&self.userfault, request, argument);
        self.longest_wait = self.longest_wait.max(began.elapsed());
        result
    }
}

/// What was learned and copied while the target stood still.
#[derive(Debug)]
pub struct Frozen {
    snapshot: LiveSnapshot,
    changes: Vec<(AddressRange, PageState)>,
    bytes: Vec<u8>,
    /// The ranges of `bytes`.
    copied: Vec<AddressRange>,
    /// Pages that could not be read.
    broken: Vec<Address>,
    /// Pages of files: they are copied from there when the target runs again.
    late: Vec<(Region, AddressRange)>,
}

impl Frozen {
    /// Bytes that were copied.
    #[must_use]
    pub fn copied_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn copy(&mut self, memory: &LiveMemory, region: &Region, run: AddressRange, page: u64) -> Result<(), LiveError> {
        let mut at = run.start();
        while at < run.end() {
            let from = self.bytes.len();
            let want = usize::try_from(run.end().0 - at.0).unwrap_or(usize::MAX).min(1 << 20);
            self.bytes.resize(from + want, 0);
            let count = match memory.read_region(region, at, &mut self.bytes[from..]) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                    return Err(LiveError::Ended(memory.process()));
                }
                result => result.unwrap_or(0) as u64 / page * page,
            };
            self.bytes.truncate(from + usize::try_from(count).unwrap_or(0));
            if count > 0 {
                self.copied.push(AddressRange::sized(at, count));
            }
            if count == 0 {
                self.broken.push(at);
            }
            at = at.saturating_add(count.max(page));
        }
        Ok(())
    }
}

/// Whether pages of a region are watched: anonymous private memory. In private mappings of files, and of huge pages, the
/// kernel leaves marks where protected pages were discarded, which the next page there inherits: what was written cannot be
/// told, and a guard page (`MADV_GUARD_INSTALL`) cannot be made there as long as marks are. What of those belongs to the
/// process alone is copied while it stands still; it is small as a rule.
fn is_tracked(region: &Region) -> bool {
    may_be_read(region) && region.inode == 0 && !region.flags.contains(RegionFlags::HUGETLB)
}

/// Whether a page that was found changed at the stop has to be copied.
fn must_copy(state: PageState) -> bool {
    state.contains(PageState::WRITTEN)
        && state.intersects(PageState::PRESENT | PageState::SWAPPED)
        && !state.intersects(PageState::GUARD | PageState::ZERO_PAGE | PageState::FILE)
}

/// Bytes of a run that have to be copied at the stop.
fn to_be_copied((run, state): &(AddressRange, PageState)) -> u64 {
    if must_copy(*state) { run.size() } else { 0 }
}

/// What the page tables say of a run that has changed: pages, and in between that there are none.
fn details(
    pages: &PageTable,
    run: AddressRange,
    query: Query,
    runs: &mut Vec<(AddressRange, PageState)>,
) -> io::Result<()> {
    let mut at = run.start();
    pages.find(run, query, &mut |part, state| {
        if at < part.start() {
            runs.push((AddressRange::new(at, part.start()), PageState::empty()));
        }
        runs.push((part, state));
        at = part.end();
    })?;
    if at < run.end() {
        runs.push((AddressRange::new(at, run.end()), PageState::empty()));
    }
    Ok(())
}

/// What has changed in a region since it was last looked at.
#[derive(Debug, Default)]
struct Changed {
    runs: Vec<(AddressRange, PageState)>,
    /// Whether it was watched; else everything counts as changed.
    watched: bool,
}

impl Changed {
    /// This, and what lies behind it.
    fn and(mut self, behind: Self) -> Self {
        self.runs.extend(behind.runs);
        Self { runs: self.runs, watched: self.watched && behind.watched }
    }
}

/// Puts `changes` over `states`, both in rising order. Where the new state is of no page, nothing remains.
fn overlay(
    states: Vec<(AddressRange, PageState)>,
    changes: Vec<(AddressRange, PageState)>,
) -> Vec<(AddressRange, PageState)> {
    if changes.is_empty() {
        return states;
    }
    let mut result: Vec<(AddressRange, PageState)> = Vec::with_capacity(states.len() + changes.len());
    let mut add = |run: AddressRange, state: PageState| {
        let state = state.difference(PageState::WRITTEN);
        if run.is_empty() || !state.intersects(PageState::PRESENT | PageState::SWAPPED) {
            return;
        }
        match result.last_mut().filter(|(last, same)| last.end() == run.start() && *same == state) {
            Some((last, _)) => *last = AddressRange::new(last.start(), run.end()),
            None => result.push((run, state)),
        }
    };
    let mut states = states.into_iter();
    let mut old = states.next();
    for (change, state) in changes {
        while let Some((run, before)) = old {
            if run.end() <= change.start() {
                add(run, before);
                old = states.next();
            } else {
                if run.start() < change.start() {
                    add(AddressRange::new(run.start(), change.start()), before);
                }
                if run.end() > change.end() {
                    old = Some((AddressRange::new(run.start().max(change.end()), run.end()), before));
                    break;
                }
                old = states.next();
            }
        }
        add(change, state);
    }
    while let Some((run, before)) = old {
        add(run, before);
        old = states.next();
    }
    result
}

/// Refuses a target whose memory is written by others than its processors, past its page tables: such writes are seen by
/// nobody.
fn hidden_writers(dir: &ProcDir) -> Result<(), Refused> {
    const WHY: &str = "devices write to its memory unseen";
    let status = crate::procfs::Status::parse(&dir.read("status").unwrap_or_default());
    if status.get("VmPin").is_some_and(|pinned| !pinned.starts_with("0 ")) {
        return Err(Refused::new(format!("{WHY} (it has pinned memory)")));
    }
    // /proc/PID/fdinfo/FD: the flags in octal; for io_uring, the registered buffers.
    for number in dir.numbers("fd").unwrap_or_default() {
        let link = dir.read_link(&format!("fd/{number}")).unwrap_or_default();
        if link.starts_with(b"anon_inode:[userfaultfd]") {
            return Err(Refused::new("it uses a userfaultfd itself"));
        }
        if link.starts_with(b"/dev/vfio") || link.starts_with(b"anon_inode:[vfio") {
            return Err(Refused::new(format!("{WHY} (descriptor {number}, {link})")));
        }
        let Ok(about) = dir.read(&format!("fdinfo/{number}")) else { continue };
        let about = String::from_utf8_lossy(&about);
        let value = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // For a pipe, `O_DIRECT` means packets.
        let direct = value("flags:").and_then(|flags| i32::from_str_radix(flags, 8).ok());
        if direct.is_some_and(|flags| flags & libc::O_DIRECT != 0) && !link.starts_with(b"pipe:") {
            return Err(Refused::new(format!("{WHY} (descriptor {number} is for direct input and output)")));
        }
        if value("UserBufs:").is_some_and(|count| count != "0") {
            return Err(Refused::new(format!("{WHY} (io_uring {number} has registered buffers)")));
        }
    }
    Ok(())
}

/// Whether [`Query::CHANGED`] tells of places without a page table on this kernel: tried on memory of our own.
fn tells_holes(page: u64) -> bool {
    /// Twice what one page table covers, so that one that is missing lies inside.
    const RANGE: usize = 4 << 20;
    let Some(userfault) = own_userfault() else { return false };
    let Ok(file) = std::fs::File::open("/proc/self/pagemap") else { return false };
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice; nothing refers to it, now or later.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), RANGE, protection, rustix::mm::MapFlags::PRIVATE) };
    let Ok(base) = mapped else { return false };
    let range = AddressRange::sized(Address(base as u64), RANGE as u64);
    let mut found = 0;
    let result = control(&userfault, API, &mut [VERSION, FEATURES, 0])
        .and_then(|()| control(&userfault, REGISTER, &mut [range.start().0, range.size(), FOR_WRITES, 0]))
        .and_then(|()| PageTable::new(file, page).find(range, Query::CHANGED, &mut |run, _| found += run.size()));
    // SAFETY: the mapping made above, to which there are no references.
    let _ = unsafe { rustix::mm::munmap(base, RANGE) };
    result.is_ok() && found == range.size()
}

fn control(userfault: &Userfault, request: libc::Ioctl, argument: &mut [u64]) -> io::Result<()> {
    inject::step();
    // SAFETY: the argument is live, exclusive and as long as the request's number says; the addresses in it are those of
    // the target's memory, which the descriptor is for.
    let result = unsafe { libc::ioctl(userfault.0.as_raw_fd(), request, argument.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> AddressRange {
        AddressRange::new(Address(start), Address(end))
    }

    const P: PageState = PageState::PRESENT;

    #[test]
    fn changes_lie_over_what_was_known() {
        let states = vec![(range(10, 20), P), (range(30, 40), P)];
        let changes = vec![(range(5, 12), PageState::empty()), (range(15, 35), P | PageState::ZERO_PAGE)];
        let expected = vec![(range(12, 15), P), (range(15, 35), P | PageState::ZERO_PAGE), (range(35, 40), P)];
        assert_eq!(overlay(states, changes), expected);
    }

    proptest! {
        #[test]
        fn an_overlay_is_right_for_every_page(
            states in proptest::collection::vec((0u64..4, 1u64..5), 0..12),
            changes in proptest::collection::vec((0u64..6, 1u64..5, any::<bool>()), 0..12),
        ) {
            let mut model = std::collections::BTreeMap::new();
            let mut at = 0;
            let mut old = Vec::new();
            for (gap, size) in states {
                old.push((range(at + gap, at + gap + size), P));
                (at + gap..at + gap + size).for_each(|page| { model.insert(page, P); });
                at += gap + size;
            }
            let mut at = 0;
            let mut new = Vec::new();
            for (gap, size, there) in changes {
                let state = if there { P | PageState::FILE } else { PageState::empty() };
                new.push((range(at + gap, at + gap + size), state));
                for page in at + gap..at + gap + size {
                    if there { model.insert(page, state); } else { model.remove(&page); }
                }
                at += gap + size;
            }
            let found: std::collections::BTreeMap<u64, PageState> = overlay(old, new)
                .into_iter()
                .flat_map(|(run, state)| (run.start().0..run.end().0).map(move |page| (page, state)))
                .collect();
            prop_assert_eq!(found, model);
        }
    }
}
