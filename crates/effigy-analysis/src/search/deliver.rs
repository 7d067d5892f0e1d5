//! Giving what was found to the caller, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use effigy_process::{Address, AddressRange, Memory};

use super::scan::{Scan, Scanner};
use super::{Finding, Hit, Outcome, SearchReport};
use crate::captured::Piece;
use crate::window::{Unread, name_of};

/// Takes the results of jobs in their order and tells the caller.
pub(super) struct Delivery<'a, M: ?Sized, F> {
    /// For what has to be searched again.
    scanner: Scanner<'a, M>,
    /// Patterns whose hits may not overlap.
    exclusive: BTreeSet<usize>,
    /// For each of them, where its last hit ends.
    taken: Vec<Address>,
    limit: Option<NonZeroU64>,
    tell: F,
    /// What could not be read last: the next job may continue it.
    unread: Option<Unread>,
    report: SearchReport,
}

impl<'a, M: Memory + ?Sized, F: FnMut(Finding) -> ControlFlow<()>> Delivery<'a, M, F> {
    pub(super) fn new(scanner: Scanner<'a, M>, patterns: usize, limit: Option<NonZeroU64>, tell: F) -> Self {
        let report =
            SearchReport { outcome: Outcome::Complete, hits: 0, searched_bytes: 0, unread_bytes: BTreeMap::new() };
        let exclusive = scanner.exclusive_patterns();
        Self { scanner, exclusive, taken: vec![Address(0); patterns], limit, tell, unread: None, report }
    }

    /// Takes the result of the next job.
    pub(super) fn take(&mut self, job: &[Piece], mut scan: Scan) -> ControlFlow<()> {
        // The job was searched before it was known that a hit of the job before it reaches into it.
        if let Some(start) = job.first().map(|piece| piece.range.start())
            && self.taken.iter().any(|taken| *taken > start)
        {
            scan = self.scanner.scan(job, start, &self.taken);
        }
        loop {
            self.give(&scan)?;
            let Some(resume) = scan.resume else { return ControlFlow::Continue(()) };
            scan = self.scanner.scan(job, resume, &self.taken);
        }
    }

    /// Tells what was found.
    fn give(&mut self, scan: &Scan) -> ControlFlow<()> {
        let mut unread = scan.unread.iter().peekable();
        for hit in &scan.hits {
            while let Some(before) = unread.next_if(|unread| unread.range.start() < hit.address) {
                self.give_unread(*before, &scan.searched)?;
            }
            self.give_hit(*hit, &scan.searched)?;
        }
        for rest in unread {
            self.give_unread(*rest, &scan.searched)?;
        }
        self.report.searched_bytes += scan.searched.iter().map(AddressRange::size).sum::<u64>();
        ControlFlow::Continue(())
    }

    fn give_hit(&mut self, hit: Hit, searched: &[AddressRange]) -> ControlFlow<()> {
        self.flush_unread(searched)?;
        self.report.hits += 1;
        if self.exclusive.contains(&hit.pattern) {
            self.taken[hit.pattern] = hit.end();
        }
        if (self.tell)(Finding::Hit(hit)).is_break() {
            return self.end(Outcome::Stopped, hit.address, searched);
        }
        if self.limit.is_some_and(|limit| self.report.hits >= limit.get()) {
            return self.end(Outcome::Limit, hit.address, searched);
        }
        ControlFlow::Continue(())
    }

    fn give_unread(&mut self, next: Unread, searched: &[AddressRange]) -> ControlFlow<()> {
        match &mut self.unread {
            Some(last) if last.reason == next.reason && last.range.end() == next.range.start() => {
                last.range = AddressRange::new(last.range.start(), next.range.end());
            }
            _ => {
                self.flush_unread(searched)?;
                self.unread = Some(next);
            }
        }
        ControlFlow::Continue(())
    }

    fn flush_unread(&mut self, searched: &[AddressRange]) -> ControlFlow<()> {
        let Some(unread) = self.unread.take() else { return ControlFlow::Continue(()) };
        *self.report.unread_bytes.entry(name_of(unread.reason)).or_default() += unread.range.size();
        match (self.tell)(Finding::Unread(unread)) {
            ControlFlow::Break(()) => self.end(Outcome::Stopped, unread.range.start(), searched),
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
        }
    }

    /// Notes that the search ends between two jobs.
    pub(super) fn stop(&mut self) -> ControlFlow<()> {
        self.end(Outcome::Stopped, Address(0), &[])
    }

    /// Notes that the search ended at `address`.
    fn end(&mut self, outcome: Outcome, address: Address, searched: &[AddressRange]) -> ControlFlow<()> {
        let below = AddressRange::new(Address(0), address);
        self.report.outcome = outcome;
        self.report.searched_bytes +=
            searched.iter().filter_map(|range| range.intersection(&below)).map(|range| range.size()).sum::<u64>();
        ControlFlow::Break(())
    }

    /// What the search did.
    pub(super) fn finish(mut self) -> SearchReport {
        // The last range that could not be read is known whole only now.
        let _ = self.flush_unread(&[]);
        self.report
    }
}
