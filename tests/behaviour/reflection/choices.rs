//! What is done when the best mode cannot be had, by failures on demand: the next best, with a reason; with
//! `--avoid-outage` rather nothing; and no more clones at once than are allowed.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::asking::SKIPPED;
use super::{Mode, expect_mode};
use crate::harness::{
    Dump, Effigy, Mappings, Plan, Run, State, Target, Tolerance, effigy, is_root, scratch, twins_of, verify,
};

/// A run with failures on demand into this folder; the target must be unharmed.
#[track_caller]
fn run_without(fault: &str, target: &Target, dir: &Path, arguments: &[&str]) -> Run {
    let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
    let run = effigy(["dump", &target.pid_text(), "--json", "-o", "dump.core"]).args(arguments).dir(dir);
    let run = run.env("EFFIGY_FAULT", fault).within(60).run();
    before.assert_unharmed(Tolerance::STRICT);
    mappings.assert_same();
    assert_eq!(twins_of(target.pid), Vec::<i32>::new());
    run
}

/// What cannot be had is done without, and it is said why.
#[test]
fn second_best_modes() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("no-userfaultfd", &["-r"], &["clone"]),
        ("no-userfaultfd", &[], &["clone"]),
        ("no-userfaultfd", &["--snapshot", "live"], &["clone", "stop"]),
        ("no-userfaultfd,no-clone", &["-r"], &["stop"]),
        ("no-userfaultfd,no-clone", &[], &["stop"]),
        ("no-clone", &["--snapshot", "clone"], &["live", "stop"]),
        ("no-userfaultfd,no-clone", &["--snapshot", "clone"], &["stop"]),
    ];
    let target = Plan::c("big").args(["-m", "16", "-t", "3"]).start();
    for (fault, arguments, wanted) in cases {
        let dir = scratch();
        let json = run_without(fault, &target, dir.path(), arguments).expect(0).json();
        let used = json["snapshot"].as_str().unwrap();
        assert!(wanted.contains(&used), "{fault} {arguments:?}: {used} ({})", json["snapshot_reason"]);
        let reason = json["snapshot_reason"].as_str().unwrap();
        assert!(!reason.is_empty(), "{fault} {arguments:?}: {used}, and no reason");
        if fault.starts_with("no-userfaultfd") && used == "clone" && is_root() {
            assert!(reason.contains("userfaultfd"), "the reason does not name it: {reason}");
        }
        verify(&Dump::open(&dir.path().join("dump.core")), &target.markers);
    }
}

/// What was lacking does not count when it was not asked for.
#[test]
fn what_is_not_needed_may_be_lacking() {
    let target = Plan::c("big").args(["-m", "16", "-t", "3"]).start();
    for (fault, mode) in
        [("no-userfaultfd", Mode::Clone), ("no-clone", Mode::Live), ("no-userfaultfd,no-clone", Mode::Stop)]
    {
        if mode.is_offered() {
            let dir = scratch();
            let json = run_without(fault, &target, dir.path(), &mode.arguments()).expect(0).json();
            expect_mode(mode, &json);
        }
    }
}

/// `--avoid-outage`: rather no dump than a target that stands still; where that is not in question, it changes nothing.
#[test]
fn rather_no_dump_than_an_outage() {
    let target = Plan::c("big").args(["-m", "16", "-t", "3"]).start();
    for fault in ["", "no-userfaultfd"] {
        let dir = scratch();
        let json = run_without(fault, &target, dir.path(), &["-r", "--avoid-outage"]).expect(0).json();
        assert_ne!(json["snapshot"], "stop");
        verify(&Dump::open(&dir.path().join("dump.core")), &target.markers);
    }
    let dir = scratch();
    let run = run_without("no-userfaultfd,no-clone", &target, dir.path(), &["-r", "--avoid-outage"]);
    expect_skipped(&run, dir.path());
}

