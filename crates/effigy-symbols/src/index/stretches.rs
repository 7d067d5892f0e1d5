//! Answers by address.

use std::collections::BTreeMap;

use crate::name::Name;

/// Stretches that are kept; beyond it is begun anew.
const MOST: usize = 1 << 17;

/// Offsets for which an answer is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// First offset.
    pub(crate) begin: u64,
    /// First offset past it.
    pub(crate) end: u64,
    /// The answer.
    pub(crate) names: Vec<Name>,
}

/// Stretches by rising offset, none of which overlaps another.
#[derive(Debug, Default)]
pub(crate) struct Stretches {
    /// By their beginnings; with whether they may be kept for later runs.
    kept: BTreeMap<u64, (Stretch, bool)>,
}

impl Stretches {
    /// The answer for an offset, where it is known.
    pub(crate) fn at(&self, offset: u64) -> Option<&[Name]> {
        let (_, (stretch, _)) = self.kept.range(..=offset).next_back()?;
        (offset < stretch.end).then_some(&stretch.names)
    }

    /// Adds an answer; one that is not whole is only good for this run.
    pub(crate) fn insert(&mut self, stretch: Stretch, is_whole: bool) {
        if self.kept.len() >= MOST {
            self.kept.clear();
        }
        self.kept.insert(stretch.begin, (stretch, is_whole));
    }

    /// Those that may be kept for later runs.
    pub(crate) fn whole(&self) -> impl Iterator<Item = &Stretch> {
        self.kept.values().filter(|(_, is_whole)| *is_whole).map(|(stretch, _)| stretch)
    }
}
