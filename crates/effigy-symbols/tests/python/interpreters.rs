//! Which interpreters there are. Also a part of the behaviour tests.

#![allow(clippy::print_stdout, reason = "tests tell what takes part and what is skipped")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A CPython that is installed here.
pub(crate) struct Interpreter {
    pub(crate) program: PathBuf,
    pub(crate) minor: u8,
    version: String,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, self.program.display())
    }
}

/// Says that the running test is skipped, and why; under continuous integration nothing may be missing.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{reason}, and under CI all is required");
    let line = format!("SKIPPED {}: {reason}", std::thread::current().name().unwrap_or("a test"));
    println!("{line}");
    if let Some(log) = std::env::var_os("EFFIGY_SKIP_LOG") {
        let log = File::options().append(true).create(true).open(log);
        // One write for the line: tests of other processes append to the same file.
        log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes())).unwrap();
    }
}

/// All CPython 3.9 to 3.13 that can be found, none twice; says when there is none.
pub(crate) fn all() -> Vec<Interpreter> {
    let mut found = BTreeMap::new();
    for candidate in candidates() {
        if let Some(interpreter) = asked(&candidate) {
            found.entry(interpreter.program.clone()).or_insert(interpreter);
        }
    }
    for interpreter in found.values() {
        println!("takes part: {interpreter}");
    }
    if found.is_empty() {
        skip("no CPython 3.9 to 3.13 found");
    }
    found.into_values().collect()
}

fn candidates() -> Vec<PathBuf> {
    if let Some(given) = std::env::var_os("EFFIGY_PYTHONS") {
        return std::env::split_paths(&given).collect();
    }
    let names = ["python3", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).collect();
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or(home);
    let versions = pyenv.and_then(|pyenv| pyenv.join("versions").read_dir().ok());
    all.extend(versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python3")));
    all.retain(|path| path.is_file());
    all
}

/// Asks a program what it is; `None` for what is no CPython of these versions.
fn asked(program: &Path) -> Option<Interpreter> {
    let question = "import os, sys; print(sys.implementation.name, sys.version_info[0], sys.version_info[1], \
                    sys.version.split()[0], os.path.realpath(sys.executable))";
    let output = Command::new(program).args(["-I", "-c", question]).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    let [implementation, major, minor, version, program] = answer.trim().splitn(5, ' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let minor = minor.parse().ok()?;
    let known = implementation == "cpython" && major == "3" && (9..=13).contains(&minor);
    known.then(|| Interpreter { program: program.into(), minor, version: version.to_owned() })
}
