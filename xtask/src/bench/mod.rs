//! `cargo xtask bench`: effigy side by side with its peers, in one run on one machine.
//!
//! Timings are reported, never enforced: a slow machine does not fail a change.

mod arena;
mod contender;
mod contest;
pub(crate) mod gauge;
mod heartbeat;
mod machine;
mod page;
mod pause;
mod read;
mod report;
mod run;
mod scenario;
mod spread;
mod stacks;
mod target;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use arena::{Arena, Program};
use machine::Machine;
use report::Report;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Taking dumps: wall time, pause, size and memory, against cp, gcore, ProcDump and createdump.
    Dump(DumpArgs),
    /// Standing still for a dump: how long, and what else the target feels, with each kind of snapshot and with the peers.
    Pause(pause::PauseArgs),
    /// Opening dumps and searching them, against gdb, lldb and grep.
    Read(read::ReadArgs),
    /// Unwinding and naming the stacks of dumps and of a running process, against eu-stack, gdb and lldb.
    Stacks(stacks::StacksArgs),
    /// What watching costs, and whether processes that live for a moment are caught.
    Watch(watch::WatchArgs),
}

/// How to measure it.
#[derive(Args)]
pub(crate) struct DumpArgs {
    /// A look, not a measurement: smaller targets, two rounds, and the page of results stays as it is.
    #[arg(long)]
    quick: bool,
    /// Rounds of each contest; each round runs every tool once. Fewer than five leave the page of results as it is.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A folder on the disk to measure on, instead of the folder for builds.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Dump(args) => dump(args),
        Bench::Pause(args) => pause::run(args),
        Bench::Read(args) => read::run(args),
        Bench::Stacks(args) => stacks::run(args),
        Bench::Watch(args) => watch::run(args),
    }
}

fn dump(args: &DumpArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let plan = if args.quick { scenario::Plan::quick() } else { scenario::Plan::full() }.with_rounds(args.rounds);
    let folder = args.dir.clone().unwrap_or_else(|| workspace.target().join("bench"));
    let arena = Arena::prepare(&workspace, &folder, Program::Built, &interrupt)?;
    let machine = Machine::look(arena.output())?;
    println!("{machine}");
    let report = Report { machine, results: scenario::run(&arena, &plan)?, plan };
    println!("\n{report}");
    if args.quick || report.plan.rounds < scenario::ENOUGH_ROUNDS {
        println!("{} keeps the results of the last full run", page::BENCHMARKS);
    } else {
        page::write_into(&workspace.root().join(page::BENCHMARKS), "dump", &report.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
