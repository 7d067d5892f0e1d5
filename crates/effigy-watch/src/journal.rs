//! What was measured lately: a ring for each number, which is full after a while and forgets what is oldest.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use effigy_process::{Journal, Series};
use jiff::Timestamp;

use crate::sample::{Reading, Unit};

/// Samples that are kept of each number: ten minutes at one a second.
const MOST: usize = 600;
/// Samples that a comment tells of each number.
const MOST_IN_COMMENT: usize = 60;

/// The last samples of one number.
#[derive(Clone, Debug)]
pub struct Ring {
    name: String,
    unit: Unit,
    threshold: Option<f64>,
    samples: VecDeque<(f64, Option<f64>)>,
}

impl Ring {
    /// An empty one.
    #[must_use]
    pub fn new(name: String, unit: Unit, threshold: Option<f64>) -> Self {
        Self { name, unit, threshold, samples: VecDeque::new() }
    }

    /// Adds a reading of now.
    pub fn add(&mut self, reading: &Reading) {
        if *reading == Reading::NotYet {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        self.push(now, reading.value());
    }

    fn push(&mut self, time: f64, value: Option<f64>) {
        if self.samples.len() >= MOST {
            self.samples.pop_front();
        }
        self.samples.push_back((time, value));
    }

    /// What it is compared with now.
    pub fn set_threshold(&mut self, threshold: Option<f64>) {
        self.threshold = threshold;
    }

    /// What it is compared with.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// The number's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The last values, oldest first, `count` at most.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Option<f64>> {
        self.samples.iter().skip(self.samples.len().saturating_sub(count)).map(|(_, value)| *value).collect()
    }

    /// All of it.
    #[must_use]
    pub fn series(&self) -> Series {
        Series {
            name: self.name.clone(),
            unit: self.unit.name().to_owned(),
            threshold: self.threshold,
            // Milliseconds tell enough, and take less room than all digits.
            times: self.samples.iter().map(|(time, _)| (time * 1000.0).round() / 1000.0).collect(),
            values: self
                .samples
                .iter()
                .map(|(_, value)| value.map(|value| (value * 1000.0).round() / 1000.0))
                .collect(),
        }
    }
}

/// A journal as lines of a dump's comment.
#[must_use]
pub fn text(journal: &Journal) -> String {
    let mut text = format!("Trigger: {}", journal.trigger);
    for series in &journal.series {
        let Some(last) = series.times.last() else { continue };
        let from = series.values.len().saturating_sub(MOST_IN_COMMENT);
        let values = series.values[from..].iter().map(|value| match value {
            Some(value) => format!("{value:.1}"),
            None => "?".to_owned(),
        });
        let unit = if series.unit.is_empty() { String::new() } else { format!(" ({})", series.unit) };
        let _ =
            write!(text, "\n{}{unit}, the last of {} samples at {}:", series.name, series.times.len(), stamp(*last));
        values.for_each(|value| {
            let _ = write!(text, " {value}");
        });
    }
    text
}

fn stamp(seconds: f64) -> String {
    let since = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let time = UNIX_EPOCH.checked_add(since).and_then(|time| Timestamp::try_from(time).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_forgets_what_is_oldest() {
        let mut ring = Ring::new("cpu".into(), Unit::Percent, Some(80.0));
        for second in 0..700 {
            ring.push(f64::from(second), Some(f64::from(second)));
        }
        let series = ring.series();
        assert_eq!((series.times.len(), series.times[0], series.values[599]), (600, 100.0, Some(699.0)));
        assert_eq!(ring.last(2), [Some(698.0), Some(699.0)]);
    }

    #[test]
    fn comments() {
        let mut ring = Ring::new("cpu".into(), Unit::Percent, Some(80.0));
        ring.push(0.0, Some(1.25));
        ring.push(1.0, None);
        let journal = Journal { trigger: "cpu >= 80 %".into(), series: vec![ring.series()] };
        assert_eq!(
            text(&journal),
            "Trigger: cpu >= 80 %\ncpu (%), the last of 2 samples at 1970-01-01 00:00:01 UTC: 1.2 ?"
        );
    }
}
