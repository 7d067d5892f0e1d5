//! Functions that are reached, exceptions, panics, libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{gdb_commands, is_root, oracle, skip, source_dir};

use super::{observe, target};

/// Whether breakpoints can be set here; says so if not.
pub(crate) fn possible() -> bool {
    let possible = is_root() && Path::new("/sys/bus/event_source/devices/uprobe/type").exists();
    if !possible {
        skip("breakpoints need root and a kernel with uprobes");
    }
    possible
}

/// Builds a target of another language than C.
pub(crate) fn build(compiler: &str, source: &str, arguments: &[&str]) -> Option<PathBuf> {
    let compiler = oracle(compiler)?;
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{source}.{}", std::process::id()));
    let output = Command::new(compiler).args(arguments).arg(source_dir().join(source)).arg("-o").arg(&program).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

fn texts(told: &[Value], event: &str) -> Vec<String> {
    let events = told.iter().filter(|told| told["event"] == event);
    events.map(|told| told["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn functions_that_are_reached() {
    if !possible() {
        return;
    }
    let target = target();
    let observed = observe(&["--at", "events!reached", "-n", "0"], &target, &["reach", "7"]);
    assert_eq!((observed.run.code, observed.events("reached").len()), (Some(0), 7), "{:?}", observed.told);
    let observed = observe(&["--at", "reached", "-n", "2"], &target, &["reach", "7"]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(0), 2), "{:?}", observed.told);
    let Some(gdb) = oracle("gdb") else { return };
    let said = gdb_commands(&gdb, &target, &observed.dumps()[0], &["backtrace"]);
    assert!(said.contains("reached") && said.contains("main"), "{said}");
}

#[test]
fn functions_that_are_nowhere() {
    if !possible() {
        return;
    }
    let observed = observe(&["--at", "nowhere_to_be_found"], &target(), &["reach", "1"]);
    assert_eq!((observed.run.code, observed.events("no-breakpoint").len()), (Some(0), 1), "{:?}", observed.told);
}

#[test]
fn exceptions() {
    if !possible() {
        return;
    }
    let Some(program) = build("g++", "throws.cc", &["-O1"]) else { return };
    let observed = observe(&["--on", "exception", "-n", "0"], &program, &[]);
    assert_eq!(observed.run.code, Some(5));
    assert_eq!(
        texts(&observed.told, "exception"),
        [
            "shop::out_of_stock is thrown: no more than 3 left",
            "std::logic_error is thrown: two and two",
            "int is thrown"
        ]
    );
    let observed = observe(&["--on", "exception", "--include", "logic_error"], &program, &[]);
    assert_eq!((observed.run.code, observed.dumps().len()), (Some(5), 1), "{:?}", observed.told);
}

#[test]
fn panics() {
    if !possible() {
        return;
    }
    let Some(program) = build("rustc", "panics.rs", &["--edition", "2024", "-C", "debuginfo=1"]) else { return };
    let observed = observe(&["--on", "panic", "-n", "0"], &program, &[]);
    assert_eq!(observed.run.code, Some(6));
    let told = texts(&observed.told, "panic");
    assert_eq!(told, ["a thread panics: plain words", "a thread panics: made up of 2 parts"]);
}

#[test]
fn libraries_that_come_and_go() {
    if !possible() {
        return;
    }
    let observed = observe(&["--on", "load,unload", "-n", "0"], &target(), &["load"]);
    assert_eq!(observed.run.code, Some(0), "{:?}", observed.told);
    let all = texts(&observed.told, "load").join("\n");
    assert!(all.contains("libc.so.6"), "{all}");
    let of = |event| texts(&observed.told, event).iter().filter(|text| text.contains("libutil")).count();
    assert_eq!((of("load"), of("unload")), (1, 1), "{:?}", observed.told);
}
