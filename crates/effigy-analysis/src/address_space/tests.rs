use effigy_process::{
    Architecture, CompactBytes, Module, PageKind, Platform, RegisterSet, Registers, System, Thread, WindowsThread, note,
};
use proptest::prelude::*;

use super::*;
use crate::sample::SampleMemory;

/// A process of Linux with the regions of `maps`.
fn linux(maps: &str) -> Process {
    let regions = maps.lines().map(|line| Region::from_maps_line(line.trim().as_bytes()).unwrap()).collect();
    Process { architecture: Architecture::X86_64, regions, ..Process::default() }
}

fn thread(id: u32, stack_pointer: u64) -> Thread {
    let mut bytes = [0; 27 * 8];
    bytes[19 * 8..20 * 8].copy_from_slice(&stack_pointer.to_le_bytes());
    let sets = vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&bytes) }];
    let registers = Registers { architecture: Architecture::X86_64, sets, ..Registers::default() };
    Thread { id: ThreadId(id), registers: Ok(registers), ..Thread::default() }
}

fn of(process: &Process) -> AddressSpace {
    AddressSpace::of(process, SpaceOptions { memory: None, lists_all: true })
}

/// Start and usage of what is in use.
fn usages(space: &AddressSpace) -> Vec<(u64, Usage)> {
    let busy = space.regions.iter().filter(|region| region.is_busy());
    busy.map(|region| (region.range.start().0, region.usage)).collect()
}

fn threads_at(space: &AddressSpace, start: u64) -> Vec<u32> {
    let region = space.regions.iter().find(|region| region.range.start().0 == start).unwrap();
    region.threads.iter().map(|thread| thread.0).collect()
}

const MAPS: &str = "\
    00400000-00402000 r-xp 00000000 08:01 7                                  /bin/program
    00402000-00403000 rw-p 00000000 00:00 0
    00600000-00700000 rw-p 00000000 00:00 0                                  [heap]
    7f0000000000-7f0000021000 rw-p 00000000 00:00 0
    7f0000021000-7f0004000000 ---p 00000000 00:00 0
    7f0008000000-7f0008001000 ---p 00000000 00:00 0
    7f0008001000-7f0008801000 rw-p 00000000 00:00 0
    7f0009000000-7f0009100000 r--s 00000000 08:01 8                          /data/file
    7f000a000000-7f000a100000 rw-s 00000000 00:05 9                          /dev/shm/x
    7f000b000000-7f000b100000 rw-s 00000000 00:05 10                         /memfd:x (deleted)
    7f000c000000-7f000c100000 rw-p 00000000 00:00 0                          [anon: glibc: malloc]
    7f000d000000-7f000d100000 rw-p 00000000 00:00 0
    7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
    7ffd00030000-7ffd00032000 r-xp 00000000 00:00 0                          [vdso]
    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]";

#[test]
fn regions_of_linux_are_told_by_name_module_thread_and_form() {
    let mut process = linux(MAPS);
    let range = AddressRange::new(Address(0x40_0000), Address(0x40_3000));
    process.modules = vec![Module { path: "/bin/program".into(), range, ..Module::default() }];
    process.threads = vec![thread(1, 0x7ffd_0002_0000), thread(2, 0x7f00_0880_0f00), thread(3, 0x7f00_0880_1000)];
    let space = of(&process);
    assert_eq!(
        usages(&space),
        [
            (0x40_0000, Usage::Image),
            (0x40_2000, Usage::Image),
            (0x60_0000, Usage::Heap),
            (0x7f00_0000_0000, Usage::Heap),
            (0x7f00_0002_1000, Usage::Heap),
            (0x7f00_0800_0000, Usage::Stack),
            (0x7f00_0800_1000, Usage::Stack),
            (0x7f00_0900_0000, Usage::MappedFile),
            (0x7f00_0a00_0000, Usage::MappedFile),
            (0x7f00_0b00_0000, Usage::Shared),
            (0x7f00_0c00_0000, Usage::Heap),
            (0x7f00_0d00_0000, Usage::Private),
            (0x7ffd_0000_0000, Usage::Stack),
            (0x7ffd_0003_0000, Usage::Kernel),
            (0xffff_ffff_ff60_0000, Usage::Kernel),
        ]
    );
    assert_eq!((space.regions[1].module, space.regions[2].module), (Some(0), Some(0)));
    assert_eq!(threads_at(&space, 0x7ffd_0000_0000), [1]);
    assert_eq!(threads_at(&space, 0x7f00_0800_1000), [2, 3]);
    assert_eq!(threads_at(&space, 0x7f00_0800_0000), [2, 3]);
    assert_eq!(space.stacks.len(), 3);
}

