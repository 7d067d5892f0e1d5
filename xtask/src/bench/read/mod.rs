//! `cargo xtask bench read`: opening dumps and looking through their memory, beside those who do the same.

mod material;
pub(super) mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use self::report::{Bar, Report, Table};
use super::arena::{Arena, Program};
use super::gauge::Gauged;
use super::machine::Machine;
use super::run::gauge;
use super::scenario::ENOUGH_ROUNDS;
use super::{page, target};
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;

/// How to measure it.
#[derive(Args)]
pub(crate) struct ReadArgs {
    /// Rounds; each runs every tool once. Fewer than five leave the page of results as it is.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A folder on the disk for the dumps, instead of the folder for builds.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// An effigy to measure, instead of the one in this folder.
    #[arg(long, value_name = "PROGRAM")]
    effigy: Option<PathBuf>,
}

/// A command on a dump, by name.
pub(super) struct Tool {
    name: &'static str,
    words: Vec<OsString>,
}

/// A tool and what was measured of it, round by round; or why it is out.
pub(super) struct Lane {
    name: &'static str,
    pub(super) rounds: Result<Vec<Gauged>, String>,
}

/// Longer than any tool takes for what is asked here, but gdb for a search.
pub(super) const WITHIN: Duration = Duration::from_secs(120);
/// MiB of the program whose dump is searched.
const SEARCHED_MIB: u64 = 2048;
/// Nowhere in it: a search for this looks at everything.
const NEEDLE: &str = "effigy-nowhere-to-be-found";

pub(crate) fn run(args: &ReadArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let folder = args.dir.clone().unwrap_or_else(|| workspace.target().join("bench"));
    let program = args.effigy.clone().map_or(Program::Built, Program::Given);
    let arena = Arena::prepare(&workspace, &folder, program, &interrupt)?;
    let machine = Machine::look(arena.output())?;
    let rounds = args.rounds.unwrap_or(ENOUGH_ROUNDS);
    println!("{machine}");
    let tables = vec![core(&arena, rounds)?, minidump(&arena, rounds)?, search(&arena, rounds)?];
    let report = Report { machine, rounds, tables };
    println!("\n{report}");
    if rounds >= ENOUGH_ROUNDS && args.effigy.is_none() {
        page::write_into(&workspace.root().join(page::BENCHMARKS), "read", &report.to_string())?;
    } else {
        println!("{} keeps the results of the last full run", page::BENCHMARKS);
    }
    Ok(ExitCode::SUCCESS)
}

fn core(arena: &Arena, rounds: u32) -> Result<Table> {
    let path = arena.output().join("sparse.core");
    material::sparse_core(&path)?;
    let file = path.as_os_str();
    let tools = vec![
        tool("effigy info", [arena.effigy().as_os_str(), "info".as_ref(), file]),
        tool("gdb", ["gdb".as_ref(), "-q".as_ref(), "-nx".as_ref(), "-batch".as_ref(), "-c".as_ref(), file]),
        tool("lldb-19", ["lldb-19".as_ref(), "-x".as_ref(), "-b".as_ref(), "-c".as_ref(), file]),
    ];
    let lanes = hold(arena, tools, rounds)?;
    arena.clear()?;
    Ok(Table { title: "A core of 100 GiB, all of it a hole: opening it", bars: opening(&lanes), lanes, bytes: None })
}

fn minidump(arena: &Arena, rounds: u32) -> Result<Table> {
    let path = arena.output().join("ranges.dmp");
    material::minidump_of_ranges(&path)?;
    let file = path.as_os_str();
    let tools = vec![
        tool("effigy info", [arena.effigy().as_os_str(), "info".as_ref(), file]),
        tool("lldb-19", ["lldb-19".as_ref(), "-x".as_ref(), "-b".as_ref(), "-c".as_ref(), file]),
        tool("minidump-stackwalk", ["minidump-stackwalk".as_ref(), file]),
    ];
    let lanes = hold(arena, tools, rounds)?;
    arena.clear()?;
    let title = "A minidump with 60,000 ranges of memory: opening it";
    Ok(Table { title, bars: opening(&lanes), lanes, bytes: None })
}

