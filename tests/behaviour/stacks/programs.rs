//! Cores of programs in C, C++ and Rust, built in ways that make unwinding hard.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::tally::Tally;
use super::{backtraces, functions, stacks_of};
use crate::harness::{
    Backtraces, Plan, Target, compile, dump_core, eu_stack, gdb_core, oracle, scratch, skip, source_dir,
};

/// Frames that the threads of `frames` have at least, also where a recursion was made a loop.
const LEAST: usize = 40;

/// Compares the stacks of a program's core with those of gdb and eu-stack. gdb sees none behind code without call frame
/// information where effigy and eu-stack guess; what one of the two says is enough.
#[track_caller]
fn compare(target: &Target, exe: &Path, program: &'static str, at_least: usize) -> Value {
    let dump = dump_core(target, &["--kind", "full"]);
    let answer = stacks_of(&dump.path, &[]);
    beside(&dump.path, exe, program, at_least, &backtraces(&answer), &BTreeMap::new());
    answer
}

/// Compares what was found in a core with what gdb and eu-stack find there. Of some threads they can judge but the first
/// frames: `judged` tells how many.
#[track_caller]
pub(super) fn beside(
    core: &Path,
    exe: &Path,
    program: &'static str,
    at_least: usize,
    ours: &Backtraces,
    judged: &BTreeMap<u32, usize>,
) {
    let mut tallies = Vec::new();
    for (name, see) in [("gdb", gdb_core as fn(&Path, &Path, &Path) -> _), ("eu-stack", eu_stack)] {
        let Some(tool) = oracle(name) else { continue };
        let mut tally = Tally::new(program, name);
        let mut theirs: Backtraces = see(&tool, exe, core);
        for (tid, frames) in &mut theirs {
            frames.retain(|frame| !frame.made_up);
            // gdb shows this one behind functions that it takes for the first.
            frames.pop_if(|frame| frame.pc == 0);
            frames.truncate(judged.get(tid).copied().unwrap_or(usize::MAX));
        }
        tally.compare(ours, &theirs);
        eprintln!("{tally}");
        tallies.push(tally);
    }
    tallies.iter().for_each(|tally| tally.expect(at_least));
}

/// A C target, with flags behind those that all have.
fn frames(flags: &[&str]) -> (Target, PathBuf) {
    let exe = compile("frames", flags);
    (Plan::program(&exe).start(), exe)
}

#[test]
fn c_with_frame_pointers() {
    let (target, exe) = frames(&[]);
    let answer = compare(&target, &exe, "C, frame pointers", LEAST);
    let deep = functions(&answer, "deep");
    assert_eq!(deep.iter().filter(|name| *name == "recurse").count(), 61, "{deep:?}");
    assert!(functions(&answer, "busy").contains(&"loops".to_owned()));
}

#[test]
fn c_without_frame_pointers() {
    let (target, exe) = frames(&["-O2", "-fomit-frame-pointer"]);
    let answer = compare(&target, &exe, "C, no frame pointers", LEAST);
    let handler = functions(&answer, "handler");
    let at = |name: &str| handler.iter().position(|function| function == name);
    assert!(at("on_signal") < at("raise_it") && at("on_signal").is_some(), "{handler:?}");
}

#[test]
fn inlined_functions_are_told() {
    let (target, exe) = frames(&["-O2", "-finline"]);
    let answer = compare(&target, &exe, "C, inlined", LEAST);
    let inlined = functions(&answer, "inlined");
    let at = |name: &str| inlined.iter().position(|function| function == name).unwrap_or_else(|| panic!("{inlined:?}"));
    assert!(at("wait_here") < at("inner_inline"));
    assert_eq!((at("outer_inline"), at("inlined")), (at("inner_inline") + 1, at("inner_inline") + 2));
    let threads = answer["threads"].as_array().unwrap();
    let thread = threads.iter().find(|thread| thread["name"] == "inlined").unwrap();
    let frame = &thread["frames"][at("inner_inline")];
    assert_eq!(frame["inlined"], true);
    assert!(frame["file"].as_str().unwrap().ends_with("frames.c") && frame["line"].as_u64().unwrap() > 80, "{frame}");
}

#[test]
fn static_program() {
    let (target, exe) = frames(&["-static", "-O2", "-fomit-frame-pointer"]);
    compare(&target, &exe, "C, static", LEAST);
}

#[test]
fn stripped_program() {
    let (_, whole) = (0, compile("frames", &["-O2"]));
    let dir = scratch();
    let exe = dir.path().join("frames");
    let status = Command::new("strip").arg("-s").arg(&whole).arg("-o").arg(&exe).status();
    assert!(status.unwrap().success());
    let target = Plan::program(&exe).start();
    let answer = compare(&target, &exe, "C, stripped", LEAST);
    // Nothing in the program has a name, and everything in the C library that it calls.
    assert!(functions(&answer, "callback").iter().any(|name| name.contains("qsort")), "{answer}");
}

#[test]
fn stripped_program_with_a_debug_file() {
    let whole = compile("frames", &["-O2"]);
    let dir = scratch();
    let (exe, debug) = (dir.path().join("frames"), dir.path().join("frames.debug"));
    let run = |program: &str, arguments: &[&Path]| {
        let status = Command::new(program).args(arguments).status().unwrap();
        assert!(status.success(), "{program}");
    };
    run("objcopy", &[Path::new("--only-keep-debug"), &whole, &debug]);
    run("strip", &[Path::new("-s"), &whole, Path::new("-o"), &exe]);
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run("objcopy", &[Path::new(&link), &exe]);
    let target = Plan::program(&exe).start();
    let answer = compare(&target, &exe, "C, debug file", LEAST);
    assert!(functions(&answer, "deep").contains(&"recurse".to_owned()));
}

/// Builds a program in another language; `None` where its compiler is not there.
fn build(compiler: &str, arguments: &[&str], source: &str, program: &Path) -> bool {
    let mut command = Command::new(compiler);
    command.args(arguments).arg(source_dir().join(source)).arg("-o").arg(program);
    match command.output() {
        Err(_) => {
            skip(&format!("{compiler} not found"));
            false
        }
        Ok(output) => {
            assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
    }
}

#[test]
fn cpp_with_exceptions() {
    let dir = scratch();
    for (name, flags) in [("plain", ["-O0", "-g", "-pthread"]), ("optimised", ["-O2", "-g", "-pthread"])] {
        let exe = dir.path().join(name);
        if !build("g++", &flags, "unwinding.cpp", &exe) {
            return;
        }
        let target = Plan::program(&exe).start();
        let answer = compare(&target, &exe, "C++", 20);
        let all = answer.to_string();
        assert!(all.contains("shop::in_catch(shop::Visitor&)"), "{all}");
        assert!(all.contains("shop::OnTheWayOut::~OnTheWayOut()"), "{all}");
    }
}

#[test]
fn rust() {
    let dir = scratch();
    for (name, flags) in [("debug", ["-g", "-Copt-level=0"]), ("release", ["-g", "-Copt-level=3"])] {
        let exe = dir.path().join(name);
        if !build("rustc", &flags, "unwinding.rs", &exe) {
            return;
        }
        let target = Plan::program(&exe).start();
        let answer = compare(&target, &exe, "Rust", 40);
        let names = functions(&answer, "panics");
        assert!(names.iter().any(|name| name.contains("expect_failed")), "{names:?}");
    }
}
