//! `effigy run --follow-stderr`: text of the program's standard error is passed on, whole and at once, and a line of it is a
//! moment for a dump.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::dumps_in;
use crate::harness::{effigy, scratch};

/// A script that ends with status 4 when a dump is in the folder that it is given.
const UNTIL_A_DUMP: &str = "until ls \"$0\" | grep -q 'dmp$'; do sleep 0.05; done; exit 4";

#[track_caller]
fn expect_dump(options: &[&str], words: &str, cause: &str) {
    let dir = scratch();
    let (out, log) = (dir.path().to_str().unwrap(), dir.path().join("log"));
    let script = format!("{words}; {UNTIL_A_DUMP}");
    let run = effigy(["run", "--json", "--follow-stderr", "-k", "mini", "-o", out, "--log", log.to_str().unwrap()]);
    let run = run.args(options).args(["--", "sh", "-c", &script, out]).within(60).run().expect(4);
    assert_eq!(run.stderr, "fine\nan ERROR happens\nrest\n");
    assert_eq!(dumps_in(dir.path()).len(), 1);
    let told = fs::read_to_string(log).unwrap();
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((told["event"].as_str(), told["text"].as_str()), (Some("trigger"), Some(cause)));
}

#[test]
fn a_line_is_a_moment() {
    let words = "echo fine >&2; printf 'an ERR' >&2; sleep 0.1; printf 'OR happens\\nrest\\n' >&2";
    let cause = "text on standard error: an ERROR happens";
    expect_dump(&["--include", "error*happens"], words, cause);
    expect_dump(&["--exclude", "fine", "--exclude", "rest"], words, cause);
    // Also of a program that is traced for something else.
    expect_dump(&["--include", "error", "--on", "crash"], words, cause);
    // Nobody looks for text while a number does not hold.
    expect_dump(&["--include", "error", "--all-of", "--above", "threads=1"], words, cause);
}

#[test]
fn lines_that_do_not_count() {
    let dir = scratch();
    let options = ["run", "--follow-stderr", "--include", "nothing", "-k", "mini", "-o", dir.path().to_str().unwrap()];
    let run = effigy(options).args(["--", "sh", "-c", "echo out; echo error >&2; exit 3"]).within(60).run().expect(3);
    assert_eq!((&run.stdout[..], &run.stderr[..]), (&b"out\n"[..], "error\n"));
    assert!(dumps_in(dir.path()).is_empty());
}

#[test]
fn all_of_it_is_passed_on() {
    let run = effigy(["run", "--follow-stderr", "--include", "nothing", "--", "sh", "-c", "seq 1 300000 >&2; exit 2"]);
    let run = run.within(100).run().expect(2);
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(run.stderr == expected, "{} bytes in place of {}", run.stderr.len(), expected.len());
}

/// A program that writes each line that it reads to standard error, and says so.
fn echo() -> Child {
    let script = "while read line; do echo \"said $line\" >&2 || exit 9; echo done; done";
    Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["run", "--follow-stderr", "--include", "nothing", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The death of effigy is not the program's: what it writes afterwards is passed on, too.
#[test]
fn effigy_is_killed() {
    let mut child = echo();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = child.stderr.take().unwrap();
    let mut say = |word: &str| {
        writeln!(stdin, "{word}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "done");
    };
    say("one");
    child.kill().unwrap();
    child.wait().unwrap();
    say("two");
    say("three");
    // The program ends, and with it who passes on.
    drop(stdin);
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(said, "said one\nsaid two\nsaid three\n");
}

/// Nobody reads any more: the program gets to know that as it would.
#[test]
fn a_reader_that_has_gone() {
    let mut child = echo();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stderr.take());
    // The first write is passed on to nobody; one of the next ones ends the shell.
    while writeln!(stdin, "word").is_ok() {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    drop(stdin);
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(9 | 141)), "{code:?}");
}

/// Ctrl-C and the like are for the program, which may have something to say about it.
#[test]
fn signals_to_the_group() {
    let script = "trap 'echo last words >&2; exit 6' INT; echo ready >\"$0\"; while :; do sleep 0.02; done";
    let dir = scratch();
    let ready = dir.path().join("ready");
    let run = effigy(["run", "--follow-stderr", "--include", "nothing", "--", "sh", "-c", script]).arg(&ready);
    let running = run.within(60).start();
    while !ready.exists() {
        sleep(Duration::from_millis(5));
    }
    killpg(Pid::from_raw(running.pid()), Signal::SIGINT).unwrap();
    assert!(running.wait().expect(6).stderr.contains("last words\n"));
}
