//! `effigy run` with the triggers of `effigy watch`: the program is started, watched as any other, and ends as it would.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{await_that, dumps_in, is_traced};
use crate::events;
use crate::harness::{Plan, Target, compile, effigy, scratch, status_field};

/// A target that effigy has started.
struct Launched {
    program: Target,
    dir: TempDir,
}

impl Launched {
    /// One that does what it is told, with looks ten times a second and small dumps.
    fn moods(options: &[&str]) -> Self {
        Self::of(compile("moods", &[]), options, &[])
    }

    fn of(program: PathBuf, options: &[&str], arguments: &[&str]) -> Self {
        let dir = scratch();
        let (out, log) = (dir.path().to_str().unwrap().to_owned(), dir.path().join("log"));
        let usual = ["run", "--json", "-k", "mini", "--interval", "100ms", "-o", &out, "--log", log.to_str().unwrap()];
        let words = [&[env!("CARGO_BIN_EXE_effigy")], &usual[..], options, &["--"]].concat();
        Self { program: Plan::by(&words, &program).args(arguments).start(), dir }
    }

    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap();
        // What is not an object is a complaint.
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line))).collect()
    }

    /// What was told of triggers.
    fn triggers(&self) -> Vec<String> {
        let told = self.told();
        let events = told.iter().filter(|told| told["event"] != Value::Null);
        events.map(|told| format!("{}: {}", told["event"].as_str().unwrap(), told["text"].as_str().unwrap())).collect()
    }

    #[track_caller]
    fn await_dumps(&self, count: usize) {
        await_that(&format!("{count} dumps"), || dumps_in(self.dir.path()).len() >= count);
    }

    fn effigy(&self) -> Pid {
        Pid::from_raw(status_field(self.program.pid, "PPid").unwrap().parse().unwrap())
    }

    fn tracer(&self) -> String {
        status_field(self.program.pid, "TracerPid").unwrap()
    }

    /// Has the program end, which effigy does with the same status; and so many dumps were taken.
    #[track_caller]
    fn ends_with(mut self, dumps: usize) -> Vec<String> {
        self.program.tell("exit 7");
        assert_eq!(events::code_of(self.program.finish()), 7, "{:?}", self.told());
        self.dumped(dumps)
    }

    #[track_caller]
    fn dumped(self, dumps: usize) -> Vec<String> {
        let told = self.told();
        assert!(told.iter().all(Value::is_object), "effigy complained: {told:?}");
        let written = told.iter().filter(|told| told["path"].is_string()).count();
        assert_eq!((dumps_in(self.dir.path()).len(), written), (dumps, dumps), "{told:?}");
        self.triggers()
    }
}

#[test]
fn numbers_without_a_trace() {
    let mut launched = Launched::moods(&["--above", "threads=10"]);
    for _ in 0..20 {
        assert_eq!(launched.tracer(), "0", "nobody is to trace it for a number");
        std::thread::sleep(Duration::from_millis(10));
    }
    launched.program.ask("threads 20");
    launched.await_dumps(1);
    // It goes on, and nobody has anything to do with it any more.
    await_that("the end of the dump", || launched.tracer() == "0");
    launched.program.ask("rest");
    assert_eq!(launched.ends_with(1), ["trigger: threads 21 >= 10"]);
}

#[test]
fn memory_and_what_grows() {
    let mut launched = Launched::moods(&["--above", "private=100M"]);
    launched.program.ask("grow 150");
    launched.await_dumps(1);
    assert!(launched.ends_with(1)[0].contains(">= 100.0 MiB"));
    let mut launched = Launched::moods(&["--growth", "private=300M", "--window", "2s"]);
    launched.program.ask("leak 20");
    launched.await_dumps(1);
    assert!(launched.ends_with(1)[0].contains("private grows by"));
}

#[test]
fn schedules_and_hangs() {
    let launched = Launched::moods(&["--every", "300ms", "-n", "2"]);
    launched.await_dumps(2);
    launched.ends_with(2);
    let launched = Launched::moods(&["--hang", "500ms"]);
    launched.await_dumps(1);
    assert!(launched.ends_with(1)[0].contains("no thread has run"));
    // A thread that the program has not begun yet is none that it does not have.
    let mut launched = Launched::moods(&["--hang", "1h", "--thread", "beat"]);
    launched.program.ask("beat");
    assert!(launched.ends_with(0).is_empty());
}

