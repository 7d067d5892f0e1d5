//! The tools that are measured: effigy, and whatever else this machine has that can do the same.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::arena::Arena;
use crate::oracles::find_program;

/// A tool, as it is started for one job.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    program: PathBuf,
    job: Job,
}

#[derive(Clone, Debug)]
enum Job {
    /// effigy with these options.
    Effigy(&'static [&'static str]),
    Gcore,
    /// Up to 1.2 it took its target as an option, since then as a word.
    ProcDump {
        dash_p: bool,
    },
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

/// What effigy can take a dump of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Snapshot {
    Stop,
    Clone,
    Live,
}

impl Snapshot {
    /// As effigy spells it, in options and in its report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Clone => "clone",
            Self::Live => "live",
        }
    }

    /// The same kind and format for all, and the format that the peers write.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Stop => &["--kind", "full", "--format", "core", "--snapshot", "stop"],
            Self::Clone => &["--kind", "full", "--format", "core", "--snapshot", "clone"],
            Self::Live => &["--kind", "full", "--format", "core", "--snapshot", "live"],
        }
    }
}

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

    pub(crate) fn effigy_snapshot(arena: &Arena, snapshot: Snapshot) -> Self {
        Self::effigy(arena, &format!("effigy {}", snapshot.name()), snapshot.options())
    }

    fn effigy(arena: &Arena, name: &str, options: &'static [&'static str]) -> Self {
        Self { name: name.to_owned(), program: arena.effigy().to_owned(), job: Job::Effigy(options) }
    }

    /// What a disk can do at best: the same bytes, with nobody to stop and nothing to look up.
    pub(crate) fn copy(source: &Path) -> Self {
        let job = Job::Copy { source: source.to_owned(), and_sync: false };
        Self { name: COPY.to_owned(), program: "cp".into(), job }
    }

    /// The same, until the bytes are on the disk and not only in the system's memory.
    pub(crate) fn copy_and_sync(source: &Path) -> Self {
        let job = Job::Copy { source: source.to_owned(), and_sync: true };
        Self { name: "cp and sync".to_owned(), program: "sh".into(), job }
    }

    /// The peers that are installed.
    pub(crate) fn peers(arena: &Arena) -> Vec<Self> {
        [Self::gcore(arena), Self::proc_dumps(arena), Self::create_dumps(arena)].concat()
    }

    /// gdb's script, if it is there.
    pub(crate) fn gcore(arena: &Arena) -> Vec<Self> {
        let program = find_program("gcore", arena.search_path());
        program.map(|program| Self { name: GCORE.to_owned(), program, job: Job::Gcore }).into_iter().collect()
    }

    /// Up to two ProcDumps for Linux.
    pub(crate) fn proc_dumps(arena: &Arena) -> Vec<Self> {
        found(arena, "procdump", "EFFIGY_PROCDUMP").map(Self::proc_dump).collect()
    }

    /// Up to two createdumps.
    pub(crate) fn create_dumps(arena: &Arena) -> Vec<Self> {
        let create_dump = |program| Self { name: "createdump".to_owned(), program, job: Job::CreateDump };
        found(arena, "createdump", "EFFIGY_CREATEDUMP").map(create_dump).collect()
    }

    fn proc_dump(program: PathBuf) -> Self {
        let usage = said_by(program.as_os_str(), &[]);
        let version = usage.lines().find_map(|line| line.strip_prefix("ProcDump v")?.split(' ').next());
        let name = version.map_or_else(|| "ProcDump".to_owned(), |version| format!("ProcDump {version}"));
        let dash_p = usage.lines().any(|line| line.trim_start().starts_with("-p  "));
        Self { name, program, job: Job::ProcDump { dash_p } }
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
            Job::ProcDump { dash_p: true } => line.extend(["-p".into(), pid, "-o".into(), output]),
            Job::ProcDump { dash_p: false } => line.extend([pid, output]),
            Job::CreateDump => line.extend(["-u".into(), "-f".into(), output, pid]),
            Job::Copy { source, and_sync: false } => line.extend([source.into(), output]),
            Job::Copy { source, and_sync: true } => {
                line.extend(words(&["-c", "cp -- \"$1\" \"$2\" && sync -- \"$2\"", "sh"]));
                line.extend([source.into(), output]);
            }
        }
        line
    }

    /// What the tool calls itself, for the page of results; nothing for one that does not say, or says it in its name.
    pub(crate) fn version(&self) -> Option<String> {
        let program = match &self.job {
            Job::Effigy(_) | Job::Copy { and_sync: false, .. } => self.program.as_os_str(),
            // gcore is a script of gdb's.
            Job::Gcore => OsStr::new("gdb"),
            Job::ProcDump { .. } | Job::CreateDump | Job::Copy { and_sync: true, .. } => return None,
        };
        said_by(program, &["--version"]).lines().next().map(|line| line.trim().to_owned())
    }
}

/// A program in `PATH`, and the one that a variable names: what a distribution packages and what is newest can differ by years.
fn found(arena: &Arena, program: &str, variable: &str) -> impl Iterator<Item = PathBuf> + use<> {
    [find_program(program, arena.search_path()), env::var_os(variable).map(PathBuf::from)].into_iter().flatten()
}

/// Everything that a program says.
fn said_by(program: &OsStr, words: &[&str]) -> String {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    output
        .map(|output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        .unwrap_or_default()
}
