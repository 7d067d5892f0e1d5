//! The moment in which the target stands still.

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use effigy_process::{Address, AddressRange, Gap, GapReason, GapSubject, PageClass, PageRun, Region};

use super::states::{Piece, overlay};
use super::{CHUNK, CopyError, Precopy, Sink};
use crate::memory::read_padded;
use crate::pagemap::{PageState, PageTable, Query};
use crate::procfs::{parse_maps, read_known_regions};
use crate::remote::Refused;
use crate::snapshot::known::{Known, MOST_SHARED, may_be_read, not_frozen};
use crate::snapshot::{LiveSnapshot, Prelude, out_of_reach};
use crate::stop::Stopped;
use crate::{Haste, LiveError, LiveMemory};

/// Bytes that are copied while the target stands still, at most: 256 MiB take some 100 ms.
const MOST_COPIED: u64 = 256 << 20;
/// Bytes of memory that cannot be watched and are copied while the target stands still, at most.
const MOST_UNWATCHED: u64 = 32 << 20;
/// Changed runs that are asked about one by one; each takes half a microsecond.
const MOST_DETAILS: usize = 2000;

/// How the moment comes about, and how it becomes known.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// Asks for the target to be stopped.
    pub stop: &'a dyn Fn() -> Result<(), LiveError>,
    /// Tells when all threads seem to stand still, before their registers are read.
    pub still: &'a Receiver<Instant>,
    /// Tells how they were found.
    pub stopped: &'a Receiver<Stopped>,
}

/// A part of the region with this index.
type Part = (usize, AddressRange);

/// What there is to look at, and who looks at what.
struct Sight {
    regions: Vec<Region>,
    front: Vec<Part>,
    back: Vec<Part>,
}

impl Precopy {
    /// Has the target stopped, reads its facts, and copies what was written since the last round. The target may go on
    /// afterwards.
    ///
    /// # Errors
    /// When too much cannot be had in this way, or the target has ended.
    pub fn freeze(&self, prelude: Prelude, moment: Moment<'_>) -> Result<Frozen, LiveError> {
        let _haste = Haste::begin();
        let known = prelude.regions().to_vec();
        // Facts and page tables are read side by side, while the tracer reads registers: every tenth of a millisecond
        // counts. So the threads for it are there before the target is stopped.
        let (facts, changed, regions) = std::thread::scope(|scope| {
            let failed = |name| move |_| LiveError::OwnThread(name);
            let (to_pages, for_pages) = bounded::<Arc<Sight>>(1);
            let (to_facts, for_facts) = bounded::<(Instant, Option<Vec<Region>>)>(1);
            let pages = Builder::new()
                .name("pages".into())
                .spawn_scoped(scope, move || for_pages.recv().map(|sight| self.look(&sight.regions, &sight.back)))
                .map_err(|_| LiveError::OwnThread("pages"))?;
            let facts = Builder::new()
                .name("facts".into())
                .spawn_scoped(scope, move || {
                    let (told, regions) = for_facts.recv().map_err(failed("worker"))?;
                    let stopped = moment.stopped.recv().map_err(failed("tracer"))?;
                    let still = stopped.still;
                    let regions = regions.filter(|_| still == told);
                    Ok::<_, LiveError>((LiveSnapshot::of_moment(prelude, stopped, regions)?, still))
                })
                .map_err(|_| LiveError::OwnThread("facts"))?;
            (moment.stop)()?;
            let told = moment.still.recv().map_err(failed("tracer"))?;
            let regions = read_known_regions(&self.dir, &known)?;
            let _ = to_facts.send((told, regions.clone()));
            let sight = Arc::new(self.sight(regions)?);
            let _ = to_pages.send(Arc::clone(&sight));
            let front = self.look(&sight.regions, &sight.front);
            let back = pages.join().map_err(|_| LiveError::OwnThread("pages"))?.map_err(failed("pages"))?;
            let mut changed = sight.put_together(front, back);
            let (facts, still) = facts.join().map_err(|_| LiveError::OwnThread("facts"))??;
            let mut regions = sight.regions.clone();
            if still != told {
                // A thread did not stand still after all. What counts is how it was when all did.
                let sight = self.sight(read_known_regions(&self.dir, &known)?)?;
                changed =
                    sight.put_together(self.look(&sight.regions, &sight.front), self.look(&sight.regions, &sight.back));
                regions = sight.regions;
            }
            Ok::<_, LiveError>((facts, changed, regions))
        })?;
        self.copy_changed(Frozen::new(facts), &regions, changed)
    }

