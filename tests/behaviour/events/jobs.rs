//! Job control: Ctrl-Z stops the program and effigy, and both go on together.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::launching::child_of;
use super::target;
#[cfg(feature = "fault-injection")]
use crate::harness::scratch;
use crate::harness::{Plan, State, Target, Tolerance, status_field, thread_states};

/// The character that terminals make SIGTSTP of.
const CONTROL_Z: &str = "type 26";

/// effigy as the job of a shell.
fn job(words: &[&str], environment: &[(&str, &Path)]) -> Target {
    let mut plan = Plan::c_with("jobs", &["-lutil"]).args([env!("CARGO_BIN_EXE_effigy")]).args(words);
    for (name, value) in environment {
        plan = plan.env(name, value.to_str().unwrap());
    }
    plan.start()
}

fn number(shell: &mut Target, request: &str, name: &str) -> i32 {
    shell.ask(request)[name].parse().unwrap()
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        sleep(Duration::from_millis(10));
    }
}

/// effigy and the program that it has launched, which has told that it is ready.
#[track_caller]
fn launched(shell: &mut Target) -> (i32, i32) {
    until("the program is ready", || number(shell, "look ready", "count") == 1);
    let effigy = number(shell, "look x", "job");
    (effigy, child_of(effigy))
}

fn is_stopped(pid: i32) -> bool {
    let states = thread_states(pid);
    !states.is_empty() && states.values().all(|letter| matches!(letter, 't' | 'T'))
}

/// Of a program with many threads none runs on, and all go on when it is continued.
#[test]
fn a_program_of_many_threads_is_stopped() {
    expect_both_stop(&[]);
}

/// The same when nobody traces it.
#[test]
fn a_program_that_is_not_traced_is_stopped() {
    expect_both_stop(&["--above", "threads=100000"]);
}

#[track_caller]
fn expect_both_stop(options: &[&str]) {
    let program = target();
    let words = [&["run", "--log", "/dev/null"], options, &["--", program.to_str().unwrap(), "alive", "4"]].concat();
    let mut shell = job(&words, &[]);
    let (effigy, program) = launched(&mut shell);
    for round in 1..=3 {
        shell.ask(CONTROL_Z);
        until("the shell sees a stop", || number(&mut shell, "look x", "stops") == round);
        assert_eq!(number(&mut shell, "look x", "signal"), Signal::SIGTSTP as i32);
        until("all threads stand still", || is_stopped(program));
        assert_eq!(status_field(effigy, "State").unwrap().chars().next(), Some('T'));
        shell.ask("continue");
        until("the program goes on", || !thread_states(program).values().any(|letter| matches!(letter, 't' | 'T')));
    }
    assert_eq!(number(&mut shell, "look x", "ended"), 0);
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    until("effigy ends", || number(&mut shell, "look x", "ended") == 1);
    assert_eq!(number(&mut shell, "look x", "status"), 137);
}

/// A program that tidies its terminal up before it stops does so while it still has the terminal.
#[test]
fn a_program_that_handles_it() {
    let program = target();
    let mut shell = job(&["run", "--", program.to_str().unwrap(), "suspends"], &[]);
    let (_, program) = launched(&mut shell);
    for round in 1..=3 {
        shell.ask(CONTROL_Z);
        until("the shell sees a stop", || number(&mut shell, "look x", "stops") == round);
        assert_eq!(number(&mut shell, "look tidied", "count"), round);
        assert_eq!(number(&mut shell, "look back", "count"), round - 1);
        shell.ask("continue");
        until("the program goes on", || number(&mut shell, "look back", "count") == round);
    }
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    until("effigy ends", || number(&mut shell, "look x", "ended") == 1);
}

/// A program that does not stop is not left alone by effigy.
#[test]
fn a_program_that_ignores_it() {
    let script = "trap '' TSTP; echo ready; while :; do sleep 0.01; done";
    let mut shell = job(&["run", "--", "/bin/sh", "-c", script], &[]);
    let (effigy, program) = launched(&mut shell);
    shell.ask(CONTROL_Z);
    sleep(Duration::from_millis(500));
    assert_eq!(number(&mut shell, "look x", "stops"), 0);
    assert_ne!(status_field(effigy, "State").unwrap().chars().next(), Some('T'));
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    until("effigy ends", || number(&mut shell, "look x", "ended") == 1);
}

