use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use effigy_process::{Address, AddressRange, NotRead};
use proptest::prelude::*;

use super::memory::*;
use crate::captured::GRID;
use crate::sample::{SampleMemory, SampleRange};

fn compare(before: &SampleMemory, after: &SampleMemory, list: usize) -> (Vec<DifferentRange>, MemoryComparison) {
    let (old, new): (Vec<_>, Vec<_>) = (before.captured().collect(), after.captured().collect());
    let mut told = Vec::new();
    let comparison = compare_memory(
        MemorySide { memory: before, ranges: &old },
        MemorySide { memory: after, ranges: &new },
        MemoryOptions { list, ..MemoryOptions::default() },
        |range| {
            told.push(range);
            ControlFlow::Continue(())
        },
    );
    assert!(comparison.complete);
    (told, comparison)
}

fn range(start: u64, end: u64) -> AddressRange {
    AddressRange::new(Address(start), Address(end))
}

fn counts(count: &Count) -> (u64, u64) {
    (count.pages, count.bytes)
}

#[test]
fn pages_are_equal_or_changed_and_changed_bytes_are_counted() {
    let mut bytes = vec![1; 0x5000];
    let before = SampleMemory::of(0x1000, &bytes);
    (bytes[0x1000], bytes[0x1fff], bytes[0x2008]) = (2, 3, 4);
    let (told, comparison) = compare(&before, &SampleMemory::of(0x1000, &bytes), 10);
    assert_eq!(
        told.iter().map(|told| (told.range, told.difference, told.changed_bytes)).collect::<Vec<_>>(),
        [
            (range(0x1000, 0x2000), Difference::Equal, 0),
            (range(0x2000, 0x4000), Difference::Changed, 3),
            (range(0x4000, 0x6000), Difference::Equal, 0),
        ]
    );
    assert_eq!((counts(&comparison.equal), counts(&comparison.changed)), ((3, 0x3000), (2, 0x2000)));
    assert_eq!((comparison.changed_bytes, comparison.changed_range_count), (3, 1));
    assert_eq!(comparison.changed_ranges, [told[1]]);
}

#[test]
fn what_one_of_them_lacks_is_not_equal_and_has_a_reason() {
    let before = SampleMemory::of(0x1000, &[0; 0x1000]).without(0x2000, 0x1000, NotRead::Redacted);
    let after = SampleMemory::of(0x1800, &[0; 0x1800]).without(0x8000, 0x800, NotRead::Unreadable);
    let (told, comparison) = compare(&before, &after, 0);
    let (missing, redacted, unreadable) = (NotRead::Unmapped, NotRead::Redacted, NotRead::Unreadable);
    assert_eq!(
        told.iter().map(|told| (told.range, told.difference)).collect::<Vec<_>>(),
        [
            (range(0x1000, 0x1800), Difference::OnlyBefore { reason: missing }),
            (range(0x1800, 0x2000), Difference::Equal),
            (range(0x2000, 0x3000), Difference::OnlyAfter { reason: redacted }),
            (range(0x8000, 0x8800), Difference::Neither { before: missing, after: unreadable }),
        ]
    );
    assert_eq!(counts(&comparison.only_before["unmapped"]), (1, 0x800));
    assert_eq!(counts(&comparison.only_after["redacted"]), (1, 0x1000));
    assert_eq!(counts(&comparison.neither), (1, 0x800));
}

#[test]
fn only_the_first_changed_ranges_are_listed_and_all_are_counted() {
    let size = usize::try_from(GRID).unwrap() * 3;
    let before = SampleMemory::of(GRID, &vec![0; size]);
    let mut bytes = vec![0; size];
    bytes.iter_mut().step_by(0x2000).for_each(|byte| *byte = 1);
    let (_, comparison) = compare(&before, &SampleMemory::of(GRID, &bytes), 5);
    assert_eq!(comparison.changed_ranges.len(), 5);
    let half = 3 * GRID / 0x2000;
    assert_eq!((comparison.changed_range_count, comparison.changed_bytes), (half, half));
    assert_eq!((comparison.changed.pages, comparison.equal.pages), (half, half));
}

