//! Developer chores: the tests with their oracles, and the benchmarks against peers.
//!
//! Nothing of effigy depends on this crate, and it depends on nothing of effigy's: it drives the built program as a user would.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a chore has to say is said to the person at the terminal"
)]

mod bench;
#[cfg(test)]
mod documents;
mod fuzz;
mod interrupt;
mod oracles;
mod packages;
mod step;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "Developer chores of effigy")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the oracles, check format, lints and licences, and run all tests.
    Test(test::TestArgs),
    /// Give the readers hostile files.
    Fuzz(fuzz::FuzzArgs),
    /// Measure effigy side by side with its peers.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run one command and write down its time and peak memory (the benchmarks start themselves with this).
    #[command(hide = true)]
    Gauge(bench::gauge::GaugeArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Test(args) => test::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Gauge(args) => bench::gauge::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error:#}");
        error.downcast_ref::<interrupt::Interrupted>().map_or(ExitCode::FAILURE, interrupt::Interrupted::exit_code)
    })
}
