//! Memory that is written to faster than it can be copied.
//!
//! It is taken out of the rounds and set aside: a second userfaultfd watches it, whose faults we answer ourselves. Until
//! the stop nothing of it is protected. While the target stands still all of it is (17 ms for a GiB of 4 KiB pages), and
//! when it goes on a page is copied before its first write: the writer waits for that, some ten microseconds, and for
//! nothing else, as the faults are answered by a thread that never waits for the disk. Meanwhile all pages are copied in
//! turn and let go. Should effigy die, the end of its descriptors lets them go.
//!
//! What a page holds is what it held at the stop if, after it was read, it is still there and still protected. Memory that
//! the target unmaps or discards in this time is lost; then there is no live snapshot.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use effigy_process::{Address, AddressRange, Region};

use super::freeze::{Changed, details, must_copy};
use super::watch::{Longest, Watch};
use super::{CHUNK, CopyError, Precopy, Sink, unwatch};
use crate::pagemap::{PageState, Query};
use crate::remote::Refused;
use crate::{Haste, LiveError, LiveMemory};

/// Bytes that are set aside, at most: while the target stands still a GiB takes 17 ms.
const MOST_ASIDE: u64 = 1 << 30;
/// Ranges that are set aside, at most; each divides a mapping of the target in up to three.
const MOST_RANGES: usize = 2000;
/// Mappings that the target must have left besides.
const SPARE_MAPPINGS: usize = 1000;
/// Bytes that are copied in turn at a time. A fault waits for as long as that takes.
const IN_TURN: u64 = 256 << 10;
/// Bytes that are copied for a fault: a program writes on where it writes.
const ON_WRITE: u64 = 32 << 10;
/// Bytes that wait for the output, at most: a disk may be slow, and the target must not wait for it.
const MOST_WAITING: usize = 256 << 20;
/// How often the answering thread looks whether it is still needed.
const PATIENCE: Duration = Duration::from_millis(1);

/// What was set aside.
#[derive(Debug)]
pub(super) struct Aside {
    watch: Watch,
    /// In rising order, without overlaps.
    ranges: Vec<AddressRange>,
}

impl Aside {
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, ranges: Vec::new() }
    }

    pub(super) fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }
}

impl Precopy {
    /// Sets aside the memory that was written to in the last round. Says how many bytes that are now.
    ///
    /// # Errors
    /// When they are too many.
    pub fn set_aside(&mut self) -> Result<u64, Refused> {
        let hot = self.hot();
        let bytes = |ranges: &[AddressRange]| ranges.iter().map(AddressRange::size).sum::<u64>();
        let all = bytes(&hot) + bytes(&self.aside.ranges);
        if all > MOST_ASIDE || hot.len() + self.aside.ranges.len() > MOST_RANGES {
            return Err(Refused::new(format!(
                "it writes to its memory faster than that can be copied, and all over the place: {} MiB in {} pieces",
                all >> 20,
                hot.len() + self.aside.ranges.len()
            )));
        }
        if self.known.len() + 2 * hot.len() + SPARE_MAPPINGS > most_mappings() {
            return Err(Refused::new("it has nearly as many mappings as it may have (vm.max_map_count)"));
        }
        for range in hot {
            self.forget(range);
            let _ = self.longest_wait.of(|| self.watch.unregister(range));
            // What cannot be watched in this way counts as unwatched at the stop.
            if self.longest_wait.of(|| self.aside.watch.register(range)).is_ok() {
                self.aside.ranges.push(range);
            }
        }
        self.aside.ranges.sort_unstable_by_key(AddressRange::start);
        Ok(bytes(&self.aside.ranges))
    }

    /// Whether anything is set aside.
    #[must_use]
    pub fn has_aside(&self) -> bool {
        !self.aside.ranges.is_empty()
    }

    /// Where the last round found pages that were written to, in whole chunks, as far as they are watched.
    fn hot(&self) -> Vec<AddressRange> {
        let mut chunks: Vec<AddressRange> = Vec::new();
        for run in &self.written {
            let start = Address(run.start().0 / CHUNK * CHUNK);
            let end = Address(run.end().0.div_ceil(CHUNK).saturating_mul(CHUNK));
            match chunks.last_mut().filter(|last| last.end() >= start) {
                Some(last) => *last = AddressRange::new(last.start(), last.end().max(end)),
                None => chunks.push(AddressRange::new(start, end)),
            }
        }
        let mut watched = self.watched.iter().peekable();
        let mut hot = Vec::new();
        for chunk in chunks {
            while watched.next_if(|range| range.end() <= chunk.start()).is_some() {}
            let inside = watched.clone().take_while(|range| range.start() < chunk.end());
            hot.extend(inside.filter_map(|range| range.intersection(&chunk)));
        }
        hot
    }

    /// Protects memory that was set aside, while the target stands still.
    pub(super) fn protect_aside(&self, range: AddressRange, changed: &mut Changed) -> io::Result<()> {
        // Not watched (any more): everything counts as changed.
        self.aside.watch.protect(range).map_err(|_| io::Error::from_raw_os_error(libc::EPERM))?;
        let mut runs = Vec::new();
        details(self.memory.pages(), range, Query::THERE, &mut runs)?;
        for (run, state) in &runs {
            if must_copy(*state | PageState::WRITTEN) && !state.contains(PageState::WRITTEN) {
                changed.aside.push(*run);
            }
        }
        changed.runs.extend(runs);
        Ok(())
    }

