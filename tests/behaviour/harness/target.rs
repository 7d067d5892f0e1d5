//! Targets: programs that are dumped. One that is dropped is killed with everything it started.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::state::{children_of, thread_states};
use super::{Marker, compile};

/// A target to be started.
pub(crate) struct Plan {
    command: Command,
    /// The program that a wrapper runs.
    wrapped: Option<PathBuf>,
    patience: Duration,
}

/// A running target.
pub(crate) struct Target {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Its id from where the test runs.
    pub(crate) pid: i32,
    pub(crate) markers: Vec<Marker>,
    pub(crate) facts: BTreeMap<String, String>,
    /// Threads that sleep.
    pub(crate) threads: BTreeSet<u32>,
    /// Threads that run.
    pub(crate) busy: BTreeSet<u32>,
}

impl Plan {
    /// A C target.
    pub(crate) fn c(name: &str) -> Self {
        Self::program(compile(name, &[]))
    }

    /// A C target built with further flags.
    pub(crate) fn c_with(name: &str, flags: &[&str]) -> Self {
        Self::program(compile(name, flags))
    }

    /// Any program that speaks as the targets do.
    pub(crate) fn program(path: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(path), wrapped: None, patience: Duration::from_secs(90) }
    }

    /// A C target run by another program, such as `unshare`; its process id is found among the descendants.
    pub(crate) fn by(wrapper: &[&str], program: &Path) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(program);
        Self { command, wrapped: Some(program.to_owned()), patience: Duration::from_secs(90) }
    }

    pub(crate) fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn by_user(mut self, id: u32) -> Self {
        self.command.uid(id).gid(id);
        self
    }

    pub(crate) fn of_group(mut self, id: u32) -> Self {
        self.command.gid(id);
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(self) -> Target {
        self.start_until(|line| line.starts_with("ready"))
    }

    /// Starts it and waits until this file is there.
    pub(crate) fn start_until_file(self, path: &Path) -> Target {
        let deadline = Instant::now() + self.patience;
        let mut target = self.spawn();
        while !path.exists() {
            assert!(
                Instant::now() < deadline && target.child.try_wait().unwrap().is_none(),
                "the target did not get ready"
            );
            thread::sleep(Duration::from_millis(20));
        }
        target
    }

    /// Starts it and waits for a line that `is_ready` knows.
    pub(crate) fn start_until(self, is_ready: impl Fn(&str) -> bool) -> Target {
        let (patience, wrapped) = (self.patience, self.wrapped.clone());
        let mut target = self.spawn();
        target.await_ready(patience, is_ready);
        if let Some(program) = wrapped {
            target.pid = descendant(target.pid, &program);
        }
        target
    }

    fn spawn(mut self) -> Target {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Target {
            pid: i32::try_from(child.id()).unwrap(),
            stdin: child.stdin.take().unwrap(),
            child,
            lines,
            markers: Vec::new(),
            facts: BTreeMap::new(),
            threads: BTreeSet::new(),
            busy: BTreeSet::new(),
        }
    }
}

impl Target {
    fn await_ready(&mut self, patience: Duration, is_ready: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + patience;
        loop {
            let line =
                self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or_else(|error| {
                    panic!("the target did not get ready: {error}; status {:?}", self.child.try_wait())
                });
            let last = is_ready(&line);
            self.take(&line);
            if last {
                break;
            }
        }
    }

    fn take(&mut self, line: &str) {
        if let Some(marker) = Marker::parse(line) {
            self.markers.push(marker);
            return;
        }
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["thread", tid] => self.threads.extend(tid.parse::<u32>()),
            ["busy", tid] => self.busy.extend(tid.parse::<u32>()),
            ["fact", name, value] => {
                self.facts.insert(name.to_owned(), value.to_owned());
            }
            ["failed", ..] => panic!("the target failed: {line}"),
            ["ready", ref pairs @ ..] => self.facts.extend(pairs.iter().filter_map(|pair| split_pair(pair))),
            _ => {}
        }
    }

    /// A number that the target told.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let text = self.facts.get(name).unwrap_or_else(|| panic!("the target told nothing of {name}"));
        text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16)).unwrap()
    }

    /// Whether the target said that the system lacks what it needs.
    pub(crate) fn is_unsupported(&self) -> bool {
        self.facts.contains_key("unsupported")
    }

    /// Sends a line and gives the values of the `report` that answers it.
    pub(crate) fn ask(&mut self, request: &str) -> BTreeMap<String, String> {
        writeln!(self.stdin, "{request}").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the target did not answer");
            if let Some(pairs) = line.strip_prefix("report") {
                return pairs.split_whitespace().filter_map(split_pair).collect();
            }
            self.take(&line);
        }
    }

    /// Sends a line that nothing answers.
    pub(crate) fn tell(&mut self, request: &str) {
        writeln!(self.stdin, "{request}").unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the target did not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Stops it, as job control does, and waits until all of it is stopped.
    pub(crate) fn stop(&self) {
        self.send(Signal::SIGSTOP);
        while thread_states(self.pid).values().any(|letter| *letter != 'T') {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all its threads have gone to sleep: what says that it is ready has yet to get to where it waits.
    #[track_caller]
    pub(crate) fn await_rest(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        // One look may meet a thread that waits for a moment on its way.
        let mut asleep = 0;
        while asleep < 2 {
            let states = thread_states(self.pid);
            asleep = if states.values().all(|letter| *letter == 'S') { asleep + 1 } else { 0 };
            assert!(Instant::now() < deadline, "the threads do not come to rest: {states:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid_text(&self) -> String {
        self.pid.to_string()
    }

    /// The file of its program, readable also when its path is gone.
    pub(crate) fn exe(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid))
    }

    /// Ends it and waits, as its parent.
    pub(crate) fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // Only what the target started is in its group. Errors mean that it is gone already.
        let _ = killpg(group, Signal::SIGKILL);
        if self.pid != group.as_raw() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

fn split_pair(pair: &str) -> Option<(String, String)> {
    pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The first in the line of descent that runs this program; it may have children that do so too.
fn descendant(pid: i32, program: &Path) -> i32 {
    let runs = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    let child = children_of(pid).first().copied();
    child.filter(|_| !runs).map_or(pid, |child| descendant(child, program))
}
