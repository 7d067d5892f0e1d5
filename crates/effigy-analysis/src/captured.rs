//! The ranges of memory that are there to be read, cut into pieces of work.

use effigy_process::{Address, AddressRange};

/// Bytes of memory that a piece has at most; pieces begin and end at multiples of it, wherever ranges begin, so that
/// answers do not depend on how memory is cut.
pub(crate) const GRID: u64 = 1 << 20;

/// Pieces that a job has at most, for dumps of very many small ranges. Tests make a job of each, so that a small memory
/// has several.
const PIECES: usize = if cfg!(test) { 1 } else { 512 };

/// Ranges of captured memory by rising address, none empty and none overlapping another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    ranges: Vec<AddressRange>,
}

/// A part of captured memory to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The part.
    pub(crate) range: AddressRange,
    /// The adjoining ranges that it lies in: what may be looked at around it.
    pub(crate) run: AddressRange,
}

impl Captured {
    /// From ranges in any order. Where some overlap, what they share is taken once.
    pub(crate) fn new(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable();
        let mut done = Address(0);
        for range in &mut ranges {
            *range = AddressRange::new(range.start().max(done), range.end());
            done = done.max(range.end());
        }
        ranges.retain(|range| !range.is_empty());
        Self { ranges }
    }

    /// Where the range that holds `address` ends, or, if none does, where the next one begins. What is true of an address
    /// need not be true of one behind that.
    pub(crate) fn border_behind(&self, address: Address) -> Option<Address> {
        let next = self.ranges.get(self.ranges.partition_point(|range| range.end() <= address))?;
        Some(if next.contains(address) { next.end() } else { next.start() })
    }

    /// Adjoining ranges joined, by rising address.
    pub(crate) fn runs(&self) -> impl Iterator<Item = AddressRange> + '_ {
        let mut ranges = self.ranges.iter().copied().peekable();
        std::iter::from_fn(move || {
            let mut run = ranges.next()?;
            while let Some(next) = ranges.next_if(|next| next.start() == run.end()) {
                run = AddressRange::new(run.start(), next.end());
            }
            Some(run)
        })
    }

    /// All of it by rising address, as lists of pieces that make a good job each: [`GRID`] bytes or not much more.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Vec<Piece>> + '_ {
        let mut pieces = self.runs().flat_map(pieces_of).peekable();
        std::iter::from_fn(move || {
            let first = pieces.next()?;
            let mut bytes = first.range.size();
            let mut job = vec![first];
            while let Some(piece) = pieces.next_if(|next| job.len() < PIECES && bytes + next.range.size() <= GRID) {
                bytes += piece.range.size();
                job.push(piece);
            }
            Some(job)
        })
    }
}

fn pieces_of(run: AddressRange) -> impl Iterator<Item = Piece> {
    let mut next = run.start();
    std::iter::from_fn(move || {
        let start = next;
        let cut = Address(start.0 & !(GRID - 1)).saturating_add(GRID).min(run.end());
        next = cut;
        (start < run.end()).then(|| Piece { range: AddressRange::new(start, cut), run })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> AddressRange {
        AddressRange::new(Address(start), Address(end))
    }

    #[test]
    fn adjoining_ranges_are_one_run_and_overlaps_count_once() {
        let captured = Captured::new([range(20, 30), range(0, 10), range(10, 12), range(5, 11), range(7, 7)]);
        assert_eq!(captured.runs().collect::<Vec<_>>(), [range(0, 12), range(20, 30)]);
    }

    #[test]
    fn the_last_byte_of_the_address_space_ends_the_last_piece() {
        let end = range(u64::MAX - 5, u64::MAX);
        let jobs: Vec<_> = Captured::new([end]).jobs().collect();
        assert_eq!(jobs, [[Piece { range: end, run: end }]]);
    }

    #[test]
    fn borders() {
        let captured = Captured::new([range(10, 20), range(20, 30), range(40, 50)]);
        let borders: Vec<_> = [0, 10, 20, 30, 50].map(|at| captured.border_behind(Address(at)).map(|at| at.0)).into();
        assert_eq!(borders, [Some(10), Some(20), Some(30), Some(40), None]);
    }

    proptest! {
        #[test]
        fn jobs_cover_every_byte_once(list in proptest::collection::vec((0u64..8 << 20, 0u64..3 << 20), 0..20)) {
            let ranges = list.iter().map(|(start, size)| AddressRange::sized(Address(*start), *size));
            let captured = Captured::new(ranges.clone());
            let pieces: Vec<_> = captured.jobs().flatten().collect();
            let joined = Captured::new(pieces.iter().map(|piece| piece.range));
            prop_assert_eq!(joined.runs().collect::<Vec<_>>(), captured.runs().collect::<Vec<_>>());
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].range.end() <= pair[1].range.start());
            }
            for piece in &pieces {
                prop_assert_eq!(piece.run.intersection(&piece.range), Some(piece.range));
                prop_assert!(piece.range.size() <= GRID);
            }
            for address in ranges.flat_map(|range| [range.start(), range.end().saturating_sub(1)]) {
                let wanted = list.iter().any(|(start, size)| (*start..start + size).contains(&address.0));
                prop_assert_eq!(wanted, pieces.iter().any(|piece| piece.range.contains(address)));
            }
        }
    }
}
