//! Stacks: frame by frame beside elfutils', gdb's and minidump-stackwalk's, on programs that are hard to unwind.

mod commands;
mod foreign;
mod go;
#[path = "../../../crates/effigy-symbols/tests/python/interpreters.rs"]
mod interpreters;
mod java;
mod known;
mod live;
mod nameless;
mod programs;
mod python;
mod tally;

use std::path::Path;

use serde_json::Value;

use crate::harness::{Backtraces, Run, effigy};

/// What effigy answers on a dump or a process, as JSON.
#[track_caller]
fn ask(arguments: &[&str]) -> Value {
    run(arguments).expect(0).json()
}

fn run(arguments: &[&str]) -> Run {
    effigy(arguments).within(60).run()
}

/// The stacks of a dump or a process.
#[track_caller]
fn stacks(subject: &str, more: &[&str]) -> Value {
    ask(&[&["stacks", "--json", "--no-index", subject], more].concat())
}

#[track_caller]
fn stacks_of(dump: &Path, more: &[&str]) -> Value {
    stacks(dump.to_str().unwrap(), more)
}

/// The frames of the machine, by thread: those of inlined functions are part of the one behind them.
fn backtraces(answer: &Value) -> Backtraces {
    let threads = answer["threads"].as_array().unwrap().iter();
    threads
        .map(|thread| {
            let frames = thread["frames"].as_array().unwrap().iter().filter(|frame| frame["inlined"] == false);
            (u32::try_from(thread["tid"].as_u64().unwrap()).unwrap(), frames.map(tally::frame).collect())
        })
        .collect()
}

/// All lines of the thread with a name: functions, inlined ones too, innermost first.
#[track_caller]
fn functions(answer: &Value, name: &str) -> Vec<String> {
    let threads = answer["threads"].as_array().unwrap();
    let thread = threads.iter().find(|thread| thread["name"] == name).unwrap_or_else(|| panic!("no thread {name}"));
    let frames = thread["frames"].as_array().unwrap().iter();
    frames.map(|frame| frame["function"].as_str().unwrap_or("?").to_owned()).collect()
}
