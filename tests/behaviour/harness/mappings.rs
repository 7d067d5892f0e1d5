//! A target's mappings as the kernel tells them, taken before and after: a dump adds none, takes none away, and leaves no
//! page under the watch of a userfaultfd.

use std::time::{Duration, Instant};
use std::{fs, thread};

/// The mappings of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mappings {
    pid: i32,
    lines: Vec<String>,
    /// Those that a userfaultfd watches; a target may have one of its own.
    watched: Vec<String>,
}

/// Flags of `/proc/PID/smaps` for ranges that are registered with a userfaultfd: missing pages, write-protection, minor
/// faults.
const WATCHED: [&str; 3] = ["um", "uw", "ui"];

impl Mappings {
    pub(crate) fn of(pid: i32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let lines = maps.lines().map(str::to_owned).collect();
        Self { pid, lines, watched: watched(pid) }
    }

    /// Panics unless they are now as they were. What takes a moment to settle gets one.
    #[track_caller]
    pub(crate) fn assert_same(&self) {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let after = Self::of(self.pid);
            if *self == after {
                return;
            }
            if Instant::now() > deadline {
                panic!("the target's mappings have changed:\n{}", difference(self, &after).join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn difference(before: &Mappings, after: &Mappings) -> Vec<String> {
    let missing = before.lines.iter().filter(|line| !after.lines.contains(line)).map(|line| format!("- {line}"));
    let new = after.lines.iter().filter(|line| !before.lines.contains(line)).map(|line| format!("+ {line}"));
    let watched = after.watched.iter().filter(|line| !before.watched.contains(line));
    let watched = watched.map(|line| format!("watched by a userfaultfd: {line}"));
    missing.chain(new).chain(watched).take(40).collect()
}

/// Mappings that a userfaultfd watches.
pub(crate) fn watched(pid: i32) -> Vec<String> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut found = Vec::new();
    let mut mapping = "";
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if flags.split_whitespace().any(|flag| WATCHED.contains(&flag)) {
                found.push(format!("{mapping} ({})", flags.trim()));
            }
        } else if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            mapping = line;
        }
    }
    found
}