#[test]
fn each_of_a_list_of_thresholds() {
    let mut launched = Launched::moods(&["--above", "private=50M,100M"]);
    launched.program.ask("grow 52");
    launched.await_dumps(1);
    launched.program.ask("grow 52");
    launched.await_dumps(2);
    launched.ends_with(2);
}

/// It stays traced when the dump of a number is taken, and dies its own death.
#[test]
fn numbers_and_events() {
    let mut launched = Launched::moods(&["--on", "crash", "--above", "threads=10", "-n", "2", "--cool-down", "1h"]);
    launched.program.ask("threads 20");
    launched.await_dumps(1);
    assert!(is_traced(launched.program.pid));
    launched.program.send(Signal::SIGSEGV);
    assert_eq!(events::code_of(launched.program.finish()), 139);
    let triggers = launched.dumped(2);
    assert!(triggers[0].starts_with("trigger: threads") && triggers[1].starts_with("crash: SIGSEGV"), "{triggers:?}");
}

#[test]
fn an_event_while_a_number_holds() {
    let mut launched = Launched::moods(&["--signal", "WINCH", "--above", "threads=10", "--all-of"]);
    for _ in 0..10 {
        launched.program.send(Signal::SIGWINCH);
        std::thread::sleep(Duration::from_millis(20));
    }
    launched.program.ask("threads 20");
    await_that("a dump", || {
        launched.program.send(Signal::SIGWINCH);
        !dumps_in(launched.dir.path()).is_empty()
    });
    await_that("the end of the trace", || launched.tracer() == "0");
    let triggers = launched.ends_with(1);
    assert!(triggers.len() == 1 && triggers[0].starts_with("signal: SIGWINCH"), "{triggers:?}");
}

/// What is sent to effigy is for the program, traced or not.
#[test]
fn signals_are_passed_on() {
    for options in [&["--above", "threads=1000"][..], &["--on", "crash", "--above", "threads=1000"]] {
        let mut launched = Launched::of(events::target(), options, &["signals"]);
        for _ in 0..3 {
            kill(launched.effigy(), Signal::SIGUSR1).unwrap();
            // Signals of one kind that come too fast become one.
            std::thread::sleep(Duration::from_millis(100));
        }
        kill(launched.effigy(), Signal::SIGTERM).unwrap();
        assert_eq!(events::code_of(launched.program.finish()), 3);
        launched.dumped(0);
        let mut launched = Launched::moods(options);
        kill(launched.effigy(), Signal::SIGTERM).unwrap();
        assert_eq!(events::code_of(launched.program.finish()), 143);
    }
}

#[test]
fn a_program_that_ends_before() {
    let triggers = [
        &["--above", "threads=1000"][..],
        &["--every", "1h"],
        &["--hang", "1h", "--on", "crash"],
        &["--above", "threads=1000", "--children"],
    ];
    for options in triggers {
        let words = ["--", "sh", "-c", "echo out; exit 5"];
        let run = effigy(["run"]).args(options).args(words).within(60).run().expect(5);
        assert_eq!((&run.stdout[..], &run.stderr[..]), (&b"out\n"[..], ""), "{options:?}");
    }
    effigy(["run", "--above", "threads=9", "--", "/nowhere/at/all"]).run().expect(127).says("no such file");
}

/// One that lives for milliseconds is dumped at the first look, and at its crash.
#[test]
fn a_short_life() {
    let dir = scratch();
    let out = dir.path().to_str().unwrap();
    let run = effigy(["run", "--above", "threads=1000", "--on", "crash", "-k", "mini", "-o", out, "--"]);
    run.args(["sh", "-c", "kill -SEGV $$"]).within(60).run().expect(139);
    assert_eq!(dumps_in(dir.path()).len(), 1);
}

