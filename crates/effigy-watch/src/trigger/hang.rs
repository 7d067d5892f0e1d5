//! No progress: the chosen thread, or every thread, was not on a processor for a time.
//!
//! Nothing but the kernel's account is looked at: time on a processor and times put on one do not change in a thread that
//! does not run. A server that nobody asks anything looks the same, so this is for programs that always have something
//! to do, or for a thread that has (a heartbeat, an event loop with a timer).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use effigy_process::ThreadId;

use super::{Armed, Cause, Sight, Verdict};
use crate::Target;
use crate::sample::Progress;

/// The trigger.
pub(super) struct Hang {
    progress: Progress,
    time: Duration,
    chosen: Option<String>,
    /// Times that each thread was put on a processor, and for how long.
    before: BTreeMap<ThreadId, (u64, u64)>,
    /// When something last ran.
    moved: Instant,
    /// Whether a dump was taken of this hang.
    told: bool,
    quiet_for: Duration,
    /// The target was held up: the next look shows what that has put on processors, which is no progress.
    disturbed: bool,
}

impl Hang {
    /// `may_come` is for a chosen thread that need not be there yet.
    pub(super) fn new(
        target: &Target,
        time: Duration,
        chosen: Option<String>,
        may_come: bool,
        now: Instant,
    ) -> Result<Self, String> {
        let mut hang = Self {
            progress: Progress::new(target)?,
            time,
            chosen,
            before: BTreeMap::new(),
            moved: now,
            told: false,
            quiet_for: Duration::ZERO,
            disturbed: false,
        };
        if let Some(wanted) = hang.chosen.clone()
            && !may_come
            && hang.watched().is_empty()
        {
            return Err(format!("there is no thread {wanted}"));
        }
        Ok(hang)
    }

    /// The threads that are looked at.
    fn watched(&mut self) -> Vec<ThreadId> {
        let threads = self.progress.threads().unwrap_or_default();
        let Some(chosen) = self.chosen.clone() else { return threads };
        match chosen.parse().map(ThreadId) {
            Ok(id) => threads.into_iter().filter(|thread| *thread == id).collect(),
            Err(_) => threads.into_iter().filter(|thread| self.progress.name(*thread) == chosen).collect(),
        }
    }
}

impl Armed for Hang {
    fn look(&mut self, now: Instant) -> Verdict {
        let watched = self.watched();
        let progress = &mut self.progress;
        let after: BTreeMap<_, _> =
            watched.into_iter().filter_map(|thread| Some((thread, progress.schedule(thread)?))).collect();
        if std::mem::take(&mut self.disturbed) {
            self.before.clone_from(&after);
        }
        // A thread that is new, or gone, is progress too. Where there is none to look at, nothing is known.
        if after != self.before || after.is_empty() {
            (self.before, self.moved, self.told) = (after, now, false);
        }
        self.quiet_for = now.saturating_duration_since(self.moved);
        if self.told || self.quiet_for < self.time {
            return Verdict::Quiet;
        }
        let who =
            self.chosen.as_ref().map_or_else(|| "no thread has".to_owned(), |name| format!("thread {name} has not"));
        let what = format!("{who} run for {:.1} s", self.quiet_for.as_secs_f64());
        let thread = self.chosen.as_ref().and_then(|_| self.before.keys().next().copied());
        Verdict::Fired(Cause { what, thread, kind: "hang" })
    }

    fn rearm(&mut self) {
        self.told = true;
    }

    fn resume(&mut self) {
        self.disturbed = true;
    }

    fn sight(&self) -> Sight {
        Sight {
            name: "no progress".into(),
            value: format!("{:.0} s", self.quiet_for.as_secs_f64()),
            threshold: format!(">= {} s", self.time.as_secs_f64()),
            recent: Vec::new(),
        }
    }
}
