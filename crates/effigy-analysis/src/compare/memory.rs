//! The memory of two processes, page by page.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use effigy_process::{Address, AddressRange, Memory, NotRead};
use serde::Serialize;

use crate::captured::{Captured, GRID, Piece};
use crate::ordered::{in_order, is_set, threads_or_all};
use crate::window::{Window, name_of, reason_name};

/// The memory of one of the two processes.
#[derive(Debug)]
pub struct MemorySide<'a, M: ?Sized> {
    /// What it is read from.
    pub memory: &'a M,
    /// What there is to be read, in any order.
    pub ranges: &'a [AddressRange],
}

// Not derived: that would ask the memory to be copied, which only its reference is.
impl<M: ?Sized> Clone for MemorySide<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: ?Sized> Copy for MemorySide<'_, M> {}

/// How to compare memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryOptions<'a> {
    /// Bytes of a page, a power of two from 512 to 1 MiB; anything else stands for 4096.
    pub page_size: u64,
    /// Changed ranges to list: the first so many.
    pub list: usize,
    /// Set by somebody else to end the comparison, also while there is nothing to tell.
    pub stop: Option<&'a AtomicBool>,
    /// Threads to compare with; `None` for one a processor.
    pub threads: Option<NonZeroUsize>,
}

/// What two processes have at the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum Difference {
    /// The same bytes.
    Equal,
    /// Pages in each of which at least one byte is another.
    Changed,
    /// Bytes before, and none after.
    OnlyBefore {
        /// Why there are none.
        #[serde(serialize_with = "reason_name")]
        reason: NotRead,
    },
    /// Bytes after, and none before.
    OnlyAfter {
        /// Why there are none.
        #[serde(serialize_with = "reason_name")]
        reason: NotRead,
    },
    /// Bytes neither before nor after, although one of them was to have some.
    Neither {
        /// Why there are none before.
        #[serde(serialize_with = "reason_name")]
        before: NotRead,
        /// Why there are none after.
        #[serde(serialize_with = "reason_name")]
        after: NotRead,
    },
}

/// Addresses at which two processes have the same, or differ in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DifferentRange {
    /// The addresses.
    #[serde(flatten)]
    pub range: AddressRange,
    /// What is there.
    #[serde(flatten)]
    pub difference: Difference,
    /// How many bytes have another value.
    pub changed_bytes: u64,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// Pages of which at least a byte is so: a page that a dump holds in part may count in two places.
    pub pages: u64,
    /// Bytes.
    pub bytes: u64,
    /// Number of the page counted last, plus one.
    #[serde(skip)]
    counted: u64,
}

impl Count {
    fn add(&mut self, range: AddressRange, page_size: u64) {
        let first = range.start().0 / page_size + 1;
        let last = range.end().0.saturating_sub(1) / page_size + 1;
        self.pages += last - first + 1 - u64::from(first == self.counted);
        self.bytes += range.size();
        self.counted = last;
    }
}

/// How the memory of two processes differs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct MemoryComparison {
    /// Whether all was compared: nobody ended it.
    pub complete: bool,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages with the same bytes.
    pub equal: Count,
    /// Pages with at least one other byte.
    pub changed: Count,
    /// How many bytes of these have another value.
    pub changed_bytes: u64,
    /// How many ranges these are.
    pub changed_range_count: u64,
    /// Memory that only the first has, by the reason why the second has none.
    pub only_before: BTreeMap<&'static str, Count>,
    /// Memory that only the second has, by the reason why the first has none.
    pub only_after: BTreeMap<&'static str, Count>,
    /// Memory that one of them at least was to have and that could be read of neither.
    pub neither: Count,
    /// The first of the changed ranges, as many as asked for.
    pub changed_ranges: Vec<DifferentRange>,
}

/// Compares the memory of two processes on all processors and with bounded memory of its own. `tell` hears of all ranges,
/// equal ones included, by rising address on this thread, and ends the comparison by breaking.
pub fn compare_memory<A, B>(
    before: MemorySide<'_, A>,
    after: MemorySide<'_, B>,
    options: MemoryOptions<'_>,
    tell: impl FnMut(DifferentRange) -> ControlFlow<()>,
) -> MemoryComparison
where
    A: Memory + Sync + ?Sized,
    B: Memory + Sync + ?Sized,
{
    let valid = options.page_size.is_power_of_two() && (512..=GRID).contains(&options.page_size);
    let page_size = if valid { options.page_size } else { 4096 };
    let (old, new) = (Captured::new(before.ranges.iter().copied()), Captured::new(after.ranges.iter().copied()));
    let all = Captured::new(before.ranges.iter().chain(after.ranges).copied());
    let new_worker = || {
        let (mut left, mut right) = (Window::default(), Window::default());
        let (old, new) = (&old, &new);
        move |job: &Vec<Piece>| {
            let mut found = Vec::new();
            for piece in job {
                left.fill(before.memory, old, piece.range);
                right.fill(after.memory, new, piece.range);
                compare_windows(piece.range, &left, &right, page_size, &mut found);
            }
            found
        }
    };
    let mut tally = Tally::new(page_size, options.list, tell);
    in_order(threads_or_all(options.threads), all.jobs(), new_worker, |_, found: Vec<_>| {
        if is_set(options.stop) {
            return tally.stop();
        }
        found.into_iter().try_for_each(|range| tally.take(range))
    });
    tally.finish()
}

/// A part of a window: its bytes, or why there are none.
type Part<'a> = (AddressRange, Result<&'a [u8], NotRead>);