    /// Copies what has changed in each region.
    fn copy_changed(
        &self,
        mut frozen: Frozen,
        regions: &[Region],
        changed: Vec<io::Result<Changed>>,
    ) -> Result<Frozen, LiveError> {
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

    /// Divides what there is to look at in two halves of one size.
    fn sight(&self, regions: Option<Vec<Region>>) -> Result<Sight, LiveError> {
        let mut regions = regions.map_or_else(|| parse_maps(&self.dir), Ok)?;
        regions.retain(|region| may_be_read(region) && !self.is_excluded(region.range));
        let size = |region: &Region| if region.is_shared() { 0 } else { region.range.size() };
        let half = regions.iter().map(size).sum::<u64>() / 2;
        let (mut front, mut back, mut before) = (Vec::new(), Vec::new(), 0);
        for (index, region) in regions.iter().enumerate().filter(|(_, region)| !region.is_shared()) {
            let rest = half.saturating_sub(before).min(size(region));
            let cut = match rest {
                0 => region.range.start(),
                rest if rest == size(region) => region.range.end(),
                rest => Address((region.range.start().0 + rest) / CHUNK * CHUNK).max(region.range.start()),
            };
            for (list, part) in [
                (&mut front, AddressRange::new(region.range.start(), cut)),
                (&mut back, AddressRange::new(cut, region.range.end())),
            ] {
                if !part.is_empty() {
                    list.push((index, part));
                }
            }
            before += size(region);
        }
        Ok(Sight { regions, front, back })
    }

    /// What has changed in some parts of regions.
    fn look(&self, regions: &[Region], parts: &[Part]) -> Vec<(usize, io::Result<Changed>)> {
        parts.iter().filter_map(|(index, part)| Some((*index, self.changed_in(regions.get(*index)?, *part)))).collect()
    }

    /// What has changed in a part of a region; everything, where nobody has watched.
    fn changed_in(&self, region: &Region, range: AddressRange) -> io::Result<Changed> {
        let mut changed = Changed::default();
        for (range, piece) in self.pieces(range) {
            let done = match piece {
                Piece::Watched => self.changed_in_watched(region, range, &mut changed),
                Piece::Aside => self.protect_aside(range, &mut changed),
                Piece::Unwatched => Err(io::Error::from_raw_os_error(libc::EPERM)),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    self.all_of_unwatched(region, range, &mut changed)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(changed)
    }

    /// EPERM where it is not watched after all.
    fn changed_in_watched(&self, region: &Region, range: AddressRange, changed: &mut Changed) -> io::Result<()> {
        let pages = self.memory.pages();
        let mut runs = Vec::new();
        let mut find = || -> io::Result<()> {
            if self.tells_holes {
                let mut found = Vec::new();
                pages.find(range, Query::CHANGED, &mut |run, _| found.push(run))?;
                if found.len() <= MOST_DETAILS {
                    let there = with_files(region, Query::THERE);
                    return found.into_iter().try_for_each(|run| details(pages, run, there, &mut runs));
                }
            }
            let query = with_files(region, Query::CHANGED_IN_DETAIL);
            pages.find(range, query, &mut |run, state| runs.push((run, state)))
        };
        find()?;
        changed.runs.extend(runs);
        Ok(())
    }

    fn all_of_unwatched(&self, region: &Region, range: AddressRange, changed: &mut Changed) -> io::Result<()> {
        let mut runs = Vec::new();
        details(self.memory.pages(), range, with_files(region, Query::THERE), &mut runs)?;
        runs.iter_mut().for_each(|(_, state)| *state |= PageState::WRITTEN);
        changed.unwatched += runs.iter().map(to_be_copied).sum::<u64>();
        changed.runs.extend(runs);
        Ok(())
    }

    fn freeze_private(
        &self,
        region: &Region,
        changed: Changed,
        left: &mut u64,
        frozen: &mut Frozen,
    ) -> Result<(), LiveError> {
        let size = changed.unwatched;
        *left = left
            .checked_sub(size)
            .ok_or_else(|| Refused::new(format!("{} MiB of its memory cannot be watched: {region}", size >> 20)))?;
        for (run, state) in &changed.runs {
            if must_copy(*state) {
                frozen.copy(&self.memory, region, *run, self.page)?;
            } else if self.with_files && state.contains(PageState::FILE) {
                frozen.late.push((region.clone(), *run));
            }
        }
        if !changed.aside.is_empty() {
            frozen.aside.push((region.clone(), changed.aside));
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
        frozen.snapshot.add_gaps(out_of_reach.map(|error| self::out_of_reach(region, &error)).into_iter().collect());
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

    /// Lets the target go by `release`, and brings what is known into the snapshot and what was copied to the sink.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn settle(
        &mut self,
        frozen: Frozen,
        release: &mut dyn FnMut() -> Result<(), LiveError>,
        sink: &mut Sink<'_>,
    ) -> Result<LiveSnapshot, CopyError> {
        let Frozen { mut snapshot, changes, bytes, copied, broken, late, aside } = frozen;
        self.copy_aside(aside, release, sink)?;
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
    /// Pages that are protected and are copied, or copied on write, when the target runs again.
    aside: Vec<(Region, Vec<AddressRange>)>,
}

impl Frozen {
    fn new(snapshot: LiveSnapshot) -> Self {
        Self {
            snapshot,
            changes: Vec::new(),
            bytes: Vec::new(),
            copied: Vec::new(),
            broken: Vec::new(),
            late: Vec::new(),
            aside: Vec::new(),
        }
    }

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

/// Whether a page that was found changed at the stop has to be copied.
pub(super) fn must_copy(state: PageState) -> bool {
    state.contains(PageState::WRITTEN)
        && state.intersects(PageState::PRESENT | PageState::SWAPPED)
        && !state.intersects(PageState::GUARD | PageState::ZERO_PAGE | PageState::FILE)
}

/// Bytes of a run that have to be copied at the stop.
fn to_be_copied((run, state): &(AddressRange, PageState)) -> u64 {
    if must_copy(*state) { run.size() } else { 0 }
}

/// What the page tables say of a run that has changed: pages, and in between that there are none.
pub(super) fn details(
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

/// A query about a region; whether pages are a file's is only asked where they can be.
fn with_files(region: &Region, query: Query) -> Query {
    if region.inode == 0 { query } else { query.with_files() }
}

/// What has changed in a region since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) runs: Vec<(AddressRange, PageState)>,
    /// Bytes of it that count as changed because nobody has watched.
    unwatched: u64,
    /// What is copied when the target runs again: it is protected until then.
    pub(super) aside: Vec<AddressRange>,
}

impl Changed {
    /// This, and what lies behind it.
    fn and(mut self, behind: Self) -> Self {
        self.runs.extend(behind.runs);
        self.aside.extend(behind.aside);
        self.unwatched += behind.unwatched;
        self
    }
}

impl Sight {
    /// What was found in the parts of each region.
    fn put_together(
        &self,
        front: Vec<(usize, io::Result<Changed>)>,
        back: Vec<(usize, io::Result<Changed>)>,
    ) -> Vec<io::Result<Changed>> {
        let mut all: Vec<io::Result<Changed>> = self.regions.iter().map(|_| Ok(Changed::default())).collect();
        for (index, found) in front.into_iter().chain(back) {
            if let Some(place) = all.get_mut(index) {
                let before = std::mem::replace(place, Ok(Changed::default()));
                *place = before.and_then(|before| Ok(before.and(found?)));
            }
        }
        all
    }
}