    /// Lets the target go and copies what is set aside, each page before it is written to.
    pub(super) fn copy_aside(
        &mut self,
        aside: Vec<(Region, Vec<AddressRange>)>,
        release: &mut dyn FnMut() -> Result<(), LiveError>,
        sink: &mut Sink<'_>,
    ) -> Result<(), CopyError> {
        if self.aside.ranges.is_empty() {
            return release().map_err(CopyError::Release);
        }
        // What could not be read before is read again now.
        for run in aside.iter().flat_map(|(_, runs)| runs) {
            let again: Vec<u64> = self.broken.range(run.start().0..run.end().0).copied().collect();
            again.iter().for_each(|page| {
                self.broken.remove(page);
            });
        }
        let copying = Copying {
            memory: &self.memory,
            watch: &self.aside.watch,
            page: self.page,
            rest: Mutex::new(Rest::new(aside)),
            over: AtomicBool::new(false),
        };
        let ranges = &self.aside.ranges;
        let (copied, waited) = std::thread::scope(|scope| {
            let answering = std::thread::Builder::new().name("faults".into()).spawn_scoped(scope, || copying.answer());
            let Ok(answering) = answering else {
                return (Err(Refused::new("a thread for page faults cannot be started").into()), Longest::default());
            };
            // Should this thread fail, the other must not go on for ever.
            let over = Over(&copying.over);
            let copied = release().map_err(CopyError::Release).and_then(|()| copying.copy_in_turn(sink));
            // Pages of which nothing is to be copied are protected, too.
            let mut waited = Longest::default();
            for range in ranges {
                unwatch(copying.watch, *range, &mut waited);
            }
            drop(over);
            match answering.join() {
                Ok(longest) => (copied, Longest(waited.0.max(longest.0))),
                Err(_) => (Err(CopyError::Release(LiveError::OwnThread("faults"))), waited),
            }
        });
        let broken = copying.rest.into_inner().unwrap_or_else(PoisonError::into_inner).broken;
        self.longest_wait.0 = self.longest_wait.0.max(waited.0);
        self.broken.extend(broken.into_iter().map(|page| page.0));
        if copied.is_ok() {
            self.aside.ranges.clear();
        }
        copied
    }

    /// Stops watching what was set aside.
    pub(super) fn release_aside(&mut self) {
        for range in std::mem::take(&mut self.aside.ranges) {
            unwatch(&self.aside.watch, range, &mut self.longest_wait);
        }
    }
}

/// `vm.max_map_count` of proc_sys_vm(5), or its default.
fn most_mappings() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(65_530)
}

/// The copying of what was set aside, by two threads.
struct Copying<'a> {
    memory: &'a LiveMemory,
    watch: &'a Watch,
    page: u64,
    rest: Mutex<Rest>,
    over: AtomicBool,
}

/// Ends the answering, however the copying ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Copying<'_> {
    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies pages in turn, and hands on those that were copied for a fault.
    fn copy_in_turn(&self, sink: &mut Sink<'_>) -> Result<(), CopyError> {
        loop {
            let (next, waiting) = {
                let mut rest = self.rest();
                let next = rest.next(IN_TURN);
                if let Some(range) = next {
                    self.take(range, &mut rest);
                }
                if let Some(why) = rest.lost.clone() {
                    return Err(Refused::new(why).into());
                }
                (next, std::mem::take(&mut rest.waiting))
            };
            for (address, bytes) in waiting {
                sink(address, &bytes, false).map_err(CopyError::Output)?;
                let mut rest = self.rest();
                rest.waiting_bytes = rest.waiting_bytes.saturating_sub(bytes.len());
            }
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Answers writes to protected pages until there are none any more. Says how long one has waited at most.
    fn answer(&self) -> Longest {
        let _haste = Haste::begin();
        let mut longest = Longest::default();
        // A fault that is answered now came after everything was asked for that was there the time before.
        let mut before = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let answered = self.watch.faults(PATIENCE, &mut |address| self.copy_on_write(address));
            match answered {
                Ok(true) => longest.0 = longest.0.max(before.elapsed()),
                Ok(false) => {}
                Err(error) => self.lose(&mut self.rest(), &format!("page faults cannot be read: {error}")),
            }
            before = asked;
        }
        longest
    }

    /// Copies the pages around a fault, and lets the writer go on.
    fn copy_on_write(&self, address: Address) {
        let mut rest = self.rest();
        let block = AddressRange::sized(Address(address.0 / ON_WRITE * ON_WRITE), ON_WRITE);
        for range in rest.left_in(block) {
            self.take(range, &mut rest);
        }
        drop(rest);
        // Also when there was nothing to copy: the writer waits.
        let _ = self.watch.lift(AddressRange::sized(address.page_floor(self.page), self.page));
    }

    /// Copies pages, all of which are left, and lets them go.
    fn take(&self, range: AddressRange, rest: &mut Rest) {
        rest.remove(range);
        let Some(region) = rest.region(range.start()) else { return };
        let mut bytes = vec![0; usize::try_from(range.size()).unwrap_or(0)];
        let mut at = range.start();
        while at < range.end() {
            let from = usize::try_from(at.0 - range.start().0).unwrap_or(0);
            let count = match self.memory.read_region(&region, at, &mut bytes[from..]) {
                Ok(count) => count as u64 / self.page * self.page,
                Err(_) => 0,
            };
            if count == 0 {
                // If it is there, it cannot be read; if it is not, that is found below.
                rest.broken.push(at);
            }
            at = at.saturating_add(count.max(self.page));
        }
        if !self.is_untouched(range) {
            return self.lose(rest, "memory that it writes to all the time was unmapped before it was copied");
        }
        let _ = self.watch.lift(range);
        rest.waiting_bytes += bytes.len();
        rest.waiting.push((range.start(), bytes));
        if rest.waiting_bytes > MOST_WAITING {
            self.lose(rest, "it writes to its memory faster than the disk takes it");
        }
    }

    /// Whether every page of a range is there, and protected.
    fn is_untouched(&self, range: AddressRange) -> bool {
        let mut at = range.start();
        let found = self.memory.pages().find(range, Query::THERE, &mut |run, state| {
            if run.start() == at && !state.contains(PageState::WRITTEN) {
                at = run.end();
            }
        });
        found.is_ok() && at == range.end()
    }

    /// Gives up, and first of all lets everybody go on.
    fn lose(&self, rest: &mut Rest, why: &str) {
        for (start, end) in std::mem::take(&mut rest.left) {
            let _ = self.watch.lift(AddressRange::new(Address(start), Address(end)));
        }
        rest.lost.get_or_insert_with(|| why.to_owned());
    }
}