#[test]
fn a_stack_that_ran_into_its_guard_is_still_the_one_above() {
    let mut process = linux(MAPS);
    process.threads = vec![thread(5, 0x7f00_0800_0ff8)];
    let space = of(&process);
    assert_eq!(threads_at(&space, 0x7f00_0800_1000), [5]);
    assert_eq!(space.stacks[0].region.start(), Address(0x7f00_0800_1000));
}

#[test]
fn a_stack_pointer_gone_wild_makes_no_stack_of_a_file() {
    let mut process = linux(MAPS);
    process.threads = vec![thread(5, 0x7f00_0900_0010), thread(6, 0x10)];
    let space = of(&process);
    assert!(usages(&space).contains(&(0x7f00_0900_0000, Usage::MappedFile)));
    assert_eq!(space.stacks.len(), 1);
}

#[test]
fn names_tell_whose_a_stack_is() {
    let mut process = linux(
        "7f0000000000-7f0000100000 rw-p 00000000 00:00 0                          [anon: glibc: pthread stack: 42]
         7f0000200000-7f0000300000 rw-p 00000000 00:00 0                          [anon:stack_and_tls:43]
         7f0000400000-7f0000500000 rw-p 00000000 00:00 0                          [anon:stacktraces]",
    );
    process.threads = vec![Thread { id: ThreadId(42), ..Thread::default() }];
    let space = of(&process);
    let kinds: Vec<_> = usages(&space).into_iter().map(|(_, usage)| usage).collect();
    assert_eq!(kinds, [Usage::Stack, Usage::Stack, Usage::Private]);
    assert_eq!(threads_at(&space, 0x7f00_0000_0000), [42]);
    assert_eq!(threads_at(&space, 0x7f00_0020_0000), [0; 0]);
}

#[test]
fn tables_add_up_and_name_the_largest() {
    let mut process = linux(MAPS);
    for region in &mut process.regions {
        region.resident = Some(0x1000);
        region.mapped_elsewhere = Some(0x400);
    }
    process.regions[2].resident = None;
    let space = of(&process);
    assert_eq!(space.total_bytes, (1 << 47) + 0x1000);
    let free = space.by_usage.iter().find(|row| row.key == Usage::Free).unwrap();
    assert_eq!(free.bytes + space.busy_bytes, space.total_bytes);
    assert_eq!((free.percent_of_busy, free.resident), (None, None));
    assert_eq!(free.largest, AddressRange::new(Address(0x70_0000), Address(0x7f00_0000_0000)));
    assert_eq!(space.by_usage[0].key, Usage::Free);
    let set = space.working_set.unwrap();
    assert_eq!((set.resident, set.shared, set.private), (14 * 0x1000, 14 * 0x400, 14 * 0xc00));
    assert_eq!(set.unknown_regions, 1);
    let heap = space.by_usage.iter().find(|row| row.key == Usage::Heap).unwrap();
    assert_eq!((heap.count, heap.resident), (4, None));
}

#[test]
fn memory_without_rights_and_pages_is_reserved() {
    let mut process = linux(MAPS);
    process.regions[5].resident = Some(0x1000);
    let space = of(&process);
    let states: Vec<_> = space.regions.iter().filter(|region| region.state == State::Reserve).collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].range.start(), Address(0x7f00_0002_1000));
    let rights: Vec<_> = space.by_protection.iter().map(|row| row.key.to_string()).collect();
    assert_eq!(rights, ["rw-p", "rw-s", "r--s", "r-xp", "---p", "--xp"]);
}

