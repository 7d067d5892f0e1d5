//! The program that is dumped, and its heartbeat: what the target itself feels of being dumped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::arena::Arena;

/// What `tests/targets/big.c` is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// MiB of resident memory without zero pages.
    pub(crate) resident_mib: u64,
    pub(crate) threads: u64,
    /// GiB in each of two reservations that are hardly touched.
    pub(crate) reserved_gib: u64,
}

/// A running target; it ends with this.
pub(crate) struct Target {
    child: Child,
    heartbeat: Heartbeat,
}

/// Filling memory is what takes the time.
const READY_WITHIN: Duration = Duration::from_secs(120);

impl Target {
    pub(crate) fn start(arena: &Arena, shape: Shape) -> Result<Self> {
        // In memory: a page of a file on the disk would make the target wait for its own writeback.
        let page = arena.memory().join("heartbeat");
        let mut command = Command::new(arena.big());
        command.args(["-m", &shape.resident_mib.to_string(), "-t", &shape.threads.to_string()]);
        if shape.reserved_gib > 0 {
            command.args(["-r", &shape.reserved_gib.to_string()]);
        }
        command.arg("-b").arg(&page).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().context("cannot start the target")?;
        let stdout = child.stdout.take().context("the target has no output")?;
        let target = Self { child, heartbeat: Heartbeat { page } };
        target.wait_until_ready(&lines_of(stdout), arena)?;
        Ok(target)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    fn wait_until_ready(&self, lines: &Receiver<String>, arena: &Arena) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            arena.interrupt().check()?;
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) if line.starts_with("ready") => return Ok(()),
                Ok(line) if line.starts_with("failed") => bail!("the target says: {line}"),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the target ended before it was ready"),
            }
        }
        bail!("the target was not ready within {} s", READY_WITHIN.as_secs())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        end_group(&mut self.child);
        // Gone with its folder at the latest.
        let _ = fs::remove_file(&self.heartbeat.page);
    }
}

/// Ends a child that leads a process group, and everybody in that group.
pub(crate) fn end_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // Not there any more is as good.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// Reads on for as long as the target writes, so that it never waits for a reader.
fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The receiver has seen what it wanted.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// A page that a thread of the target writes every half millisecond (`struct heartbeat` in `tests/targets/target.h`).
pub(crate) struct Heartbeat {
    page: PathBuf,
}

const MAX_GAP: u64 = 0;
const BEATS: u64 = 24;
const RESET: u64 = 32;

impl Heartbeat {
    /// Forgets the longest gap so far.
    pub(crate) fn reset(&self) -> Result<()> {
        self.open()?.write_all_at(&1_u64.to_ne_bytes(), RESET).context("cannot reset the heartbeat")?;
        self.beats_on()
    }

    /// The longest time between two beats since the reset.
    pub(crate) fn longest_gap(&self) -> Result<Duration> {
        // The gap that has just ended is written down by the beat that ends it.
        self.beats_on()?;
        Ok(Duration::from_nanos(self.word(MAX_GAP)?))
    }

    fn beats_on(&self) -> Result<()> {
        let before = self.word(BEATS)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.word(BEATS)? < before + 2 {
            if Instant::now() > deadline {
                bail!("the target's heart has stopped");
            }
            thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    fn open(&self) -> Result<File> {
        let path = &self.page;
        File::options().read(true).write(true).open(path).with_context(|| format!("cannot open {}", path.display()))
    }

    fn word(&self, offset: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.open()?.read_exact_at(&mut bytes, offset).context("cannot read the heartbeat")?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
