//! The program that is dumped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::arena::Arena;
use super::heartbeat::Heartbeat;

/// What `tests/targets/big.c` is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// MiB of resident memory without zero pages.
    pub(crate) resident_mib: u64,
    pub(crate) threads: u64,
    /// GiB in each of two reservations that are hardly touched.
    pub(crate) reserved_gib: u64,
    /// Pages that a thread dirties each millisecond.
    pub(crate) dirtied: u64,
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
        if shape.dirtied > 0 {
            command.args(["-d", &shape.dirtied.to_string()]);
        }
        command.arg("-b").arg(&page).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().context("cannot start the target")?;
        let stdout = child.stdout.take().context("the target has no output")?;
        let target = Self { child, heartbeat: Heartbeat::at(page) };
        target.go_first()?;
        target.wait_until_ready(&lines_of(stdout), arena)?;
        Ok(target)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Should memory run out, it is the target that goes, and nobody else on the machine.
    fn go_first(&self) -> Result<()> {
        fs::write(format!("/proc/{}/oom_score_adj", self.pid()), "1000")
            .context("cannot offer the target to the OOM killer")
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
        let _ = fs::remove_file(self.heartbeat.page());
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
