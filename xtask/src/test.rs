//! `cargo xtask test`: everything that must hold before a change is handed on.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::fuzz;
use crate::interrupt::Interrupt;
use crate::oracles::{self, Oracle};
use crate::packages;
use crate::step::{self, announce, as_typed};
use crate::tally::{Skips, Tally};
use crate::workspace::{Workspace, cargo};

/// What to test.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Also run the tests that need many gigabytes or minutes.
    #[arg(long)]
    all: bool,
    /// Install nothing; say what is missing.
    #[arg(long)]
    no_install: bool,
    /// Run only the tests whose names contain one of these, and no other check.
    filter: Vec<String>,
}

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let mut run = Run::new(&workspace, args, &interrupt)?;
    if !args.no_install && args.filter.is_empty() {
        packages::install(&workspace, &run.search_path, &interrupt)?;
    }
    let missing = oracles::missing(&run.search_path);
    if args.filter.is_empty() {
        run.check(cargo().args(["fmt", "--all", "--check"]))?;
        run.check(cargo().args(CLIPPY))?;
        run.dependencies(&missing)?;
    }
    run.tests()?;
    if args.filter.is_empty() {
        run.doc_tests()?;
        run.fuzz(&missing)?;
    }
    run.close(&missing)
}

const CLIPPY: &[&str] =
    &["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];

/// One run of all checks: what they are started with, and what came of them.
struct Run<'a> {
    workspace: &'a Workspace,
    args: &'a TestArgs,
    interrupt: &'a Interrupt,
    search_path: OsString,
    skip_log: PathBuf,
    tally: Tally,
    /// Steps that failed, other than by failing tests that are counted already.
    broken: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(workspace: &'a Workspace, args: &'a TestArgs, interrupt: &'a Interrupt) -> Result<Self> {
        let skip_log = workspace.target().join("skipped-tests.log");
        fs::create_dir_all(workspace.target()).context("cannot make the folder for builds")?;
        fs::write(&skip_log, "").with_context(|| format!("cannot empty {}", skip_log.display()))?;
        let search_path = workspace.search_path()?;
        Ok(Self { workspace, args, interrupt, search_path, skip_log, tally: Tally::default(), broken: Vec::new() })
    }

    /// A step that passes or fails as a whole.
    fn check(&mut self, command: &mut Command) -> Result<()> {
        announce(&as_typed(command));
        let outcome = step::run(self.prepared(command))?;
        self.interrupt.check()?;
        if !outcome.passed() {
            self.broken.push(as_typed(command));
        }
        Ok(())
    }

    /// Licences, bans and sources; needs nothing but the crates that the build has fetched.
    fn dependencies(&mut self, missing: &[&Oracle]) -> Result<()> {
        if missing.iter().any(|oracle| oracle.name == "cargo-deny") {
            announce("cargo deny is not there: licences and sources of dependencies stay unchecked");
            return Ok(());
        }
        self.check(cargo().args(["deny", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
    }

    fn tests(&mut self) -> Result<()> {
        if step::succeeds(self.prepared(cargo().args(["nextest", "--version"]))) {
            self.tests_by_nextest()
        } else {
            // One at a time: the harness does not know that some tests want the machine to themselves.
            self.tests_by_harness(&["--workspace", "--all-targets", "--no-fail-fast"], &["--test-threads=1"])
        }
    }

    fn tests_by_nextest(&mut self) -> Result<()> {
        let report = self.workspace.root().join("target/nextest/xtask/junit.xml");
        // Totals of an earlier run must not pass for this one's.
        let _ = fs::remove_file(&report);
        let mut command = cargo();
        command
            .args(["nextest", "run", "--profile", "xtask", "--workspace", "--locked"])
            .args(self.features())
            .args(&self.args.filter);
        announce(&as_typed(&command));
        let outcome = step::run(self.prepared(&mut command))?;
        self.interrupt.check()?;
        let found = fs::read_to_string(&report).ok().and_then(|xml| Tally::of_report(&xml));
        self.count(found, outcome, &command);
        Ok(())
    }

    fn tests_by_harness(&mut self, scope: &[&str], options: &[&str]) -> Result<()> {
        let mut command = cargo();
        command.arg("test").args(scope).arg("--locked").args(self.features());
        if !(options.is_empty() && self.args.filter.is_empty()) {
            command.arg("--").args(options).args(&self.args.filter);
        }
        announce(&as_typed(&command));
        let mut found: Option<Tally> = None;
        let outcome = step::run_reading(self.prepared(&mut command), |line| {
            if let Some(more) = Tally::of_harness_line(line) {
                found.get_or_insert_default().add(more);
            }
        })?;
        self.interrupt.check()?;
        self.count(found, outcome, &command);
        Ok(())
    }

    fn doc_tests(&mut self) -> Result<()> {
        self.tests_by_harness(&["--workspace", "--doc", "--no-fail-fast"], &[])
    }

    /// Every fuzz target for a minute, or a look at each where nobody waits for the last word.
    fn fuzz(&mut self, missing: &[&Oracle]) -> Result<()> {
        if missing.iter().any(|oracle| matches!(oracle.name, "cargo-fuzz" | "g++")) {
            announce("cargo fuzz is not there: no hostile files are made");
            return Ok(());
        }
        let seconds = if under_ci() || self.args.all { 60 } else { 10 };
        let broken = fuzz::hunt(self.workspace, &fuzz::TARGETS, seconds, &self.search_path, self.interrupt)?;
        self.broken.extend(broken);
        Ok(())
    }

    /// Adds what a test runner counted. One that failed without a failed test, or counted nothing, did not do its work.
    fn count(&mut self, found: Option<Tally>, outcome: step::Outcome, command: &Command) {
        let found = found.unwrap_or_default();
        if !outcome.passed() && found.failed == 0 {
            self.broken.push(as_typed(command));
        }
        self.tally.add(found);
    }

    /// Faults are injected into effigy by name where it was built for that.
    fn features(&self) -> &'static [&'static str] {
        if self.workspace.has_feature("effigy", "fault-injection") {
            &["--features", "effigy/fault-injection"]
        } else {
            &[]
        }
    }

    fn prepared<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("PATH", &self.search_path).env("EFFIGY_SKIP_LOG", &self.skip_log);
        if self.args.all {
            command.env("EFFIGY_HEAVY", "1");
        }
        let corpus = self.workspace.root().join("../shared/corpus");
        if let Ok(corpus) = corpus.canonicalize() {
            command.env("EFFIGY_CORPUS", corpus);
        }
        command
    }

    /// Says what was skipped, what is missing, what failed; last of all the line that counts.
    fn close(mut self, missing: &[&Oracle]) -> Result<ExitCode> {
        let log = fs::read(&self.skip_log).with_context(|| format!("cannot read {}", self.skip_log.display()))?;
        let skips = Skips::of_log(&String::from_utf8_lossy(&log));
        self.tally.take_out(&skips);
        for (test, reason) in skips.iter() {
            println!("skipped: {test}: {reason}");
        }
        for oracle in missing {
            println!("missing: {} ({}); to have it: {}", oracle.name, oracle.job, oracle.remedy());
        }
        if under_ci() {
            self.broken.extend(missing.iter().map(|oracle| format!("oracle {} is missing", oracle.name)));
        }
        for step in &self.broken {
            println!("failed: {step}");
        }
        // So that no run which fails closes with "0 failed".
        self.tally.failed += self.broken.len();
        println!("{}", self.tally);
        Ok(if self.tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn under_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}
