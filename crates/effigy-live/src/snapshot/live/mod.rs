//! A snapshot of a process that runs on while its memory is copied.
//!
//! A userfaultfd of ours watches the target's memory. A page is write-protected and then copied; should the target write
//! to it, the kernel lifts the protection by itself (`UFFD_FEATURE_WP_ASYNC`, Linux 6.7) and the page counts as written.
//! Rounds protect and copy again what was written, until little is left. Then all threads stop, the page tables tell what
//! was written since, that is copied, and the target goes on. Nobody in the target waits for effigy: a write to a
//! protected page costs it a microsecond. When effigy dies, the end of the descriptor lifts all protection.
//!
//! What is known of a page at the stop: it is in a mapping that is still watched by us, it is present or swapped out, and
//! it was not written since it was protected. Then the copy that was made after it was protected is what it holds. Pages
//! that were unmapped, moved, discarded or mapped anew meanwhile are not protected, or not there, whatever else happened.

mod aside;
mod freeze;
mod states;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use effigy_process::{Address, AddressRange, Region, RegionFlags};

use self::aside::Aside;
pub use self::freeze::{Frozen, Moment};
use self::states::{Piece, overlay, pieces};
use self::watch::{Answerer, Longest, Watch, hidden_writers, tells_holes};
use super::Prelude;
use super::known::may_be_read;
use crate::pagemap::{PageState, Query};
use crate::procfs::{ProcDir, parse_maps, read_known_regions};
use crate::remote::{Refused, Userfault};
use crate::{LiveError, LiveMemory};

/// Pages are protected and copied in pieces of this many bytes: a huge page is protected whole or split.
const CHUNK: u64 = 2 << 20;
/// Memory that is let go of at a time. The target's page faults there wait for as long as that takes.
const RELEASED: u64 = 8 << 20;
/// Runs of pages of different state that are kept track of; each costs 24 bytes.
const MOST_RUNS: usize = 1_000_000;

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
    /// The target could not be let go.
    #[error(transparent)]
    Release(LiveError),
}

/// The copying of a target's memory while it runs.
#[derive(Debug)]
pub struct Precopy {
    dir: ProcDir,
    memory: LiveMemory,
    watch: Watch,
    /// What is copied on write, from the stop on.
    aside: Aside,
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
    /// Where pages were written since the round before the last, in rising order.
    written: Vec<AddressRange>,
    /// The longest time for which the target's page faults may have had to wait.
    longest_wait: Longest,
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
        let watch = Watch::begin(userfault.first, Answerer::Kernel)
            .map_err(|_| Refused::new("this kernel's userfaultfd cannot answer writes by itself (Linux 6.7 can)"))?;
        let second = Watch::begin(userfault.second, Answerer::Us)
            .map_err(|error| Refused::new(format!("a userfaultfd for write-protection: {error}")))?;
        Ok(Self {
            dir: open()?,
            memory,
            watch,
            aside: Aside::new(second),
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
            written: Vec::new(),
            longest_wait: Longest::default(),
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
            if self.is_excluded(region.range) {
                continue;
            }
            for (range, piece) in self.pieces(region.range) {
                if piece != Piece::Unwatched {
                    continue;
                }
                match self.longest_wait.of(|| self.watch.register(range)) {
                    Ok(()) => {
                        if self.has_begun {
                            // A page that was moved here from memory that we watch may come with its protection.
                            let _ = self.watch.lift(range);
                        }
                        self.add_watched(range);
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(CopyError::Ended),
                    // Another userfaultfd watches it, or it has gone meanwhile. The stop deals with what is there then.
                    Err(_) => {}
                }
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

    /// A range by who watches which part of it.
    fn pieces(&self, range: AddressRange) -> Vec<(AddressRange, Piece)> {
        pieces(range, &self.watched, self.aside.ranges())
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
            if self.is_excluded(region.range) {
                continue;
            }
            for (range, piece) in self.pieces(region.range) {
                if piece != Piece::Watched {
                    continue;
                }
                let mut runs = Vec::new();
                let found = self.memory.pages().find(range, Query::WRITTEN, &mut |run, state| runs.push((run, state)));
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
                    self.forget(range);
                }
            }
        }
        self.written = changes.iter().map(|(run, _)| *run).collect();
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

    /// Stops watching, in pieces, so that the target's page faults wait for no longer than a piece takes. Says how long
    /// they may have waited at most, all the time that memory was watched.
    pub fn release(&mut self) -> Duration {
        // Who writes there waits for us.
        self.release_aside();
        for range in std::mem::take(&mut self.watched) {
            unwatch(&self.watch, range, &mut self.longest_wait);
        }
        self.longest_wait.0
    }
}

/// Stops watching a range. What has been unmapped meanwhile is watched no more; the end of the descriptor ends the rest.
fn unwatch(watch: &Watch, range: AddressRange, longest_wait: &mut Longest) {
    let mut at = range.start();
    while at < range.end() {
        let end = Address((at.0 / RELEASED + 1).saturating_mul(RELEASED)).min(range.end());
        let _ = longest_wait.of(|| watch.unregister(AddressRange::new(at, end)));
        at = end;
    }
}

/// Whether pages of a region are watched: anonymous private memory. In private mappings of files, and of huge pages, the
/// kernel leaves marks where protected pages were discarded, which the next page there inherits: what was written cannot be
/// told, and a guard page (`MADV_GUARD_INSTALL`) cannot be made there as long as marks are. What of those belongs to the
/// process alone is copied while it stands still; it is small as a rule.
fn is_tracked(region: &Region) -> bool {
    may_be_read(region) && region.inode == 0 && !region.flags.contains(RegionFlags::HUGETLB)
}
