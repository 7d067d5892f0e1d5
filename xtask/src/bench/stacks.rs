//! `cargo xtask bench stacks`: the stacks of a dump, of a large program, and of a running process, beside those who do the
//! same.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use super::arena::{Arena, Program};
use super::machine::Machine;
use super::read::report::{Bar, Report, Table};
use super::read::{Lane, Tool, WITHIN, hold, tool};
use super::run::gauge;
use super::scenario::ENOUGH_ROUNDS;
use super::spread::Spread;
use super::{page, target};
use crate::interrupt::Interrupt;
use crate::step::{self, announce};
use crate::workspace::{Workspace, cargo};

/// How to measure it.
#[derive(Args)]
pub(crate) struct StacksArgs {
    /// Rounds; each runs every tool once. Fewer than five leave the page of results as it is.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A folder on the disk for the dumps, instead of the folder for builds.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Threads of the target whose stacks are unwound.
const THREADS: u64 = 200;
/// MiB of its memory.
const RESIDENT_MIB: u64 = 1000;

pub(crate) fn run(args: &StacksArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let folder = args.dir.clone().unwrap_or_else(|| workspace.target().join("bench"));
    let arena = Arena::prepare(&workspace, &folder, Program::Built, &interrupt)?;
    let machine = Machine::look(arena.output())?;
    let rounds = args.rounds.unwrap_or(ENOUGH_ROUNDS);
    println!("{machine}");
    let tables = vec![
        core(&arena, rounds)?,
        large_program(&workspace, &arena, rounds)?,
        live(&arena, rounds)?,
        live_python(&workspace, &arena, rounds)?,
    ];
    let report = Report { machine, rounds, tables };
    println!("\n{report}");
    if rounds >= ENOUGH_ROUNDS {
        page::write_into(&workspace.root().join(page::BENCHMARKS), "stacks", &report.to_string())?;
    } else {
        println!("{} keeps the results of the last full run", page::BENCHMARKS);
    }
    Ok(ExitCode::SUCCESS)
}

/// Dumps a process.
fn dump(arena: &Arena, pid: u32, path: &OsStr) -> Result<()> {
    let pid_text = pid.to_string();
    let words = [arena.effigy().as_os_str(), "dump".as_ref(), "-o".as_ref(), path, pid_text.as_ref()];
    if let Err(failure) = gauge(arena, pid, words, WITHIN)? {
        bail!("there is no dump to unwind: {failure}");
    }
    Ok(())
}

/// The tools on one core; effigy first, without its index.
fn tools(arena: &Arena, program: &OsStr, core: &OsStr) -> Vec<Tool> {
    let effigy = arena.effigy().as_os_str();
    vec![
        tool("effigy stacks", ["env".as_ref(), effigy, "stacks".as_ref(), "--no-index".as_ref(), core]),
        tool(
            "eu-stack",
            ["eu-stack".as_ref(), "-n".as_ref(), "0".as_ref(), "--core".as_ref(), core, "-e".as_ref(), program],
        ),
        tool(
            "gdb",
            ["gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "thread apply all backtrace"]
                .map(OsStr::new)
                .into_iter()
                .chain([program, core]),
        ),
        tool(
            "lldb-19",
            ["lldb-19", "-x", "-b", "-o", "thread backtrace all", "-c"]
                .map(OsStr::new)
                .into_iter()
                .chain([core, program]),
        ),
    ]
}

fn core(arena: &Arena, rounds: u32) -> Result<Table> {
    let path = arena.output().join("threads.core");
    {
        let shape = target::Shape { resident_mib: RESIDENT_MIB, threads: THREADS, reserved_gib: 0, dirtied: 0 };
        let target = target::Target::start(arena, shape)?;
        dump(arena, target.pid(), path.as_os_str())?;
    }
    let lanes = hold(arena, tools(arena, arena.big().as_os_str(), path.as_os_str()), rounds)?;
    arena.clear()?;
    let bars = vec![
        Bar::most("processor time, of eu-stack's without lines", 0.5, ratio(&lanes[0], &lanes[1])),
        Bar::most("peak memory, MB", 150.0, lanes[0].median(|gauged| gauged.peak_rss_bytes as f64 / 1e6)),
    ];
    Ok(Table { title: "A core of 1 GB with 200 threads: all stacks", bars, lanes, bytes: None })
}

/// Processor time of one lane in relation to that of another, round by round.
fn ratio(own: &Lane, other: &Lane) -> Option<Spread> {
    let (own, other) = (own.rounds.as_ref().ok()?, other.rounds.as_ref().ok()?);
    Spread::of(own.iter().zip(other).map(|(own, other)| own.cpu_us as f64 / other.cpu_us as f64))
}

/// A debug build of effigy itself: Rust, with the debug information of all its libraries.
fn large_program(workspace: &Workspace, arena: &Arena, rounds: u32) -> Result<Table> {
    announce("cargo build --package effigy");
    let built = step::run(cargo().args(["build", "--locked", "--package", "effigy"]))?;
    ensure!(built.passed(), "effigy does not build");
    let program = workspace.target().join("debug/effigy");
    let size = std::fs::metadata(&program)?.len();
    println!("{} has {} MB", program.display(), size / 1_000_000);
    let path = arena.output().join("rust.core");
    {
        let target = Sample::start(Command::new(&program).arg("demo-target"))?;
        dump(arena, target.0.id(), path.as_os_str())?;
    }
    let mut tools = tools(arena, program.as_os_str(), path.as_os_str());
    let mut cache = OsString::from("XDG_CACHE_HOME=");
    cache.push(arena.output().join("cache"));
    let effigy = arena.effigy().as_os_str();
    tools.insert(
        1,
        tool("effigy stacks, index", ["env".as_ref(), cache.as_os_str(), effigy, "stacks".as_ref(), path.as_os_str()]),
    );
    let lanes = hold(arena, tools, rounds)?;
    arena.clear()?;
    let seconds = |lane: &Lane| lane.median(|gauged| gauged.cpu_us as f64 / 1e6);
    let bars = vec![
        Bar::least("the program's size, MB", 150.0, Spread::of([size as f64 / 1e6])),
        Bar::most("processor time without an index, s", 0.3, seconds(&lanes[0])),
        Bar::most("processor time with the index of the run before, s", 0.05, seconds(&lanes[1])),
        Bar::most("peak memory, MB", 150.0, lanes[0].median(|gauged| gauged.peak_rss_bytes as f64 / 1e6)),
    ];
    let title = "A core of a debug build in Rust: all stacks with lines and inlined calls";
    Ok(Table { title, bars, lanes, bytes: None })
}

/// A program that says a word when its threads are there; it ends with this.
struct Sample(Child);

impl Sample {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut sample = Self(child.with_context(|| format!("{command:?} does not start"))?);
        let mut stdout = sample.0.stdout.take().context("the sample program has no output")?;
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).context("the sample program ended")?;
        sample.0.stdout = Some(stdout);
        std::thread::sleep(Duration::from_millis(200));
        Ok(sample)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long a process stands still for its stacks.
fn live(arena: &Arena, rounds: u32) -> Result<Table> {
    let shape = target::Shape { resident_mib: RESIDENT_MIB, threads: THREADS, reserved_gib: 0, dirtied: 0 };
    let target = target::Target::start(arena, shape)?;
    let pauses = pauses(arena, target.pid(), rounds, |_| true)?;
    live_table(arena, "A running process with 200 threads", target.pid(), rounds, pauses)
}

/// The same of CPython, whose own frames are read while it stands still.
fn live_python(workspace: &Workspace, arena: &Arena, rounds: u32) -> Result<Table> {
    let script = workspace.root().join("tests/targets/crowd.py");
    let target = Sample::start(Command::new("python3").arg(script).arg(THREADS.to_string()))?;
    let pauses = pauses(arena, target.0.id(), rounds, has_all_of_python)?;
    live_table(arena, "A running process of CPython with 200 threads", target.0.id(), rounds, pauses)
}

/// Whether all threads of such a process were told with their frames of Python.
fn has_all_of_python(answer: &Value) -> bool {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let runs_python = |thread: &&Value| items(&thread["frames"]).iter().any(|frame| frame["python"] == true);
    let count = items(&answer["threads"]).iter().filter(runs_python).count() as u64;
    // The main thread waits as well.
    answer["python_missing"].is_null() && count == THREADS + 1
}

/// How long a process stood still each time, in ms. A pause in which not all was read would be no answer to the question:
/// then there is none.
fn pauses(arena: &Arena, pid: u32, rounds: u32, is_whole: impl Fn(&Value) -> bool) -> Result<Option<Spread>> {
    let mut pauses = Vec::new();
    for _ in 0..rounds {
        arena.interrupt().check()?;
        let words = ["stacks", "--json", "--no-index", &pid.to_string()];
        let output = Command::new(arena.effigy()).args(words).output()?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("effigy stacks gave no JSON")?;
        if !is_whole(&answer) {
            println!("effigy stacks did not tell all frames: {}", answer["python_missing"]);
            return Ok(None);
        }
        pauses.push(answer["source"]["pause_us"].as_f64().context("effigy stacks told no pause")? / 1e3);
    }
    Ok(Spread::of(pauses))
}

fn live_table(arena: &Arena, title: &'static str, pid: u32, rounds: u32, pauses: Option<Spread>) -> Result<Table> {
    let pid = pid.to_string();
    let effigy = arena.effigy().as_os_str();
    let tools = vec![
        tool("effigy stacks", [effigy, "stacks".as_ref(), "--no-index".as_ref(), pid.as_ref()]),
        tool("eu-stack", ["eu-stack".as_ref(), "-n".as_ref(), "0".as_ref(), "-p".as_ref(), pid.as_ref()]),
    ];
    let lanes = hold(arena, tools, rounds)?;
    let bars = vec![Bar::most("pause, ms", 20.0, pauses)];
    Ok(Table { title, bars, lanes, bytes: None })
}
