//! One instant: all memory in a dump is that of the moment at which the registers were read. The targets keep rules that
//! hold at every instant and that a copy from two moments breaks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::counters::{Sequence, complaints, complaints_of_memory, sequences};
use super::structures::{Slots, Tree};
use super::{Mode, Repeat, expect_mode, expect_mode_or_reason};
use crate::harness::{Dump, MachineLock, Plan, Setting, State, Target, Tolerance, dump_with, heavy, scratch, skip};

/// Writers at full speed never let the rounds of a live snapshot end by themselves; those that rest do.
const RESTS: [&str; 2] = ["0", "50000"];

/// What the target `moves` does by itself.
const MOVES: Tolerance = Tolerance { children: true, locks: true, growth_kib: 8 * 1024, ..Tolerance::STRICT };

struct Counters {
    target: Target,
    sequences: Vec<Sequence>,
    _dir: TempDir,
}

impl Counters {
    fn start(arguments: &[&str]) -> Self {
        let dir = scratch();
        let file = dir.path().join("private");
        let target = Plan::c("instant").args(["-f", file.to_str().unwrap()]).args(arguments).start();
        let sequences = sequences(&target);
        Self { target, sequences, _dir: dir }
    }

    fn resting(rest: &str) -> Self {
        if rest == "0" { Self::start(&[]) } else { Self::start(&["-p", rest]) }
    }

    /// No dump breaks the rule.
    #[track_caller]
    fn hold(&self, dumps: &Repeat<'_>, expect_told: impl Fn(&Value)) {
        let before = State::of(self.target.pid);
        dumps.of(&self.target, expect_told, |dump| complaints(&self.sequences, dump));
        before.assert_unharmed(Tolerance::STRICT);
    }
}

#[track_caller]
fn hold_counters(mode: Mode, times: usize) {
    if !mode.is_offered() {
        return;
    }
    for rest in RESTS {
        let dumps = Repeat { arguments: &mode.arguments(), fault: "", times };
        Counters::resting(rest).hold(&dumps, |json| expect_mode(mode, json));
    }
}

/// Counters, registers and stacks in a dump of a stopped target.
#[test]
fn counters_stop() {
    hold_counters(Mode::Stop, 6);
}

/// The same in a dump of its clone.
#[test]
fn counters_clone() {
    hold_counters(Mode::Clone, 6);
}

/// The same in a dump of the target while it runs.
#[test]
fn counters_live() {
    hold_counters(Mode::Live, 6);
}

/// The test of these tests: memory that is copied while the target runs breaks the rule.
#[test]
fn counters_betray_a_copy_of_many_moments() {
    let counters = Counters::start(&[]);
    let mut torn = 0;
    for _ in 0..5 {
        let (run, dump) = dump_with(&counters.target, "dump.core", &["--no-registers"], Tolerance::STRICT);
        run.expect(0);
        torn += usize::from(!complaints_of_memory(&counters.sequences, &dump.unwrap()).is_empty());
    }
    assert!(torn > 0, "five copies of running counters, and none was torn");
}

/// A tree under mutation, whole at every instant.
#[track_caller]
fn hold_tree(mode: Mode, times: usize) {
    if !mode.is_offered() {
        return;
    }
    for rest in RESTS {
        let mut target = Plan::c("tree").args(["-p", rest]).start();
        let (tree, before) = (Tree::of(&target), State::of(target.pid));
        let dumps = Repeat { arguments: &mode.arguments(), fault: "", times };
        dumps.of(&target, |json| expect_mode(mode, json), |dump| tree.complaints(dump));
        before.assert_unharmed(Tolerance::STRICT);
        expect_progress(&mut target);
    }
}

/// Every number that the target reports still rises.
#[track_caller]
fn expect_progress(target: &mut Target) {
    let before = target.ask("report");
    let since = Instant::now();
    loop {
        sleep(Duration::from_millis(50));
        let now = target.ask("report");
        let number = |report: &BTreeMap<String, String>, name: &str| report[name].parse::<u64>().unwrap();
        let still: Vec<_> =
            before.keys().filter(|name| *name != "bad" && number(&now, name) <= number(&before, name)).collect();
        if still.is_empty() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "the target does no more of {still:?}");
    }
}

#[test]
fn tree_stop() {
    hold_tree(Mode::Stop, 6);
}

#[test]
fn tree_clone() {
    hold_tree(Mode::Clone, 6);
}

#[test]
fn tree_live() {
    hold_tree(Mode::Live, 6);
}

/// Memory that is mapped, moved, discarded and forked while the dump goes on: what was there at the instant is in the
/// dump, what was not is not, and the target finds its memory as it left it.
#[track_caller]
fn hold_moves(mode: Mode, times: usize) {
    if !mode.is_offered() {
        return;
    }
    let mut target = Plan::c("moves").start();
    let slots = Slots::of(&target);
    let before = State::of(target.pid);
    let used = RefCell::new(BTreeMap::<String, usize>::new());
    let note = |json: &Value| {
        expect_mode_or_reason(mode, json);
        *used.borrow_mut().entry(json["snapshot"].to_string()).or_default() += 1;
    };
    Repeat { arguments: &mode.arguments(), fault: "", times }.of(&target, note, |dump| slots.complaints(dump));
    eprintln!("{} was asked for, {:?} was used", mode.name(), used.borrow());
    before.assert_unharmed(MOVES);
    expect_progress(&mut target);
    assert_eq!(target.ask("report")["bad"], "0", "memory that the target found other than it left it");
}

#[test]
fn moves_stop() {
    hold_moves(Mode::Stop, 9);
}

