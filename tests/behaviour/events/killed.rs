//! effigy is killed while it watches: the program goes on, untraced, with its code as it was.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::harness::{Cgroup, alive, children_of, is_root, scratch, skip, status_field, thread_states};

use super::launching::child_of;
use super::target;

/// A lively program. Dropped, it is killed.
struct Lively {
    pid: i32,
    /// Stays open when effigy is no more.
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What the hash of its code is when nobody has touched it.
    text: u64,
}

impl Lively {
    /// What answers through the pipes of a child: itself, or one that the child has started.
    fn of(child: &mut Child) -> Self {
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let hash = Command::new(target()).arg("hash").output().unwrap().stdout;
        let text = String::from_utf8(hash).unwrap().trim().parse().unwrap();
        Self { pid: 0, questions, answers, text }
    }

    /// Waits until the program is ready; false when it never came to be.
    fn is_ready(&mut self) -> bool {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let pid = line.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next());
        self.pid = pid.map_or(0, |pid| pid.parse().unwrap());
        self.pid != 0
    }

    fn ask(&mut self) -> String {
        writeln!(self.questions, "report").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// The program, and those of its children that stay.
    fn family(&self) -> Vec<i32> {
        let children = children_of(self.pid).into_iter().filter(|child| alive(*child));
        [self.pid].into_iter().chain(children).collect()
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
        assert!(alive(self.pid), "{when}: the program is dead");
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

impl Drop for Lively {
    fn drop(&mut self) {
        if self.pid != 0 {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// A lively program under effigy. Dropped, both are killed.
struct Watched {
    effigy: Child,
    program: Lively,
    _dir: TempDir,
    /// The program, when it is a child of ours.
    child: Option<Child>,
}

impl Watched {
    /// effigy starts it.
    fn launch(options: &[&str], fault: &str) -> Self {
        Self::launch_as(["alive", "4"], options, fault)
    }

    fn launch_as(mode: [&str; 2], options: &[&str], fault: &str) -> Self {
        let dir = scratch();
        let mut effigy = effigy_with(&["run", "--log", "/dev/null"], &dir, options, fault)
            .arg("--")
            .arg(target())
            .args(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { program: Lively::of(&mut effigy), effigy, _dir: dir, child: None }
    }

    /// It is there before.
    fn attach(options: &[&str], fault: &str) -> Self {
        let dir = scratch();
        let mut child = Command::new(target());
        let mut child = child.args(["alive", "4"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let mut program = Lively::of(&mut child);
        assert!(program.is_ready());
        let effigy = effigy_with(&["watch", &pid, "--json"], &dir, options, fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { effigy, program, _dir: dir, child: Some(child) }
    }

    fn is_ready(&mut self) -> bool {
        self.program.pid != 0 || self.program.is_ready()
    }

    fn kill_effigy(&mut self) {
        self.effigy.kill().unwrap();
        self.effigy.wait().unwrap();
    }

    /// Waits until effigy has killed itself.
    #[track_caller]
    fn await_death(&mut self, step: u32) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.effigy.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "effigy did not come to step {step}");
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.effigy.kill();
        let _ = self.effigy.wait();
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// effigy, with small dumps into a folder.
fn effigy_with(words: &[&str], dir: &TempDir, options: &[&str], fault: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_effigy"));
    command.args(words).args(["--kind", "mini", "-n", "100000", "-o"]).arg(dir.path().join("dump.core"));
    command.args(options).env("EFFIGY_FAULT", fault);
    command
}

/// All that can be asked for here.
fn all() -> Vec<&'static str> {
    let mut options = vec!["--on", "crash,signal,thread-start,thread-exit,exec,exit", "--signal", "SIGWINCH"];
    if is_root() {
        options.extend(["--at", "events!just_end"]);
    }
    options
}

/// A way to have effigy watch a program.
type Way = fn(&[&str], &str) -> Watched;

fn at_random_moments(way: Way) {
    for round in 0..12u64 {
        let mut watched = way(&all(), "");
        assert!(watched.is_ready());
        sleep(Duration::from_millis(7 + 23 * (round % 6) + 3 * round));
        watched.kill_effigy();
        watched.program.expect_well(&format!("round {round}"));
    }
}

/// From the first step on, every one at first, then ever more seldom.
fn at_every_step(way: Way, last: u32) {
    let mut step = 1;
    while step < last {
        let mut watched = way(&all(), &format!("die-at-step:{step}"));
        // Killed before the program was begun: then there is none.
        if watched.is_ready() {
            watched.await_death(step);
            watched.program.expect_well(&format!("step {step}"));
        }
        step += 1 + step / 10;
    }
}

#[test]
fn launched_at_random_moments() {
    at_random_moments(Watched::launch);
}

/// Numbers and schedules: nobody traces the program but for a dump, and of those there is one after the other.
const UNTRACED: [&str; 4] = ["--every", "20ms", "--interval", "20ms"];

#[test]
fn launched_untraced_at_random_moments() {
    at_random_moments(|_, fault| Watched::launch(&UNTRACED, fault));
}

#[test]
fn launched_untraced_at_every_step() {
    at_every_step(|_, fault| Watched::launch(&UNTRACED, fault), 300);
}

/// What is traced for events, and dumped for a schedule too.
#[test]
fn launched_for_both_at_every_step() {
    at_every_step(|options, fault| Watched::launch(&[options, &UNTRACED].concat(), fault), 600);
}

#[test]
fn launched_at_every_step() {
    at_every_step(Watched::launch, 3000);
}

#[test]
fn attached_at_random_moments() {
    at_random_moments(Watched::attach);
}

#[test]
fn attached_at_every_step() {
    at_every_step(Watched::attach, 600);
}

/// The same for the processes that it starts.
#[test]
fn with_children_at_random_moments() {
    for round in 0..6u64 {
        let mut watched = Watched::launch_as(["family", "3"], &[&all()[..], &["--children"]].concat(), "");
        assert!(watched.is_ready());
        sleep(Duration::from_millis(5 + 22 * round));
        watched.kill_effigy();
        watched.program.expect_well(&format!("round {round}"));
    }
}

#[test]
fn with_children_at_some_steps() {
    let options = [&all()[..], &["--children"]].concat();
    let mut step = 3;
    while step < 3000 {
        let mut watched = Watched::launch_as(["family", "3"], &options, &format!("die-at-step:{step}"));
        if watched.is_ready() {
            watched.await_death(step);
            watched.program.expect_well(&format!("step {step}"));
        }
        step += 20 + step / 2;
    }
}

/// A frozen program stays so, and is what it was when it is thawed.
#[test]
fn while_the_program_is_frozen() {
    let Some(group) = Cgroup::new("run") else { return skip("no control group can be made") };
    let mut watched = Watched::launch(&all(), "");
    assert!(watched.is_ready());
    group.add(watched.program.pid);
    group.freeze(true);
    watched.kill_effigy();
    group.await_frozen();
    group.freeze(false);
    watched.program.expect_well("thawed");
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
    let mut watched = Watched::launch(&[], "");
    assert!(watched.is_ready());
    assert_eq!(child_of(i32::try_from(watched.effigy.id()).unwrap()), watched.program.pid);
    assert_ne!(status_field(watched.program.pid, "TracerPid").unwrap(), "0");
}
