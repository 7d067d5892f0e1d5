//! The stacks of real interpreters beside what they say of themselves, and beside gdb's stacks of the machine.
//!
//! Every CPython 3.9 to 3.13 that is found takes part: those of `EFFIGY_PYTHONS` (programs, separated as in `PATH`), else
//! those in `PATH` and pyenv's.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]
#![allow(clippy::print_stdout, reason = "tests tell what takes part and what is skipped")]

mod interpreters;
mod machine;
mod parked;
mod runtime;

use effigy_process::{Address, Memory, Process};
use effigy_symbols::python::{PythonStacks, Splice, splice, threads};

use crate::interpreters::Interpreter;
use crate::parked::{Frame, Parked, Told};
use crate::runtime::runtime_of;

fn stacks(process: &Process, memory: &dyn Memory) -> PythonStacks {
    let (runtime, version) = runtime_of(process, memory).expect("a module with _PyRuntime");
    threads(memory, process.architecture, runtime, version).unwrap()
}

/// Checks that the stacks are those that the interpreter says it has.
fn check(interpreter: &Interpreter, stacks: &PythonStacks, told: &[Told]) {
    assert_eq!((stacks.threads.len(), &stacks.cut), (told.len(), &None), "{interpreter}");
    for expected in told {
        let place = format!("{interpreter}, thread {}", expected.name);
        let thread = stacks.threads.iter().find(|thread| thread.thread_id == expected.ident).expect(&place);
        let frames: Vec<_> =
            thread.frames.iter().map(|frame| (frame.function.clone(), frame.file.clone(), frame.line)).collect();
        assert_eq!(frames, expected.frames, "{place}");
        assert_eq!(thread.cut, None, "{place}");
        let is_told = interpreter.minor >= 11 || cfg!(all(target_arch = "x86_64", target_env = "gnu"));
        assert_eq!(thread.native_id, is_told.then_some(expected.native_id), "{place}");
        assert!(thread.frames.last().is_none_or(|frame| frame.is_entry), "{place}");
    }
}

#[test]
fn live_stacks_are_those_that_python_tells() {
    for interpreter in interpreters::all() {
        let parked = Parked::start(&interpreter);
        let view = parked.view();
        check(&interpreter, &stacks(view.process(), &view), &parked.told);
    }
}

#[test]
fn stacks_of_cores_are_those_that_python_tells_and_fit_the_machines() {
    let Some(gdb) = machine::tool("gdb") else { return };
    for interpreter in interpreters::all() {
        let parked = Parked::start(&interpreter);
        let (machine, dump) = machine::core_of(&gdb, &parked);
        let stacks = stacks(&dump.process, &dump.memory);
        check(&interpreter, &stacks, &parked.told);
        // Where threads begin: 3.11 and later call it by the first name. Without symbols gdb guesses at names.
        let has_symbols = machine.values().flatten().any(|name| matches!(&**name, "thread_run" | "t_bootstrap"));
        let mut paired = 0;
        for told in &parked.told {
            let place = format!("{interpreter}, thread {}", told.name);
            let system = dump.process.threads.iter().find(|thread| thread.id.0 == told.native_id).expect(&place);
            let pointer = system.registers.as_ref().unwrap().general().unwrap().thread_pointer();
            assert_eq!(pointer, Some(Address(told.ident)), "{place}");
            let thread = stacks.threads.iter().find(|thread| thread.thread_id == told.ident).expect(&place);
            if !has_symbols {
                continue;
            }
            let names = &machine[&told.native_id];
            match splice(names, thread) {
                Some(splices) => {
                    fits(&splices, names, &told.frames, &place);
                    paired += 1;
                }
                // Its last frame is gone from Python's list while what it held is finalised.
                None => assert!(told.name.ends_with("finalise"), "{place}: {names:#?} {:#?}", thread.frames),
            }
        }
        println!("{interpreter}: {paired} of {} threads pair with the machine's", parked.told.len());
    }
}

/// Checks that what C calls Python with stands between the frames that it should.
fn fits(splices: &[Splice], names: &[String], frames: &[Frame], place: &str) {
    for pair in splices.windows(2) {
        let between = &names[pair[0].machine + 1..pair[1].machine];
        let called = &frames[pair[0].python.end - 1].0;
        let caller = &frames[pair[1].python.start].0;
        let told = format!("{place}: {caller} to {called} by {between:?}");
        let by = |function: &str| between.iter().any(|name| name.contains(function));
        match (caller.rsplit('.').next().unwrap(), called.rsplit('.').next().unwrap()) {
            ("method", "<lambda>") => assert!(by("sort"), "{told}"),
            ("__lt__", "<lambda>") => assert!(by("functools_reduce"), "{told}"),
            ("from_text", "<module>") => assert!(by("exec"), "{told}"),
            _ => {}
        }
    }
}
