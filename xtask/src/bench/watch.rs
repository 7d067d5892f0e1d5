//! `cargo xtask bench watch`: what watching costs, and how many processes that live for a moment are caught.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::arena::{Arena, Program};
use super::machine::Machine;
use super::page;
use super::target::end_group;
use crate::interrupt::Interrupt;
use crate::step;
use crate::workspace::Workspace;

/// How to measure it.
#[derive(Args)]
pub(crate) struct WatchArgs {
    /// Seconds that each cost is measured over. Fewer than 30 leave the page of results as it is.
    #[arg(long, value_name = "N", default_value_t = ENOUGH_SECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// An effigy to measure, instead of the one in this folder.
    #[arg(long, value_name = "PROGRAM")]
    effigy: Option<PathBuf>,
}

/// Seconds over which a cost means something: at one look a second each of them is one look.
const ENOUGH_SECONDS: u64 = 30;
/// What a watch does before that at its beginning is not counted.
const WARM_UP: Duration = Duration::from_secs(3);
/// Processes that live for a moment.
const BRIEF: u32 = 200;
/// How long they live, in milliseconds.
const LIFE: u64 = 50;
/// How long a watch may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

/// What a watch of so many targets costs.
struct Cost {
    what: &'static str,
    targets: usize,
    /// Of one core.
    percent: f64,
    /// At most, where something is promised.
    bar: Option<f64>,
}

struct Report {
    machine: Machine,
    seconds: u64,
    costs: Vec<Cost>,
    caught: usize,
    manner: String,
}

pub(crate) fn run(args: &WatchArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let program = args.effigy.clone().map_or(Program::Built, Program::Given);
    let arena = Arena::prepare(&workspace, &workspace.target().join("bench"), program, &interrupt)?;
    let machine = Machine::look(arena.output())?;
    println!("{machine}");
    let every = [
        "--above=private=1T",
        "--above=threads=1000000",
        "--above=fds=1000000",
        "--above=switches=1e9",
        "--above=pressure-io=101",
        "--above=read=1T",
        "--hang=1h",
        "--blocked=1h",
        "--growth=private=1T",
    ];
    let costs = vec![
        cost(&arena, "one trigger: cpu", 1, &[], Some(0.1), args.seconds)?,
        cost(&arena, "ten triggers", 1, &every, None, args.seconds)?,
        cost(&arena, "one trigger: cpu", 500, &[], Some(3.0), args.seconds)?,
    ];
    let (caught, manner) = catch(&arena, &workspace)?;
    let report = Report { machine, seconds: args.seconds, costs, caught, manner };
    println!("\n{report}");
    if args.seconds >= ENOUGH_SECONDS && args.effigy.is_none() {
        page::write_into(&workspace.root().join(page::BENCHMARKS), "watch", &report.to_string())?;
    } else {
        println!("{} keeps the results of the last full run", page::BENCHMARKS);
    }
    Ok(ExitCode::SUCCESS)
}

/// Processes that end with this.
struct Group(Vec<Child>);

impl Drop for Group {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A watch under way; ended with this.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        end_group(&mut self.0);
    }
}

fn cost(
    arena: &Arena,
    what: &'static str,
    targets: usize,
    triggers: &[&str],
    bar: Option<f64>,
    seconds: u64,
) -> Result<Cost> {
    let sleepers: std::io::Result<Vec<Child>> =
        (0..targets).map(|_| Command::new("sleep").arg("100000").spawn()).collect();
    let sleepers = Group(sleepers.context("cannot start targets")?);
    let pids: Vec<String> = sleepers.0.iter().map(|child| child.id().to_string()).collect();
    let words: Vec<&str> =
        pids.iter().map(String::as_str).chain(["--above=cpu=99.9"]).chain(triggers.iter().copied()).collect();
    let watch = begin(arena, &words)?;
    wait(arena, WARM_UP)?;
    let (before, began) = (processor_time(watch.0.id())?, Instant::now());
    wait(arena, Duration::from_secs(seconds))?;
    let (after, took) = (processor_time(watch.0.id())?, began.elapsed());
    let percent = (after.saturating_sub(before)).as_secs_f64() / took.as_secs_f64() * 100.0;
    println!("{targets} targets, {what}: {percent:.3} % of a core");
    Ok(Cost { what, targets, percent, bar })
}

