//! Other people's tools that check ours, and how a test says that it could not be run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, thread};

/// Where a tool is; without it the test counts as skipped, and under `CI=true` as failed.
pub(crate) fn oracle(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        let continuous_integration = env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!continuous_integration, "{name} not found, and under CI every oracle is required");
        skip(&format!("{name} not found"));
    }
    found
}

/// Says that the running test is skipped, and why.
pub(crate) fn skip(reason: &str) {
    note(&format!("SKIPPED {}: {reason}", test_name()));
}

/// Whether the heavy tests are asked for; says so if not.
pub(crate) fn heavy() -> bool {
    let asked = env::var_os("EFFIGY_HEAVY").is_some_and(|value| value == "1");
    if !asked {
        note(&format!("SKIPPED heavy {}: EFFIGY_HEAVY is not 1", test_name()));
    }
    asked
}

fn note(line: &str) {
    eprintln!("{line}");
    if let Some(path) = env::var_os("EFFIGY_SKIP_LOG") {
        let log = OpenOptions::new().create(true).append(true).open(path);
        // One write for the line: tests of other processes append to the same file.
        log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes())).unwrap();
    }
}

fn test_name() -> String {
    thread::current().name().unwrap_or("?").to_owned()
}

fn find(name: &str) -> Option<PathBuf> {
    let mut dirs: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    if let Some(home) = env::var_os("HOME") {
        dirs.push(Path::new(&home).join(".cargo/bin"));
    }
    dirs.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/oracles/bin"));
    if let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() {
        dirs.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}