/// All parts of a window by rising address.
fn parts(window: &Window) -> impl Iterator<Item = Part<'_>> {
    let mut readable = window.readable().map(|stretch| (stretch.range, Ok(stretch.bytes))).peekable();
    let mut unread = window.unread().iter().map(|unread| (unread.range, Err(unread.reason))).peekable();
    std::iter::from_fn(move || match (readable.peek(), unread.peek()) {
        (Some((read, _)), Some((missing, _))) if read.cmp(missing) == Ordering::Greater => unread.next(),
        (Some(_), _) => readable.next(),
        (None, _) => unread.next(),
    })
}

/// The rest of a part from an address within it.
fn rest_of(part: Part<'_>, from: Address) -> Part<'_> {
    let skip = crate::window::offset(part.0.start(), from);
    (AddressRange::new(from, part.0.end()), part.1.map(|bytes| &bytes[skip..]))
}

fn compare_windows(
    range: AddressRange,
    before: &Window,
    after: &Window,
    page_size: u64,
    found: &mut Vec<DifferentRange>,
) {
    let (mut old, mut new) = (parts(before).peekable(), parts(after).peekable());
    let mut at = range.start();
    while let (Some(left), Some(right)) = (old.peek(), new.peek()) {
        let (left, right) = (rest_of(*left, at), rest_of(*right, at));
        let end = left.0.end().min(right.0.end());
        let same = AddressRange::new(at, end);
        match (left.1, right.1) {
            (Ok(left), Ok(right)) => compare_bytes(same, left, right, page_size, found),
            (Ok(_), Err(reason)) => push(found, same, Difference::OnlyBefore { reason }, 0),
            (Err(reason), Ok(_)) => push(found, same, Difference::OnlyAfter { reason }, 0),
            (Err(before), Err(after)) => push(found, same, Difference::Neither { before, after }, 0),
        }
        at = end;
        old.next_if(|part| part.0.end() == end);
        new.next_if(|part| part.0.end() == end);
    }
}

/// Compares bytes that both have, `range` of them at least.
fn compare_bytes(
    range: AddressRange,
    mut before: &[u8],
    mut after: &[u8],
    page_size: u64,
    found: &mut Vec<DifferentRange>,
) {
    let mut at = range.start();
    while at < range.end() {
        let end = Address(at.0 & !(page_size - 1)).saturating_add(page_size).min(range.end());
        let size = crate::window::offset(at, end);
        let (old, new);
        (old, before) = before.split_at(size);
        (new, after) = after.split_at(size);
        let page = AddressRange::new(at, end);
        if old == new {
            push(found, page, Difference::Equal, 0);
        } else {
            let changed = old.iter().zip(new).filter(|(old, new)| old != new).count();
            push(found, page, Difference::Changed, changed as u64);
        }
        at = end;
    }
}

/// Adds a range, joined to the last where it continues that.
fn push(found: &mut Vec<DifferentRange>, range: AddressRange, difference: Difference, changed_bytes: u64) {
    let next = DifferentRange { range, difference, changed_bytes };
    match found.last_mut().and_then(|last| last.joined(next).map(|joined| (last, joined))) {
        Some((last, joined)) => *last = joined,
        None => found.push(next),
    }
}

impl DifferentRange {
    /// The two as one, where `next` continues this.
    fn joined(self, next: Self) -> Option<Self> {
        let continues = self.range.end() == next.range.start() && self.difference == next.difference;
        continues.then(|| Self {
            range: AddressRange::new(self.range.start(), next.range.end()),
            difference: self.difference,
            changed_bytes: self.changed_bytes + next.changed_bytes,
        })
    }
}

/// Counts ranges and passes them on, joined across jobs.
struct Tally<F> {
    tell: F,
    list: usize,
    last: Option<DifferentRange>,
    comparison: MemoryComparison,
}

impl<F: FnMut(DifferentRange) -> ControlFlow<()>> Tally<F> {
    fn new(page_size: u64, list: usize, tell: F) -> Self {
        let comparison = MemoryComparison { complete: true, page_size, ..MemoryComparison::default() };
        Self { tell, list, last: None, comparison }
    }

    fn take(&mut self, next: DifferentRange) -> ControlFlow<()> {
        match self.last.map(|last| (last, last.joined(next))) {
            None => self.last = Some(next),
            Some((_, Some(joined))) => self.last = Some(joined),
            Some((last, None)) => {
                self.last = Some(next);
                self.give(last)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn give(&mut self, range: DifferentRange) -> ControlFlow<()> {
        let comparison = &mut self.comparison;
        let count = match range.difference {
            Difference::Equal => &mut comparison.equal,
            Difference::Changed => {
                comparison.changed_bytes += range.changed_bytes;
                comparison.changed_range_count += 1;
                if comparison.changed_ranges.len() < self.list {
                    comparison.changed_ranges.push(range);
                }
                &mut comparison.changed
            }
            Difference::OnlyBefore { reason } => comparison.only_before.entry(name_of(reason)).or_default(),
            Difference::OnlyAfter { reason } => comparison.only_after.entry(name_of(reason)).or_default(),
            Difference::Neither { .. } => &mut comparison.neither,
        };
        count.add(range.range, comparison.page_size);
        let told = (self.tell)(range);
        if told.is_break() {
            self.comparison.complete = false;
            self.last = None;
        }
        told
    }

    /// Ends between two jobs; what was found before is counted.
    fn stop(&mut self) -> ControlFlow<()> {
        if let Some(last) = self.last.take() {
            let _ = self.give(last);
        }
        self.comparison.complete = false;
        ControlFlow::Break(())
    }

    fn finish(mut self) -> MemoryComparison {
        if let Some(last) = self.last.take()
            && self.give(last).is_break()
        {
            // It was the last range of all: nothing was left out.
            self.comparison.complete = true;
        }
        self.comparison
    }
}
