//! Programs that tests compile, and other people's tools that say what is in them. What is not installed is passed over,
//! unless the environment says `CI=true`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder with what was compiled.
pub(crate) struct Workshop {
    folder: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs a tool in the folder; gives what it says, or `None` where it is not installed.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, tool: &str, arguments: &[A]) -> Option<String> {
        let said = self.run_if_there(tool, arguments);
        let needed = std::env::var("CI").as_deref() == Ok("true");
        assert!(said.is_some() || !needed, "{tool} not found, and all oracles are required");
        said
    }

    /// The same with a second opinion, which is asked where it is installed and nowhere required.
    pub(crate) fn run_if_there<A: AsRef<OsStr>>(&self, tool: &str, arguments: &[A]) -> Option<String> {
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(self.folder.path()).env("LC_ALL", "C").env("DEBUGINFOD_URLS", "");
        match command.output() {
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{tool}: {errors}");
                Some(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("SKIPPED {tool} not found");
                None
            }
            Err(error) => panic!("{tool}: {error}"),
        }
    }

    /// The same as [`run`](Self::run) with words of one line.
    pub(crate) fn line(&self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split(' ').collect();
        self.run(words[0], &words[1..])
    }
}

/// The shared collection of dumps and symbols, which lies beside the checkout where it is there at all.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or(beside, PathBuf::from);
    if !path.is_dir() {
        println!("SKIPPED corpus not found");
        return None;
    }
    Some(path)
}
