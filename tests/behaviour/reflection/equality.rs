//! The same target, standing still, dumped in each mode: the same memory, threads, registers and backtraces, whichever way they were come
//! by.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{Mode, dump_in, modes};
use crate::harness::{
    Core, Dump, MachineLock, NT_PRSTATUS, Plan, Setting, Target, compare_exactly, compare_places, gdb_core, gdb_live,
    is_root, lldb, oracle, scratch, skip, stackwalk, verify, verify_absent,
};
use crate::oracles::expect_vector_registers;

const PAGE: usize = 4096;
const CHUNK: usize = 256 << 12;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// What an injected call may have written to: memory below a thread's stack pointer and the red zone under it.
struct Scratch(Vec<(u64, u64)>);

impl Scratch {
    fn of(dump: &Dump) -> Self {
        let stack_pointers = dump.threads().into_iter().filter_map(|tid| Some(dump.registers(tid)?.sp));
        Self(stack_pointers.map(|sp| (sp - (64 << 10), sp - 128)).collect())
    }

    fn covers(&self, address: u64) -> bool {
        self.0.iter().any(|(start, end)| (*start..*end).contains(&address))
    }
}

/// Panics unless both dumps of a target hold the same memory. The first is of a stopped target: what it holds is what
/// there is.
#[track_caller]
fn expect_same_memory(target: &Target, plain: &Dump, other: &Dump) {
    let scratch = Scratch::of(plain);
    let mut wrong = Vec::new();
    for (address, bytes) in chunks(plain.core()) {
        if other.memory(address, bytes.len()).is_some_and(|found| found == bytes) {
            continue;
        }
        for (at, page) in pages(address, &bytes) {
            wrong.extend(page_difference(at, page, other.memory(at, page.len()).as_deref(), &scratch));
        }
    }
    let shared = Shared::of(target.pid);
    for (address, bytes) in chunks(other.core()) {
        for (at, page) in pages(address, &bytes) {
            // Looking for a place to call from may bring in pages of programs, and a call pages of a stack.
            let more = page != &ZEROS[..page.len()] && plain.memory(at, page.len()).is_none();
            if more && !shared.covers(at) && !scratch.covers(at) {
                wrong.push(format!("the page at {at:#x} is in this dump only"));
            }
        }
    }
    let first: Vec<_> = wrong.iter().take(10).cloned().collect();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), first.join("\n"));
}

/// Memory of a core that is in the file, piece by piece.
fn chunks(core: &Core) -> impl Iterator<Item = (u64, Vec<u8>)> {
    core.loads().filter(|load| load.in_file > 0).flat_map(|load| {
        (0..load.in_file).step_by(CHUNK).filter_map(|at| {
            let length = usize::try_from(load.in_file - at).unwrap().min(CHUNK);
            let bytes = core.memory(load.address + at, length)?;
            (bytes != ZEROS[..length]).then_some((load.address + at, bytes))
        })
    })
}

fn pages(address: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (address..).step_by(PAGE).zip(bytes.chunks(PAGE))
}

fn page_difference(at: u64, wanted: &[u8], found: Option<&[u8]>, scratch: &Scratch) -> Option<String> {
    match found {
        // Zeros stand for absent pages between others.
        _ if wanted == &ZEROS[..wanted.len()] && found.is_none() => None,
        None => Some(format!("the page at {at:#x} is missing")),
        Some(found) => {
            let differs = |index: &usize| wanted[*index] != found[*index] && !scratch.covers(at + *index as u64);
            let first = (0..wanted.len()).find(differs)?;
            Some(format!("the page at {at:#x} differs from byte {first:#x} on"))
        }
    }
}

/// Mappings of files and the kernel's own, whose pages come and go by others' doing, and the first stack.
struct Shared(Vec<(u64, u64)>);

