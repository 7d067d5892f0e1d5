//! effigy is killed while it watches: the program goes on, untraced, with its code as it was.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Cgroup, alive, children_of, is_root, scratch, skip, status_field, thread_states};

use super::launching::child_of;
use super::target;

/// A lively program under effigy. Dropped, both are killed.
struct Watched {
    effigy: Child,
    program: i32,
    /// Stays open when effigy is no more.
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What the hash of its code is when nobody has touched it.
    text: u64,
}

impl Watched {
    fn start(options: &[&str], fault: &str) -> (Self, tempfile::TempDir) {
        Self::launch(options, fault, ["alive", "4"])
    }

    fn launch(options: &[&str], fault: &str, mode: [&str; 2]) -> (Self, tempfile::TempDir) {
        let dir = scratch();
        let mut effigy = Command::new(env!("CARGO_BIN_EXE_effigy"))
            .args(["run", "--kind", "mini", "-n", "100000", "--log", "/dev/null", "-o"])
            .arg(dir.path().join("dump.core"))
            .args(options)
            .arg("--")
            .arg(target())
            .args(mode)
            .env("EFFIGY_FAULT", fault)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = effigy.stdin.take().unwrap();
        let answers = BufReader::new(effigy.stdout.take().unwrap());
        let hash = Command::new(target()).arg("hash").output().unwrap().stdout;
        let text = String::from_utf8(hash).unwrap().trim().parse().unwrap();
        (Self { effigy, program: 0, questions, answers, text }, dir)
    }

    /// Waits until the program is ready; false when it never came to be.
    fn is_ready(&mut self) -> bool {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let pid = line.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next());
        self.program = pid.map_or(0, |pid| pid.parse().unwrap());
        self.program != 0
    }

    fn kill_effigy(&mut self) {
        self.effigy.kill().unwrap();
        self.effigy.wait().unwrap();
    }

    /// Waits until effigy has killed itself.
    #[track_caller]
    fn await_death(&mut self, step: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.effigy.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "effigy did not come to step {step}");
            sleep(Duration::from_millis(2));
        }
    }

    fn ask(&mut self) -> String {
        writeln!(self.questions, "report").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// The program, and those of its children that stay.
    fn family(&self) -> Vec<i32> {
        let children = children_of(self.program).into_iter().filter(|child| alive(*child));
        [self.program].into_iter().chain(children).collect()
    }

    /// The program and its children run, are not traced and not stopped, and its code is what it was.
    fn expect_well(&mut self, when: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let stopped = |pid| thread_states(pid).values().any(|state| matches!(state, 't' | 'T'));
        let held = |pid| status_field(pid, "TracerPid").is_some_and(|tracer| tracer != "0") || stopped(pid);
        while self.family().into_iter().any(held) {
            assert!(Instant::now() < deadline, "{when}: traced or stopped");
            sleep(Duration::from_millis(5));
        }
        assert!(alive(self.program), "{when}: the program is dead");
        let first = self.ask();
        sleep(Duration::from_millis(20));
        let second = self.ask();
        let number = |line: &str, name: &str| -> u64 {
            let value = line.split(name).nth(1).unwrap_or_else(|| panic!("{when}: no {name} in {line:?}"));
            value.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert!(number(&second, "beats=") > number(&first, "beats="), "{when}: it stands still: {second}");
        let children = self.family().len() - 1;
        while children > 0 && number(&self.ask(), "children=") < number(&second, "children=") + 2 * children as u64 {
            assert!(Instant::now() < deadline, "{when}: children stand still");
            sleep(Duration::from_millis(5));
        }
        assert_eq!((number(&second, "failures="), number(&second, "text=")), (0, self.text), "{when}: {second}");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.effigy.kill();
        let _ = self.effigy.wait();
        if self.program != 0 {
            let _ = kill(Pid::from_raw(self.program), Signal::SIGKILL);
        }
    }
}

/// All that can be asked for here.
fn all() -> Vec<&'static str> {
    let mut options = vec!["--on", "crash,signal,thread-start,thread-exit,exec,exit", "--signal", "SIGWINCH"];
    if is_root() {
        options.extend(["--at", "events!just_end"]);
    }
    options
}

#[test]
fn at_random_moments() {
    for round in 0..12u64 {
        let (mut watched, _dir) = Watched::start(&all(), "");
        assert!(watched.is_ready());
        sleep(Duration::from_millis(7 + 23 * (round % 6) + 3 * round));
        watched.kill_effigy();
        watched.expect_well(&format!("round {round}"));
    }
}

/// From the first step on, every one at first, then ever more seldom.
#[test]
fn at_every_step() {
    let mut step = 1;
    while step < 3000 {
        let (mut watched, _dir) = Watched::start(&all(), &format!("die-at-step:{step}"));
        // Killed before the program was begun: then there is none.
        if watched.is_ready() {
            watched.await_death(step);
            watched.expect_well(&format!("step {step}"));
        }
        step += 1 + step / 10;
    }
}

/// The same for the processes that it starts.
#[test]
fn with_children_at_random_moments() {
    for round in 0..6u64 {
        let (mut watched, _dir) = Watched::launch(&[&all()[..], &["--children"]].concat(), "", ["family", "3"]);
        assert!(watched.is_ready());
        sleep(Duration::from_millis(5 + 22 * round));
        watched.kill_effigy();
        watched.expect_well(&format!("round {round}"));
    }
}

#[test]
fn with_children_at_some_steps() {
    let options = [&all()[..], &["--children"]].concat();
    let mut step = 3;
    while step < 3000 {
        let (mut watched, _dir) = Watched::launch(&options, &format!("die-at-step:{step}"), ["family", "3"]);
        if watched.is_ready() {
            watched.await_death(step);
            watched.expect_well(&format!("step {step}"));
        }
        step += 20 + step / 2;
    }
}

/// A frozen program stays so, and is what it was when it is thawed.
#[test]
fn while_the_program_is_frozen() {
    let Some(group) = Cgroup::new("run") else { return skip("no control group can be made") };
    let (mut watched, _dir) = Watched::start(&all(), "");
    assert!(watched.is_ready());
    group.add(watched.program);
    group.freeze(true);
    watched.kill_effigy();
    group.await_frozen();
    group.freeze(false);
    watched.expect_well("thawed");
}

/// While nothing happens nothing is done to the program: as many steps for a second as for a moment.
#[test]
fn nothing_is_done_while_nothing_happens() {
    use crate::harness::effigy;
    let steps = |threads: &str| -> u64 {
        let run = effigy(["run", "--"]).arg(target()).args(["quiet", threads]).env("EFFIGY_FAULT", "count-steps");
        let run = run.run().expect(0);
        let text = run.stderr.lines().find_map(|line| line.strip_prefix("steps: ")).unwrap().to_owned();
        text.parse().unwrap()
    };
    let (few, many) = (steps("1"), steps("201"));
    // A thread's birth is two events, and a few steps.
    assert!(few < 20 && many < few + 200 * 6, "{few} and {many} steps");
}

#[test]
fn children_are_found() {
    let (mut watched, _dir) = Watched::start(&[], "");
    assert!(watched.is_ready());
    assert_eq!(child_of(i32::try_from(watched.effigy.id()).unwrap()), watched.program);
    watched.expect_traced();
}

impl Watched {
    fn expect_traced(&self) {
        assert_ne!(status_field(self.program, "TracerPid").unwrap(), "0");
    }
}