#[test]
fn what_a_dump_does_not_list_is_not_called_free() {
    let process = linux(MAPS);
    let space = AddressSpace::of(&process, SpaceOptions::default());
    assert!(space.by_usage.iter().all(|row| row.key != Usage::Free));
    assert!(space.listed);
    let mut process = Process { architecture: Architecture::X86_64, ..Process::default() };
    let range = AddressRange::new(Address(0x40_0000), Address(0x40_3000));
    process.modules = vec![Module { path: "/bin/program".into(), range, ..Module::default() }];
    let mut with_stack = thread(1, 0x7000_0010);
    with_stack.stack = Some(AddressRange::new(Address(0x7000_0000), Address(0x7000_2000)));
    process.threads = vec![with_stack];
    let space = of(&process);
    assert!(!space.listed);
    assert_eq!(usages(&space), [(0x40_0000, Usage::Image), (0x7000_0000, Usage::Stack)]);
    assert!(space.by_usage.iter().any(|row| row.key == Usage::NotListed));
    assert!(space.by_protection.is_empty());
}

fn windows_region(start: u64, size: u64, base: u64, kind: PageKind, protection: u32) -> Region {
    let state = if protection == 0 { PageState::Reserve } else { PageState::Commit };
    let pages =
        WindowsPages { state, kind: Some(kind), protection, allocation_base: Address(base), allocation_protection: 4 };
    let sharing = if kind == PageKind::Private { Sharing::Private } else { Sharing::Shared };
    let (range, protection) = (AddressRange::sized(Address(start), size), WindowsPages::rights(protection));
    Region { range, protection, sharing, windows: Some(pages), ..Region::default() }
}

/// A process of Windows with one thread, its stack, its blocks and a heap.
fn windows() -> (Process, SampleMemory) {
    let mut blocks = vec![0; 0x6000];
    let mut put = |at: usize, value: u64| blocks[at..at + 8].copy_from_slice(&value.to_le_bytes());
    // The thread's block at 0x12000, the process's at 0x11000, the list of heaps behind its end.
    put(0x2010, 0x2_8000);
    put(0x2030, 0x1_2000);
    put(0x2060, 0x1_1000);
    put(0x10e8, 1);
    put(0x10f0, 0x1_5000);
    put(0x5000, 0x5_0000);
    let memory = SampleMemory::of(0x1_0000, &blocks);
    let mut main = thread(9, 0x2_9000);
    let block = Some(Address(0x1_2000));
    main.windows = Some(Box::new(WindowsThread { environment_block: block, ..WindowsThread::default() }));
    let regions = vec![
        windows_region(0x1_0000, 0x6000, 0x1_0000, PageKind::Private, 4),
        windows_region(0x2_0000, 0x7000, 0x2_0000, PageKind::Private, 0),
        windows_region(0x2_7000, 0x1000, 0x2_0000, PageKind::Private, 0x104),
        windows_region(0x2_8000, 0x8000, 0x2_0000, PageKind::Private, 4),
        windows_region(0x4_0000, 0x1000, 0x4_0000, PageKind::Mapped, 2),
        windows_region(0x5_0000, 0x1000, 0x5_0000, PageKind::Private, 4),
        windows_region(0x5_1000, 0xf000, 0x5_0000, PageKind::Private, 0),
        windows_region(0x7ff0_0000, 0x1000, 0x7ff0_0000, PageKind::Image, 2),
        windows_region(0x7ff0_1000, 0x1000, 0x7ff0_0000, PageKind::Image, 0x20),
        windows_region(0x7ffe_0000, 0x1000, 0x7ffe_0000, PageKind::Private, 2),
    ];
    let system = System { platform: Platform::Windows, ..System::default() };
    let architecture = Architecture::X86_64;
    (Process { system, architecture, regions, threads: vec![main], ..Process::default() }, memory)
}