/// What is still to be copied.
#[derive(Debug, Default)]
struct Rest {
    regions: Vec<Region>,
    /// Ends by starts.
    left: BTreeMap<u64, u64>,
    /// What was copied and is on its way to the output.
    waiting: Vec<(Address, Vec<u8>)>,
    waiting_bytes: usize,
    broken: Vec<Address>,
    /// Why there is no live snapshot after all.
    lost: Option<String>,
}

impl Rest {
    fn new(aside: Vec<(Region, Vec<AddressRange>)>) -> Self {
        let mut rest = Self::default();
        for (region, runs) in aside {
            rest.left.extend(runs.into_iter().map(|run| (run.start().0, run.end().0)));
            rest.regions.push(region);
        }
        rest
    }

    fn region(&self, address: Address) -> Option<Region> {
        self.regions.iter().find(|region| region.range.contains(address)).cloned()
    }

    /// The first pages that are left, `most` bytes at most.
    fn next(&self, most: u64) -> Option<AddressRange> {
        let (start, end) = self.left.first_key_value()?;
        Some(AddressRange::new(Address(*start), Address((*end).min(start.saturating_add(most)))))
    }

    /// What is left of a range.
    fn left_in(&self, range: AddressRange) -> Vec<AddressRange> {
        let before = self.left.range(..=range.start().0).next_back();
        let within = self.left.range(range.start().0.saturating_add(1)..range.end().0);
        before
            .into_iter()
            .chain(within)
            .filter_map(|(start, end)| AddressRange::new(Address(*start), Address(*end)).intersection(&range))
            .collect()
    }

    /// Takes a range out, which is left as a whole.
    fn remove(&mut self, range: AddressRange) {
        let (start, end) = (range.start().0, range.end().0);
        let Some((first, last)) = self.left.range(..=start).next_back().map(|(first, last)| (*first, *last)) else {
            return;
        };
        self.left.remove(&first);
        if first < start {
            self.left.insert(first, start);
        }
        if end < last {
            self.left.insert(end, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_page_is_taken_once(
            runs in proptest::collection::vec((1u64..5, 1u64..20), 1..8),
            faults in proptest::collection::vec(0u64..200, 0..40),
        ) {
            let mut rest = Rest::default();
            let mut expected = std::collections::BTreeSet::new();
            let mut at = 0;
            for (gap, size) in runs {
                rest.left.insert(at + gap, at + gap + size);
                expected.extend(at + gap..at + gap + size);
                at += gap + size;
            }
            let mut taken = Vec::new();
            let mut take = |range: AddressRange, rest: &mut Rest| {
                rest.remove(range);
                taken.extend(range.start().0..range.end().0);
            };
            for fault in faults {
                let block = AddressRange::sized(Address(fault / 4 * 4), 4);
                for range in rest.left_in(block) {
                    take(range, &mut rest);
                }
                if let Some(range) = rest.next(3) {
                    take(range, &mut rest);
                }
            }
            while let Some(range) = rest.next(7) {
                take(range, &mut rest);
            }
            let count = taken.len();
            let all: std::collections::BTreeSet<u64> = taken.into_iter().collect();
            prop_assert_eq!(all.len(), count);
            prop_assert_eq!(all, expected);
        }
    }
}