impl Shared {
    fn of(pid: i32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let line = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            let taken = words[4] != "0" || words.get(5).is_some_and(|name| name.starts_with('['));
            taken.then_some((number(start)?, number(end)?))
        };
        Self(maps.lines().filter_map(line).collect())
    }

    fn covers(&self, address: u64) -> bool {
        self.0.iter().any(|(start, end)| (*start..*end).contains(&address))
    }
}

/// Starts a target whose memory nobody changes, not even the kernel when a thread goes on (rseq(2)).
fn quiet(name: &str, arguments: &[&str]) -> Target {
    Plan::c(name).args(arguments).env("GLIBC_TUNABLES", "glibc.pthread.rseq=0").start()
}

/// The same memory in all modes, and the marks in both formats and kinds.
#[track_caller]
fn compare_modes(target: &Target) {
    let plain = dump_in(Mode::Stop, target, "dump.core", &[]);
    for mode in modes() {
        let core = dump_in(mode, target, "dump.core", &[]);
        verify(&core, &target.markers);
        expect_same_memory(target, &plain, &core);
        expect_same_facts(&plain, &core);
        verify(&dump_in(mode, target, "dump.dmp", &[]), &target.markers);
    }
}

/// As many threads, modules and regions, and the same gaps, but for what could not be frozen.
#[track_caller]
fn expect_same_facts(plain: &Dump, other: &Dump) {
    for name in ["threads", "modules", "regions"] {
        assert_eq!(plain.json[name], other.json[name], "{name}");
    }
    assert_eq!(plain.threads(), other.threads());
    let gaps = |dump: &Dump| -> BTreeSet<String> {
        dump.gaps().iter().filter(|gap| gap["reason"] != "not_frozen").map(Value::to_string).collect()
    };
    assert_eq!(gaps(plain), gaps(other), "gaps");
}

#[test]
fn ordinary_memory() {
    // A fourth thread would sleep, and the kernel writes the rest of an interrupted sleep into its memory.
    compare_modes(&quiet("big", &["-m", "24", "-t", "3", "-r", "1"]));
}

#[test]
fn transparent_huge_pages() {
    compare_modes(&quiet("big", &["-m", "24", "-T"]));
}

#[test]
fn many_mappings() {
    compare_modes(&quiet("maps", &["2000"]));
}

#[test]
fn guard_pages() {
    let target = quiet("guard", &[]);
    if target.is_unsupported() {
        return skip("the kernel has no MADV_GUARD_INSTALL");
    }
    compare_modes(&target);
}

#[test]
fn data_behind_protection_none() {
    compare_modes(&quiet("protnone", &[]));
}

#[test]
fn files_with_holes() {
    let dir = scratch();
    compare_modes(&quiet("memfd", &[dir.path().join("sparse").to_str().unwrap()]));
}

#[test]
fn mapping_past_the_end_of_its_file() {
    let dir = scratch();
    compare_modes(&quiet("pasteof", &[dir.path().join("cut").to_str().unwrap()]));
}

#[test]
fn shared_page_filled_by_another_process() {
    if !is_root() {
        return skip("map_files is for root");
    }
    compare_modes(&quiet("shm2", &[]));
}

#[test]
fn untouched_memory() {
    compare_modes(&quiet("sh", &[]));
}

#[test]
fn huge_pages() {
    let _machine = MachineLock::take();
    // As many as the target takes: none is left for a copy.
    let borrowed = Setting::set("/proc/sys/vm/nr_hugepages", "3");
    let target = quiet("huge", &[]);
    if borrowed.is_none() || target.number("hugetlb") == 0 {
        skip("no pages of hugetlbfs to be had; transparent ones are tested");
    }
    compare_modes(&target);
}