fn begin(arena: &Arena, words: &[&str]) -> Result<Watch> {
    use std::os::unix::process::CommandExt;
    let said = arena.memory().join("said");
    let mut command = Command::new(arena.effigy());
    command.args(["watch", "--json", "-k", "mini", "-o"]).arg(arena.output()).args(words);
    command.stdin(Stdio::null()).stdout(fs::File::create(&said)?).process_group(0);
    let mut watch = Watch(command.spawn().context("cannot start a watch")?);
    let deadline = Instant::now() + BEGIN_WITHIN;
    // Its first line tells that it hears of processes, or watches them.
    while fs::metadata(&said)?.len() == 0 {
        ensure!(watch.0.try_wait()?.is_none(), "the watch has ended");
        ensure!(Instant::now() < deadline, "the watch does not begin");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(watch)
}

fn wait(arena: &Arena, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        arena.interrupt().check()?;
        thread::sleep(Duration::from_millis(100).min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// Time on processors of all threads that live, to the nanosecond.
fn processor_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task")).context("the watch has ended")? {
        let text = fs::read_to_string(entry?.path().join("schedstat"))?;
        total += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// How many of those that live for a moment are dumped, and how their start became known.
fn catch(arena: &Arena, workspace: &Workspace) -> Result<(usize, String)> {
    let program = arena.memory().join("bench-brief");
    let source = workspace.root().join("tests/targets/brief.c");
    let compiled = step::run(Command::new("gcc").args(["-O2", "-pthread", "-o"]).arg(&program).arg(&source))?;
    ensure!(compiled.passed(), "{} does not compile", source.display());
    arena.clear()?;
    let mut watch = begin(arena, &["--wait", "--all", "bench-brief"])?;
    wait(arena, Duration::from_secs(1))?;
    for _ in 0..BRIEF {
        arena.interrupt().check()?;
        let mut command = Command::new(&program);
        command.arg(LIFE.to_string()).stdout(Stdio::null());
        command.spawn().context("cannot start a process")?.wait()?;
    }
    wait(arena, Duration::from_secs(1))?;
    let Ok(pid) = i32::try_from(watch.0.id()) else { bail!("an id beyond all ids") };
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    watch.0.wait()?;
    let caught = dumps_in(arena.output())?;
    let said = fs::read_to_string(arena.memory().join("said"))?;
    let first: serde_json::Value = serde_json::from_str(said.lines().next().unwrap_or_default())?;
    arena.clear()?;
    println!("caught {caught} of {BRIEF}");
    Ok((caught, first["manner"].as_str().unwrap_or_default().to_owned()))
}

fn dumps_in(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        count += usize::from(entry?.path().extension().is_some_and(|ending| ending == "dmp"));
    }
    Ok(count)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Measured {}. Looks once a second, over {} s.\n", self.machine, self.seconds)?;
        writeln!(f, "| targets | what is watched | percent of a core | promised |\n|---|---|---|---|")?;
        for cost in &self.costs {
            let promised = cost.bar.map_or_else(
                || "–".to_owned(),
                |bar| format!("{bar} %: {}", if cost.percent <= bar { "kept" } else { "**not kept**" }),
            );
            writeln!(f, "| {} | {} | {:.3} | {promised} |", cost.targets, cost.what, cost.percent)?;
        }
        let share = self.caught as f64 / f64::from(BRIEF) * 100.0;
        let kept = if share >= 99.0 { "kept" } else { "**not kept**" };
        writeln!(
            f,
            "\nOf {BRIEF} processes that lived for {LIFE} ms, {} were dumped ({share:.1} %; promised 99 %: {kept}); {}.",
            self.caught, self.manner
        )
    }
}
