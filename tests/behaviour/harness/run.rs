//! Runs of the program under test, each with a deadline: a dump that hangs is a failed test, not a hung one.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A run to come.
pub(crate) struct Effigy {
    command: Command,
    deadline: Duration,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) wall: Duration,
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    started: Instant,
    deadline: Duration,
}

/// `effigy` with these arguments.
pub(crate) fn effigy<I>(arguments: I) -> Effigy
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    Effigy::of(Command::new(env!("CARGO_BIN_EXE_effigy"))).args(arguments)
}

impl Effigy {
    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Self { command, deadline: Duration::from_secs(150) }
    }

    /// The same run by way of another program that executes its last arguments, such as `prlimit`.
    pub(crate) fn by(wrapper: &[&str], arguments: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_effigy"));
        Self::of(command).args(arguments)
    }

    /// Runs just the wrapper's words, the last of which is a copy of the program, with the arguments.
    pub(crate) fn through(wrapper: &[&str], arguments: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]);
        Self::of(command).args(arguments)
    }

    pub(crate) fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.command.args(arguments);
        self
    }

    pub(crate) fn arg(self, argument: impl AsRef<OsStr>) -> Self {
        self.args([argument])
    }

    pub(crate) fn within(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("effigy could not be started");
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        Running { child, stdout, stderr, started: Instant::now(), deadline: self.deadline }
    }

    pub(crate) fn run(self) -> Run {
        self.start().wait()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits; panics past the deadline, after ending the run.
    pub(crate) fn wait(mut self) -> Run {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.started.elapsed() > self.deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                let stderr = String::from_utf8_lossy(&self.stderr.join().unwrap()).into_owned();
                panic!("effigy was still running after {:?}; stderr: {stderr}", self.deadline);
            }
            thread::sleep(Duration::from_millis(5));
        };
        Run {
            code: status.code(),
            signal: status.signal(),
            wall: self.started.elapsed(),
            stdout: self.stdout.join().unwrap(),
            stderr: String::from_utf8_lossy(&self.stderr.join().unwrap()).into_owned(),
        }
    }
}

fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

impl Run {
    /// Panics unless this is the exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code (signal {:?}); stderr: {}\nstdout: {}",
            self.signal,
            self.stderr,
            String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(2000)])
        );
        self
    }

    /// Panics unless standard error says this (case does not matter).
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.to_lowercase().contains(&words.to_lowercase()),
            "standard error does not say {words:?}: {}",
            self.stderr
        );
        self
    }

    /// The objects that `--json` printed.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.stdout);
        serde_json::Deserializer::from_str(&text)
            .into_iter::<Value>()
            .map(|value| value.unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {text}")))
            .collect()
    }

    /// The one object that `--json` printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "objects on stdout");
        objects.remove(0)
    }
}