/// Nothing was written, and it is said why.
#[track_caller]
fn expect_skipped(run: &Run, dir: &Path) {
    assert_eq!(run.code, Some(SKIPPED), "{}{}", run.stderr, String::from_utf8_lossy(&run.stdout));
    assert_eq!(dir.read_dir().unwrap().count(), 0, "a file was written");
    let said = run.objects().iter().any(|json| json["snapshot_reason"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(said || !run.stderr.is_empty(), "no reason is given");
}

/// A run with `-r` of a clone, whose memory is not read while the file `hold` exists.
fn held_clone(target: &Target, hold: &Path, path: &Path, arguments: &[&str]) -> Effigy {
    let run = effigy(["dump", &target.pid_text(), "-r", "--json", "-o"]).arg(path).args(arguments);
    run.env("EFFIGY_FAULT", "no-userfaultfd,hold-reads").env("EFFIGY_FAULT_HOLD", hold.to_str().unwrap()).within(120)
}

/// Waits until the target has so many clones. Who makes a clone looks like one for a moment: the same ones have to be there
/// for a while.
#[track_caller]
fn await_clones(target: &Target, count: usize) {
    const A_WHILE: Duration = Duration::from_millis(500);
    let since = Instant::now();
    let (mut twins, mut same_since) = (twins_of(target.pid), Instant::now());
    while twins.len() != count || same_since.elapsed() < A_WHILE {
        assert!(since.elapsed() < Duration::from_secs(60), "{} clones, and not {count}", twins.len());
        sleep(Duration::from_millis(2));
        let now = twins_of(target.pid);
        if now != twins {
            (twins, same_since) = (now, Instant::now());
        }
    }
}

/// `--clones`: how many there may be of one target at once, by however many effigies; one if nothing is said. One more is
/// not made: the target is stopped, which is said, or with `--avoid-outage` there is no dump (case 44).
#[test]
fn number_of_clones() {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "96", "-t", "3"]).start());
    let before = State::of(target.pid);
    let path = |name: &str| dir.path().join(name);
    let hold = path("hold");
    std::fs::write(&hold, "").unwrap();
    let first = held_clone(&target, &hold, &path("first.core"), &[]).start();
    await_clones(&target, 1);
    let empty = scratch();
    for limit in [&[][..], &["--clones", "1"]] {
        let arguments = [&["--avoid-outage"], limit].concat();
        expect_skipped(&held_clone(&target, &hold, &empty.path().join("a.core"), &arguments).run(), empty.path());
    }
    let second = held_clone(&target, &hold, &path("second.core"), &["--clones", "2"]).start();
    await_clones(&target, 2);
    let quick = effigy(["dump", &target.pid_text(), "-r", "--json", "-o"]).arg(path("third.core"));
    let json = quick.env("EFFIGY_FAULT", "no-userfaultfd").run().expect(0).json();
    assert_eq!(json["snapshot"], "stop", "{}", json["snapshot_reason"]);
    assert_ne!(json["snapshot_reason"], "");
    std::fs::remove_file(&hold).unwrap();
    for (run, name) in [(first, "first.core"), (second, "second.core")] {
        assert_eq!(run.wait().expect(0).json()["snapshot"], "clone");
        verify(&Dump::open(&path(name)), &target.markers);
    }
    await_clones(&target, 0);
    before.assert_unharmed(Tolerance::STRICT);
}

/// Five at once, and not six.
#[test]
fn five_clones() {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "96", "-t", "3"]).start());
    let before = State::of(target.pid);
    let hold = dir.path().join("hold");
    std::fs::write(&hold, "").unwrap();
    let clone = |path: &Path, arguments: &[&str]| held_clone(&target, &hold, path, arguments);
    let runs: Vec<_> =
        (0..5).map(|number| clone(&dir.path().join(format!("{number}.core")), &["--clones", "5"]).start()).collect();
    await_clones(&target, 5);
    let empty = scratch();
    let sixth = clone(&empty.path().join("a.core"), &["--clones", "5", "--avoid-outage"]).run();
    expect_skipped(&sixth, empty.path());
    std::fs::remove_file(&hold).unwrap();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(run.wait().expect(0).json()["snapshot"], "clone");
        verify(&Dump::open(&dir.path().join(format!("{number}.core"))), &target.markers);
    }
    await_clones(&target, 0);
    before.assert_unharmed(Tolerance::STRICT);
}
