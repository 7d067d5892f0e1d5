//! Regions added, removed, grown, shrunk and changed.
//!
//! Address spaces are compared address by address and not line by line of their lists: where the system splits or joins
//! regions without any address changing, nothing changed.

use std::sync::Arc;

use bstr::BString;
use effigy_process::{Address, AddressRange, PageState, Region, Sharing};
use serde::{Serialize, Serializer};

use crate::address_space::{Rights, disjoint};

/// What changed of the regions.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct RegionDifferences {
    /// What changed, by rising address.
    pub changes: Vec<RegionChange>,
    /// Bytes that are mapped as they were.
    pub unchanged_bytes: u64,
}

/// A part of the address space that is mapped otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionChange {
    /// The part.
    #[serde(flatten)]
    pub range: AddressRange,
    /// How it changed.
    pub change: RegionChangeKind,
    /// For [`RegionChangeKind::Changed`]: what about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<RegionDifference>,
    /// The region that it is part of before; for one that has grown, the region that did. Shared by all parts of it.
    #[serde(serialize_with = "shared")]
    pub before: Option<Arc<RegionFacts>>,
    /// The region that it is part of after; for one that has shrunk, the region that did. Shared by all parts of it.
    #[serde(serialize_with = "shared")]
    pub after: Option<Arc<RegionFacts>>,
}

fn shared<S: Serializer>(facts: &Option<Arc<RegionFacts>>, serializer: S) -> Result<S::Ok, S::Error> {
    facts.as_deref().serialize(serializer)
}

/// How a part of the address space changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionChangeKind {
    /// A new region is there.
    Added,
    /// The region is there no more.
    Removed,
    /// A region that adjoins has grown by it.
    Grown,
    /// A region that adjoins has shrunk by it.
    Shrunk,
    /// It is there before and after, and something about it changed.
    Changed,
}

/// What may change about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionDifference {
    /// What may be done with it.
    Protection,
    /// What is mapped there: the file, the place in it, the name, or whether it is shared.
    Content,
    /// Whether there is memory (Windows: committed or reserved).
    State,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionFacts {
    /// Its addresses.
    #[serde(flatten)]
    pub range: AddressRange,
    /// What may be done with it.
    pub protection: Rights,
    /// Its name; may be empty.
    #[serde(serialize_with = "effigy_process::text::lossy")]
    pub name: BString,
}

pub(super) fn compare(before: &[Region], after: &[Region]) -> RegionDifferences {
    let (before, after) = (listed(before), listed(after));
    let mut differences = RegionDifferences::default();
    let (mut left, mut right) = (Cursor::new(&before), Cursor::new(&after));
    let mut at = Address(0);
    while let Some(next) = left.next_border(at).into_iter().chain(right.next_border(at)).min() {
        let range = AddressRange::new(at, next);
        at = next;
        let change = match (left.at(range.start()), right.at(range.start())) {
            (None, None) => None,
            (Some(old), None) => Some(removed(range, old, right.neighbours(range))),
            (None, Some(new)) => Some(added(range, new, left.neighbours(range))),
            (Some(old), Some(new)) => {
                let found = differences_of(&old.region, &new.region);
                if found.is_empty() {
                    differences.unchanged_bytes = differences.unchanged_bytes.saturating_add(range.size());
                    None
                } else {
                    Some(change(range, RegionChangeKind::Changed, found, Some(old), Some(new)))
                }
            }
        };
        differences.changes.extend(change);
    }
    differences
}

/// A region and what is told of it.
struct Listed {
    region: Region,
    facts: Arc<RegionFacts>,
}

fn listed(regions: &[Region]) -> Vec<Listed> {
    let listed = disjoint(regions.to_vec()).into_iter().map(|region| {
        let facts = RegionFacts { range: region.range, protection: rights(&region), name: region.name.clone() };
        Listed { region, facts: Arc::new(facts) }
    });
    listed.collect()
}

impl Listed {
    fn range(&self) -> AddressRange {
        self.region.range
    }
}

