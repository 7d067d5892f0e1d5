//! Failures on demand: each name that a build with the feature `fault-injection` knows, and what must come of it.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{
    Dump, Effigy, Heartbeat, Plan, Run, State, Target, Tolerance, effigy, scratch, status_field, verify,
};

fn faulty(fault: &str, target: &Target, path: &Path) -> Effigy {
    effigy(["dump", &target.pid_text(), "--json", "-o"]).arg(path).env("EFFIGY_FAULT", fault).within(60)
}

/// Runs with a fault; the target must be unharmed.
fn run_faulty(fault: &str, target: &Target, path: &Path, arguments: &[&str]) -> Run {
    let before = State::of(target.pid);
    let run = faulty(fault, target, path).args(arguments).run();
    before.assert_unharmed(Tolerance::STRICT);
    run
}

fn is_empty(dir: &Path) -> bool {
    dir.read_dir().unwrap().next().is_none()
}

/// An older kernel: the page table is read the old way, with the same result.
#[test]
fn without_pagemap_scan() {
    for name in ["big", "guard", "sh", "protnone"] {
        let (dir, target) = (scratch(), Plan::c(name).start());
        if target.is_unsupported() {
            continue;
        }
        let path = dir.path().join("a.core");
        run_faulty("no-pagemap-scan", &target, &path, &[]).expect(0);
        verify(&Dump::open(&path), &target.markers);
    }
}

/// Without the right to open map_files: what only another process has touched is missing, and that is said.
#[test]
fn without_map_files() {
    let (dir, target) = (scratch(), Plan::c("shm2").start());
    let path = dir.path().join("a.core");
    let run = run_faulty("no-map-files", &target, &path, &[]);
    assert!(matches!(run.code, Some(0 | 6)), "exit code {:?}: {}", run.code, run.stderr);
    let gaps = run.json()["gaps"].clone();
    let told = gaps.as_array().unwrap().iter().any(|gap| gap["reason"] == "not_permitted");
    assert!(told, "no gap says not_permitted: {gaps}");
}

/// Pages that cannot be read are gaps, exactly they; all others are exact; the exit code says that it is not all.
#[test]
fn pages_that_cannot_be_read() {
    for name in ["a.core", "a.dmp"] {
        let (dir, target) = (scratch(), Plan::c("big").args(["-m", "8"]).start());
        let path = dir.path().join(name);
        let run = run_faulty("read-error", &target, &path, &[]).expect(6);
        let dump = Dump::open(&path).with_json(run.json());
        let resident = target.markers.iter().find(|marker| marker.name == "resident").unwrap();
        let mut missing = 0;
        for (index, wanted) in resident.bytes().chunks(4096).enumerate() {
            let at = resident.address + 4096 * index as u64;
            if dump.gap_at(at).is_some() {
                dump.expect_gap(at, "unreadable");
                missing += 1;
            } else {
                assert_eq!(dump.memory(at, 4096).as_deref(), Some(wanted), "{name}: page at {at:#x}");
            }
        }
        assert!((64..=256).contains(&missing), "{name}: {missing} of 2048 pages are missing");
    }
}

/// A read that does not come back: given up in time.
#[test]
fn reads_that_hang() {
    let (dir, target) = (scratch(), Plan::c("big").start());
    let run = run_faulty("read-hangs", &target, &dir.path().join("a.core"), &["--timeout", "2"]).expect(7);
    assert!(run.wall < Duration::from_secs(20), "took {:?}", run.wall);
    assert!(is_empty(dir.path()), "a file was left behind");
}

/// A read that does not come back, and Ctrl-C: the target goes on at once.
#[test]
fn reads_that_hang_and_control_c() {
    let (dir, beats) = (scratch(), scratch());
    let heart = Heartbeat::new(beats.path());
    let target = Plan::c("big").args(["-b", heart.path()]).start();
    let before = State::of(target.pid);
    heart.reset();
    let run = faulty("read-hangs", &target, &dir.path().join("a.core")).args(["--snapshot", "stop"]).start();
    sleep(Duration::from_millis(700));
    let sent = Heartbeat::now();
    run.send(Signal::SIGINT);
    run.wait().expect(130);
    before.assert_unharmed(Tolerance::STRICT);
    let resumed = heart.gap_end().saturating_sub(sent);
    eprintln!("resumed {resumed:?} after the signal, though a read hung");
    assert!(resumed < Duration::from_secs(1), "resumed {resumed:?} after the signal");
    assert!(is_empty(dir.path()), "a file was left behind");
}

