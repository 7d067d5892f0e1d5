//! The tools that are measured: effigy, and whatever else this machine has that can do the same.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::arena::Arena;
use crate::oracles::find_program;

/// A tool, as it is started for one job.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    program: PathBuf,
    job: Job,
}

#[derive(Clone, Debug)]
enum Job {
    /// effigy with these options.
    Effigy(&'static [&'static str]),
    Gcore,
    ProcDump,
    CreateDump,
    Copy {
        source: PathBuf,
        and_sync: bool,
    },
}

/// Names by which the reports find contenders again.
pub(crate) const EFFIGY_MINIDUMP: &str = "effigy, full minidump";
pub(crate) const EFFIGY_CORE: &str = "effigy, full core";
pub(crate) const EFFIGY_MINI: &str = "effigy, mini dump";
pub(crate) const GCORE: &str = "gcore";
pub(crate) const COPY: &str = "cp";

impl Contender {
    pub(crate) fn effigy_minidump(arena: &Arena) -> Self {
        Self::effigy(arena, EFFIGY_MINIDUMP, &["--kind", "full", "--format", "minidump"])
    }

    pub(crate) fn effigy_core(arena: &Arena) -> Self {
        Self::effigy(arena, EFFIGY_CORE, &["--kind", "full", "--format", "core"])
    }

    pub(crate) fn effigy_mini(arena: &Arena) -> Self {
        Self::effigy(arena, EFFIGY_MINI, &["--kind", "mini", "--format", "minidump"])
    }

    fn effigy(arena: &Arena, name: &'static str, options: &'static [&'static str]) -> Self {
        Self { name, program: arena.effigy().to_owned(), job: Job::Effigy(options) }
    }

    /// What a disk can do at best: the same bytes, with nobody to stop and nothing to look up.
    pub(crate) fn copy(source: &Path) -> Self {
        Self { name: COPY, program: "cp".into(), job: Job::Copy { source: source.to_owned(), and_sync: false } }
    }

    /// The same, until the bytes are on the disk and not only in the system's memory.
    pub(crate) fn copy_and_sync(source: &Path) -> Self {
        let job = Job::Copy { source: source.to_owned(), and_sync: true };
        Self { name: "cp and sync", program: "sh".into(), job }
    }

    /// The peers that are installed.
    pub(crate) fn peers(arena: &Arena) -> Vec<Self> {
        let peers = [
            (GCORE, "EFFIGY_GCORE", "gcore", Job::Gcore),
            ("ProcDump", "EFFIGY_PROCDUMP", "procdump", Job::ProcDump),
            ("createdump", "EFFIGY_CREATEDUMP", "createdump", Job::CreateDump),
        ];
        let installed = peers.into_iter().filter_map(|(name, variable, program, job)| {
            let named = env::var_os(variable).map(PathBuf::from);
            let program = named.or_else(|| find_program(program, arena.search_path()))?;
            Some(Self { name, program, job })
        });
        installed.collect()
    }

    /// Program and arguments that dump process `pid` into `folder`.
    pub(crate) fn command_line(&self, pid: u32, folder: &Path) -> Vec<OsString> {
        let pid = OsString::from(pid.to_string());
        let output = folder.join("dump").into_os_string();
        let mut line = vec![self.program.clone().into_os_string()];
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        match &self.job {
            Job::Effigy(options) => {
                line.extend(["dump".into(), pid]);
                line.extend(words(options));
                line.extend(["--json".into(), "-o".into(), output]);
            }
            Job::Gcore => line.extend(["-o".into(), output, pid]),
            Job::ProcDump if self.wants_dash_p() => line.extend(["-p".into(), pid, "-o".into(), output]),
            Job::ProcDump => line.extend([pid, output]),
            Job::CreateDump => line.extend(["-u".into(), "-f".into(), output, pid]),
            Job::Copy { source, and_sync: false } => line.extend([source.into(), output]),
            Job::Copy { source, and_sync: true } => {
                line.extend(words(&["-c", "cp -- \"$1\" \"$2\" && sync -- \"$2\"", "sh"]));
                line.extend([source.into(), output]);
            }
        }
        line
    }

    /// What the tool calls itself, for the page of results.
    pub(crate) fn version(&self) -> String {
        let (program, option): (&OsStr, _) = match &self.job {
            Job::Effigy(_) | Job::Copy { and_sync: false, .. } => (self.program.as_os_str(), "--version"),
            Job::Gcore => (OsStr::new("gdb"), "--version"),
            Job::ProcDump => (self.program.as_os_str(), "-h"),
            Job::CreateDump | Job::Copy { and_sync: true, .. } => return String::new(),
        };
        let lines = said_by(program, option);
        lines.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).unwrap_or_default().trim().to_owned()
    }

    /// ProcDump took its target as an option up to 1.2 and takes it as a word since.
    fn wants_dash_p(&self) -> bool {
        said_by(self.program.as_os_str(), "-h").lines().any(|line| line.trim_start().starts_with("-p  "))
    }
}

fn said_by(program: &OsStr, option: &str) -> String {
    let output = Command::new(program).arg(option).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
