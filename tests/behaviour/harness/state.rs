//! What of a target anyone can see from outside, taken before and after: the universal check of every test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// A target as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pid: i32,
    letters: BTreeMap<u32, char>,
    tracers: Vec<String>,
    children: Vec<i32>,
    descriptors: BTreeMap<String, String>,
    resident_kib: u64,
    coredump_filter: String,
    signals: BTreeMap<u32, Vec<String>>,
}

/// What may change by the target's own doing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Threads come and go, and their signals with them.
    pub(crate) threads: bool,
    /// Descriptors are opened and closed.
    pub(crate) descriptors: bool,
    /// Children come and go.
    pub(crate) children: bool,
    /// Threads wait for locks of the kernel, such as that of the mappings, and are seen in state D then.
    pub(crate) locks: bool,
    /// Growth of the resident size.
    pub(crate) growth_kib: u64,
}

impl Tolerance {
    /// Nothing may change; the resident size by 2 MiB.
    pub(crate) const STRICT: Self =
        Self { threads: false, descriptors: false, children: false, locks: false, growth_kib: 2048 };

    /// A program with a life of its own.
    pub(crate) const LIVELY: Self =
        Self { threads: true, descriptors: true, children: true, locks: false, growth_kib: 64 * 1024 };
}

impl State {
    pub(crate) fn of(pid: i32) -> Self {
        let mut letters = BTreeMap::new();
        let mut tracers = Vec::new();
        let mut signals = BTreeMap::new();
        for tid in threads_of(pid) {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")) else { continue };
            letters.insert(tid, field(&status, "State").chars().next().unwrap_or('?'));
            if field(&status, "TracerPid") != "0" {
                tracers.push(format!("thread {tid} is traced by {}", field(&status, "TracerPid")));
            }
            let masks = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"];
            signals.insert(tid, masks.map(|name| format!("{name} {}", field(&status, name))).to_vec());
        }
        Self {
            pid,
            letters,
            tracers,
            children: children_of(pid),
            descriptors: descriptors_of(pid),
            resident_kib: resident_kib(pid),
            coredump_filter: fs::read_to_string(format!("/proc/{pid}/coredump_filter")).unwrap_or_default(),
            signals,
        }
    }

    pub(crate) fn children(&self) -> &[i32] {
        &self.children
    }

    /// Panics unless the target is as it was. What takes a moment to settle gets one.
    #[track_caller]
    pub(crate) fn assert_unharmed(&self, tolerance: Tolerance) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let wrong = self.differences(&Self::of(self.pid), tolerance);
            if wrong.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "the target was harmed:\n{}", wrong.join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn differences(&self, after: &Self, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = after.tracers.clone();
        if after.letters.values().all(|letter| *letter == 'Z') && self.letters != after.letters {
            wrong.push(format!("the target {} is dead", self.pid));
        }
        self.compare_threads(after, tolerance, &mut wrong);
        if !tolerance.children {
            note(&mut wrong, "children", &self.children, &after.children);
        }
        if !tolerance.descriptors {
            note(&mut wrong, "file descriptors", &self.descriptors, &after.descriptors);
        }
        note(&mut wrong, "coredump_filter", &self.coredump_filter, &after.coredump_filter);
        if after.resident_kib > self.resident_kib + tolerance.growth_kib {
            wrong.push(format!("resident size grew from {} to {} KiB", self.resident_kib, after.resident_kib));
        }
        wrong
    }

    fn compare_threads(&self, after: &Self, tolerance: Tolerance, wrong: &mut Vec<String>) {
        for (tid, letter) in &self.letters {
            match after.letters.get(tid) {
                Some(now) if class(*now, tolerance) == class(*letter, tolerance) => {}
                Some(now) => wrong.push(format!("thread {tid} was in state {letter} and is in {now}")),
                None if tolerance.threads => {}
                None => wrong.push(format!("thread {tid} is gone")),
            }
        }
        if !tolerance.threads {
            let new: Vec<_> = after.letters.keys().filter(|tid| !self.letters.contains_key(tid)).collect();
            if !new.is_empty() {
                wrong.push(format!("new threads {new:?}"));
            }
            // A thread begins its life in the C library with all signals blocked.
            let born = |lines: &Vec<String>| lines.iter().any(|line| line == "SigBlk fffffffffffbfeff");
            let settled: BTreeMap<_, _> = self
                .signals
                .iter()
                .filter(|(_, lines)| !born(lines))
                .map(|(tid, lines)| (*tid, as_told(lines, tolerance)))
                .collect();
            let now: BTreeMap<_, _> = after
                .signals
                .iter()
                .filter(|(tid, _)| settled.contains_key(tid))
                .map(|(tid, lines)| (*tid, as_told(lines, tolerance)))
                .collect();
            note(wrong, "signals", &settled, &now);
        }
    }
}

