//! `cargo xtask fuzz`: hostile files for the readers, from the corpus of real ones.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

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
    target: Vec<String>,
}

/// All targets: those of `fuzz/Cargo.toml`.
pub(crate) const TARGETS: [&str; 7] =
    ["minidump", "elf_core", "compressed", "reflection", "unwind", "dwarf", "symbol_files"];

/// Files of the corpus that are no longer than this begin the search; longer ones make it slow.
const LONGEST_SEED: u64 = 1 << 20;
/// A file that takes longer than this many seconds, or more memory than so many MiB, is a finding.
const LONGEST_RUN: u32 = 10;
const MOST_MEMORY: u32 = 2048;

pub(crate) fn run(args: &FuzzArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let workspace = Workspace::load()?;
    let search_path = workspace.search_path()?;
    let chosen: Vec<&str> =
        if args.target.is_empty() { TARGETS.to_vec() } else { args.target.iter().map(String::as_str).collect() };
    let mut broken = 0;
    for target in chosen {
        let mut command = command(&workspace, target, args.seconds)?;
        announce(&as_typed(&command));
        broken += usize::from(!step::run(command.env("PATH", &search_path))?.passed());
        interrupt.check()?;
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What runs one target for so many seconds, with what was found before and the corpus to begin with.
pub(crate) fn command(workspace: &Workspace, target: &str, seconds: u64) -> Result<Command> {
    let folder = workspace.target().join("fuzz");
    let (found, seeds) = (folder.join("found").join(target), folder.join("seeds").join(target));
    for folder in [&found, &seeds] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (index, file) in corpus(workspace, target)?.into_iter().enumerate() {
        let seed = seeds.join(index.to_string());
        fs::copy(&file, &seed).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    // The same versions as the workspace's, so that what is fuzzed is what is built; cargo adds the fuzzer's own.
    let (lock, own) = (workspace.root().join("Cargo.lock"), workspace.root().join("fuzz/Cargo.lock"));
    fs::copy(&lock, &own).with_context(|| format!("cannot copy {}", lock.display()))?;
    let mut command = cargo();
    // effigy has no unsafe code in its readers: what an address sanitizer would find, the checks of safe code find.
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target-dir"]);
    command.arg(folder.join("build")).arg(target).arg(found).arg(seeds).arg("--");
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={LONGEST_RUN}"),
        format!("-rss_limit_mb={MOST_MEMORY}"),
        format!("-max_len={LONGEST_SEED}"),
        "-print_final_stats=1".to_owned(),
        "-print_funcs=0".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    command.current_dir(workspace.root());
    Ok(command)
}

/// Files of the corpus that a target can begin with; none where there is no corpus.
fn corpus(workspace: &Workspace, target: &str) -> Result<Vec<PathBuf>> {
    let folder = workspace.root().join("../shared/corpus");
    let mut files = Vec::new();
    if folder.is_dir() {
        collect(&folder, &mut |path, start| {
            let fits = match target {
                "minidump" | "reflection" => start.starts_with(b"MDMP"),
                "elf_core" => start.starts_with(b"\x7fELF") && start.get(16..18).is_some_and(|kind| kind.contains(&4)),
                _ => false,
            };
            if fits {
                files.push(path.to_owned());
            }
        })?;
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, visit: &mut dyn FnMut(&Path, &[u8])) -> Result<()> {
    let context = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let (path, about) = (entry.path(), entry.metadata().with_context(context)?);
        if about.is_dir() {
            collect(&path, visit)?;
        } else if about.len() <= LONGEST_SEED {
            let mut start = Vec::new();
            fs::File::open(&path).and_then(|file| file.take(64).read_to_end(&mut start)).with_context(context)?;
            visit(&path, &start);
        }
    }
    Ok(())
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
