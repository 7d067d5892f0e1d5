//! Searching one job's memory.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use effigy_process::{Address, AddressRange, Memory};

use super::Hit;
use super::engine::{Engine, Haystack};
use crate::captured::{Captured, Piece};
use crate::window::{Unread, Window, offset, push_unread};

/// Bytes before the first that a hit may start at which an expression may look at: a letter of UTF-8 for `\b`.
const LOOK_BEHIND: u64 = 4;

/// Hits that a job keeps, give or take as many again. Where there are more, the rest is searched again when these are
/// delivered, so that many hits take time and no memory. More than there are patterns, all of which may hit at one address;
/// tests of few patterns keep few.
const MOST_HITS: usize = if cfg!(test) { 64 } else { 16 << 10 };

/// What was found in a job's memory.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Hits by rising address.
    pub(super) hits: Vec<Hit>,
    /// What was searched, by rising address.
    pub(super) searched: Vec<AddressRange>,
    /// What could not be, by rising address.
    pub(super) unread: Vec<Unread>,
    /// Where to go on, if it was too much for once. All of the above is below.
    pub(super) resume: Option<Address>,
}

impl Scan {
    /// Drops the hits at the highest addresses, to be found again, when there are too many.
    fn trim(&mut self) {
        if self.hits.len() < 2 * MOST_HITS {
            return;
        }
        self.hits.sort_unstable_by_key(|hit| hit.address);
        let resume = self.hits[MOST_HITS].address;
        self.hits.retain(|hit| hit.address < resume);
        self.resume = Some(self.resume.map_or(resume, |earlier| earlier.min(resume)));
    }
}

/// Searches jobs, one after another.
pub(super) struct Scanner<'a, M: ?Sized> {
    memory: &'a M,
    captured: &'a Captured,
    engines: Vec<Engine>,
    look_ahead: u64,
    window: Window,
}

impl<'a, M: Memory + ?Sized> Scanner<'a, M> {
    pub(super) fn new(memory: &'a M, captured: &'a Captured, engines: Vec<Engine>) -> Self {
        let look_ahead = engines.iter().map(Engine::look_ahead).max().unwrap_or(0) as u64;
        Self { memory, captured, engines, look_ahead, window: Window::default() }
    }

    /// Patterns whose hits may not overlap.
    pub(super) fn exclusive_patterns(&self) -> BTreeSet<usize> {
        self.engines.iter().filter_map(Engine::exclusive_pattern).collect()
    }

    /// Searches `job` from `since` on. `taken` says for each pattern up to where its hits so far reach, for those whose
    /// hits may not overlap.
    pub(super) fn scan(&mut self, job: &[Piece], since: Address, taken: &[Address]) -> Scan {
        let mut scan = Scan::default();
        let mut taken = taken.to_vec();
        for piece in job {
            let part = AddressRange::new(piece.range.start().max(since), piece.range.end());
            if part.is_empty() {
                continue;
            }
            if scan.hits.len() >= MOST_HITS {
                scan.resume = Some(part.start());
                break;
            }
            self.scan_part(part, piece.run, &mut taken, &mut scan);
            if scan.resume.is_some() {
                break;
            }
        }
        if let Some(resume) = scan.resume {
            let below = AddressRange::new(Address(0), resume);
            scan.hits.retain(|hit| hit.address < resume);
            scan.searched = scan.searched.iter().filter_map(|range| range.intersection(&below)).collect();
            let cut = |unread: &Unread| Some(Unread { range: unread.range.intersection(&below)?, ..*unread });
            scan.unread = scan.unread.iter().filter_map(cut).collect();
        }
        scan.hits.sort_unstable_by_key(|hit| (hit.address, hit.pattern, hit.encoding));
        scan
    }

    fn scan_part(&mut self, part: AddressRange, run: AddressRange, taken: &mut [Address], scan: &mut Scan) {
        let around =
            AddressRange::new(part.start().saturating_sub(LOOK_BEHIND), part.end().saturating_add(self.look_ahead));
        let Some(around) = around.intersection(&run) else { return };
        self.window.fill(self.memory, self.captured, around);
        for unread in self.window.unread() {
            if let Some(range) = unread.range.intersection(&part) {
                push_unread(&mut scan.unread, Unread { range, ..*unread });
            }
        }
        for stretch in self.window.readable() {
            let Some(inside) = stretch.range.intersection(&part) else { continue };
            scan.searched.push(inside);
            let goes_on = stretch.range.end() == around.end() && around.end() < run.end();
            for engine in &self.engines {
                let first = inside.start().max(engine.taken(taken)).min(inside.end());
                let base = stretch.range.start();
                let starts = (offset(base, first), offset(base, inside.end()));
                search_stretch(engine, Haystack { stretch, starts, goes_on }, taken, scan);
                scan.trim();
            }
        }
    }
}

fn search_stretch(engine: &Engine, haystack: Haystack<'_>, taken: &mut [Address], scan: &mut Scan) {
    let Scan { hits, resume, .. } = scan;
    let kept_before = hits.len();
    let exclusive = engine.exclusive_pattern();
    let _ = engine.find(haystack, &mut |hit| {
        if resume.is_some_and(|resume| hit.address >= resume) {
            return ControlFlow::Break(());
        }
        if hits.len() - kept_before >= MOST_HITS {
            *resume = Some(hit.address);
            return ControlFlow::Break(());
        }
        if exclusive.is_some() {
            taken[hit.pattern] = hit.end();
        }
        hits.push(hit);
        ControlFlow::Continue(())
    });
}
