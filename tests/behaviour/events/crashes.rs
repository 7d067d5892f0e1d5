//! Second chance and first chance.

use crate::harness::{gdb_commands, oracle};

use super::{alone, code_of, observe, target};

/// Runs the target into one of its deaths: it is dumped once, the dump names signal, thread and place, and the death is its
/// own.
#[track_caller]
fn expect_one_dump(mode: &str, options: &[&str], signal: &str, number: i64, function: &str) {
    let target = target();
    let observed = observe(options, &target, &[mode]);
    assert_eq!(observed.run.code, Some(code_of(alone(&target, &[mode]))), "{}", observed.run.stderr);
    let crashes = observed.events("crash");
    assert_eq!(crashes.len(), 1, "{:?}", observed.told);
    assert_eq!(crashes[0]["fault"]["signal"], number);
    let dump = observed.dump();
    let Some(gdb) = oracle("gdb") else { return };
    let said = gdb_commands(&gdb, &target, &dump, &["print $_siginfo.si_signo", "thread", "backtrace 3"]);
    assert!(said.contains(&format!("terminated with signal {signal}")), "{said}");
    assert!(said.contains(&format!("$1 = {number}")), "{said}");
    let thread = crashes[0]["thread"].as_u64().unwrap();
    assert!(said.contains(&format!("LWP {thread}")), "the first thread is not {thread}: {said}");
    assert!(said.contains(function), "{said}");
}

#[test]
fn crash_in_the_main_thread() {
    expect_one_dump("segv", &[], "SIGSEGV", 11, "crash_here");
}

#[test]
fn crash_in_another_thread() {
    expect_one_dump("segv-thread", &[], "SIGSEGV", 11, "crash_here");
}

#[test]
fn abort_in_another_thread() {
    expect_one_dump("abort-thread", &["--on", "crash"], "SIGABRT", 6, "abort");
}

#[test]
fn stack_overflow() {
    expect_one_dump("overflow", &[], "SIGSEGV", 11, "overflow_here");
}

/// A handler on another stack that puts the default back: only what then kills counts.
#[test]
fn stack_overflow_that_is_looked_at_first() {
    expect_one_dump("overflow-handled", &[], "SIGSEGV", 11, "overflow_here");
}

#[test]
fn crash_among_many_threads() {
    let target = target();
    let observed = observe(&[], &target, &["segv-among", "200"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(139), 1), "{:?}", observed.told);
    let Some(gdb) = oracle("gdb") else { return };
    let said = gdb_commands(&gdb, &target, &observed.dump(), &["info threads", "backtrace 1"]);
    assert_eq!(
        said.lines().filter(|line| line.trim_start_matches(['*', ' ']).contains("  Thread 0x")).count(),
        202,
        "{said}"
    );
    assert!(said.contains("crash_here"), "{said}");
}

/// The clone that is asked for cannot be made of a single thread that is about to die; the dump is taken all the same.
#[test]
fn crash_with_a_clone() {
    expect_one_dump("segv-thread", &["--snapshot", "clone"], "SIGSEGV", 11, "crash_here");
    expect_one_dump("segv", &["--snapshot", "clone"], "SIGSEGV", 11, "crash_here");
}

/// A program that lives by its faults, as a JVM does: each is a first chance, none is a second.
#[test]
fn faults_that_are_handled() {
    let target = target();
    let observed = observe(&["--on", "crash"], &target, &["handle", "20"]);
    assert_eq!((observed.run.code, observed.told.len()), (Some(0), 0), "{:?}", observed.told);
    let observed = observe(&["--on", "signal,crash", "-n", "0"], &target, &["handle", "20"]);
    assert_eq!(observed.run.code, Some(0));
    assert_eq!((observed.events("signal").len(), observed.told.len()), (20, 20), "{:?}", observed.told);
    assert_eq!(observed.told[0]["fault"]["detail"], "SEGV_MAPERR");
}

#[test]
fn first_chances_are_dumped_until_there_are_enough() {
    let observed = observe(&["--on", "signal", "-n", "3"], &target(), &["handle", "20"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(0), 3), "{:?}", observed.told);
}

#[test]
fn filters() {
    let target = target();
    let name = target.file_name().unwrap().to_str().unwrap();
    let dumps = |options: &[&str]| observe(&[&["--on", "signal"], options].concat(), &target, &["handle", "3"]).dumps();
    assert_eq!(dumps(&["--include", "sigsegv*maperr"]).len(), 1);
    assert_eq!(dumps(&["--include", &format!("/{name}")]).len(), 1);
    assert_eq!(dumps(&["--include", "libc.so"]).len(), 0);
    assert_eq!(dumps(&["--exclude", "SEGV_MAPERR"]).len(), 0);
    assert_eq!(dumps(&["--signal", "SIGBUS"]).len(), 0);
}

/// A signal that kills without a core is no crash, but fatal.
#[test]
fn fatal_signals() {
    let target = target();
    let observed = observe(&["--on", "crash"], &target, &["exec", "sh", "-c", "kill -TERM $$"]);
    assert_eq!((observed.run.code, observed.told.len()), (Some(143), 0), "{:?}", observed.told);
    let observed = observe(&["--on", "fatal"], &target, &["exec", "sh", "-c", "kill -TERM $$"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(143), 1), "{:?}", observed.told);
    assert_eq!(observed.events("crash")[0]["fault"]["name"], "SIGTERM");
}

#[test]
fn crash_of_a_child() {
    let target = target();
    let observed = observe(&["--children"], &target, &["fork"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(11), 1), "{:?}", observed.told);
    let observed = observe(&[], &target, &["fork"]);
    assert_eq!((observed.run.code, observed.told.len()), (Some(11), 0), "{:?}", observed.told);
}