/// Ctrl-Z while a target stands still for a dump: that is finished, and the target goes on, before effigy stops.
#[cfg(feature = "fault-injection")]
#[track_caller]
fn expect_target_is_let_go(words: &[&str]) {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "4"]).start());
    let before = State::of(target.pid);
    let (hold, pid) = (dir.path().join("hold"), target.pid_text());
    std::fs::write(&hold, "").unwrap();
    let words: Vec<&str> = words.iter().map(|word| if *word == "PID" { pid.as_str() } else { word }).collect();
    let out = dir.path().to_str().unwrap();
    let words = [&words[..], &["-k", "mini", "--snapshot", "stop", "-o", out]].concat();
    let mut shell = job(&words, &[("EFFIGY_FAULT", Path::new("hold-reads")), ("EFFIGY_FAULT_HOLD", &hold)]);
    until("the target stands still", || is_stopped(target.pid));
    shell.ask(CONTROL_Z);
    sleep(Duration::from_millis(300));
    assert_eq!(number(&mut shell, "look x", "stops"), 0, "effigy stops while it holds the target");
    std::fs::remove_file(&hold).unwrap();
    // It has little left to do, and may be done before it stops.
    until("effigy stops or ends", || {
        number(&mut shell, "look x", "stops") == 1 || number(&mut shell, "look x", "ended") == 1
    });
    assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"), "held by a stopped effigy");
    before.assert_unharmed(Tolerance::STRICT);
    shell.ask("continue");
    until("effigy ends", || number(&mut shell, "look x", "ended") == 1);
    assert_eq!(number(&mut shell, "look x", "status"), 0);
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_target_of_dump_is_let_go() {
    expect_target_is_let_go(&["dump", "PID"]);
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_target_of_a_watch_is_let_go() {
    expect_target_is_let_go(&["watch", "PID", "-n", "1"]);
}

/// The same while something has happened to a program that was launched.
#[cfg(feature = "fault-injection")]
#[test]
fn a_launched_program_is_let_go() {
    let (dir, program) = (scratch(), target());
    let hold = dir.path().join("hold");
    std::fs::write(&hold, "").unwrap();
    let out = dir.path().join("a.core");
    let mut words = vec!["run", "--on", "signal", "--signal", "SIGURG", "-n", "1", "-k", "mini"];
    words.extend(["--snapshot", "stop", "-o", out.to_str().unwrap(), "--", program.to_str().unwrap(), "alive", "4"]);
    let mut shell = job(&words, &[("EFFIGY_FAULT", Path::new("hold-reads")), ("EFFIGY_FAULT_HOLD", &hold)]);
    let (_, program) = launched(&mut shell);
    // Not one that it sends itself: it must have come as far as telling that it is ready.
    kill(Pid::from_raw(program), Signal::SIGURG).unwrap();
    until("the program stands still", || is_stopped(program));
    shell.ask(CONTROL_Z);
    sleep(Duration::from_millis(300));
    assert_eq!(number(&mut shell, "look x", "stops"), 0, "effigy stops while it holds the program");
    std::fs::remove_file(&hold).unwrap();
    until("effigy stops", || number(&mut shell, "look x", "stops") == 1);
    shell.ask("continue");
    // effigy may have been stopped before it gave the file its name.
    until("the dump is there", || out.exists());
    until("the program goes on", || !thread_states(program).values().any(|letter| matches!(letter, 't' | 'T')));
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    until("effigy ends", || number(&mut shell, "look x", "ended") == 1);
}

/// `effigy stacks` stops the target for a millisecond; Ctrl-Z comes whenever it likes, and the target is never left held.
#[test]
fn a_target_of_stacks_is_let_go() {
    let target = Plan::c("big").args(["-m", "4", "-t", "200"]).start();
    let before = State::of(target.pid);
    for round in 0..10 {
        let mut shell = job(&["stacks", &target.pid_text()], &[]);
        sleep(Duration::from_millis(5 * round));
        shell.ask(CONTROL_Z);
        until("effigy stops or ends", || {
            number(&mut shell, "look x", "stops") == 1 || number(&mut shell, "look x", "ended") == 1
        });
        if number(&mut shell, "look x", "ended") == 0 {
            assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"), "held by a stopped effigy");
        }
        before.assert_unharmed(Tolerance::STRICT);
        shell.ask("continue");
        until("effigy ends", || number(&mut shell, "look x", "ended") == 1);
    }
}
