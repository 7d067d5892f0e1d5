//! A row and how it did with one target, round by round.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::row::Row;
use crate::bench::heartbeat::Felt;
use crate::bench::run::Told;
use crate::bench::spread::Spread;

/// One run of one row.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    pub(crate) felt: Felt,
    /// Only effigy tells.
    pub(crate) told: Option<Told>,
}

impl Sample {
    /// What the dump was taken of, as far as effigy says.
    pub(crate) fn snapshot(&self) -> &str {
        self.told.as_ref().and_then(|told| told.snapshot.as_deref()).unwrap_or("unknown")
    }
}

/// A row with one target.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) row: Row,
    /// By number of the round: rows need not take part in all of them.
    pub(crate) rounds: BTreeMap<u32, Sample>,
    /// Why it is out.
    pub(crate) failure: Option<String>,
    /// How long it took when it last ran, the uncounted run included.
    pub(crate) last_wall: Option<Duration>,
}

impl Lane {
    pub(crate) fn new(row: Row) -> Self {
        Self { row, rounds: BTreeMap::new(), failure: None, last_wall: None }
    }

    /// The spread of one measure over its rounds; nothing if it failed in any of them, or if a round lacks the measure.
    pub(crate) fn spread(&self, measure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        if self.failure.is_some() {
            return None;
        }
        let values: Option<Vec<_>> = self.rounds.values().map(measure).collect();
        Spread::of(values?)
    }

    /// The longest gap in the target's heartbeat, in milliseconds.
    pub(crate) fn gap(&self) -> Option<Spread> {
        self.spread(|sample| Some(millis(sample.felt.longest_gap)))
    }

    /// A measure in relation to another's in the same round.
    pub(crate) fn against(&self, other: &Self, measure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        if self.failure.is_some() || other.failure.is_some() {
            return None;
        }
        let pairs = self.rounds.iter().filter_map(|(round, sample)| Some((sample, other.rounds.get(round)?)));
        Spread::of(pairs.map(|(own, other)| measure(own) / measure(other)))
    }

    /// The target's writer in relation to that of the same round of another row, in hundredths.
    pub(crate) fn writer_against(&self, other: &Self) -> Option<Spread> {
        let ratio = self.against(other, |sample| sample.felt.write_rate)?;
        Some(Spread { median: ratio.median * 100.0, min: ratio.min * 100.0, max: ratio.max * 100.0 })
    }

    /// What effigy says that it took the dumps of.
    pub(crate) fn snapshots(&self) -> Snapshots<'_> {
        let mut counts = BTreeMap::new();
        for sample in self.rounds.values() {
            *counts.entry(sample.snapshot()).or_default() += 1;
        }
        Snapshots { lane: self, counts }
    }

    /// What there is to say when effigy took something else than it was asked for in some round.
    pub(crate) fn other_snapshot(&self) -> Option<String> {
        let asked = self.row.kind.snapshot()?.name();
        let others = self.rounds.values().filter(|sample| sample.snapshot() != asked).count();
        (others > 0).then(|| self.snapshots().show())
    }
}

/// Ways in which the dumps of a lane were taken.
pub(crate) struct Snapshots<'a> {
    lane: &'a Lane,
    counts: BTreeMap<&'a str, usize>,
}

impl Snapshots<'_> {
    /// The only way if it was the only one; otherwise how often which one, and the first reason given for one that was not
    /// asked for.
    pub(crate) fn show(&self) -> String {
        let rounds = self.lane.rounds.len();
        let asked = self.lane.row.kind.snapshot().map_or("", |snapshot| snapshot.name());
        let mut text = String::new();
        for (name, count) in &self.counts {
            let separator = if text.is_empty() { "" } else { ", " };
            let often = if *count == rounds { String::new() } else { format!(" in {count} of {rounds} rounds") };
            let emphasis = if *name == asked { "" } else { "**" };
            let _ = write!(text, "{separator}{emphasis}{name}{emphasis}{often}");
        }
        let others = self.lane.rounds.values().filter(|sample| sample.snapshot() != asked);
        if let Some(reason) = others.filter_map(|sample| sample.told.as_ref()?.snapshot_reason.as_deref()).next() {
            let _ = write!(text, " ({})", reason.replace('|', "/"));
        }
        text
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::row::Kind;
    use super::*;

    /// A run with its longest gap in milliseconds, its seconds, the writer's rate, and the snapshot it tells of.
    pub(crate) fn sample(gap: f64, wall: f64, write_rate: f64, snapshot: Option<&str>) -> Sample {
        let told = snapshot.map(|snapshot| {
            let text = format!(r#"{{"pause_us": 2000, "stall_us": 3000, "snapshot": "{snapshot}", "more": []}}"#);
            serde_json::from_str(&text).expect("a report")
        });
        let longest_gap = Duration::from_secs_f64(gap / 1e3);
        let felt = Felt { longest_gap, longest_write: Duration::from_micros(100), write_rate };
        Sample { wall: Duration::from_secs_f64(wall), felt, told }
    }

    /// A row and its rounds.
    pub(crate) fn lane(kind: Kind, samples: &[Sample]) -> Lane {
        let mut lane = Lane::new(Row { kind, name: kind.name().to_owned(), tool: None });
        lane.rounds.extend((1..).zip(samples.iter().cloned()));
        lane
    }

    #[test]
    fn rounds_are_compared_with_the_same_round() {
        let own = lane(Kind::Live, &[sample(1.0, 2.0, 0.0, None), sample(1.0, 6.0, 0.0, None)]);
        let other = lane(Kind::Gcore, &[sample(1.0, 4.0, 0.0, None)]);
        let ratio = own.against(&other, |sample| sample.wall.as_secs_f64());
        assert_eq!(ratio, Spread::of([0.5]));
    }

    #[test]
    fn what_was_taken_is_named_with_the_reason() {
        let mut clone = sample(1.0, 1.0, 0.0, Some("clone"));
        clone.told.as_mut().expect("a report").snapshot_reason = Some("userfaultfd refused: a|b".to_owned());
        let live = sample(1.0, 1.0, 0.0, Some("live"));
        let same = lane(Kind::Live, &[live.clone(), live.clone()]);
        assert_eq!(same.snapshots().show(), "live");
        assert_eq!(same.other_snapshot(), None);
        let mixed = lane(Kind::Live, &[live, clone]);
        let text = "**clone** in 1 of 2 rounds, live in 1 of 2 rounds (userfaultfd refused: a/b)";
        assert_eq!(mixed.other_snapshot().as_deref(), Some(text));
        let silent = lane(Kind::Stop, &[sample(1.0, 1.0, 0.0, None)]);
        assert_eq!(silent.other_snapshot().as_deref(), Some("**unknown**"));
    }
}
