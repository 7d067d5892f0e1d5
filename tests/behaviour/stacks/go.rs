//! Stacks of Go's threads: goroutines that run have stacks of their own, threads without one wait on theirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::programs::beside;
use super::tally::Tally;
use super::{backtraces, functions, stacks, stacks_of};
use crate::harness::{Backtraces, Frame, Plan, compile_go, eu_stack_live, gdb_core, gdb_live, oracle, scratch};
use crate::real_programs::dump_lively;

/// By the build id a dump's program is found. Go 1.19 writes none by itself, and one that is asked for where nobody looks
/// (`PT_NOTE`) only if it leaves out its own.
const WHOLE: &str = "-ldflags=-buildid= -B 0x656666696779206f6e20676f20737461636b7301";
/// The same code without DWARF and symbols.
const STRIPPED: &str = "-ldflags=-s -w -buildid= -B 0x656666696779206f6e20676f20737461636b7301";

/// Frames that the threads have at least.
const LEAST: usize = 120;

fn build(dir: &TempDir, name: &str, flags: &str) -> Option<PathBuf> {
    let program = dir.path().join(name);
    compile_go("unwinding", &[flags], &program).then_some(program)
}

/// Behind these nothing can be judged. A thread of the runtime begins behind the system call that makes it, on a stack where
/// nothing was before: all go on there with whatever lies in that place. And what a signal has interrupted, by which the
/// runtime takes a goroutine off its thread, gdb and eu-stack do not find, as Go does not tell them of it; effigy does.
const UNJUDGED: [&str; 2] = ["runtime.clone", "runtime.sigreturn"];

/// How many frames of a thread can be judged.
fn judged(ours: &Backtraces) -> BTreeMap<u32, usize> {
    let first = |frames: &[Frame]| frames.iter().position(|frame| UNJUDGED.contains(&&*frame.function));
    ours.iter().filter_map(|(tid, frames)| Some((*tid, first(frames)? + 1))).collect()
}

#[test]
fn core() {
    let dir = scratch();
    let Some(exe) = build(&dir, "unwinding", WHOLE) else { return };
    let target = Plan::program(&exe).args(["busy"]).start();
    let dump = dump_lively(&target, "dump.core", &["--kind", "full"]);
    let answer = stacks_of(&dump.path, &[]);
    let ours = backtraces(&answer);
    beside(&dump.path, &exe, "Go", LEAST, &ours, &judged(&ours));
    let count = |thread: &str, function: &str| {
        let functions = functions(&answer, thread);
        let count = functions.iter().filter(|name| *name == function).count();
        assert!(count > 0, "{thread}: {functions:?}");
        count
    };
    assert_eq!(count("recursion", "main.recurse"), 61);
    assert_eq!(count("interface", "main.(*square).area"), 21);
    assert_eq!(count("callback", "sort.Slice"), 1);
    assert_eq!(count("panics", "runtime.gopanic"), 1);
    assert_eq!(count("panics", "main.explode"), 1);
    let inlined = functions(&answer, "inlined");
    let at = |name: &str| inlined.iter().position(|function| function == name).unwrap_or_else(|| panic!("{inlined:?}"));
    assert_eq!((at("main.outerInline"), at("main.inlines")), (at("main.innerInline") + 1, at("main.innerInline") + 2));
}

/// Those of an answer that tell the same in another one: of threads that did not move between.
fn at_rest(before: &Value, after: &Value) -> Backtraces {
    let (before, after) = (backtraces(before), backtraces(after));
    before.into_iter().filter(|(tid, frames)| after.get(tid) == Some(frames) && !watches(frames)).collect()
}

/// Whether it is the thread that watches the others, which sleeps for but a few milliseconds at a time.
fn watches(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.function == "runtime.sysmon")
}