#[test]
fn ranges_are_joined_across_jobs_and_a_caller_may_end_it() {
    let size = usize::try_from(GRID).unwrap() * 4;
    let memory = SampleMemory::of(0x1000, &vec![9; size]);
    let (told, _) = compare(&memory, &memory, 0);
    assert_eq!(told.len(), 1);
    let other = SampleMemory::of(0x2000, &vec![9; size]);
    let (old, new): (Vec<_>, Vec<_>) = (memory.captured().collect(), other.captured().collect());
    let sides = (MemorySide { memory: &memory, ranges: &old }, MemorySide { memory: &other, ranges: &new });
    let comparison = compare_memory(sides.0, sides.1, MemoryOptions::default(), |_| ControlFlow::Break(()));
    assert!(!comparison.complete);
    assert_eq!((comparison.equal.pages, comparison.only_before["unmapped"].pages), (0, 1));
    let stop = AtomicBool::new(true);
    let options = MemoryOptions { stop: Some(&stop), ..MemoryOptions::default() };
    let comparison = compare_memory(sides.0, sides.1, options, |_| ControlFlow::Continue(()));
    assert!(!comparison.complete && comparison.equal.pages == 0);
}

#[test]
fn json_has_stable_names() {
    let difference = Difference::OnlyBefore { reason: NotRead::NotCaptured };
    let told = DifferentRange { range: range(16, 32), difference, changed_bytes: 0 };
    assert_eq!(
        serde_json::to_string(&told).unwrap(),
        r#"{"start":"0x10","end":"0x20","difference":"only_before","reason":"not_captured","changed_bytes":0}"#
    );
}

fn any_memory() -> impl Strategy<Value = SampleMemory> {
    let content = prop_oneof![
        4 => proptest::collection::vec(0u8..2, 1..9000).prop_map(Ok),
        2 => (1usize..9000).prop_map(|size| Ok(vec![0; size])),
        1 => Just(Err(5000)),
    ];
    let gap = prop_oneof![2 => Just(0u64), 1 => 1u64..9000];
    (proptest::collection::vec((gap, content), 0..6), 0u64..30_000, 0usize..5000)
        .prop_map(|(parts, below, most)| SampleMemory::of_parts(GRID - below, parts, most))
}

/// Each captured address with its byte, if it can be read.
fn bytes_of(memory: &SampleMemory) -> BTreeMap<u64, Option<u8>> {
    let mut all = BTreeMap::new();
    for SampleRange { range, bytes } in &memory.ranges {
        for (index, address) in (range.start().0..range.end().0).enumerate() {
            all.insert(address, bytes.as_ref().ok().map(|bytes| bytes[index]));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_byte_is_told_as_a_plain_comparison_sees_it(before in any_memory(), after in any_memory()) {
        let (told, comparison) = compare(&before, &after, usize::MAX);
        let (old, new) = (bytes_of(&before), bytes_of(&after));
        let mut addresses = 0;
        for told in &told {
            let mut changed = 0;
            for address in told.range.start().0..told.range.end().0 {
                prop_assert!(old.contains_key(&address) || new.contains_key(&address));
                let pair = (old.get(&address).copied().flatten(), new.get(&address).copied().flatten());
                match told.difference {
                    Difference::Equal => prop_assert!(pair.0.is_some() && pair.0 == pair.1),
                    Difference::Changed => prop_assert!(pair.0.is_some() && pair.1.is_some()),
                    Difference::OnlyBefore { .. } => prop_assert!(pair.0.is_some() && pair.1.is_none()),
                    Difference::OnlyAfter { .. } => prop_assert!(pair.0.is_none() && pair.1.is_some()),
                    Difference::Neither { .. } => prop_assert_eq!(pair, (None, None)),
                }
                changed += u64::from(pair.0.is_some() && pair.1.is_some() && pair.0 != pair.1);
                addresses += 1;
            }
            prop_assert_eq!(told.changed_bytes, changed);
        }
        let all: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        prop_assert_eq!(addresses, all.len());
        prop_assert!(told.is_sorted_by_key(|told| told.range));
        let pages_of = |wanted: Difference| {
            let ranges = told.iter().filter(|told| told.difference == wanted);
            let numbers = ranges.flat_map(|told| told.range.start().0 / 4096..told.range.end().0.div_ceil(4096));
            numbers.collect::<BTreeSet<_>>().len() as u64
        };
        prop_assert_eq!(comparison.equal.pages, pages_of(Difference::Equal));
        prop_assert_eq!(comparison.changed.pages, pages_of(Difference::Changed));
    }
}
