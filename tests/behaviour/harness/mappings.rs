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
        self.assert_same_but(Self::clone);
    }

    /// The same, except that what was one mapping may now be two: when effigy is killed, nobody puts halves together.
    #[track_caller]
    pub(crate) fn assert_same_memory(&self) {
        self.assert_same_but(Self::joined);
    }

    #[track_caller]
    fn assert_same_but(&self, seen: impl Fn(&Self) -> Self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (before, after) = (seen(self), seen(&Self::of(self.pid)));
            if before == after {
                return;
            }
            if Instant::now() > deadline {
                panic!("the target's mappings have changed:\n{}", difference(&before, &after).join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Neighbours that differ in nothing but their bounds as one.
    fn joined(&self) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for line in &self.lines {
            let joined = lines.last().and_then(|last| join(last, line));
            match joined {
                Some(joined) => *lines.last_mut().unwrap() = joined,
                None => lines.push(line.clone()),
            }
        }
        Self { lines, ..self.clone() }
    }
}

/// Two lines of maps as one: `START-END RIGHTS OFFSET DEVICE INODE NAME`.
fn join(one: &str, next: &str) -> Option<String> {
    let split = |line: &str| -> Option<(u64, u64, String, u64, String)> {
        let (bounds, rest) = line.split_once(' ')?;
        let (start, end) = bounds.split_once('-')?;
        let (rights, rest) = rest.split_once(' ')?;
        let (offset, rest) = rest.split_once(' ')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(start)?, number(end)?, rights.to_owned(), number(offset)?, rest.to_owned()))
    };
    let (start, middle, rights, offset, file) = split(one)?;
    let (begins, end, its_rights, its_offset, its_file) = split(next)?;
    let in_file = !file.starts_with("00:00 0");
    let follows = middle == begins && rights == its_rights && file == its_file;
    (follows && (!in_file || offset + (middle - start) == its_offset))
        .then(|| format!("{start:x}-{end:x} {rights} {offset:08x} {file}"))
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