#[test]
fn moves_clone() {
    hold_moves(Mode::Clone, 9);
}

#[test]
fn moves_live() {
    hold_moves(Mode::Live, 9);
}

/// Both targets again where nothing is copied at one moment: the rules see it.
#[test]
fn structures_betray_a_copy_of_many_moments() {
    let torn = |target: &Target, complaints: &dyn Fn(&Dump) -> Vec<String>| {
        (0..10).any(|_| {
            let (run, dump) = dump_with(target, "dump.core", &["--no-registers"], MOVES);
            assert!(matches!(run.code, Some(0 | 6)), "exit code {:?}: {}", run.code, run.stderr);
            !complaints(&dump.unwrap()).is_empty()
        })
    };
    let target = Plan::c("tree").start();
    let tree = Tree::of(&target);
    assert!(torn(&target, &|dump| tree.complaints(dump)), "ten copies of a changing tree, and none was torn");
    let target = Plan::c("moves").start();
    let slots = Slots::of(&target);
    assert!(torn(&target, &|dump| slots.complaints(dump)), "ten copies of moving memory, and none was torn");
}

/// Counters in huge pages of hugetlbfs, with none left for copies: a clone must not lose them.
#[test]
fn counters_in_huge_pages_without_a_spare_one() {
    let _machine = MachineLock::take();
    let Some(_borrowed) = Setting::set("/proc/sys/vm/nr_hugepages", "2") else {
        return skip("no pages of hugetlbfs to be had");
    };
    for mode in super::modes() {
        let counters = Counters::start(&["-H", "-k", "hugetlb"]);
        assert_eq!(counters.target.number("hugetlb"), 1);
        let dumps = Repeat { arguments: &mode.arguments(), fault: "", times: 6 };
        counters.hold(&dumps, |json| expect_mode_or_reason(mode, json));
    }
}

/// What is found written in each round is set aside, and copied when the target goes on, each page before its next write.
#[cfg(feature = "fault-injection")]
#[test]
fn counters_live_set_aside() {
    if !Mode::Live.is_offered() {
        return;
    }
    for rest in RESTS {
        let dumps = Repeat { arguments: &Mode::Live.arguments(), fault: "no-convergence", times: 6 };
        Counters::resting(rest).hold(&dumps, |json| expect_mode(Mode::Live, json));
    }
}

/// A thread that writes to 64 MiB at full speed is never caught up with, and is caught all the same.
#[test]
fn storm_live() {
    if !Mode::Live.is_offered() {
        return;
    }
    let dumps = Repeat { arguments: &Mode::Live.arguments(), fault: "", times: 6 };
    Counters::start(&["-k", "storm", "-s", "16384"]).hold(&dumps, |json| expect_mode(Mode::Live, json));
}

/// The same where it writes to more than is set aside: then there is a clone.
#[test]
fn storm_all_over_the_place() {
    if !Mode::Live.is_offered() {
        return;
    }
    let dumps = Repeat { arguments: &Mode::Live.arguments(), fault: "", times: 1 };
    Counters::start(&["-k", "storm", "-s", "524288"]).hold(&dumps, |json| {
        assert_eq!(json["snapshot"], "clone");
        assert!(json["snapshot_reason"].as_str().unwrap().contains("faster than that can be copied"), "{json}");
    });
}

/// Kernels before 6.7 read the page table another way.
#[cfg(feature = "fault-injection")]
#[test]
fn counters_without_pagemap_scan() {
    for mode in super::modes() {
        let dumps = Repeat { arguments: &mode.arguments(), fault: "no-pagemap-scan", times: 3 };
        Counters::start(&[]).hold(&dumps, |json| expect_mode_or_reason(mode, json));
    }
}

// Ten thousand dumps, of fresh targets after each hundred: 5,000 of counters, 2,500 of trees, 2,500 of moving memory. 4,800
// of them live, 3,500 of clones, 1,700 of stopped targets.

// In three parts, as together they take longer than a test may.

#[test]
fn heavy_counters_live_1() {
    if heavy() {
        (0..4).for_each(|_| hold_counters(Mode::Live, 100));
    }
}

#[test]
fn heavy_counters_live_2() {
    if heavy() {
        (0..4).for_each(|_| hold_counters(Mode::Live, 100));
    }
}

#[test]
fn heavy_counters_live_3() {
    if heavy() {
        (0..4).for_each(|_| hold_counters(Mode::Live, 100));
    }
}

#[test]
fn heavy_counters_clone() {
    if heavy() {
        (0..9).for_each(|_| hold_counters(Mode::Clone, 100));
    }
}

#[test]
fn heavy_counters_stop() {
    if heavy() {
        (0..4).for_each(|_| hold_counters(Mode::Stop, 100));
    }
}

#[test]
fn heavy_tree_live() {
    if heavy() {
        (0..6).for_each(|_| hold_tree(Mode::Live, 100));
    }
}

#[test]
fn heavy_tree_clone() {
    if heavy() {
        (0..4).for_each(|_| hold_tree(Mode::Clone, 100));
    }
}

#[test]
fn heavy_tree_stop() {
    if heavy() {
        (0..2).for_each(|_| hold_tree(Mode::Stop, 125));
    }
}

#[test]
fn heavy_moves_live() {
    if heavy() {
        (0..12).for_each(|_| hold_moves(Mode::Live, 100));
    }
}

#[test]
fn heavy_moves_clone() {
    if heavy() {
        (0..9).for_each(|_| hold_moves(Mode::Clone, 100));
    }
}

#[test]
fn heavy_moves_stop() {
    if heavy() {
        (0..4).for_each(|_| hold_moves(Mode::Stop, 100));
    }
}
