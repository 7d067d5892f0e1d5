//! Threads, execve and ends.

use crate::harness::{gdb_commands, oracle};

use super::{observe, target};

#[test]
fn exit_from_any_thread() {
    let target = target();
    let observed = observe(&["--on", "exit"], &target, &["exit", "3"]);
    assert_eq!(observed.run.code, Some(3));
    assert_eq!(observed.events("exit").len(), 1, "{:?}", observed.told);
    let dump = observed.dump();
    let Some(gdb) = oracle("gdb") else { return };
    let said = gdb_commands(&gdb, &target, &dump, &["backtrace"]);
    assert!(said.contains("exit_from_here"), "{said}");
}

#[test]
fn exit_by_return_and_by_signal() {
    let target = target();
    let observed = observe(&["--on", "exit"], &target, &["reach", "1"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(0), 1), "{:?}", observed.told);
    let observed = observe(&["--on", "exit"], &target, &["segv-thread"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(139), 1), "{:?}", observed.told);
    assert!(observed.events("exit")[0]["text"].as_str().unwrap().contains("SIGSEGV"));
}

/// Nobody can look at what SIGKILL ends.
#[test]
fn exit_by_sigkill() {
    let observed = observe(&["--on", "exit,crash,fatal"], &target(), &["exec", "sh", "-c", "kill -KILL $$"]);
    assert_eq!((observed.run.code, observed.told.len()), (Some(137), 0), "{:?}", observed.told);
}

#[test]
fn threads_that_begin_and_end() {
    let target = target();
    let observed = observe(&["--on", "thread-start,thread-exit", "-n", "0"], &target, &["threads", "25"]);
    assert_eq!(observed.run.code, Some(0));
    let count = |name| observed.events(name).len();
    assert_eq!((count("thread-start"), count("thread-exit")), (25, 25), "{:?}", observed.told);
    let observed = observe(&["--on", "thread-start", "-n", "2"], &target, &["threads", "25"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(0), 2), "{:?}", observed.told);
}

#[test]
fn another_program() {
    let observed = observe(&["--on", "exec"], &target(), &["exec", "sh", "-c", "exit 4"]);
    assert_eq!(observed.run.code, Some(4));
    assert_eq!(observed.events("exec").len(), 1, "{:?}", observed.told);
    assert_eq!(observed.dumps().len(), 1);
}

/// The thread that calls execve takes the id of the first one, and all others end, none of them by itself.
#[test]
fn another_program_by_any_thread() {
    let arguments = ["exec-thread", "sh", "-c", "exit 4"];
    let observed = observe(&["--on", "exec,thread-exit,exit", "-n", "9"], &target(), &arguments);
    assert_eq!(observed.run.code, Some(4));
    let events: Vec<_> = observed.told.iter().filter_map(|told| told["event"].as_str()).collect();
    assert_eq!(events, ["exec", "exit"], "{:?}", observed.told);
    assert_eq!(observed.dumps().len(), 2);
}

/// A clone is made of the program while one of its threads stands at its first instruction; it does not wait for the dump.
#[test]
fn moments_with_a_clone() {
    let target = target();
    let observed = observe(&["--on", "thread-start", "--snapshot", "clone", "-n", "5"], &target, &["threads", "25"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(0), 5), "{:?}", observed.told);
    let snapshots: Vec<_> = observed.told.iter().filter_map(|told| told["snapshot"].as_str()).collect();
    assert_eq!(snapshots, ["clone"; 5], "{:?}", observed.told);
}
