//! Things that happen to programs that run already: each is a moment once, and the program goes its own way.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Running, Watch, Watched, await_that, moods};
use crate::events::breakpoints::{build, possible};
use crate::events::{alone, code_of, target};
use crate::harness::{Plan, State, Target, Tolerance, effigy, gdb_commands, oracle, status_field, thread_states};

/// A target that does something when a line comes.
fn about_to(arguments: &[&str]) -> Target {
    Plan::program(target()).args([&["wait"], arguments].concat()).start()
}

/// A watch of it that has begun.
fn watching(target: &Target, arguments: &[&str]) -> Running {
    let mut running = Watch::of(&target.pid_text(), arguments).running();
    running.await_traced(target.pid);
    running
}

/// Watches it do what it is about to; how that went, and the target's exit code.
fn observe(arguments: &[&str], mode: &[&str]) -> (Watched, i32) {
    let mut target = about_to(mode);
    let running = watching(&target, arguments);
    target.tell("go");
    let status = target.finish();
    (running.wait(), code_of(status))
}

fn happened<'a>(watched: &'a [Value], name: &str) -> Vec<&'a Value> {
    watched.iter().filter(|event| event["happened"] == name).collect()
}

/// One dump, which names signal, thread and place; and the target dies its own death.
#[track_caller]
fn expect_crash(mode: &str, number: i64, function: &str) {
    let (watched, code) = observe(&["--on", "crash", "-f", "core"], &[mode]);
    let watched = watched.expect(0);
    assert_eq!(code, code_of(alone(&target(), &[mode])), "{mode}");
    watched.dumped(1);
    let triggers = watched.events("trigger");
    let crashes = happened(&triggers, "crash");
    assert_eq!((crashes.len(), triggers.len()), (1, 1), "{}", watched.text());
    assert_eq!(crashes[0]["fault"]["signal"], number);
    assert_eq!(watched.events("watching")[0]["traced"], true);
    let Some(gdb) = oracle("gdb") else { return };
    let said =
        gdb_commands(&gdb, &target(), &watched.dumps()[0], &["print $_siginfo.si_signo", "thread", "backtrace 3"]);
    let thread = crashes[0]["thread"].as_u64().unwrap();
    assert!(said.contains(&format!("$1 = {number}")) && said.contains(&format!("LWP {thread}")), "{mode}: {said}");
    assert!(said.contains(function), "{mode}: {said}");
}

#[test]
fn crashes() {
    expect_crash("segv", 11, "crash_here");
    expect_crash("segv-thread", 11, "crash_here");
    expect_crash("abort-thread", 6, "abort");
    expect_crash("overflow-handled", 11, "overflow_here");
}

#[test]
fn faults_that_are_handled() {
    let (watched, code) = observe(&["--on", "crash"], &["handle", "20"]);
    assert_eq!(code, 0);
    // It has ended without what was waited for.
    watched.expect(2).dumped(0);
    let (watched, code) = observe(&["--on", "signal,crash", "-n", "0"], &["handle", "20"]);
    assert_eq!(code, 0);
    let watched = watched.expect(0);
    assert_eq!(happened(&watched.dumped(0).events("trigger"), "signal").len(), 20, "{}", watched.text());
    let (watched, code) = observe(&["--on", "signal", "-n", "3"], &["handle", "20"]);
    assert_eq!(code, 0);
    watched.expect(0).dumped(3);
}

#[test]
fn filters() {
    let dumps = |arguments: &[&str]| {
        let (watched, code) = observe(&[&["--on", "signal"], arguments].concat(), &["handle", "3"]);
        assert_eq!(code, 0);
        watched.dumps().len()
    };
    assert_eq!(dumps(&["--include", "nothing,sigsegv*maperr"]), 1);
    assert_eq!(dumps(&["--include", "libc.so"]), 0);
    assert_eq!(dumps(&["--exclude", "SEGV_MAPERR"]), 0);
    assert_eq!(dumps(&["--signal", "SIGBUS"]), 0);
}

