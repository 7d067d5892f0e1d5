//! Whether the system has room for a twin, so that making one never is what makes the target run out of something.
//!
//! While a twin lives, each page of private memory that the target writes to is kept twice; at worst that is all of it.
//! And the twin is a process more, where processes are counted.

use std::fs;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use crate::procfs::{ProcDir, Stat, Status};
use crate::remote::{Refused, other_twins};
use crate::snapshot::Prelude;

/// Memory that is left to others, in bytes.
const RESERVE: u64 = 64 << 20;
/// Processes that are left to others where they are limited.
const PROCESSES: u64 = 8;
/// Users' limits above this are not worth counting their threads for.
const MANY_PROCESSES: u64 = 20_000;

/// Refuses when a twin of the target could bite.
///
/// # Errors
/// Which limit is near.
pub fn for_twin(prelude: &Prelude, clones: usize) -> Result<(), Refused> {
    let dir = &prelude.dir;
    let twins = other_twins(dir);
    if twins >= clones {
        return Err(Refused::new(format!(
            "{twins} {} of it already, and no more than {clones} were asked for (--clones)",
            if twins == 1 { "clone exists" } else { "clones exist" }
        )));
    }
    let counters = prelude.counters();
    let needed = counters.resident_anonymous + counters.page_tables + RESERVE;
    let (free, whose) = free_memory(dir);
    if free < needed {
        return Err(Refused::new(format!(
            "{} MiB of memory may be needed for it and {} has {} MiB left",
            needed >> 20,
            whose,
            free >> 20
        )));
    }
    commit(counters.data)?;
    process_limits(dir)
}

/// Whether memory is so short that a twin that lives has to go.
#[must_use]
pub fn is_short(dir: &ProcDir) -> bool {
    free_memory(dir).0 < RESERVE / 2
}

/// Why a twin was given up.
#[must_use]
pub fn shortage() -> Refused {
    Refused::new("memory became short while the clone existed")
}

/// Free memory in bytes, and where it is least: the system or a control group of the target.
fn free_memory(dir: &ProcDir) -> (u64, String) {
    let system =
        field(&fs::read("/proc/meminfo").unwrap_or_default(), "MemAvailable:").unwrap_or(u64::MAX / 1024) * 1024;
    let mut least = (system, "the system".to_owned());
    for group in groups(dir) {
        let Some(free) = group.free_memory() else { continue };
        if free < least.0 {
            least = (free, format!("control group {}", group.name));
        }
    }
    least
}

/// With strict accounting (`vm.overcommit_memory` 2), a twin is charged for all of the target's private memory at once,
/// and what is left for others has to suffice.
fn commit(private: u64) -> Result<(), Refused> {
    if fs::read("/proc/sys/vm/overcommit_memory").unwrap_or_default().trim() != b"2" {
        return Ok(());
    }
    let about = fs::read("/proc/meminfo").unwrap_or_default();
    let (limit, used) = (field(&about, "CommitLimit:"), field(&about, "Committed_AS:"));
    let (Some(limit), Some(used)) = (limit, used) else { return Ok(()) };
    let free = limit.saturating_sub(used) * 1024;
    if free < private + private / 4 + RESERVE {
        return Err(Refused::new(format!(
            "the system does not overcommit memory (vm.overcommit_memory is 2) and has only {} MiB left to promise",
            free >> 20
        )));
    }
    Ok(())
}

fn process_limits(dir: &ProcDir) -> Result<(), Refused> {
    for group in groups(dir) {
        if let Some(left) = group.free_processes().filter(|left| *left < PROCESSES) {
            return Err(Refused::new(format!("control group {} has room for {left} more processes only", group.name)));
        }
    }
    let limits = crate::procfs::parse_limits(&dir.read("limits").unwrap_or_default());
    let limit = limits.iter().find(|limit| limit.name == "Max processes").and_then(|limit| limit.soft);
    let credentials = Status::parse(&dir.read("status").unwrap_or_default()).credentials();
    let Some(limit) = limit.filter(|limit| *limit <= MANY_PROCESSES && credentials.uid[0] != 0) else { return Ok(()) };
    let used = threads_of_user(credentials.uid[0]);
    if used + PROCESSES > limit {
        return Err(Refused::new(format!("its user has {used} of {limit} processes (RLIMIT_NPROC)")));
    }
    Ok(())
}

fn threads_of_user(uid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let ours = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|about| about.uid() == uid);
    let threads =
        |entry: fs::DirEntry| Stat::parse(&fs::read(entry.path().join("stat")).ok()?).map(|stat| stat.threads);
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(ours).filter_map(threads).map(u64::from).sum()
}

/// The number behind a name, in lines of names and numbers.
fn field(text: &[u8], name: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(name.as_bytes())?))
}

fn number(text: &[u8]) -> Option<u64> {
    text.to_str().ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// A control group that the target is in, directly or by a group above.
struct Group {
    folder: PathBuf,
    name: String,
}

impl Group {
    fn number(&self, file: &str) -> Option<u64> {
        number(&fs::read(self.folder.join(file)).ok()?)
    }

    /// Of version 2, or of the memory controller of version 1. File pages do not count: they go when room is needed.
    fn free_memory(&self) -> Option<u64> {
        let statistics = fs::read(self.folder.join("memory.stat")).unwrap_or_default();
        let of = |name: &str| field(&statistics, name).unwrap_or(0);
        let (limit, used, files) = match self.number("memory.max") {
            Some(limit) => (limit, self.number("memory.current")?, of("inactive_file ") + of("active_file ")),
            None => {
                let files = of("total_inactive_file ") + of("total_active_file ");
                (self.number("memory.limit_in_bytes")?, self.number("memory.usage_in_bytes")?, files)
            }
        };
        Some(limit.saturating_sub(used.saturating_sub(files)))
    }

    fn free_processes(&self) -> Option<u64> {
        Some(self.number("pids.max")?.saturating_sub(self.number("pids.current")?))
    }
}

/// All control groups of the target, of every hierarchy that is mounted where they usually are.
fn groups(dir: &ProcDir) -> Vec<Group> {
    let lines = dir.read("cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in lines.lines() {
        let mut parts = line.splitn(3, |byte| *byte == b':').map(|part| part.to_str_lossy().into_owned());
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let roots: Vec<PathBuf> = match controllers.as_str() {
            "" => vec!["/sys/fs/cgroup".into(), "/sys/fs/cgroup/unified".into()],
            "memory" | "pids" => vec![Path::new("/sys/fs/cgroup").join(&controllers)],
            _ => continue,
        };
        for root in roots {
            let mut at = Some(Path::new(&path));
            while let Some(group) = at {
                let folder = root.join(group.strip_prefix("/").unwrap_or(group));
                if folder.is_dir() {
                    found.push(Group { folder, name: group.display().to_string() });
                }
                at = group.parent();
            }
        }
    }
    found
}
