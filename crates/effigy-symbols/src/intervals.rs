//! Ranges of addresses that may overlap, each with a value.

/// Ranges that are looked at from an address downwards before it is given up. Those of good files do not overlap by
/// more than a few.
const MOST_STEPS: usize = 4096;

/// A range with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// First address.
    pub(crate) begin: u64,
    /// First address past it.
    pub(crate) end: u64,
    /// What it belongs to.
    pub(crate) value: u64,
}

impl Interval {
    pub(crate) fn contains(&self, address: u64) -> bool {
        self.begin <= address && address < self.end
    }
}

/// Ranges by rising beginning.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    list: Vec<Interval>,
    /// How far the ranges up to each of them reach.
    reach: Vec<u64>,
}

impl Intervals {
    /// Ranges in any order; empty ones are left out.
    pub(crate) fn new(mut list: Vec<Interval>) -> Self {
        list.retain(|interval| interval.begin < interval.end);
        list.sort_by_key(|interval| (interval.begin, std::cmp::Reverse(interval.end)));
        let mut far = 0;
        let reach = list.iter().map(|interval| {
            far = far.max(interval.end);
            far
        });
        let reach = reach.collect();
        Self { list, reach }
    }

    pub(crate) fn list(&self) -> &[Interval] {
        &self.list
    }

    /// Those that hold `address`, from the one that begins last.
    pub(crate) fn at(&self, address: u64) -> impl Iterator<Item = &Interval> {
        let count = self.list.partition_point(|interval| interval.begin <= address);
        let below = self.list[..count].iter().zip(&self.reach[..count]).rev();
        let reaching = below.take_while(move |(_, reach)| **reach > address).take(MOST_STEPS);
        reaching.map(|(interval, _)| interval).filter(move |interval| interval.contains(address))
    }

    /// The stretch around `address` in which [`at`](Self::at) gives nothing, where it gives nothing there.
    pub(crate) fn hole_at(&self, address: u64) -> (u64, u64) {
        let count = self.list.partition_point(|interval| interval.begin <= address);
        let begin = count.checked_sub(1).and_then(|index| self.reach.get(index)).copied().unwrap_or(0);
        let end = self.list.get(count).map_or(u64::MAX, |interval| interval.begin);
        (begin.min(address), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(begin: u64, end: u64, value: u64) -> Interval {
        Interval { begin, end, value }
    }

    #[test]
    fn overlapping_ranges_from_the_inside_out() {
        let intervals = Intervals::new(vec![
            interval(10, 20, 1),
            interval(0, 100, 2),
            interval(12, 14, 3),
            interval(50, 50, 4),
            interval(200, 300, 5),
        ]);
        let at = |address| intervals.at(address).map(|interval| interval.value).collect::<Vec<_>>();
        assert_eq!(at(12), [3, 1, 2]);
        assert_eq!(at(14), [1, 2]);
        assert_eq!(at(50), [2]);
        assert_eq!(at(100), []);
        assert_eq!(at(299), [5]);
        assert_eq!(intervals.hole_at(150), (100, 200));
        assert_eq!(intervals.hole_at(300), (300, u64::MAX));
    }
}
