//! One step of a chore: a command that is named before it runs, and runs without standard input.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// How a step's command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
}

impl Outcome {
    pub(crate) fn passed(self) -> bool {
        self == Self::Passed
    }
}

/// Says in one line what comes next.
pub(crate) fn announce(what: &str) {
    println!("==> {what}");
}

/// Runs a command whose output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<Outcome> {
    let status = command.stdin(Stdio::null()).status().with_context(|| cannot_run(command))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed })
}

/// Runs a command, shows its standard output, and hands each line of it to `each_line`.
pub(crate) fn run_reading(command: &mut Command, mut each_line: impl FnMut(&str)) -> Result<Outcome> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| cannot_run(command))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read the output of a step")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            each_line(&line);
        }
    }
    let status = child.wait().with_context(|| cannot_run(command))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed })
}

/// Whether a command exits with 0; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Standard output of a command that must succeed.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| cannot_run(command))?;
    anyhow::ensure!(output.status.success(), "{} ended with {}", name_of(command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{} printed what is not UTF-8", name_of(command)))
}

/// The command as one would type it, as far as it matters to a reader.
pub(crate) fn as_typed(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(name_of(command)).chain(words).collect::<Vec<_>>().join(" ")
}

fn name_of(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run {}", as_typed(command))
}
