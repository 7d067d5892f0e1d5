//! Stacks of Python, on running processes and in dumps, beside what the program says of itself by `sys._current_frames()`.
//! Every CPython 3.9 to 3.13 that is found takes part.

use serde_json::Value;
use std::cell::RefCell;
use std::path::Path;
use std::process::Command;

use super::interpreters::{self, Interpreter};
use super::{stacks, stacks_of};
use crate::harness::{Plan, State, Target, Tolerance, dump_core, dump_minidump, effigy, oracle, scratch, source_dir};

/// One thread recurses deeper than what is printed unless that is asked for.
const DEEP: &[&str] = &["--limit", "4096"];

/// Function, file and line.
type Frame = (String, String, Option<u64>);

/// What a program says of a thread: its identity, its id, its name, and its frames, innermost first.
type Told = (u64, u64, String, Vec<Frame>);

/// A program whose threads stand still in generators, coroutines, callbacks of C and recursion, and what it says of them.
fn parked(interpreter: &Interpreter) -> (Target, Vec<Told>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../effigy-symbols/tests/python/parked.py");
    let line = RefCell::new(String::new());
    let plan = Plan::program(&interpreter.program).args(["-I", "-X", "utf8"]).args([script]);
    let target = plan.start_until(|text| {
        line.replace(text.to_owned());
        text.starts_with("[[")
    });
    let told = serde_json::from_str(&line.into_inner()).unwrap();
    target.await_rest();
    (target, told)
}

/// The stacks of a process, whole. A machine that has much else to do may not read them in time; then effigy says so.
#[track_caller]
fn whole(pid: &str) -> Value {
    for _ in 0..40 {
        let answer = stacks(pid, DEEP);
        match answer["python_missing"].as_str() {
            None => return answer,
            Some(why) => assert!(why.contains("within 50 ms"), "{why}"),
        }
    }
    panic!("the stacks of {pid} are never read in time");
}

fn rows(answer: &Value, tid: u64) -> &Vec<Value> {
    let threads = answer["threads"].as_array().unwrap();
    let thread = threads.iter().find(|thread| thread["tid"] == tid).unwrap_or_else(|| panic!("no thread {tid}"));
    thread["frames"].as_array().unwrap()
}

/// The lines that are Python's.
fn frames(rows: &[Value]) -> Vec<Frame> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let python = rows.iter().filter(|row| row["python"] == true);
    python.map(|row| (text(row, "function"), text(row, "file"), row["line"].as_u64())).collect()
}

/// Checks that the stacks are those that the program says it has.
#[track_caller]
fn check(answer: &Value, told: &[Told], interpreter: &Interpreter, what: &str) {
    let what = &format!("{what} of {interpreter}");
    assert_eq!(answer["python_missing"], Value::Null, "{what}");
    assert_eq!(told.len(), 7, "{what}");
    for (_, tid, name, expected) in told {
        let found = frames(rows(answer, *tid));
        // The last frame of one that is finalised is gone from Python's list, so that its stacks do not come out even.
        if name.ends_with("finalise") && found.is_empty() {
            continue;
        }
        assert_eq!(&found, expected, "{what}, thread {name}");
    }
    // Without symbols nothing but the evaluation itself has its name.
    let functions = |rows: &[Value]| rows.iter().filter_map(|row| Some(row["function"].as_str()?.to_owned())).collect();
    let (_, tid, ..) = told.iter().find(|told| told.2.starts_with("0 ")).unwrap();
    let names: Vec<String> = functions(rows(answer, *tid));
    if names.iter().any(|name| matches!(name.as_str(), "thread_run" | "t_bootstrap")) {
        let at = |end: &str| names.iter().position(|name| name.ends_with(end)).unwrap_or_else(|| panic!("{names:#?}"));
        // From 3.11 on names have the classes that they are in.
        let between = &names[at("<lambda>")..at(if interpreter.minor >= 11 { "Ring.method" } else { "method" })];
        assert!(between.iter().any(|name| name.contains("sort")), "{what}: {names:#?}");
    }
    assert!(!names.iter().any(|name| name.contains("_PyEval_EvalFrameDefault")), "{what}: {names:#?}");
}

#[test]
fn of_a_running_process() {
    for interpreter in interpreters::all() {
        let (target, told) = parked(&interpreter);
        let before = State::of(target.pid);
        let answer = whole(&target.pid_text());
        before.assert_unharmed(Tolerance::STRICT);
        check(&answer, &told, &interpreter, "process");
        assert!(answer["source"]["pause_us"].as_u64().unwrap() > 0);
    }
}