/// The target is killed while its memory is read.
#[test]
fn target_killed_while_it_is_read() {
    for keep in [false, true] {
        let (dir, mut target) = (scratch(), Plan::c("big").args(["-m", "64"]).start());
        let mut run = faulty("slow-read", &target, &dir.path().join("a.core"));
        if keep {
            // A clone would outlive it, and the dump be whole.
            run = run.args(["--keep-partial", "--snapshot", "stop"]);
        }
        let run = run.start();
        sleep(Duration::from_millis(600));
        target.send(Signal::SIGKILL);
        let run = run.wait().expect(if keep { 6 } else { 2 });
        target.end();
        assert_eq!(is_empty(dir.path()), !keep, "keep: {keep}; stderr: {}", run.stderr);
    }
}

/// effigy is killed while the target stands still.
#[test]
fn dumper_killed_while_it_reads() {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "64", "-t", "10"]).start());
    let before = State::of(target.pid);
    let path = dir.path().join("a.core");
    let run = faulty("slow-read", &target, &path).start();
    sleep(Duration::from_millis(600));
    run.send(Signal::SIGKILL);
    run.wait();
    before.assert_unharmed(Tolerance::STRICT);
    assert!(!path.exists(), "a part has the final name");
}

/// A bug of ours on the thread that holds the target: the target goes on, nothing is left, and it is said.
#[test]
fn panic_of_the_tracer() {
    panic_on("tracer-panic");
}

/// A bug of ours on the thread that writes.
#[test]
fn panic_of_the_worker() {
    panic_on("worker-panic");
}

fn panic_on(fault: &str) {
    let (dir, beats) = (scratch(), scratch());
    let heart = Heartbeat::new(beats.path());
    let target = Plan::c("big").args(["-t", "5", "-b", heart.path()]).start();
    let run = run_faulty(fault, &target, &dir.path().join("a.core"), &[]);
    assert!(!matches!(run.code, Some(0 | 6)), "exit code {:?}", run.code);
    assert!(!run.stderr.is_empty(), "nothing is said");
    assert!(is_empty(dir.path()), "a file was left behind");
    let beats = heart.beats();
    sleep(Duration::from_millis(100));
    assert!(heart.beats() > beats, "the target's heart stands still");
}

/// A terminal dumped from inside itself: what effigy says there cannot be read while the terminal stands still, and the
/// dump must not wait for that.
#[test]
fn own_terminal() {
    let dir = scratch();
    let path = dir.path().join("a.core");
    let mut target = Plan::c_with("terminal", &["-lutil"])
        .args([env!("CARGO_BIN_EXE_effigy"), "dump", "SELF", "-o", path.to_str().unwrap()])
        .env("EFFIGY_FAULT", "slow-read")
        .env("TERM", "xterm")
        .start();
    assert_eq!(target.ask("go")["status"], "0");
    verify(&Dump::open(&path), &target.markers);
}

/// Ctrl-Z while the target stands still: the dump is finished and the target goes on before effigy itself stops.
#[test]
fn job_control_waits_for_the_target() {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "16"]).start());
    let before = State::of(target.pid);
    let run = faulty("slow-read", &target, &dir.path().join("a.core")).args(["--snapshot", "stop"]).start();
    sleep(Duration::from_millis(300));
    assert_ne!(status_field(target.pid, "TracerPid").as_deref(), Some("0"), "the dump is over already");
    run.send(Signal::SIGTSTP);
    let since = Instant::now();
    while status_field(target.pid, "TracerPid").as_deref() != Some("0") {
        assert!(since.elapsed() < Duration::from_secs(30), "the target is held by a stopped effigy");
        sleep(Duration::from_millis(10));
    }
    before.assert_unharmed(Tolerance::STRICT);
    run.send(Signal::SIGCONT);
    run.wait().expect(0);
}

/// `--keep-partial` with several kinds, when time runs out before the last is begun: the first is whole, what there is
/// has its name, and it is said that not all was written.
#[test]
fn time_runs_out_between_kinds() {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "256"]).start());
    let kinds = ["--kind", "mini", "--kind", "miniplus", "--kind", "full"];
    let before = State::of(target.pid);
    // A mini dump takes a fraction of a second at the pace of slow-read, and each of the others several.
    let run = effigy(["dump", &target.pid_text(), "--json", "--timeout", "2", "--keep-partial"])
        .args(kinds)
        .args(["-o", "a.dmp"])
        .dir(dir.path())
        .env("EFFIGY_FAULT", "slow-read")
        .run()
        .expect(6);
    before.assert_unharmed(Tolerance::STRICT);
    let written = run.objects();
    assert!((1..=2).contains(&written.len()), "{} of 3 dumps were written", written.len());
    let run = run.says(&format!("only {} of 3 dumps were written", written.len()));
    assert_eq!(dir.path().read_dir().unwrap().count(), written.len(), "files: {}", run.stderr);
    assert_eq!(written[0]["kind"], "mini");
    let path = dir.path().join(written[0]["path"].as_str().unwrap());
    if written.len() == 2 {
        // Time ran out during the second, so the first has all that a mini dump promises.
        verify(&Dump::open(&path), target.markers.iter().filter(|marker| marker.name.starts_with("stack.")));
    }
}
