//! `effigy run`: something happens to a program, and it is dumped then, once, and goes its own way.

pub(crate) mod breakpoints;
mod crashes;
mod jobs;
#[cfg(feature = "fault-injection")]
mod killed;
mod launching;
mod lives;
mod privileges;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Run, compile, effigy, scratch};

/// A run of a program under `effigy run`.
pub(crate) struct Observed {
    pub(crate) run: Run,
    /// What effigy told, in its order.
    pub(crate) told: Vec<Value>,
    /// Where the dumps are, until this is dropped.
    _dir: TempDir,
}

impl Observed {
    /// The events of one kind.
    pub(crate) fn events(&self, name: &str) -> Vec<&Value> {
        self.told.iter().filter(|told| told["event"] == name).collect()
    }

    /// The dumps that were written.
    pub(crate) fn dumps(&self) -> Vec<PathBuf> {
        let paths = self.told.iter().filter_map(|told| told["path"].as_str());
        paths.map(PathBuf::from).collect()
    }

    /// The one dump that was written.
    #[track_caller]
    pub(crate) fn dump(&self) -> PathBuf {
        let dumps = self.dumps();
        assert_eq!(dumps.len(), 1, "dumps; told {:?}; stderr {}", self.told, self.run.stderr);
        dumps.into_iter().next().unwrap()
    }
}

/// Runs a program under `effigy run` with these options.
pub(crate) fn observe(options: &[&str], program: &Path, arguments: &[&str]) -> Observed {
    observe_with(options, program, arguments, &[])
}

/// The same with variables of the environment, which the program sees too.
pub(crate) fn observe_with(
    options: &[&str],
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Observed {
    let dir = scratch();
    let log = dir.path().join("log");
    let mut run = effigy(["run", "--json", "--kind", "mini", "-o"]).arg(dir.path().join("dump.core"));
    run = run.arg("--log").arg(&log).args(options).arg("--").arg(program).args(arguments).within(100);
    for (name, value) in environment {
        run = run.env(name, value);
    }
    let run = run.run();
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let objects = text.lines().filter(|line| line.starts_with('{'));
    let told = objects.map(|line| serde_json::from_str(line).unwrap()).collect();
    let others: Vec<_> = text.lines().filter(|line| !line.starts_with('{')).collect();
    assert!(others.is_empty(), "effigy complained: {others:?}");
    Observed { run, told, _dir: dir }
}

/// The target to which things happen.
pub(crate) fn target() -> PathBuf {
    compile("events", &["-rdynamic", "-ldl"])
}

/// How a program ends without effigy.
pub(crate) fn alone(program: &Path, arguments: &[&str]) -> ExitStatus {
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap()
}

/// The exit code by which a shell, and effigy, tell of an end.
pub(crate) fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}
