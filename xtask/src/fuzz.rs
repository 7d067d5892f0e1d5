//! `cargo xtask fuzz`: hostile files for the readers, from the corpus of real ones.

mod run;
mod seeds;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

use self::run::Program;
use crate::interrupt::Interrupt;
use crate::step::{self, announce, as_typed};
use crate::workspace::{Workspace, cargo};

/// How long, and what.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// Seconds for each target.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Only these targets.
    #[arg(value_parser = PossibleValuesParser::new(TARGETS))]
    target: Vec<String>,
}

/// All targets: those of `fuzz/Cargo.toml`.
pub(crate) const TARGETS: [&str; 8] =
    ["minidump", "elf_core", "compressed", "reflection", "unwind", "dwarf", "symbol_files", "pdb"];

/// Programs that run at the same time, at most: each may take so much memory as [`MOST_MEMORY`] says, and one that has no
/// processor for itself takes longer than it may without being at fault.
const AT_ONCE: usize = 2;
/// A file that takes longer than this many seconds, or more memory than so many MiB, is a finding.
const LONGEST_RUN: u32 = 10;
const MOST_MEMORY: u32 = 2048;

pub(crate) fn run(args: &FuzzArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let search_path = workspace.search_path()?;
    let chosen: Vec<&str> =
        if args.target.is_empty() { TARGETS.to_vec() } else { args.target.iter().map(String::as_str).collect() };
    let broken = hunt(&workspace, &chosen, args.seconds, &search_path, &interrupt)?;
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the targets and runs each of them for so many seconds. Gives the steps that failed: a build that did, or each
/// target with a finding.
pub(crate) fn hunt(
    workspace: &Workspace,
    targets: &[&str],
    seconds: u64,
    search_path: &OsStr,
    interrupt: &Interrupt,
) -> Result<Vec<String>> {
    let folder = workspace.target().join("fuzz");
    let mut build = build(workspace, &folder, targets)?;
    announce(&as_typed(&build.command));
    let outcome = step::run(build.command.env("PATH", search_path))?;
    interrupt.check()?;
    if !outcome.passed() {
        return Ok(vec![as_typed(&build.command)]);
    }
    let material = seeds::Material::gather(&workspace.root().join("../shared/corpus"), &folder, search_path)?;
    let mut programs = Vec::new();
    for target in targets {
        let (found, seeds) = (folder.join("found").join(target), folder.join("seeds").join(target));
        make_folder(&found)?;
        // What is there is of an earlier run, whose seeds may have been others.
        empty_folder(&seeds)?;
        let count = material.write(target, &seeds)?;
        let artifacts = workspace.root().join("fuzz/artifacts").join(target);
        make_folder(&artifacts)?;
        let command = command(&build.programs.join(target), seconds, [&found, &seeds], &artifacts, workspace.root());
        println!("    {target}: {count} seeds");
        programs.push(Program { name: (*target).to_owned(), command });
        interrupt.check()?;
    }
    let logs = folder.join("logs");
    make_folder(&logs)?;
    announce(&format!("{} fuzz targets, {seconds} s each, {AT_ONCE} at a time", programs.len()));
    let ended = run::all(programs, AT_ONCE, &logs, interrupt)?;
    Ok(ended.into_iter().filter(|ended| !ended.passed).map(|ended| format!("fuzz target {}", ended.name)).collect())
}

/// What builds targets, and where they are then.
struct Build {
    command: Command,
    programs: PathBuf,
}

fn build(workspace: &Workspace, folder: &Path, targets: &[&str]) -> Result<Build> {
    // The same versions as the workspace's, so that what is fuzzed is what is built; cargo adds the fuzzer's own.
    let (lock, own) = (workspace.root().join("Cargo.lock"), workspace.root().join("fuzz/Cargo.lock"));
    fs::copy(&lock, &own).with_context(|| format!("cannot copy {}", lock.display()))?;
    let host = host()?;
    let built = folder.join("build");
    let mut command = cargo();
    // effigy has no unsafe code in its readers: what an address sanitizer would find, the checks of safe code find.
    command.args(["fuzz", "build", "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target", &host, "--target-dir"]);
    command.arg(&built).current_dir(workspace.root());
    if let [only] = targets {
        command.arg(only);
    }
    Ok(Build { command, programs: built.join(host).join("release") })
}

/// The system that rustc builds for when nobody says otherwise.
fn host() -> Result<String> {
    let about = step::output_of(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` does not say for what it builds")?.to_owned())
}

/// What runs one target, with the folders to begin with: the first gets what it finds.
fn command(program: &Path, seconds: u64, begin: [&Path; 2], artifacts: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={LONGEST_RUN}"),
        format!("-rss_limit_mb={MOST_MEMORY}"),
        format!("-max_len={}", seeds::LONGEST),
        format!("-artifact_prefix={}/", artifacts.display()),
        "-print_final_stats=1".to_owned(),
        "-print_funcs=0".to_owned(),
    ]);
    command.args(begin).current_dir(root);
    command
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn empty_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", folder.display()))
        }
        _ => make_folder(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_run() {
        let manifest = include_str!("../../fuzz/Cargo.toml");
        let names: Vec<_> = manifest.split("[[bin]]").skip(1).filter_map(|part| part.split('"').nth(1)).collect();
        assert_eq!(names, TARGETS);
    }
}