#[test]
fn live() {
    let (Some(gdb), Some(eu_stack)) = (oracle("gdb"), oracle("eu-stack")) else { return };
    let dir = scratch();
    let Some(exe) = build(&dir, "unwinding", WHOLE) else { return };
    let target = Plan::program(&exe).start();
    target.await_rest();
    let before = stacks(&target.pid_text(), &[]);
    let theirs = [("gdb", gdb_live(&gdb, target.pid)), ("eu-stack", eu_stack_live(&eu_stack, target.pid))];
    let ours = at_rest(&before, &stacks(&target.pid_text(), &[]));
    for (name, mut theirs) in theirs {
        theirs.retain(|tid, _| ours.contains_key(tid));
        let judged = judged(&ours);
        for (tid, frames) in &mut theirs {
            frames.truncate(judged.get(tid).copied().unwrap_or(usize::MAX));
            // gdb shows this one behind functions that it takes for the first.
            frames.pop_if(|frame| frame.pc == 0);
        }
        let mut tally = Tally::new("Go", name);
        tally.compare(&ours, &theirs);
        eprintln!("{tally}");
        tally.expect(LEAST);
    }
}

/// Functions that Go's table marks as the first of their stacks: effigy ends there, and gdb goes on.
const FIRST: [&str; 3] = ["runtime.goexit", "runtime.mstart", "runtime.rt0_go"];

/// The lines of all threads but the one that watches: address, function and source line, innermost first, of those that
/// were inlined too. With what types a generic function was made Go's table leaves out.
fn lines(answer: &Value) -> BTreeMap<u64, Vec<String>> {
    let line = |frame: &Value| {
        let name = frame["function"].as_str().unwrap_or("?");
        let name = match (name.find('['), name.rfind(']')) {
            (Some(start), Some(end)) => format!("{}[...]{}", &name[..start], &name[end + 1..]),
            _ => name.to_owned(),
        };
        format!("{} {name} {}:{} {}", frame["address"], frame["file"], frame["line"], frame["inlined"])
    };
    let threads = answer["threads"].as_array().unwrap().iter().map(|thread| {
        let frames = thread["frames"].as_array().unwrap().iter().map(line).collect();
        (thread["tid"].as_u64().unwrap(), frames)
    });
    threads.filter(|(_, lines): &(_, Vec<String>)| !lines.iter().any(|line| line.contains("runtime.sysmon"))).collect()
}

/// gdb gets the program with its call frame information and names, effigy the one that has nothing but the table of Go's
/// runtime.
#[test]
fn stripped() {
    let dir = scratch();
    let (Some(whole), Some(exe)) = (build(&dir, "whole", WHOLE), build(&dir, "unwinding", STRIPPED)) else { return };
    let target = Plan::program(&exe).start();
    target.await_rest();
    let dump = dump_lively(&target, "dump.core", &["--kind", "full"]);
    let answer = stacks_of(&dump.path, &[]);
    if let Some(gdb) = oracle("gdb") {
        let ours = backtraces(&answer);
        let mut theirs = gdb_core(&gdb, &whole, &dump.path);
        theirs.retain(|tid, _| ours.get(tid).is_some_and(|ours| !watches(ours)));
        let is_last = |frame: &Frame| UNJUDGED.contains(&&*frame.function) || FIRST.contains(&&*frame.function);
        for (tid, frames) in &mut theirs {
            let last = ours[tid].iter().position(is_last);
            frames.truncate(last.map_or(usize::MAX, |last| last + 1));
            frames.pop_if(|frame| frame.pc == 0);
        }
        let mut tally = Tally::new("Go, stripped", "gdb");
        tally.compare(&ours, &theirs);
        eprintln!("{tally}");
        tally.expect(LEAST);
    }
    // The whole program takes the other one's place, as it has the same build id: all is told as by its DWARF.
    fs::rename(&whole, &exe).unwrap();
    let (ours, whole) = (lines(&answer), lines(&stacks_of(&dump.path, &[])));
    assert!(ours.values().map(Vec::len).sum::<usize>() >= LEAST, "{ours:#?}");
    assert_eq!(ours.len(), whole.len());
    for (tid, ours) in &ours {
        let whole = &whole[tid];
        assert_eq!(ours[..], whole[..ours.len().min(whole.len())]);
        // Behind the first function of a stack lies what was there before: chance.
        let is_first = |line: &String| FIRST.iter().any(|name| line.contains(&format!(" {name} ")));
        assert!(whole.len() == ours.len() || ours.last().is_some_and(is_first), "{whole:#?} in place of {ours:#?}");
    }
    let first = &answer["threads"].as_array().unwrap()[0]["frames"][1];
    assert_eq!(first["trust"], "go_table", "{first}");
}
