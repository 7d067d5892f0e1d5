//! What threads do: how often they were put on a processor, and for how long.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use effigy_process::ThreadId;
use rustix::fs::{Dir, Mode, OFlags, openat};

use super::rate::rise;
use super::{Gauge, Reading, fields, missing};
use crate::Target;

/// A thread as it is seen at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// State letter.
    pub(crate) state: u8,
    /// Nanoseconds on a processor.
    pub(crate) ran: u64,
    /// Times that it was put on one.
    pub(crate) slices: u64,
}

/// Looks at all threads of a process.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `/proc/PID/task`.
    folder: std::fs::File,
    room: Vec<u8>,
}

impl Progress {
    pub(crate) fn new(target: &Target) -> Result<Self, String> {
        let folder = target.dir().open_file("task").map_err(|error| format!("task: {error}"))?;
        Ok(Self { folder, room: vec![0; 1024] })
    }

    /// Ids of all threads.
    pub(crate) fn threads(&self) -> io::Result<Vec<ThreadId>> {
        let dir = Dir::read_from(&self.folder)?;
        let id = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok()?.parse().ok().map(ThreadId);
        Ok(dir.flatten().filter_map(id).collect())
    }

    /// Times that a thread was put on a processor, and for how long; `None` when it is gone.
    pub(crate) fn schedule(&mut self, thread: ThreadId) -> Option<(u64, u64)> {
        // Nanoseconds run, nanoseconds waited, times run.
        let text = self.file(thread, "schedstat").ok()?;
        let mut numbers = fields::words(text).map_while(fields::decimal);
        let (ran, _waited, slices) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((ran, slices))
    }

    /// A thread; `None` when it is gone.
    pub(crate) fn thread(&mut self, thread: ThreadId) -> Option<Seen> {
        let (ran, slices) = self.schedule(thread)?;
        let state = *fields::stat_field(self.file(thread, "stat").ok()?, 3)?.first()?;
        Some(Seen { state, ran, slices })
    }

    /// A thread's name; empty when it is gone.
    pub(crate) fn name(&mut self, thread: ThreadId) -> String {
        self.file(thread, "comm").map_or_else(|_| String::new(), |name| String::from_utf8_lossy(name).trim().to_owned())
    }

    fn file(&mut self, thread: ThreadId, name: &str) -> io::Result<&[u8]> {
        let path = format!("{}/{name}", thread.0);
        let file = openat(self.folder.as_fd(), path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let count = rustix::io::read(&file, self.room.as_mut_slice())?;
        Ok(&self.room[..count])
    }
}

/// Context switches a second, of all threads together.
#[derive(Debug)]
pub(super) struct Switches {
    progress: Progress,
    /// What was counted of threads that live, each by itself: one that ends takes its count along.
    counts: BTreeMap<ThreadId, u64>,
    total: u64,
    before: Option<(Instant, u64)>,
}

impl Switches {
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        Ok(Self { progress: Progress::new(target)?, counts: BTreeMap::new(), total: 0, before: None })
    }
}

impl Gauge for Switches {
    fn read(&mut self, now: Instant) -> Reading {
        let threads = match self.progress.threads() {
            Ok(threads) => threads,
            Err(error) => return missing("task", &error),
        };
        let mut counts = BTreeMap::new();
        for thread in threads {
            let Some((_, slices)) = self.progress.schedule(thread) else { continue };
            // What a new thread has done so far, it has done since the last look. An id that is used again begins low.
            let known = self.counts.get(&thread).copied().filter(|known| *known <= slices).unwrap_or(0);
            self.total = self.total.saturating_add(slices - known);
            counts.insert(thread, slices);
        }
        self.counts = counts;
        rise(&mut self.before, now, self.total).map_or(Reading::NotYet, Reading::Value)
    }

    fn restart(&mut self) {
        self.before = None;
    }
}