#[test]
fn blocks_stacks_and_heaps_of_windows_are_found() {
    let (process, memory) = windows();
    let space = AddressSpace::of(&process, SpaceOptions { memory: Some(&memory), lists_all: true });
    assert_eq!(
        usages(&space),
        [
            (0x1_0000, Usage::Private),
            (0x1_1000, Usage::Peb),
            (0x1_2000, Usage::Teb),
            (0x1_4000, Usage::Private),
            (0x2_0000, Usage::Stack),
            (0x2_7000, Usage::Stack),
            (0x2_8000, Usage::Stack),
            (0x4_0000, Usage::Shared),
            (0x5_0000, Usage::Heap),
            (0x5_1000, Usage::Heap),
            (0x7ff0_0000, Usage::Image),
            (0x7ff0_1000, Usage::Image),
            (0x7ffe_0000, Usage::Kernel),
        ]
    );
    assert_eq!(threads_at(&space, 0x1_2000), [9]);
    assert_eq!(threads_at(&space, 0x2_0000), [9]);
    let rights: Vec<_> = space.by_protection.iter().map(|row| row.key.to_string()).collect();
    let guard = "PAGE_READWRITE | PAGE_GUARD";
    assert_eq!(rights, ["PAGE_READWRITE", "PAGE_READONLY", "PAGE_EXECUTE_READ", guard]);
    let kinds: Vec<_> = space.by_kind.iter().map(|row| (row.key, row.count)).collect();
    assert_eq!(kinds, [(Kind::Private, 10), (Kind::Image, 2), (Kind::Mapped, 1)]);
}

#[test]
fn without_memory_the_block_of_a_thread_is_known_all_the_same() {
    let (process, _) = windows();
    let space = of(&process);
    let busy = usages(&space);
    assert!(busy.contains(&(0x1_2000, Usage::Teb)) && busy.contains(&(0x2_0000, Usage::Stack)));
    assert!(busy.contains(&(0x5_0000, Usage::Private)));
}

#[test]
fn json_has_stable_names() {
    let mut process = linux("00600000-00601000 rw-p 00000000 00:00 0                                  [heap]");
    process.regions[0].resident = Some(4096);
    let space = of(&process);
    assert_eq!(
        serde_json::to_string(&space.regions[1]).unwrap(),
        r#"{"start":"0x600000","end":"0x601000","usage":"heap","kind":"private","state":"commit","protection":"rw-p","module":null,"name":"[heap]","resident":4096,"swapped":null,"shared":null}"#
    );
    assert_eq!(
        serde_json::to_string(&space.by_kind[0]).unwrap(),
        r#"{"key":"private","count":1,"bytes":4096,"percent_of_busy":100.0,"percent_of_total":2.9103830456733704e-9,"resident":4096,"swapped":null,"largest":{"start":"0x600000","end":"0x601000"}}"#
    );
}

/// The kernel's own list of this very process.
#[test]
fn this_process_has_what_the_kernel_lists() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let process = linux(&maps);
    let space = of(&process);
    assert_eq!(usages(&space).len(), maps.lines().count());
    let listed: u64 = process.regions.iter().map(|region| region.range.size()).sum();
    assert_eq!(space.busy_bytes, listed);
    let count = |usage| usages(&space).iter().filter(|(_, found)| *found == usage).count();
    assert_eq!(count(Usage::Stack), maps.matches("[stack]").count());
    assert_eq!(count(Usage::Kernel), maps.matches("[v").count());
}

proptest! {
    #[test]
    fn every_address_is_in_one_region_whatever_a_dump_lists(
        list in proptest::collection::vec((any::<u64>(), 0u64..1 << 40, 0u8..8, any::<bool>()), 0..30),
        pointers in proptest::collection::vec(any::<u64>(), 0..5),
        lists_all: bool,
    ) {
        let mut process = linux("");
        process.regions = list.iter().map(|(start, size, bits, windows)| {
            let range = AddressRange::sized(Address(start >> 8), *size);
            let pages = windows.then(|| windows_region(0, 1, start & 3, PageKind::Private, 4).windows).flatten();
            Region { range, protection: Protection::from_bits_truncate(*bits), windows: pages, ..Region::default() }
        }).collect();
        process.threads = (0..).zip(&pointers).map(|(id, pointer)| thread(id, pointer >> 8)).collect();
        let space = AddressSpace::of(&process, SpaceOptions { memory: None, lists_all });
        for pair in space.regions.windows(2) {
            prop_assert_eq!(pair[0].range.end(), pair[1].range.start());
        }
        for rows in [space.by_usage.iter().map(|row| row.bytes).sum::<u64>(), space.by_state.iter().map(|row| row.bytes).sum()] {
            prop_assert_eq!(rows, space.total_bytes);
        }
        prop_assert_eq!(space.by_kind.iter().map(|row| row.bytes).sum::<u64>(), space.busy_bytes);
        for row in &space.by_usage {
            prop_assert!(row.largest.size() <= row.bytes && !row.largest.is_empty());
        }
    }
}
