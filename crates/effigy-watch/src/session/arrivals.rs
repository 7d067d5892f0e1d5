//! Processes that become targets: those that are awaited, and children of targets.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use effigy_live::select::{self, Query};
use effigy_process::ProcessId;

use super::Awaited;
use crate::events::{Started, Starts};

/// A process that was just forked has its parent's name; most become another program at once. Who is still the same
/// after so long is one by that name.
const FORKED: Duration = Duration::from_millis(15);

/// What may come.
#[derive(Debug)]
pub(super) struct Arrivals {
    starts: Starts,
    awaited: Vec<Awaited>,
    /// Processes that were just forked, oldest first.
    forked: Vec<(Instant, ProcessId)>,
    news: Vec<Started>,
}

impl Arrivals {
    pub(super) fn listen(awaited: Vec<Awaited>) -> io::Result<Self> {
        Ok(Self { starts: Starts::listen()?, awaited, forked: Vec::new(), news: Vec::new() })
    }

    pub(super) fn manner(&self) -> String {
        self.starts.manner()
    }

    pub(super) fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.starts.readiness()
    }

    /// Time until there may be something to look at that nobody tells of.
    pub(super) fn look_again(&self) -> Option<Duration> {
        let forked = self.forked.first().map(|(since, _)| FORKED.saturating_sub(since.elapsed()));
        [forked, self.starts.look_again()].into_iter().flatten().min()
    }

    /// Whether somebody is still awaited.
    pub(super) fn is_open(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Those that are awaited and here already.
    pub(super) fn all_here(&mut self) -> Vec<ProcessId> {
        let mut found = Vec::new();
        self.awaited.retain(|awaited| {
            let here = select::find(&awaited.query);
            let most = if awaited.all { usize::MAX } else { 1 };
            found.extend(here.iter().take(most).map(|candidate| candidate.pid));
            awaited.all || here.is_empty()
        });
        found
    }

    /// Those that have come since the last time. `is_target` tells of a process whose children come too.
    pub(super) fn collect(
        &mut self,
        now: Instant,
        children: bool,
        is_target: &dyn Fn(ProcessId) -> bool,
    ) -> Vec<ProcessId> {
        let mut news = std::mem::take(&mut self.news);
        self.starts.collect(now, &mut news);
        let mut found = Vec::new();
        for started in news.drain(..) {
            match started {
                Started::Forked { pid, parent } => {
                    if children && (is_target(parent) || found.contains(&parent)) {
                        found.push(pid);
                    } else if self.is_open() {
                        self.forked.push((now, pid));
                    }
                }
                Started::Named(pid) => self.consider(pid, &mut found),
                Started::Missed => {
                    found.extend(self.all_here());
                }
            }
        }
        self.news = news;
        let grown = self.forked.partition_point(|(since, _)| now.saturating_duration_since(*since) >= FORKED);
        let grown: Vec<_> = self.forked.drain(..grown).collect();
        for (_, pid) in grown {
            self.consider(pid, &mut found);
        }
        found
    }

    /// Takes a process that is awaited.
    fn consider(&mut self, pid: ProcessId, found: &mut Vec<ProcessId>) {
        if pid.0 == std::process::id() {
            return;
        }
        let fits = |query: &Query| select::look(pid, query).is_some();
        if let Some(index) = self.awaited.iter().position(|awaited| fits(&awaited.query)) {
            found.push(pid);
            if !self.awaited[index].all {
                self.awaited.remove(index);
            }
        }
    }

    /// Awaits those of a name no longer; tells how many that were.
    pub(super) fn cancel(&mut self, name: &str) -> usize {
        let before = self.awaited.len();
        self.awaited.retain(|awaited| awaited.query.name.as_deref() != Some(name));
        before - self.awaited.len()
    }
}
