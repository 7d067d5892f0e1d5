//! One run of one tool on a running target.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::arena::Arena;
use super::contender::Contender;
use super::gauge::Gauged;
use super::heartbeat::Felt;
use super::target::{Target, end_group};

/// What was seen of a run that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    pub(crate) felt: Felt,
    pub(crate) peak_rss_bytes: u64,
    /// Length of what was written, holes included.
    pub(crate) written_bytes: u64,
    /// Only effigy tells.
    pub(crate) told: Option<Told>,
}

/// The part of effigy's own report that is compared with what the target felt.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Told {
    pause_us: u64,
    stall_us: Option<u64>,
    /// What the dump was taken of, whatever was asked for.
    pub(crate) snapshot: Option<String>,
    /// Why it was nothing better.
    pub(crate) snapshot_reason: Option<String>,
}

impl Told {
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us)
    }

    pub(crate) fn stall(&self) -> Option<Duration> {
        self.stall_us.map(Duration::from_micros)
    }
}

/// An outer error ends the benchmark; an inner one is the tool's own.
pub(crate) fn run(arena: &Arena, target: &Target, tool: &Contender, within: Duration) -> Result<Result<Run, String>> {
    let watch = target.heartbeat().watch()?;
    let gauged = gauge(arena, target.pid(), tool.command_line(target.pid(), arena.output()), within)?;
    let felt = match watch.end() {
        Ok(felt) => felt,
        Err(error) => return Ok(Err(format!("harmed the target: {error:#}"))),
    };
    let gauged = match gauged {
        Ok(gauged) => gauged,
        Err(failure) => return Ok(Err(failure)),
    };
    let written_bytes = bytes_in(arena.output())?;
    if written_bytes == 0 {
        return Ok(Err(format!("wrote nothing: {}", last_line(&complained(arena)))));
    }
    Ok(Ok(Run {
        wall: Duration::from_micros(gauged.wall_us),
        felt,
        peak_rss_bytes: gauged.peak_rss_bytes,
        written_bytes,
        told: fs::read(said(arena)).ok().and_then(|text| serde_json::from_slice(&text).ok()),
    }))
}

/// Where the standard output of the last run is.
pub(crate) fn said(arena: &Arena) -> PathBuf {
    arena.memory().join("said")
}

fn complained(arena: &Arena) -> PathBuf {
    arena.memory().join("complained")
}

/// Runs a command and measures it, until nobody traces the process `settle` any more (0 for none). An inner error is the
/// command's own failure.
pub(crate) fn gauge(
    arena: &Arena,
    settle: u32,
    words: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    within: Duration,
) -> Result<Result<Gauged, String>> {
    let report = arena.memory().join("gauged");
    let _ = fs::remove_file(&report);
    let mut gauge = Command::new("/proc/self/exe");
    gauge.args(["gauge", "--settle", &settle.to_string(), "--report"]).arg(&report).arg("--");
    gauge.args(words).env("PATH", arena.search_path());
    gauge.stdin(Stdio::null()).stdout(File::create(said(arena))?).stderr(File::create(complained(arena))?);
    match wait_for(arena, gauge.process_group(0).spawn().context("cannot start a run")?, within)? {
        None => return Ok(Err(format!("failed: did not end within {} s", within.as_secs()))),
        Some(false) => return Ok(Err(format!("failed: {}", last_line(&complained(arena))))),
        Some(true) => {}
    }
    let gauged: Gauged = serde_json::from_slice(&fs::read(&report).context("a run left no report")?)?;
    Ok(match gauged.exit {
        Some(0) => Ok(gauged),
        code => Err(format!("failed ({}): {}", exit_of(code), last_line(&complained(arena)))),
    })
}

/// Waits for a run, and ends it with all its children when it takes too long or when we are asked to end.
fn wait_for(arena: &Arena, child: Child, within: Duration) -> Result<Option<bool>> {
    let mut guarded = Guarded(child);
    let started = Instant::now();
    while started.elapsed() < within {
        if let Some(status) = guarded.0.try_wait().context("cannot wait for a run")? {
            return Ok(Some(status.success()));
        }
        arena.interrupt().check()?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        end_group(&mut self.0);
    }
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).context("cannot list the output folder")? {
        bytes += entry?.metadata().context("cannot look at a dump")?.len();
    }
    Ok(bytes)
}

fn exit_of(code: Option<i32>) -> String {
    code.map_or_else(|| "by a signal".to_owned(), |code| format!("exit code {code}"))
}

/// The last that a tool complained of: usually why it failed.
fn last_line(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64 << 10).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.filter(|_| read.is_ok()).unwrap_or("no message").to_owned()
}
