//! `effigy watch` and `procdump`: is a dump taken when it should be, and none when it should not?
//!
//! Targets do what they are told (`moods.c`), and everything is read off the stream of events and the files. Looks are
//! a tenth of a second apart, so that a test takes a second or two and not a minute.

mod arrivals;
mod ending;
mod happenings;
mod launched;
mod others;
mod procdump;
mod soak;
mod standard_error;
mod thresholds;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Effigy, Plan, Run, Running as UnderWay, State, Target, Tolerance, effigy, scratch};

/// A target that does what it is told.
fn moods() -> Target {
    Plan::c("moods").start()
}

/// Waits for something.
#[track_caller]
fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A watch of a target, with looks ten times a second and small dumps into a folder of its own.
struct Watch {
    dir: TempDir,
    effigy: Effigy,
}

impl Watch {
    fn of(target: &str, arguments: &[&str]) -> Self {
        let dir = scratch();
        let interval: &[&str] = if arguments.contains(&"--interval") { &[] } else { &["--interval", "100ms"] };
        let usual = ["watch", target, "--json", "-k", "mini", "-o"];
        let effigy = effigy(usual).arg(dir.path()).args(interval).args(arguments).within(60);
        Self { dir, effigy }
    }

    fn run(self) -> Watched {
        self.running().wait()
    }

    /// The same for a long one.
    fn running_within(self, seconds: u64) -> Running {
        Running { dir: self.dir, running: self.effigy.within(seconds).start() }
    }

    fn running(self) -> Running {
        Running { dir: self.dir, running: self.effigy.start() }
    }
}

/// A watch under way.
struct Running {
    dir: TempDir,
    running: UnderWay,
}

impl Running {
    fn wait(self) -> Watched {
        Watched { run: self.running.wait(), dir: self.dir }
    }

    /// Waits until the watch has begun: its target's pidfd is among its descriptors.
    fn await_begun(&mut self, pid: i32) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds(self.running.pid(), pid) {
            assert!(Instant::now() < deadline && !self.running.is_over(), "the watch did not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all threads of the target are traced.
    fn await_traced(&mut self, pid: i32) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_traced(pid) {
            assert!(Instant::now() < deadline && !self.running.is_over(), "the target is not traced");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many dumps are there.
    fn await_dumps(&mut self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while dumps_in(self.dir.path()).len() < count {
            assert!(Instant::now() < deadline, "{} of {count} dumps", dumps_in(self.dir.path()).len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a process holds another one by a pidfd.
fn holds(holder: i32, pid: i32) -> bool {
    let entries = fs::read_dir(format!("/proc/{holder}/fdinfo")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("Pid:").is_some_and(|found| found.trim() == pid.to_string()))
    })
}

/// Whether all threads of a process are traced.
fn is_traced(pid: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default()).peekable();
    statuses.peek().is_some() && statuses.all(|status| !status.contains("TracerPid:\t0\n"))
}

fn dumps_in(dir: &Path) -> Vec<PathBuf> {
    let mut dumps: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).collect();
    dumps.retain(|path| path.extension().is_some_and(|ending| ending == "dmp" || ending == "core"));
    dumps.sort();
    dumps
}

/// A watch that is over.
struct Watched {
    run: Run,
    dir: TempDir,
}

impl Watched {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        Self { run: self.run.expect(code), dir: self.dir }
    }

    /// Events of a kind.
    fn events(&self, kind: &str) -> Vec<Value> {
        self.run.objects().into_iter().filter(|event| event["event"] == kind).collect()
    }

    fn dumps(&self) -> Vec<PathBuf> {
        dumps_in(self.dir.path())
    }

    /// Panics unless so many dumps were taken, and told.
    #[track_caller]
    fn dumped(&self, count: usize) -> &Self {
        assert_eq!((self.dumps().len(), self.events("dump").len()), (count, count), "dumps; {}", self.text());
        self
    }

    /// What the last trigger said.
    #[track_caller]
    fn cause(&self) -> String {
        let events = self.events("trigger");
        events.last().unwrap_or_else(|| panic!("no trigger: {}", self.text()))["cause"].as_str().unwrap().to_owned()
    }

    fn text(&self) -> String {
        format!("{}\n{}", String::from_utf8_lossy(&self.run.stdout), self.run.stderr)
    }
}

/// A trigger that is not met: the watch ends by its time, and takes no dump.
#[track_caller]
fn does_not_fire(target: &Target, arguments: &[&str]) {
    let before = State::of(target.pid);
    let watched = Watch::of(&target.pid_text(), &[arguments, &["--within", "1500ms"]].concat()).run().expect(7);
    watched.dumped(0);
    before.assert_unharmed(Tolerance::LIVELY);
}

/// A trigger that is met: one dump, and the cause says what it was.
#[track_caller]
fn fires(target: &Target, arguments: &[&str], cause: &str) {
    let before = State::of(target.pid);
    let watched = Watch::of(&target.pid_text(), &[arguments, &["--within", "20s"]].concat()).run().expect(0);
    watched.dumped(1);
    assert!(watched.cause().contains(cause), "{}", watched.cause());
    before.assert_unharmed(Tolerance::LIVELY);
}