fn opening(lanes: &[Lane]) -> Vec<Bar> {
    let Some(own) = lanes.first() else { return Vec::new() };
    vec![
        Bar::most("wall time, ms", 50.0, own.median(|gauged| gauged.wall_us as f64 / 1e3)),
        Bar::most("peak memory, MB", 40.0, own.median(|gauged| gauged.peak_rss_bytes as f64 / 1e6)),
    ]
}

/// A real program's dump, in the page cache: what is measured is the search, not the disk.
fn search(arena: &Arena, rounds: u32) -> Result<Table> {
    let path = arena.output().join("searched.core");
    {
        let shape = target::Shape { resident_mib: SEARCHED_MIB, threads: 4, reserved_gib: 0, dirtied: 0 };
        let target = target::Target::start(arena, shape)?;
        let words = ["dump".as_ref(), "-o".as_ref(), path.as_os_str()];
        let pid = OsString::from(target.pid().to_string());
        let words = std::iter::once(arena.effigy().as_os_str()).chain(words).chain([pid.as_os_str()]);
        if let Err(failure) = gauge(arena, target.pid(), words, WITHIN)? {
            anyhow::bail!("there is no dump to search: {failure}");
        }
    }
    let bytes = std::fs::metadata(&path)?.len();
    let file = path.as_os_str();
    let tools = vec![
        tool(
            "effigy memory search",
            words(arena.effigy(), &["memory", "search"], file, &["--text", NEEDLE, "--ascii"]),
        ),
        // It ends with 1 when it finds nothing.
        tool(
            "grep",
            [
                "sh".as_ref(),
                "-c".as_ref(),
                "LC_ALL=C grep -c -a -F \"$1\" \"$2\"; [ $? -le 1 ]".as_ref(),
                "sh".as_ref(),
                NEEDLE.as_ref(),
                file,
            ],
        ),
    ];
    let lanes = hold(arena, tools, rounds)?;
    arena.clear()?;
    let own = &lanes[0];
    let bars = vec![
        Bar::least(
            "GB a second of processor time",
            2.0,
            own.median(|gauged| bytes as f64 / 1e3 / gauged.cpu_us as f64),
        ),
        Bar::least("processors used", 1.5, own.median(|gauged| gauged.cpu_us as f64 / gauged.wall_us as f64)),
    ];
    Ok(Table {
        title: "A core of 2 GiB in the page cache: searching all of it for a text",
        bars,
        lanes,
        bytes: Some(bytes),
    })
}

pub(super) fn tool<'a>(name: &'static str, words: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> Tool {
    Tool { name, words: words.into_iter().map(OsString::from).collect() }
}

pub(super) fn words<'a>(
    program: &'a Path,
    before: &'a [&'a str],
    file: &'a std::ffi::OsStr,
    after: &'a [&'a str],
) -> impl Iterator<Item = &'a std::ffi::OsStr> {
    let text = |words: &'a [&'a str]| words.iter().map(|word| std::ffi::OsStr::new(*word));
    std::iter::once(program.as_os_str()).chain(text(before)).chain([file]).chain(text(after))
}

/// Runs every tool once a round, after one round that is not counted.
pub(super) fn hold(arena: &Arena, tools: Vec<Tool>, rounds: u32) -> Result<Vec<Lane>> {
    let mut lanes: Vec<Lane> = tools.iter().map(|tool| Lane { name: tool.name, rounds: Ok(Vec::new()) }).collect();
    for round in 0..=rounds {
        for (tool, lane) in tools.iter().zip(&mut lanes) {
            arena.interrupt().check()?;
            let Ok(done) = &mut lane.rounds else { continue };
            match gauge(arena, 0, &tool.words, WITHIN)? {
                Ok(gauged) => {
                    println!(
                        "round {round}/{rounds} {:<22} {:>9.1} ms {:>9.1} ms of processors {:>7.1} MB",
                        tool.name,
                        gauged.wall_us as f64 / 1e3,
                        gauged.cpu_us as f64 / 1e3,
                        gauged.peak_rss_bytes as f64 / 1e6
                    );
                    if round > 0 {
                        done.push(gauged);
                    }
                }
                Err(failure) => {
                    println!("round {round}/{rounds} {:<22} {failure}", tool.name);
                    lane.rounds = Err(failure);
                }
            }
        }
    }
    Ok(lanes)
}