/// A list of regions that is gone through by rising address.
struct Cursor<'a> {
    regions: &'a [Listed],
    next: usize,
}

impl<'a> Cursor<'a> {
    fn new(regions: &'a [Listed]) -> Self {
        Self { regions, next: 0 }
    }

    /// The first beginning or end of a region behind `at`, which never falls.
    fn next_border(&mut self, at: Address) -> Option<Address> {
        while self.regions.get(self.next).is_some_and(|region| region.range().end() <= at) {
            self.next += 1;
        }
        let region = self.regions.get(self.next)?;
        Some(if at < region.range().start() { region.range().start() } else { region.range().end() })
    }

    /// The region at an address that the last border asked for lies behind.
    fn at(&self, address: Address) -> Option<&'a Listed> {
        self.regions.get(self.next).filter(|region| region.range().contains(address))
    }

    /// The regions right below and right above a range that is in none.
    fn neighbours(&self, range: AddressRange) -> impl Iterator<Item = &'a Listed> {
        let below = self.next.checked_sub(1).and_then(|below| self.regions.get(below));
        let above = self.regions.get(self.next);
        let below = below.filter(|below| below.range().end() == range.start());
        let above = above.filter(|above| above.range().start() == range.end());
        below.into_iter().chain(above)
    }
}

fn added<'a>(range: AddressRange, new: &Listed, mut neighbours: impl Iterator<Item = &'a Listed>) -> RegionChange {
    let grown = neighbours.find(|old| is_part_of_same(old, new));
    match grown {
        Some(old) => change(range, RegionChangeKind::Grown, Vec::new(), Some(old), Some(new)),
        None => change(range, RegionChangeKind::Added, Vec::new(), None, Some(new)),
    }
}

fn removed<'a>(range: AddressRange, old: &Listed, mut neighbours: impl Iterator<Item = &'a Listed>) -> RegionChange {
    let shrunk = neighbours.find(|new| is_part_of_same(old, new));
    match shrunk {
        Some(new) => change(range, RegionChangeKind::Shrunk, Vec::new(), Some(old), Some(new)),
        None => change(range, RegionChangeKind::Removed, Vec::new(), Some(old), None),
    }
}

/// Whether one is the other, grown or shrunk.
fn is_part_of_same(old: &Listed, new: &Listed) -> bool {
    old.range().intersection(&new.range()).is_some() && differences_of(&old.region, &new.region).is_empty()
}

fn change(
    range: AddressRange,
    change: RegionChangeKind,
    differences: Vec<RegionDifference>,
    before: Option<&Listed>,
    after: Option<&Listed>,
) -> RegionChange {
    RegionChange { range, change, differences, before: before.map(facts), after: after.map(facts) }
}

fn facts(listed: &Listed) -> Arc<RegionFacts> {
    Arc::clone(&listed.facts)
}

fn rights(region: &Region) -> Rights {
    match region.windows {
        Some(pages) if region.inode == 0 && region.name.is_empty() => Rights::Windows(pages.protection),
        _ => Rights::Unix { bits: region.protection.bits(), shared: region.sharing == Sharing::Shared },
    }
}

fn differences_of(old: &Region, new: &Region) -> Vec<RegionDifference> {
    // Where a file's first byte would lie: the same for all parts of one mapping.
    let origin =
        |region: &Region| if region.inode == 0 { 0 } else { region.range.start().0.wrapping_sub(region.offset) };
    let content = |region: &Region| (region.device, region.inode, origin(region), region.sharing == Sharing::Shared);
    let state = |region: &Region| region.windows.map(|pages| pages.state != PageState::Reserve);
    let same_terms = old.windows.is_some() == new.windows.is_some();
    let protection =
        old.protection != new.protection || same_terms && old.windows.is_some() && rights(old) != rights(new);
    let found = [
        (RegionDifference::Protection, protection),
        (RegionDifference::Content, content(old) != content(new) || old.name != new.name),
        (RegionDifference::State, same_terms && state(old) != state(new)),
    ];
    found.into_iter().filter(|(_, differs)| *differs).map(|(difference, _)| difference).collect()
}
