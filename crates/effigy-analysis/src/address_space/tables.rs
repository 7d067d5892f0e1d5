//! Counting regions by what they have in common.

use std::collections::BTreeMap;

use effigy_process::AddressRange;
use serde::Serialize;

use super::{AddressSpace, SpaceRegion, State, Usage};

/// Regions that have something in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row<K> {
    /// What they have in common.
    pub key: K,
    /// How many there are.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Per cent of the bytes in use; `None` for what is not in use.
    pub percent_of_busy: Option<f64>,
    /// Per cent of all addresses.
    pub percent_of_total: f64,
    /// Bytes resident; `None` unless known of all.
    pub resident: Option<u64>,
    /// Bytes swapped out; `None` unless known of all.
    pub swapped: Option<u64>,
    /// The largest of them, the first of those as large.
    pub largest: AddressRange,
}

/// What of a process is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct WorkingSet {
    /// Bytes resident.
    pub resident: u64,
    /// Of these, bytes that other processes have as well, as far as known.
    pub shared: u64,
    /// Of these, bytes that it has alone, as far as known.
    pub private: u64,
    /// Bytes swapped out, as far as known.
    pub swapped: u64,
    /// Regions of which it is not known how much is resident; theirs is in none of the above.
    pub unknown_regions: u64,
}

impl SpaceRegion {
    /// Whether its addresses are in use, as far as is known.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !matches!(self.usage, Usage::Free | Usage::NotListed)
    }
}

impl AddressSpace {
    pub(super) fn fill_tables(&mut self) {
        self.busy_bytes = sum(self.regions.iter().filter(|region| region.is_busy()));
        self.by_usage = self.table(|region| Some(region.usage));
        self.by_kind = self.table(|region| region.kind);
        self.by_state = self.table(|region| Some(region.state));
        self.by_protection = self.table(|region| region.protection.filter(|_| region.state == State::Commit));
        self.working_set = self.count_working_set();
    }

    /// Rows by falling size.
    fn table<K: Ord + Copy>(&self, key_of: impl Fn(&SpaceRegion) -> Option<K>) -> Vec<Row<K>> {
        let mut groups: BTreeMap<K, Vec<&SpaceRegion>> = BTreeMap::new();
        for region in &self.regions {
            if let Some(key) = key_of(region) {
                groups.entry(key).or_default().push(region);
            }
        }
        let mut rows: Vec<_> = groups.into_iter().map(|(key, regions)| self.row(key, &regions)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
        rows
    }

    fn row<K>(&self, key: K, regions: &[&SpaceRegion]) -> Row<K> {
        let bytes = sum(regions.iter().copied());
        let largest =
            regions.iter().map(|region| region.range).rev().max_by_key(AddressRange::size).unwrap_or_default();
        let busy = regions.iter().all(|region| region.is_busy());
        Row {
            key,
            count: regions.len() as u64,
            bytes,
            percent_of_busy: busy.then(|| percent(bytes, self.busy_bytes)),
            percent_of_total: percent(bytes, self.total_bytes),
            resident: add_known(regions.iter().map(|region| region.resident)),
            swapped: add_known(regions.iter().map(|region| region.swapped)),
            largest,
        }
    }

    fn count_working_set(&self) -> Option<WorkingSet> {
        let mut set = WorkingSet::default();
        let mut any = false;
        for region in self.regions.iter().filter(|region| region.is_busy()) {
            let Some(resident) = region.resident else {
                set.unknown_regions += 1;
                continue;
            };
            any = true;
            set.resident = set.resident.saturating_add(resident);
            set.swapped = set.swapped.saturating_add(region.swapped.unwrap_or(0));
            if let Some(shared) = region.shared {
                set.shared = set.shared.saturating_add(shared);
                set.private = set.private.saturating_add(resident.saturating_sub(shared));
            }
        }
        any.then_some(set)
    }
}

fn sum<'a>(regions: impl Iterator<Item = &'a SpaceRegion>) -> u64 {
    regions.map(|region| region.range.size()).fold(0, u64::saturating_add)
}

/// `None` as soon as one is not known.
fn add_known(mut bytes: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    bytes.try_fold(0u64, |sum, bytes| Some(sum.saturating_add(bytes?)))
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a percentage of bytes needs no more than a double's 53 bits")]
    let ratio = if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    ratio * 100.0
}
