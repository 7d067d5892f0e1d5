//! effigy: takes and reads likenesses of programs.
//!
//! `main` parses, runs a command, and turns its result into an exit code; the `match` below is the table of contents.
#![forbid(unsafe_code)]

mod cancel;
mod capture;
mod cli;
mod command;
mod events;
mod exit;
mod files;
mod job_control;
mod kernel_text;
mod panics;
mod print;
mod procdump;
mod progress;
mod report;
mod stretches;
mod subject;
mod table;
mod target;
mod watch;
mod words;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = match procdump::words_of_own_name() {
        Some(words) => cli::Command::Procdump(cli::ProcdumpArgs { words }),
        None => match cli::Cli::try_parse() {
            Ok(cli) => cli.command,
            Err(error) => return print::usage(&error).into(),
        },
    };
    panics::record();
    // A program that is launched has signals as they were before, also by `procdump -x`; a target of ours is none of these,
    // and who passes something on hears no signals.
    let takes_none = matches!(
        command,
        cli::Command::Run(_) | cli::Command::Procdump(_) | cli::Command::DemoTarget | cli::Command::PassStderr
    );
    if !takes_none {
        job_control::take_over();
    }
    let outcome = std::panic::catch_unwind(|| match command {
        cli::Command::Dump(args) => command::dump::run(args),
        cli::Command::Run(args) => command::run::run(&args),
        cli::Command::Watch(args) => command::watch::run(&args),
        cli::Command::Procdump(args) => procdump::run(&args.words),
        cli::Command::Info(args) => command::info::run(&args),
        cli::Command::Threads(args) => command::threads::run(&args),
        cli::Command::Stacks(args) => command::stacks::run(&args),
        cli::Command::Symbol(args) => command::symbol::run(&args),
        cli::Command::Source(args) => command::source::run(&args),
        cli::Command::Disassemble(args) => command::disassemble::run(&args),
        cli::Command::Modules(args) => command::modules::run(&args),
        cli::Command::Regions(args) => command::regions::run(&args),
        cli::Command::Memory(command) => command::memory::run(&command),
        cli::Command::Streams(args) => command::streams::run(&args),
        cli::Command::Handles(args) => command::handles::run(&args),
        cli::Command::Compare(args) => command::compare::run(&args),
        cli::Command::Convert(args) => command::convert::run(&args),
        cli::Command::Verify(args) => command::verify::run(&args),
        cli::Command::Demo => command::demo::run(),
        cli::Command::DemoTarget => command::demo::target(),
        cli::Command::PassStderr => command::run::pass_stderr(),
    });
    if let Some(steps) = effigy_live::inject::counted_steps() {
        print::note(&format!("steps: {steps}"));
    }
    for panic in panics::take() {
        print::error(&format!("defect in effigy, in thread {panic}"));
    }
    outcome.unwrap_or(exit::Exit::Output).into()
}