#[test]
fn ends_of_the_watch() {
    let mut launched = Launched::moods(&["--above", "threads=10", "--within", "300ms"]);
    await_that("the end of the watch", || !launched.told().is_empty());
    assert!(launched.told()[0].as_str().unwrap().contains("--within"));
    launched.program.ask("threads 20");
    launched.program.tell("exit 7");
    assert_eq!(events::code_of(launched.program.finish()), 7);
    for options in [&["--above", "threads=10"][..], &["--on", "crash"]] {
        let mut launched = Launched::moods(options);
        effigy(["watch", "--cancel", &launched.program.pid_text()]).run().expect(0);
        await_that("an untraced program", || launched.tracer() == "0");
        launched.program.ask("threads 20");
        launched.ends_with(0);
    }
    let mut launched = Launched::moods(&["--above", "threads=1", "--kill"]);
    assert_eq!(events::code_of(launched.program.finish()), 137);
    launched.dumped(1);
}

/// The commands have signals as commands have them: nothing that effigy holds back for the program is held back from them.
#[test]
fn commands_before_and_after() {
    for options in [&["--above", "threads=1"][..], &["--signal", "WINCH"]] {
        let words = scratch();
        let file = words.path().join("words");
        let command = |name: &str| {
            format!("echo {name} $EFFIGY_NAME >> {0}; grep SigBlk /proc/self/status >> {0}", file.display())
        };
        let (before, after) = (command("before"), command("after"));
        let options = [options, &["--before", &before, "--after", &after]].concat();
        let launched = Launched::moods(&options);
        launched.program.send(Signal::SIGWINCH);
        let expected = "before moods\nSigBlk:\t0000000000000000\nafter moods\nSigBlk:\t0000000000000000\n";
        await_that("both commands", || fs::read_to_string(&file).is_ok_and(|said| said == expected));
        launched.ends_with(1);
    }
}

#[test]
fn children_of_the_program() {
    let dir = scratch();
    let out = dir.path().to_str().unwrap();
    let words = [env!("CARGO_BIN_EXE_effigy"), "run", "--children", "--above", "threads=10", "--interval", "100ms"];
    let words = [&words[..], &["-k", "mini", "-o", out, "--", "sh", "-c", "\"$0\"; exit 9"]].concat();
    let mut program = Plan::by(&words, &compile("moods", &[])).start();
    program.ask("threads 20");
    await_that("a dump", || dumps_in(dir.path()).len() == 1);
    program.tell("exit 7");
    assert_eq!(events::code_of(program.finish()), 9);
}

#[test]
fn what_makes_no_sense() {
    for options in [
        &["-n", "0", "--above", "threads=5"][..],
        &["--include", "x", "--above", "threads=5"],
        &["--above", "nonsense=5"],
        &["--for", "5s"],
        &["--on", "crash", "-n", "0", "--kill"],
        &["--above", "threads=5", "-o", "-"],
    ] {
        let run = effigy(["run"]).args(options).args(["--", "true"]).run();
        assert_eq!(run.code, Some(1), "{options:?}: {}", run.stderr);
    }
    // A number that it does not have is known when it runs; it is not to suffer for that.
    let run = effigy(["run", "--above", "file:nothing=1", "--", "sh", "-c", "read line; exit 6"]).run().expect(6);
    assert!(run.stderr.is_empty() || run.stderr.contains("is not watched"), "{}", run.stderr);
}

/// `procdump -x` with numbers: ProcDump's names, the program's own output and status.
#[test]
fn procdump_starts_a_program() {
    let cases = [("-mm -m 100", "grow 150"), ("-mt -tc 10 -n 1", "threads 20"), ("-mm -c 5 -u -s 1 -e", "spin 1")];
    for (line, request) in cases {
        let dir = scratch();
        let mut words = vec![env!("CARGO_BIN_EXE_effigy"), "procdump", "-pf", "100"];
        words.extend(line.split_whitespace());
        words.extend(["-x", dir.path().to_str().unwrap()]);
        let mut program = Plan::by(&words, &compile("moods", &[])).start();
        program.ask(request);
        await_that(line, || dumps_in(dir.path()).len() == 1);
        let name = dumps_in(dir.path())[0].file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("moods_") && name.len() == "moods_261121_030405.dmp".len(), "{name}");
        program.tell("exit 7");
        assert_eq!(events::code_of(program.finish()), 7, "{line}");
    }
}