#[test]
fn ends_threads_and_other_programs() {
    let (watched, code) = observe(&["--on", "exit"], &["exit", "3"]);
    assert_eq!(code, 3);
    let watched = watched.expect(0);
    assert_eq!(happened(&watched.dumped(1).events("trigger"), "exit").len(), 1);
    let (watched, code) = observe(&["--on", "thread-start,thread-exit", "-n", "0"], &["threads", "25"]);
    assert_eq!(code, 0);
    let events = watched.expect(0).events("trigger");
    assert_eq!((happened(&events, "thread-start").len(), happened(&events, "thread-exit").len()), (25, 25));
    let (watched, code) = observe(&["--on", "exec"], &["exec-thread", "sh", "-c", "exit 4"]);
    assert_eq!(code, 4);
    watched.expect(0).dumped(1);
}

/// The signal that is no crash, sent by somebody.
#[test]
fn fatal_signals() {
    let (watched, code) = observe(&["--on", "fatal"], &["exec", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(code, 143);
    assert_eq!(watched.expect(0).dumped(1).events("trigger")[0]["fault"]["name"], "SIGTERM");
}

/// The dump of a number is taken of a target that stays traced, and what happens afterwards is seen.
#[test]
fn numbers_and_events() {
    for kind in [&["-k", "mini"][..], &["-k", "full"]] {
        let mut target = moods();
        let usual = ["--on", "crash", "--above", "threads=10", "-n", "2", "--cool-down", "1h"];
        let dir = crate::harness::scratch();
        let command = effigy(["watch", &target.pid_text(), "--json", "--interval", "100ms", "-o"]).arg(dir.path());
        let mut running = Running { dir, running: command.args(kind).args(usual).within(60).start() };
        running.await_traced(target.pid);
        target.ask("threads 20");
        running.await_dumps(1);
        assert!(super::is_traced(target.pid));
        target.send(Signal::SIGSEGV);
        assert_eq!(code_of(target.finish()), 139);
        let watched = running.wait().expect(0);
        let causes: Vec<_> =
            watched.dumped(2).events("trigger").iter().map(|event| event["happened"].clone()).collect();
        assert_eq!(causes, [Value::Null, "crash".into()], "{}", watched.text());
    }
}

#[test]
fn events_while_all_numbers_hold() {
    let mut target = Plan::program(target()).args(["signals"]).start();
    let with = |threshold: &'static str| ["--all-of", "--signal", "USR1", "--above", threshold, "--within", "2s"];
    let mut running = watching(&target, &with("threads=1000"));
    while !running.running.is_over() {
        target.send(Signal::SIGUSR1);
        std::thread::sleep(Duration::from_millis(100));
    }
    running.wait().expect(7).dumped(0);
    let mut running = watching(&target, &["--all-of", "--signal", "USR1", "--above", "threads=1"]);
    // Numbers alone are none.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!running.running.is_over());
    await_that("a dump", || {
        target.send(Signal::SIGUSR1);
        running.running.is_over()
    });
    running.wait().expect(0).dumped(1);
    assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"));
    target.send(Signal::SIGTERM);
    assert!(code_of(target.finish()) > 1);
}

/// One dump in all that time; a crash is not too soon after it.
#[test]
fn time_between_dumps() {
    let target = &mut Plan::program(target()).args(["signals"]).start();
    let mut running = watching(target, &["--on", "crash", "--signal", "USR1", "-n", "2", "--spacing", "1h"]);
    target.send(Signal::SIGUSR1);
    running.await_dumps(1);
    for _ in 0..20 {
        target.send(Signal::SIGUSR1);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(super::dumps_in(running.dir.path()).len(), 1);
    target.send(Signal::SIGSEGV);
    assert_eq!(code_of(target.finish()), 139);
    let events = running.wait().expect(0).dumped(2).events("trigger");
    assert_eq!((happened(&events, "signal").len(), happened(&events, "crash").len()), (1, 1));
}

#[test]
fn one_that_is_not_there_yet() {
    let dir = crate::harness::scratch();
    let program: PathBuf = dir.path().join("watch-happens");
    fs::copy(target(), &program).unwrap();
    let mut running = Watch::of("watch-happens", &["--wait", "--on", "crash", "--within", "60s"]).running();
    std::thread::sleep(Duration::from_millis(500));
    let mut target = Plan::program(&program).args(["wait", "segv-thread"]).start();
    running.await_traced(target.pid);
    target.tell("go");
    assert_eq!(code_of(target.finish()), 139);
    running.wait().expect(0).dumped(1);
}

/// A child is traced from its birth: it crashes at once.
#[test]
fn crash_of_a_child() {
    let (watched, code) = observe(&["--on", "crash", "--children", "--total", "1"], &["fork"]);
    assert_eq!(code, 11);
    let watched = watched.expect(0);
    let crash = watched.dumped(1).events("trigger").remove(0);
    let children: Vec<_> = watched.events("watching").iter().map(|event| event["target"]["pid"].clone()).collect();
    assert_eq!(crash["target"]["pid"], children[1], "{}", watched.text());
    let (watched, code) = observe(&["--on", "crash"], &["fork"]);
    assert_eq!(code, 11);
    watched.expect(2).dumped(0);
}

#[test]
fn functions_exceptions_panics_and_libraries() {
    if !possible() {
        return;
    }
    let (watched, code) = observe(&["--at", "events!reached", "-n", "0"], &["reach", "7"]);
    assert_eq!(code, 0);
    assert_eq!(happened(&watched.expect(0).events("trigger"), "reached").len(), 7);
    let (watched, code) = observe(&["--at", "events!reached", "-n", "2"], &["reach", "7"]);
    assert_eq!(code, 0);
    watched.expect(0).dumped(2);
    let (watched, _) = observe(&["--on", "load,unload", "-n", "0"], &["load"]);
    let events = watched.expect(0).events("trigger");
    let of = |name| {
        happened(&events, name).iter().filter(|event| event["cause"].as_str().unwrap().contains("libutil")).count()
    };
    assert_eq!((of("load"), of("unload")), (1, 1), "{events:?}");
    for (compiler, source, flags, event, code, count) in [
        ("g++", "throws.cc", &["-O1"][..], "exception", 5, 3),
        ("rustc", "panics.rs", &["--edition", "2024"], "panic", 6, 2),
    ] {
        let Some(program) = build(compiler, source, flags) else { continue };
        let mut target = Plan::program(&program).args(["wait"]).start();
        let running = watching(&target, &["--on", event, "-n", "0"]);
        target.tell("go");
        assert_eq!(code_of(target.finish()), code);
        let events = running.wait().expect(0).events("trigger");
        assert_eq!(happened(&events, event).len(), count, "{events:?}");
        let _ = fs::remove_file(program);
    }
}

/// A function that no file has is said at once, and the target goes on.
#[test]
fn a_function_that_is_nowhere() {
    if !possible() {
        return;
    }
    let mut target = about_to(&["reach", "1"]);
    let watched = Watch::of(&target.pid_text(), &["--at", "nowhere_to_be_found", "--within", "2s"]).run().expect(7);
    let troubles = watched.dumped(0).events("trouble");
    assert!(troubles[0]["why"].as_str().unwrap().contains("nowhere_to_be_found"), "{}", watched.text());
    target.tell("go");
    assert_eq!(code_of(target.finish()), 0);
}

/// What was stopped stays so, and goes on when it is told to.
#[test]
fn a_target_that_is_stopped() {
    let mut target = Plan::program(target()).args(["alive", "3"]).start();
    target.stop();
    let running = watching(&target, &["--on", "crash,exit,thread-start"]);
    std::thread::sleep(Duration::from_millis(300));
    running.running.send(Signal::SIGTERM);
    running.wait().expect(143).dumped(0);
    await_that("a stopped target", || thread_states(target.pid).values().all(|letter| *letter == 'T'));
    target.send(Signal::SIGCONT);
    let before = State::of(target.pid);
    assert_eq!(target.ask("report")["failures"], "0");
    before.assert_unharmed(Tolerance::LIVELY);
}

/// Nobody reads what effigy prints, and there is no end of it: the target does not wait for that.
#[test]
fn nobody_listens() {
    use std::process::{Command, Stdio};
    let mut target = Plan::program(target()).args(["alive", "4"]).start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["watch", &target.pid_text(), "--json", "-n", "0", "--signal", "WINCH"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    await_that("a traced target", || super::is_traced(target.pid));
    let beats = |target: &mut Target| target.ask("report")["beats"].parse::<u64>().unwrap();
    let first = beats(&mut target);
    // Each is a line of more than a hundred bytes, and the pipe takes 64 KiB.
    await_that("a target that goes on", || beats(&mut target) >= first + 2000);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"));
    assert_eq!(target.ask("report")["failures"], "0");
}

/// Who is stopped cannot let anybody go on.
#[test]
fn job_control_is_held_off() {
    let mut target = Plan::program(target()).args(["alive", "2"]).start();
    let running = watching(&target, &["--on", "thread-start,crash", "--include", "nothing"]);
    running.running.send(Signal::SIGTSTP);
    std::thread::sleep(Duration::from_millis(200));
    assert!(thread_states(running.running.pid()).values().all(|letter| *letter != 'T'));
    let mut born = || target.ask("report")["born"].parse::<u64>().unwrap();
    let before = born();
    await_that("new threads", || born() > before);
    running.running.send(Signal::SIGTERM);
    running.wait().expect(143);
}

/// Another effigy has it for a dump, which is over soon: that is waited for.
#[cfg(feature = "fault-injection")]
#[test]
fn a_target_that_is_being_dumped() {
    let dir = crate::harness::scratch();
    let hold = dir.path().join("hold");
    fs::write(&hold, "").unwrap();
    let mut target = about_to(&["segv"]);
    let dump = effigy(["dump", &target.pid_text(), "-k", "mini", "--snapshot", "stop", "-o"]).arg(dir.path());
    let dump = dump.env("EFFIGY_FAULT", "hold-reads").env("EFFIGY_FAULT_HOLD", hold.to_str().unwrap()).start();
    let tracer = || status_field(target.pid, "TracerPid").unwrap();
    let held = |letter: &char| matches!(letter, 't' | 'T');
    await_that("a dump under way", || tracer() != "0" && thread_states(target.pid).values().all(held));
    let running = Watch::of(&target.pid_text(), &["--on", "crash"]).running();
    std::thread::sleep(Duration::from_millis(700));
    fs::remove_file(&hold).unwrap();
    let pid = dump.pid().to_string();
    dump.wait().expect(0);
    await_that("a trace", || ![String::from("0"), pid.clone()].contains(&tracer()));
    target.tell("go");
    assert_eq!(code_of(target.finish()), 139);
    let watched = running.wait().expect(0);
    watched.dumped(1);
    let said = watched.events("held");
    assert_eq!((said.len(), said[0]["tracer"].is_u64()), (1, true), "{}", watched.text());
}

#[test]
fn what_is_refused() {
    let target = Plan::program(target()).args(["alive", "1"]).start();
    let pid = target.pid_text();
    for arguments in [
        &["--on", "crash", "-n", "0", "--above", "threads=5"][..],
        &["-n", "0"],
        &["--on", "crash", "-n", "0", "--kill"],
        &["--on", "crash", "--for", "5s"],
        &["--on", "nonsense"],
        &["--signal", "SIGNONE"],
        &["--at", "!"],
    ] {
        let run = effigy(["watch", &pid]).args(arguments).run();
        assert_eq!(run.code, Some(1), "{arguments:?}: {}", run.stderr);
    }
    // Only one can trace it.
    let running = watching(&target, &["--on", "crash"]);
    Watch::of(&pid, &["--on", "crash"]).run().expect(4).dumped(0);
    effigy(["watch", "--cancel", &pid]).run().expect(0);
    assert_eq!(running.wait().expect(143).events("over")[0]["why"], "cancelled");
    assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"));
}
