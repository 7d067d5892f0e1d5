//! What a watch waits for. One file a trigger; [`Spec`] is what was asked for, an [`Armed`] one looks at one target.

mod blocked;
mod growth;
mod hang;
mod probe;
mod schedule;
mod text;
mod threshold;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use effigy_process::ThreadId;

use crate::Target;
use crate::journal::Ring;
use crate::sample::{Metric, gauge};
use crate::wildcard::Filter;

pub use probe::Probe;
pub use schedule::Daily;
pub use threshold::Side;

/// A trigger as it was asked for.
#[derive(Clone, Debug)]
pub enum Spec {
    /// A number beyond a threshold for a time; with several thresholds, at each in turn.
    Threshold {
        /// The number.
        metric: Metric,
        /// Above or below.
        side: Side,
        /// At least one.
        thresholds: Vec<f64>,
        /// Samples in a row, at least 1.
        samples: u32,
    },
    /// A number that rises.
    Growth {
        /// The number.
        metric: Metric,
        /// By so much a minute or more.
        per_minute: f64,
        /// Over so long.
        window: Duration,
    },
    /// No progress: nobody runs.
    Hang {
        /// For so long.
        time: Duration,
        /// The thread of this id or name must run; without, any thread.
        thread: Option<String>,
        /// Whether that thread may begin later, as those of a program do that was just started.
        may_come: bool,
    },
    /// A thread in uninterruptible sleep (state D).
    Blocked {
        /// For so long.
        time: Duration,
    },
    /// A question that is not answered.
    Probe {
        /// The question.
        probe: Probe,
        /// Time between two.
        every: Duration,
        /// Longest time for an answer.
        timeout: Duration,
        /// Failures in a row, at least 1.
        failures: u32,
    },
    /// Now, and after each such time.
    Every {
        /// Time between two.
        period: Duration,
        /// Whether the first is now, in place of after the time.
        at_once: bool,
    },
    /// At a time of the day.
    Daily(Daily),
    /// A line of text in a file that is written to.
    Text {
        /// The file.
        file: PathBuf,
        /// Which lines.
        filter: Filter,
    },
    /// A line of text in the journal of a systemd unit.
    Journal {
        /// The unit.
        unit: String,
        /// Which lines.
        filter: Filter,
    },
}

/// What a look found.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is not the moment.
    Quiet,
    /// It is.
    Fired(Cause),
}

/// Why it is the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In words.
    pub what: String,
    /// The thread that it is about, if it is about one.
    pub thread: Option<ThreadId>,
    /// For names of files: `cpu`, `commit`, `time`, as ProcDump has them.
    pub kind: &'static str,
}

/// What a trigger sees, for a line on a terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// What is looked at.
    pub name: String,
    /// The last value with its unit, or a word; empty when there is none yet.
    pub value: String,
    /// What it is compared with.
    pub threshold: String,
    /// The last values.
    pub recent: Vec<Option<f64>>,
}

/// A trigger on one target.
pub trait Armed: Send {
    /// Looks. To be called once each interval.
    fn look(&mut self, now: Instant) -> Verdict;

    /// A dump was taken for it: from here on a new cause is needed.
    fn rearm(&mut self);

    /// The target was held up, by a dump for whatever cause: what was measured across that counts for nothing.
    fn resume(&mut self) {}

    /// Whether it can still fire.
    fn is_spent(&self) -> bool {
        false
    }

    /// What it sees.
    fn sight(&self) -> Sight;

    /// What it has measured.
    fn ring(&self) -> Option<&Ring> {
        None
    }
}

impl Spec {
    /// Arms it on a target.
    ///
    /// # Errors
    /// When what it needs cannot be had of this target, in words.
    pub fn arm(&self, target: &Target, now: Instant) -> Result<Box<dyn Armed>, String> {
        Ok(match self {
            Self::Threshold { metric, side, thresholds, samples } => {
                let gauge = gauge(metric, target)?;
                Box::new(threshold::Threshold::new(gauge, metric, *side, thresholds.clone(), *samples))
            }
            Self::Growth { metric, per_minute, window } => {
                Box::new(growth::Growth::new(gauge(metric, target)?, metric, *per_minute, *window))
            }
            Self::Hang { time, thread, may_come } => {
                Box::new(hang::Hang::new(target, *time, thread.clone(), *may_come, now)?)
            }
            Self::Blocked { time } => Box::new(blocked::Blocked::new(target, *time)?),
            Self::Probe { probe, every, timeout, failures } => {
                Box::new(probe::Probing::start(probe, *every, *timeout, *failures, target)?)
            }
            Self::Every { period, at_once } => Box::new(schedule::Every::new(*period, *at_once, now)),
            Self::Daily(daily) => Box::new(schedule::AtTime::new(*daily)),
            Self::Text { file, filter } => Box::new(text::Follow::file(file, filter.clone())),
            Self::Journal { unit, filter } => Box::new(text::Follow::journal(unit, filter.clone())?),
        })
    }

    /// In words, for the first line of a watch.
    #[must_use]
    pub fn describe(&self, interval: Duration) -> String {
        match self {
            Self::Threshold { metric, side, thresholds, samples } => {
                let shown: Vec<String> = thresholds.iter().map(|value| metric.unit().show(*value)).collect();
                let time = interval.saturating_mul(*samples);
                let for_time = if *samples > 1 { format!(" for {} s", time.as_secs_f64()) } else { String::new() };
                format!("{metric} {} {}{for_time}", side.sign(), shown.join(", then "))
            }
            Self::Growth { metric, per_minute, window } => format!(
                "{metric} growing by {} a minute or more, over {} s",
                metric.unit().show(*per_minute),
                window.as_secs_f64()
            ),
            Self::Hang { time, thread: Some(thread), .. } => {
                format!("thread {thread} makes no progress for {} s", time.as_secs_f64())
            }
            Self::Hang { time, thread: None, .. } => format!("no thread makes progress for {} s", time.as_secs_f64()),
            Self::Blocked { time } => format!("a thread in uninterruptible sleep for {} s", time.as_secs_f64()),
            Self::Probe { probe, timeout, .. } => format!("{probe} fails, or takes {} s", timeout.as_secs_f64()),
            Self::Every { period, at_once: true } => format!("now, and each {} s", period.as_secs_f64()),
            Self::Every { period, at_once: false } => format!("each {} s", period.as_secs_f64()),
            Self::Daily(daily) => format!("daily at {daily}"),
            Self::Text { file, .. } => format!("text in {}", file.display()),
            Self::Journal { unit, .. } => format!("text in the journal of {unit}"),
        }
    }
}
