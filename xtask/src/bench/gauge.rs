//! One command, measured from a process of its own: peak memory is known only of *all* children a process ever waited for.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

/// What to run, and where to write what was seen.
#[derive(Args)]
pub(crate) struct GaugeArgs {
    /// The file for what was measured.
    #[arg(long)]
    report: PathBuf,
    /// The command has finished only when nobody traces this process any more.
    #[arg(long)]
    settle: i32,
    /// The command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// What was seen of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gauged {
    pub(crate) wall_us: u64,
    /// Time on processors, of all its threads, in user mode and in the kernel.
    pub(crate) cpu_us: u64,
    pub(crate) peak_rss_bytes: u64,
    /// What the command exited with; nothing if a signal ended it.
    pub(crate) exit: Option<i32>,
}

/// Longer than any peer needs for what we ask of it.
const SETTLE_WITHIN: Duration = Duration::from_secs(600);

pub(crate) fn run(args: &GaugeArgs) -> Result<ExitCode> {
    let (program, words) = args.command.split_first().context("no command was given")?;
    let started = Instant::now();
    let status = Command::new(program)
        .args(words)
        .status()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    while tracer_of(args.settle) != 0 {
        if started.elapsed() > SETTLE_WITHIN {
            bail!("process {} is still traced after {} s", args.settle, SETTLE_WITHIN.as_secs());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let wall = started.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read resource usage")?;
    let (cpu, kib) = (usage.user_time() + usage.system_time(), usage.max_rss());
    let gauged = Gauged {
        wall_us: u64::try_from(wall.as_micros()).context("a run of more than 500,000 years")?,
        cpu_us: u64::try_from(cpu.num_microseconds()).context("a negative time")?,
        peak_rss_bytes: u64::try_from(kib).context("a negative peak of memory")? * 1024,
        exit: status.code(),
    };
    fs::write(&args.report, serde_json::to_vec(&gauged)?)
        .with_context(|| format!("cannot write {}", args.report.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The tracer of a process; 0 for none, and for a process that is gone.
fn tracer_of(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0)
}