#[test]
fn of_dumps() {
    for interpreter in interpreters::all() {
        let (target, told) = parked(&interpreter);
        let core = dump_core(&target, &["--kind", "full"]);
        check(&stacks_of(&core.path, DEEP), &told, &interpreter, "core");
        let minidump = dump_minidump(&target, &["--kind", "full"]);
        check(&stacks_of(&minidump.path, DEEP), &told, &interpreter, "minidump");
    }
}

#[test]
fn of_cores_that_gdb_takes() {
    let Some(gcore) = oracle("gcore") else { return };
    for interpreter in interpreters::all() {
        let (target, told) = parked(&interpreter);
        let dir = scratch();
        let prefix = dir.path().join("core");
        let output = Command::new(&gcore).arg("-o").arg(&prefix).arg(target.pid_text()).output().unwrap();
        let core = dir.path().join(format!("core.{}", target.pid));
        assert!(core.exists(), "{}", String::from_utf8_lossy(&output.stderr));
        check(&stacks_of(&core, DEEP), &told, &interpreter, "gcore's core");
    }
}

/// Checks that a stack of `falling.py` is one that can be: every step is called by the one before, at its call.
fn check_steps(stack: &[Frame], place: &str) {
    let (innermost, callers) = stack.split_first().unwrap();
    let number = |frame: &Frame| frame.0.strip_prefix("step_").map(|number| number.parse::<u32>().unwrap());
    let mut called = number(innermost);
    for caller in callers {
        let told = || format!("{place}: {stack:#?}");
        match (called, number(caller)) {
            (Some(step), Some(before)) => {
                assert_eq!((step, caller.2), (before + 1, Some(5)), "{}", told());
            }
            (Some(step), None) if caller.0 == "fall" => assert_eq!(step, 0, "{}", told()),
            (None, Some(_)) => panic!("{}", told()),
            _ => {}
        }
        called = number(caller);
    }
    assert!(stack.iter().all(|frame| number(frame).is_none_or(|number| frame.1 == format!("step_{number}"))));
}

/// A process that goes on is told as it was while it stood still: read later, its frames would be of several moments.
#[test]
fn of_a_process_that_does_not_wait() {
    for interpreter in interpreters::all() {
        let target = Plan::program(&interpreter.program).args([source_dir().join("falling.py")]).start();
        let (mut seen, mut deep) = (0, 0);
        // Which moments they are is up to the machine: so many looks show some of them.
        for _ in 0..60 {
            let answer = whole(&target.pid_text());
            for thread in answer["threads"].as_array().unwrap() {
                let stack = frames(thread["frames"].as_array().unwrap());
                if stack.iter().any(|frame| frame.0 == "fall") {
                    check_steps(&stack, &interpreter.to_string());
                    seen += 1;
                    deep += usize::from(stack.iter().filter(|frame| frame.0.starts_with("step_")).count() > 3);
                }
            }
            if seen >= 20 && deep >= 3 {
                break;
            }
        }
        assert!(seen >= 20 && deep >= 3, "{interpreter}: only {seen} stacks, {deep} of them deep");
    }
}

/// The interpreter of a process that was forked off may still have the ids of the parent's threads.
#[test]
fn of_a_forked_process() {
    for interpreter in interpreters::all() {
        let target = Plan::program(&interpreter.program).args([source_dir().join("forked.py")]).start();
        let child = target.number("child");
        let answer = whole(&child.to_string());
        let functions: Vec<_> = frames(rows(&answer, child)).into_iter().map(|frame| frame.0).collect();
        assert_eq!(functions, ["in_child", "<module>"], "{interpreter}");
    }
}

/// A process is not held for long, and what is read when it has gone on is not shown as if it were of the same moment.
#[test]
fn of_a_process_that_cannot_be_read_in_time() {
    let all = interpreters::all();
    let Some(interpreter) = all.first() else { return };
    let (target, told) = parked(interpreter);
    let before = State::of(target.pid);
    let look = effigy(["stacks", "--json", "--no-index", &target.pid_text()]).env("EFFIGY_FAULT", "slow-read");
    let answer = look.run().expect(0).json();
    before.assert_unharmed(Tolerance::STRICT);
    let why = answer["python_missing"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(why.contains("within 50 ms"), "{why}");
    for (_, tid, name, expected) in &told {
        let found = frames(rows(&answer, *tid));
        assert!(found.is_empty() || found == *expected, "{interpreter}, thread {name}: {found:#?}");
    }
}
