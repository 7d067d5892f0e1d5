//! A number beyond a threshold, for so many samples in a row.

use std::time::Instant;

use super::{Armed, Cause, Sight, Verdict};
use crate::journal::Ring;
use crate::sample::{Gauge, Metric, Reading, Unit};

/// Values that a line on a terminal shows.
const RECENT: usize = 30;

/// On which side of the threshold the moment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At it or above.
    Above,
    /// Below it.
    Below,
}

impl Side {
    /// As it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Above => ">=",
            Self::Below => "<",
        }
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value >= threshold,
            Self::Below => value < threshold,
        }
    }
}

/// The trigger.
pub(super) struct Threshold {
    gauge: Box<dyn Gauge>,
    ring: Ring,
    kind: &'static str,
    side: Side,
    thresholds: Vec<f64>,
    /// Which of them is next.
    next: usize,
    /// Samples in a row that it takes.
    samples: u32,
    /// Samples in a row so far.
    held: u32,
    last: Reading,
}

impl Threshold {
    pub(super) fn new(gauge: Box<dyn Gauge>, metric: &Metric, side: Side, thresholds: Vec<f64>, samples: u32) -> Self {
        let ring = Ring::new(metric.to_string(), metric.unit(), thresholds.first().copied());
        let (samples, kind) = (samples.max(1), kind(metric));
        Self { gauge, ring, kind, side, thresholds, next: 0, samples, held: 0, last: Reading::NotYet }
    }
}

/// ProcDump's words for file names.
fn kind(metric: &Metric) -> &'static str {
    match metric {
        Metric::Cpu | Metric::Core => "cpu",
        Metric::Private | Metric::Resident | Metric::Swap | Metric::Proportional | Metric::CgroupMemory => "commit",
        Metric::Threads => "thread",
        Metric::Descriptors => "filedesc",
        _ => "perfcounter",
    }
}

/// A reading as a line on a terminal shows it.
pub(super) fn shown(reading: &Reading, unit: Unit) -> String {
    match reading {
        Reading::Value(value) => unit.show(*value),
        Reading::NotYet => String::new(),
        Reading::Missing(why) => why.clone(),
    }
}

impl Armed for Threshold {
    fn look(&mut self, now: Instant) -> Verdict {
        let reading = self.gauge.read(now);
        if reading == Reading::NotYet {
            return Verdict::Quiet;
        }
        self.ring.add(&reading);
        self.last = reading;
        let Some(threshold) = self.thresholds.get(self.next).copied() else { return Verdict::Quiet };
        match self.last.value() {
            Some(value) if self.side.holds(value, threshold) => self.held = self.held.saturating_add(1),
            // What is not known does not hold.
            _ => self.held = 0,
        }
        if self.held < self.samples {
            return Verdict::Quiet;
        }
        let unit = self.ring.unit();
        let times = if self.samples > 1 { format!(", {} times in a row", self.samples) } else { String::new() };
        Verdict::Fired(Cause {
            what: format!(
                "{} {} {} {}{times}",
                self.ring.name(),
                shown(&self.last, unit),
                self.side.sign(),
                unit.show(threshold)
            ),
            thread: None,
            kind: self.kind,
        })
    }

    fn rearm(&mut self) {
        self.held = 0;
        // One threshold stays; of several, each is for one dump.
        if self.thresholds.len() > 1 {
            self.next += 1;
            self.ring.set_threshold(self.thresholds.get(self.next).copied());
        }
    }

    fn resume(&mut self) {
        self.gauge.restart();
        self.held = 0;
    }

    fn is_spent(&self) -> bool {
        self.next >= self.thresholds.len()
    }

    fn sight(&self) -> Sight {
        let threshold = self.ring.threshold().map(|value| self.ring.unit().show(value));
        Sight {
            name: self.ring.name().to_owned(),
            value: shown(&self.last, self.ring.unit()),
            threshold: threshold.map_or_else(String::new, |value| format!("{} {value}", self.side.sign())),
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

    /// Tells prepared values.
    struct Told(std::vec::IntoIter<Reading>);

    impl Gauge for Told {
        fn read(&mut self, _now: Instant) -> Reading {
            self.0.next().unwrap_or(Reading::NotYet)
        }
    }

    fn armed(values: &[f64], side: Side, thresholds: &[f64], samples: u32) -> Threshold {
        let missing = || Reading::Missing("x".into());
        let readings: Vec<_> =
            values.iter().map(|value| if value.is_nan() { missing() } else { Reading::Value(*value) }).collect();
        Threshold::new(Box::new(Told(readings.into_iter())), &Metric::Cpu, side, thresholds.to_vec(), samples)
    }

    /// At which looks it fires, when a dump is taken each time.
    fn fires(mut trigger: Threshold, looks: usize) -> Vec<usize> {
        let mut fired = Vec::new();
        for look in 0..looks {
            if trigger.look(Instant::now()) != Verdict::Quiet {
                fired.push(look);
                trigger.rearm();
            }
        }
        fired
    }

    #[test]
    fn above_and_below() {
        assert_eq!(fires(armed(&[79.9, 80.0, 10.0], Side::Above, &[80.0], 1), 3), [1]);
        assert_eq!(fires(armed(&[5.0, 4.9, 5.0], Side::Below, &[5.0], 1), 3), [1]);
    }

    #[test]
    fn samples_have_to_be_in_a_row() {
        let burst = [90.0, 90.0, 10.0, 90.0, 90.0, 90.0, 90.0, 90.0, 90.0];
        assert_eq!(fires(armed(&burst, Side::Above, &[80.0], 3), 9), [5, 8]);
        assert_eq!(fires(armed(&[90.0, f64::NAN, 90.0, 90.0], Side::Above, &[80.0], 2), 4), [3]);
        assert_eq!(fires(armed(&[90.0, 10.0, 90.0, 10.0], Side::Above, &[80.0], 2), 4), [] as [usize; 0]);
    }

    #[test]
    fn each_of_several_thresholds_once() {
        assert_eq!(fires(armed(&[1.0, 15.0, 16.0, 25.0, 99.0], Side::Above, &[10.0, 20.0], 1), 5), [1, 3]);
        let mut trigger = armed(&[15.0], Side::Above, &[10.0, 20.0], 1);
        trigger.look(Instant::now());
        trigger.rearm();
        assert_eq!(trigger.sight().threshold, ">= 20.0 %");
        trigger.rearm();
        assert!(trigger.is_spent());
    }
}