/// What a thread's masks of signals say. The end of a child of the target's own may be on its way to it at any moment.
fn as_told(lines: &[String], tolerance: Tolerance) -> Vec<String> {
    const CHILD: u64 = 1 << (libc::SIGCHLD - 1);
    let without_child = |line: &String| match line.split_once(' ') {
        Some((name @ ("SigPnd" | "ShdPnd"), mask)) if tolerance.children => {
            let mask = u64::from_str_radix(mask, 16).unwrap_or(u64::MAX);
            format!("{name} {:016x}", mask & !CHILD)
        }
        _ => line.clone(),
    };
    lines.iter().map(without_child).collect()
}

/// A running thread is seen as R or S by turns, and as D while it waits for a lock of the kernel.
fn class(letter: char, tolerance: Tolerance) -> char {
    if letter == 'S' || letter == 'D' && tolerance.locks { 'R' } else { letter }
}

fn note<T: PartialEq + std::fmt::Debug>(wrong: &mut Vec<String>, what: &str, before: &T, after: &T) {
    if before != after {
        wrong.push(format!("{what}: before {before:?}, after {after:?}"));
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
}

/// One field of `/proc/PID/status`.
pub(crate) fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, name).to_owned()).filter(|value| !value.is_empty())
}

/// Whether the process exists and is no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    status_field(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// State letters of all threads.
pub(crate) fn thread_states(pid: i32) -> BTreeMap<u32, char> {
    State::of(pid).letters
}

fn resident_kib(pid: i32) -> u64 {
    // A zombie leader's own status has no VmRSS; any live thread's has.
    threads_of(pid)
        .into_iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok())
        .find_map(|status| field(&status, "VmRSS").trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn threads_of(pid: i32) -> Vec<u32> {
    let Ok(dir) = Path::new(&format!("/proc/{pid}/task")).read_dir() else { return Vec::new() };
    let mut tids: Vec<u32> = dir.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    tids.sort_unstable();
    tids
}

/// Children of all threads of a process, zombies included.
pub(crate) fn children_of(pid: i32) -> Vec<i32> {
    let mut children: Vec<i32> = threads_of(pid)
        .into_iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.sort_unstable();
    children
}

fn descriptors_of(pid: i32) -> BTreeMap<String, String> {
    let live = threads_of(pid).into_iter().find(|tid| Path::new(&format!("/proc/{pid}/task/{tid}/fd/0")).exists());
    let Some(tid) = live else { return BTreeMap::new() };
    let Ok(dir) = Path::new(&format!("/proc/{pid}/task/{tid}/fd")).read_dir() else { return BTreeMap::new() };
    dir.flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().into_string().ok()?, link.to_string_lossy().into_owned()))
        })
        .collect()
}

/// What a process has in common with those that run with a copy of its memory, its own forks and children that somebody else
/// made it have: addresses that are random, and stay what they were in a copy. Zombies have none.
pub(crate) struct Likeness {
    pid: i32,
    addresses: Option<[u64; 4]>,
}

impl Likeness {
    pub(crate) fn of(pid: i32) -> Self {
        Self { pid, addresses: addresses_of(pid) }
    }

    /// The other processes that are so.
    pub(crate) fn others(&self) -> Vec<i32> {
        let Ok(dir) = Path::new("/proc").read_dir() else { return Vec::new() };
        let pids = dir.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_copy = |pid: &i32| *pid != self.pid && self.addresses.is_some() && addresses_of(*pid) == self.addresses;
        pids.filter(is_copy).filter(|pid| alive(*pid)).collect()
    }
}

/// Processes that run with a copy of this one's memory now.
pub(crate) fn twins_of(pid: i32) -> Vec<i32> {
    Likeness::of(pid).others()
}

/// startstack, start_brk, arg_start and env_start of proc_pid_stat(5): fields 28, 47, 48 and 50.
fn addresses_of(pid: i32) -> Option<[u64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    // All zero where there is no memory (any more), or none that we may look at.
    Some([field(28)?, field(47)?, field(48)?, field(50)?]).filter(|addresses| addresses[0] > 1)
}
