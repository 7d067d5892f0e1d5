use std::collections::BTreeMap;
use std::time::Duration;

use effigy_process::{
    Address, AddressRange, Architecture, BuildId, CompactBytes, Module, Process, Protection, Region, RegisterSet,
    Registers, Thread, ThreadId, ThreadState, ThreadTimes, note,
};
use proptest::prelude::*;

use super::*;

fn thread(id: u32, stack_pointer: u64) -> Thread {
    let mut bytes = [0; 27 * 8];
    bytes[19 * 8..20 * 8].copy_from_slice(&stack_pointer.to_le_bytes());
    let set = |note, bytes: &[u8]| RegisterSet { note, bytes: CompactBytes::new(bytes) };
    let sets = vec![set(note::PRSTATUS, &bytes), set(note::PRFPREG, &[1; 512])];
    let registers = Registers { architecture: Architecture::X86_64, sets, ..Registers::default() };
    let state = Some(ThreadState('S'));
    Thread { id: ThreadId(id), state, registers: Ok(registers), ..Thread::default() }
}

fn threads(before: &[Thread], after: &[Thread]) -> ThreadDifferences {
    super::threads::compare(before, after)
}

#[test]
fn threads_gone_new_and_changed_are_told() {
    let mut running = thread(3, 0x1000);
    running.state = Some(ThreadState('R'));
    let mut other_vectors = thread(5, 0x1000);
    if let Ok(registers) = &mut other_vectors.registers {
        registers.sets[1].bytes = CompactBytes::new(&[2; 512]);
    }
    let before = [thread(1, 0x1000), thread(2, 0x1000), thread(3, 0x1000), thread(4, 0x1000), thread(5, 0x1000)];
    let after = [thread(1, 0x1000), running, thread(4, 0x2000), other_vectors, thread(6, 0x1000)];
    let found = threads(&before, &after);
    let ids = |list: &[ThreadFacts]| list.iter().map(|thread| thread.id.0).collect::<Vec<_>>();
    assert_eq!((ids(&found.gone), ids(&found.new), found.unchanged), (vec![2], vec![6], 1));
    assert_eq!(found.changed.iter().map(|change| change.before.id.0).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(found.changed[0].registers, RegisterComparison::Same);
    let stack_pointer = RegisterChange { name: "rsp", before: 0x1000, after: 0x2000 };
    assert_eq!(found.changed[1].changed_registers, [stack_pointer]);
    assert_eq!(found.changed[2].changed_sets, [note::PRFPREG]);
}

#[test]
fn registers_that_are_missing_are_not_the_same() {
    let missing = Thread { id: ThreadId(1), state: Some(ThreadState('S')), ..Thread::default() };
    let found = threads(std::slice::from_ref(&missing), std::slice::from_ref(&missing));
    assert_eq!(found.unchanged, 0);
    assert_eq!(found.changed[0].registers, RegisterComparison::NotCompared);
}

#[test]
fn an_id_used_again_is_another_thread() {
    let started = |seconds| ThreadTimes { started: Some(Duration::from_secs(seconds)), ..ThreadTimes::default() };
    let (mut before, mut after) = (thread(1, 0), thread(1, 0));
    (before.times, after.times) = (Some(started(5)), Some(started(6)));
    let found = threads(&[before], &[after]);
    assert_eq!((found.gone.len(), found.new.len(), found.changed.len()), (1, 1, 0));
}

#[test]
fn several_threads_with_one_id_are_all_counted() {
    let found = threads(&[thread(0, 1), thread(0, 2), thread(0, 3)], &[thread(0, 1), thread(0, 2)]);
    assert_eq!((found.unchanged, found.gone.len()), (2, 1));
}

fn module(path: &str, start: u64, id: u8) -> Module {
    let range = AddressRange::sized(Address(start), 0x1000);
    Module { path: path.into(), range, build_id: Some(BuildId(vec![id; 20])), ..Module::default() }
}

#[test]
fn modules_loaded_unloaded_and_changed_are_told() {
    let unknown = Module { build_id: None, ..module("/same", 0x9000, 0) };
    let before = [
        module("/gone", 0x1000, 1),
        module("/moved", 0x2000, 2),
        module("/new build", 0x3000, 3),
        module("/twice", 0x4000, 4),
        module("/twice", 0x5000, 4),
        unknown,
    ];
    let after = [
        module("/moved", 0x6000, 2),
        module("/new build", 0x3000, 7),
        module("/new", 0x1000, 1),
        module("/twice", 0x5000, 4),
        module("/same", 0x9000, 9),
    ];
    let found = super::modules::compare(&before, &after);
    let paths = |list: &[Module]| list.iter().map(|module| module.path.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (paths(&found.unloaded), paths(&found.loaded)),
        (vec!["/gone".into(), "/twice".into()], vec!["/new".into()])
    );
    assert_eq!(found.unloaded[1].range.start(), Address(0x4000));
    let changed: Vec<_> =
        found.changed.iter().map(|change| (change.before.path.to_string(), &*change.differences)).collect();
    let moved = ("/moved".to_owned(), &[ModuleDifference::Moved][..]);
    assert_eq!(changed, [moved, ("/new build".to_owned(), &[ModuleDifference::Replaced][..])]);
    assert_eq!(found.unchanged, 2);
}

fn regions(maps: &[&str]) -> Vec<Region> {
    maps.iter().map(|line| Region::from_maps_line(line.as_bytes()).unwrap()).collect()
}

fn changes(before: &[&str], after: &[&str]) -> Vec<(u64, u64, RegionChangeKind)> {
    let found = super::regions::compare(&regions(before), &regions(after));
    found.changes.iter().map(|change| (change.range.start().0, change.range.end().0, change.change)).collect()
}

#[test]
fn regions_added_removed_grown_and_shrunk_are_told() {
    use RegionChangeKind::{Added, Grown, Removed, Shrunk};
    let before = ["1000-2000 rw-p 0 0:0 0 [heap]", "4000-5000 r--p 0 8:1 7 /gone", "8000-a000 rw-p 0 0:0 0 [stack]"];
    let after = ["1000-3000 rw-p 0 0:0 0 [heap]", "7000-a000 rw-p 0 0:0 0 [stack]", "b000-c000 rw-p 0 0:0 0 "];
    let grown = [(0x2000, 0x3000, Grown), (0x4000, 0x5000, Removed), (0x7000, 0x8000, Grown), (0xb000, 0xc000, Added)];
    assert_eq!(changes(&before, &after), grown);
    let shrunk =
        [(0x2000, 0x3000, Shrunk), (0x4000, 0x5000, Added), (0x7000, 0x8000, Shrunk), (0xb000, 0xc000, Removed)];
    assert_eq!(changes(&after, &before), shrunk);
}

#[test]
fn a_changed_protection_is_told_for_the_part_that_it_is_of() {
    let before = ["1000-5000 r-xp 1000 8:1 7 /lib"];
    let after = ["1000-2000 r-xp 1000 8:1 7 /lib", "2000-3000 rwxp 2000 8:1 7 /lib", "3000-5000 r-xp 3000 8:1 7 /lib"];
    let found = super::regions::compare(&regions(&before), &regions(&after));
    assert_eq!(found.unchanged_bytes, 0x3000);
    assert_eq!(found.changes.len(), 1);
    assert_eq!(found.changes[0].range, AddressRange::new(Address(0x2000), Address(0x3000)));
    assert_eq!(found.changes[0].differences, [RegionDifference::Protection]);
    let json = serde_json::to_string(&found.changes[0]).unwrap();
    assert_eq!(
        json,
        r#"{"start":"0x2000","end":"0x3000","change":"changed","differences":["protection"],"before":{"start":"0x1000","end":"0x5000","protection":"r-xp","name":"/lib"},"after":{"start":"0x2000","end":"0x3000","protection":"rwxp","name":"/lib"}}"#
    );
}

#[test]
fn another_file_at_the_same_place_is_told() {
    let found =
        super::regions::compare(&regions(&["1000-5000 r--p 0 8:1 7 /a"]), &regions(&["1000-5000 r--p 0 8:1 8 /a"]));
    assert_eq!(found.changes[0].differences, [RegionDifference::Content]);
}

#[test]
fn what_a_dump_does_not_have_is_not_compared() {
    let with = Process { regions: regions(&["1000-5000 r--p 0 8:1 7 /a"]), ..Process::default() };
    let found = Comparison::of(&with, &Process::default());
    assert_eq!((found.modules, found.regions), (None, None));
    assert_eq!(Comparison::of(&with, &with).regions.unwrap().unchanged_bytes, 0x4000);
}

fn any_regions() -> impl Strategy<Value = Vec<Region>> {
    proptest::collection::vec((0u64..40, 1u64..10, 0u8..3), 0..8).prop_map(|list| {
        let region = |(start, size, bits): (u64, u64, u8)| Region {
            range: AddressRange::sized(Address(start), size),
            protection: Protection::from_bits_truncate(bits),
            ..Region::default()
        };
        list.into_iter().map(region).collect()
    })
}

/// Protection by address; where regions overlap, the one that counts is the first by address.
fn by_address(regions: &[Region]) -> BTreeMap<u64, Protection> {
    let mut sorted: Vec<_> = regions.iter().collect();
    sorted.sort_by_key(|region| region.range);
    let mut map = BTreeMap::new();
    for region in sorted {
        for address in region.range.start().0..region.range.end().0 {
            map.entry(address).or_insert(region.protection);
        }
    }
    map
}

proptest! {
    #[test]
    fn each_address_changed_as_a_plain_comparison_sees_it(before in any_regions(), after in any_regions()) {
        let found = super::regions::compare(&before, &after);
        let (old, new) = (by_address(&before), by_address(&after));
        let mut unchanged = 0;
        for address in 0..64 {
            let told = found.changes.iter().find(|change| change.range.contains(Address(address)));
            let told = told.map(|change| change.change);
            use RegionChangeKind::{Added, Changed, Grown, Removed, Shrunk};
            match (old.get(&address), new.get(&address)) {
                (None, None) => prop_assert_eq!(told, None),
                (Some(_), None) => prop_assert!(matches!(told, Some(Removed | Shrunk))),
                (None, Some(_)) => prop_assert!(matches!(told, Some(Added | Grown))),
                (Some(old), Some(new)) => {
                    prop_assert_eq!(told, (old != new).then_some(Changed));
                    unchanged += u64::from(old == new);
                }
            }
        }
        prop_assert_eq!(found.unchanged_bytes, unchanged);
    }
}
