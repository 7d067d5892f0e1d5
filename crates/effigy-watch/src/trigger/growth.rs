//! A number that rises: the slope of the straight line that fits the samples of a window best (least squares). A leak
//! looks like this, whatever the level; one step up does not, once it is half a window old.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::threshold::shown;
use super::{Armed, Cause, Sight, Verdict};
use crate::journal::Ring;
use crate::sample::{Gauge, Metric, Reading, Unit};

/// Values that a line on a terminal shows.
const RECENT: usize = 30;
/// Samples in the window below which no line is drawn through them.
const FEWEST: usize = 5;
/// Samples that are kept, at most: with more, every second one is left out.
const MOST: usize = 4096;

/// The trigger.
pub(super) struct Growth {
    gauge: Box<dyn Gauge>,
    ring: Ring,
    per_minute: f64,
    window: Duration,
    samples: VecDeque<(Instant, f64)>,
    last: Reading,
}

impl Growth {
    pub(super) fn new(gauge: Box<dyn Gauge>, metric: &Metric, per_minute: f64, window: Duration) -> Self {
        let ring = Ring::new(metric.to_string(), metric.unit(), None);
        Self { gauge, ring, per_minute, window, samples: VecDeque::new(), last: Reading::NotYet }
    }

    fn keep(&mut self, now: Instant, value: f64) {
        self.samples.push_back((now, value));
        // The one sample that is a whole window old stays: with it the window is full.
        while self.samples.get(1).is_some_and(|(time, _)| now.saturating_duration_since(*time) >= self.window) {
            self.samples.pop_front();
        }
        if self.samples.len() > MOST {
            self.samples = self.samples.iter().copied().step_by(2).collect();
        }
    }

    /// Whether samples span the window.
    fn is_full(&self, now: Instant) -> bool {
        let oldest = self.samples.front().map(|(time, _)| now.saturating_duration_since(*time));
        self.samples.len() >= FEWEST && oldest.is_some_and(|age| age >= self.window)
    }

    fn rate(&self) -> Option<f64> {
        let first = self.samples.front()?.0;
        let minutes = |time: Instant| time.saturating_duration_since(first).as_secs_f64() / 60.0;
        slope(self.samples.iter().map(|(time, value)| (minutes(*time), *value)))
    }
}

/// Rise of the line of least squares; `None` when all samples are of one time.
fn slope(samples: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let (mut count, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
    for (x, y) in samples.clone() {
        (count, sum_x, sum_y) = (count + 1.0, sum_x + x, sum_y + y);
    }
    // Around the means: sums of squares of large numbers would lose their small differences.
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in samples {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    let slope = above / below;
    slope.is_finite().then_some(slope)
}

/// The unit of a rise shown per minute.
fn per_minute(unit: Unit, rate: f64) -> String {
    format!("{}/min", unit.show(rate))
}

impl Armed for Growth {
    fn look(&mut self, now: Instant) -> Verdict {
        let reading = self.gauge.read(now);
        self.ring.add(&reading);
        if let Some(value) = reading.value() {
            self.keep(now, value);
        }
        self.last = reading;
        match self.rate().filter(|_| self.is_full(now)) {
            Some(rate) if rate >= self.per_minute => Verdict::Fired(Cause {
                what: format!(
                    "{} grows by {} >= {}, over {} s",
                    self.ring.name(),
                    per_minute(self.ring.unit(), rate),
                    per_minute(self.ring.unit(), self.per_minute),
                    self.window.as_secs_f64()
                ),
                thread: None,
                kind: "commit",
            }),
            _ => Verdict::Quiet,
        }
    }

    fn rearm(&mut self) {
        self.samples.clear();
    }

    fn resume(&mut self) {
        self.gauge.restart();
    }

    fn sight(&self) -> Sight {
        let rate = self.rate().map(|rate| format!(" ({})", per_minute(self.ring.unit(), rate))).unwrap_or_default();
        Sight {
            name: self.ring.name().to_owned(),
            value: format!("{}{rate}", shown(&self.last, self.ring.unit())),
            threshold: format!(">= {}", per_minute(self.ring.unit(), self.per_minute)),
            recent: self.ring.last(RECENT),
        }
    }

    fn ring(&self) -> Option<&Ring> {
        Some(&self.ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(f64, f64);

    impl Gauge for Counted {
        fn read(&mut self, _now: Instant) -> Reading {
            self.0 += self.1;
            Reading::Value(self.0)
        }
    }

    fn first_fire(step: f64, per_minute: f64, window: u64) -> Option<u64> {
        let start = Instant::now();
        let window = Duration::from_secs(window);
        let mut trigger = Growth::new(Box::new(Counted(1e9, step)), &Metric::Private, per_minute, window);
        (0..100).find(|second| trigger.look(start + Duration::from_secs(*second)) != Verdict::Quiet)
    }

    #[test]
    fn a_steady_rise_is_seen_when_the_window_is_full() {
        assert_eq!(first_fire(1e6, 59e6, 10), Some(10));
        assert_eq!(first_fire(1e6, 61e6, 10), None);
        assert_eq!(first_fire(-1e6, 1.0, 10), None);
    }

    #[test]
    fn slopes() {
        let close = |samples: &[(f64, f64)], to: f64| (slope(samples.iter().copied()).unwrap() - to).abs() < 1e-6;
        assert!(close(&[(0.0, 1e12), (1.0, 1e12 + 3.0), (2.0, 1e12 + 6.0)], 3.0));
        assert_eq!(slope([(1.0, 5.0), (1.0, 6.0)].into_iter()), None);
        assert_eq!(slope(std::iter::empty()), None);
    }
}