/// Memory that a child lacks, or has empty, is in the dump all the same; what the program wants in no dump is in none.
#[test]
fn memory_that_a_child_lacks() {
    let target = quiet("dontfork", &[]);
    compare_modes(&target);
    for mode in modes() {
        for name in ["dump.core", "dump.dmp"] {
            let dump = dump_in(mode, &target, name, &[]);
            verify_absent(&dump.path, &target.markers);
            for excluded in ["dontdump", "dontdump_dontfork", "dontdump_wipeonfork"] {
                dump.expect_gap(target.number(excluded), "dontdump");
            }
            let asked = dump_in(mode, &target, name, &["--include-dontdump"]);
            for marker in &target.markers {
                assert_eq!(asked.memory(marker.address, marker.length), Some(marker.bytes()), "{}", marker.name);
            }
        }
    }
}

#[test]
fn memory_that_no_dump_is_to_hold() {
    compare_modes(&quiet("dd", &[]));
}

/// Memory that another process writes cannot be frozen: it is in the dump, which says so; private memory never needs that.
#[test]
fn memory_shared_with_a_process_that_runs() {
    let target = quiet("neighbours", &[]);
    let both = target.number("both");
    for mode in modes() {
        for name in ["dump.core", "dump.dmp"] {
            let dump = dump_in(mode, &target, name, &[]);
            verify(&dump, &target.markers);
            assert!(dump.memory(both, 4096).is_some(), "the page that the other process writes is missing");
            let unfrozen: Vec<_> = dump.gaps().iter().filter(|gap| gap["reason"] == "not_frozen").collect();
            assert!(unfrozen.iter().all(|gap| gap["subject"] == "memory" && gap["loss"] == false), "{unfrozen:?}");
            // A stopped target's neighbours run on as well, as they always did; dumps of that kind need not say so.
            if mode != Mode::Stop {
                dump.expect_gap(both, "not_frozen");
            }
            let stack = dump.registers(dump.threads()[0]).unwrap().sp;
            assert!(dump.gap_at(stack).is_none(), "a gap where private memory is: {:?}", dump.gap_at(stack));
        }
    }
}

/// General registers of every thread, as the kernel notes them in a core.
fn registers(dump: &Dump) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = dump
        .core()
        .notes_of("CORE", NT_PRSTATUS)
        .map(|status| [&status[32..36], &status[112..112 + 27 * 8]].concat())
        .collect();
    all.sort();
    all
}

/// A dump may hold the registers of a thread in which something was called: its own, not those of the call.
#[test]
fn same_registers() {
    let target = quiet("big", &["-m", "4", "-t", "12"]);
    // From the first stop on, a call that goes on with the rest of its timeout is another one (restart_syscall).
    dump_in(Mode::Stop, &target, "dump.core", &[]);
    let plain = registers(&dump_in(Mode::Stop, &target, "dump.core", &[]));
    for mode in modes() {
        assert_eq!(registers(&dump_in(mode, &target, "dump.core", &[])), plain, "{mode:?}");
    }
}

#[test]
fn same_vector_registers() {
    for mode in modes() {
        expect_vector_registers(&mode.arguments());
    }
}

/// gdb's backtraces of the living target, and other debuggers' of its dumps.
#[test]
fn same_backtraces() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("big").args(["-m", "8", "-t", "12"]).start();
    let live = gdb_live(&gdb, target.pid);
    for mode in modes() {
        let core = dump_in(mode, &target, "dump.core", &[]);
        compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &core.path), &target.threads);
        let minidump = dump_in(mode, &target, "dump.dmp", &[]);
        if let Some(tool) = oracle("minidump-stackwalk") {
            compare_places(&live, &stackwalk(&tool, &minidump.path), &target.threads, 4);
        }
        if let Some(tool) = oracle("lldb-19") {
            compare_places(&live, &lldb(&tool, None, &minidump.path), &target.threads, usize::MAX);
        }
    }
}

/// The smaller kind: everything private or written.
#[test]
fn miniplus() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "24", "-t", "4"]).start();
        for name in ["dump.core", "dump.dmp"] {
            verify(&dump_in(mode, &target, name, &["--kind", "miniplus"]), &target.markers);
        }
    }
}
