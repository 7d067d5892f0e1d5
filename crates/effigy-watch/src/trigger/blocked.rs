//! A thread in uninterruptible sleep (state D): it waits for a disk, a network file system or a lock of the kernel, and
//! not even SIGKILL gets through to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use effigy_process::ThreadId;

use super::{Armed, Cause, Sight, Verdict};
use crate::Target;
use crate::sample::Progress;

/// The trigger.
pub(super) struct Blocked {
    progress: Progress,
    time: Duration,
    /// Threads in that state: since when, and how often they had run by then.
    since: BTreeMap<ThreadId, (Instant, u64)>,
    longest: Duration,
    told: bool,
}

impl Blocked {
    pub(super) fn new(target: &Target, time: Duration) -> Result<Self, String> {
        let progress = Progress::new(target)?;
        Ok(Self { progress, time, since: BTreeMap::new(), longest: Duration::ZERO, told: false })
    }
}

impl Armed for Blocked {
    fn look(&mut self, now: Instant) -> Verdict {
        let mut since = BTreeMap::new();
        for thread in self.progress.threads().unwrap_or_default() {
            let Some(seen) = self.progress.thread(thread).filter(|seen| seen.state == b'D') else { continue };
            // One that has run in between sleeps anew.
            let before = self.since.get(&thread).filter(|(_, slices)| *slices == seen.slices);
            since.insert(thread, before.copied().unwrap_or((now, seen.slices)));
        }
        self.since = since;
        let longest = self.since.iter().min_by_key(|(_, (since, _))| *since);
        let longest = longest.map(|(thread, (since, _))| (*thread, now.saturating_duration_since(*since)));
        self.longest = longest.map_or(Duration::ZERO, |(_, time)| time);
        match longest {
            Some((thread, time)) if time >= self.time && !self.told => Verdict::Fired(Cause {
                what: format!("thread {thread} is in uninterruptible sleep for {:.1} s", time.as_secs_f64()),
                thread: Some(thread),
                kind: "hang",
            }),
            Some((_, time)) if time >= self.time => Verdict::Quiet,
            _ => {
                self.told = false;
                Verdict::Quiet
            }
        }
    }

    fn rearm(&mut self) {
        self.told = true;
    }

    fn sight(&self) -> Sight {
        Sight {
            name: "uninterruptible sleep".into(),
            value: format!("{:.0} s", self.longest.as_secs_f64()),
            threshold: format!(">= {} s", self.time.as_secs_f64()),
            recent: Vec::new(),
        }
    }
}
