//! `cargo xtask bench pause`: how long a target stands still for its dump, and what else it feels of it.

mod course;
mod lane;
mod plan;
mod report;
mod row;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use self::plan::{Plan, Rate};
use self::report::Report;
use self::row::{Kind, Row};
use super::arena::{Arena, Program};
use super::machine::Machine;
use super::page;
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;

/// How to measure it, and how much of it.
#[derive(Args)]
pub(crate) struct PauseArgs {
    /// A look, not a measurement: one round with 1 GiB, and the page of results stays as it is.
    #[arg(long)]
    quick: bool,
    /// Rounds with each target; each round runs every row once. Fewer than five leave the page of results as it is.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Only these rows, and the idle row.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    rows: Vec<Kind>,
    /// Only targets of these sizes, in GiB.
    #[arg(long, value_name = "GIB", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=1024))]
    sizes: Vec<u64>,
    /// Only writers that dirty so many pages a second, in thousands.
    #[arg(long, value_name = "PAGES", value_delimiter = ',')]
    rates: Vec<Rate>,
    /// A folder on the disk to measure on, instead of the folder for builds.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// An effigy to measure, instead of the one in this folder.
    #[arg(long, value_name = "PROGRAM")]
    effigy: Option<PathBuf>,
}

pub(crate) fn run(args: &PauseArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let plan = Plan::of(args);
    let folder = args.dir.clone().unwrap_or_else(|| workspace.target().join("bench"));
    let program = args.effigy.clone().map_or(Program::Built, Program::Given);
    let arena = Arena::prepare(&workspace, &folder, program, &interrupt)?;
    let machine = Machine::look(arena.output())?;
    println!("{machine}");
    let (rows, missing) = Row::of(&plan.kinds, &arena);
    let versions = Row::versions(&rows);
    for &rate in plan.rates() {
        let mut courses = Vec::new();
        for setting in plan.settings(rate) {
            courses.push(course::hold(&arena, &rows, setting, plan.rounds)?);
        }
        let report =
            Report { machine: &machine, versions: &versions, missing: &missing, rate, courses, rounds: plan.rounds };
        println!("\n{report}");
        // What one rate's rows and verdicts compare is all of that rate, so each has a part of the page for itself.
        if plan.is_whole(rate) && args.effigy.is_none() {
            page::write_into(&workspace.root().join(page::BENCHMARKS), &section(rate), &report.to_string())?;
        } else {
            println!("{} keeps the results of the last full run", page::BENCHMARKS);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the part of the page with one rate's results is called.
fn section(rate: Rate) -> String {
    format!("pause --rates {rate}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_part_for_each_rate() {
        let text = include_str!("../../../../docs/benchmarks.md");
        for rate in plan::MEASURED {
            assert!(page::replaced(text, &section(rate), "").is_some(), "{rate}");
        }
    }
}
