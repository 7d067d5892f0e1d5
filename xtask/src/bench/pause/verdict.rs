//! What is promised of the pause, and what became of it.

use std::fmt::{self, Display, Formatter};

use super::course::{Course, Measured};
use super::lane::{Lane, millis};
use super::plan::{PROMISED, Rate};
use super::row::Kind;
use crate::bench::heartbeat::BEAT;

/// One promise.
pub(crate) struct Bar {
    what: String,
    limit: Limit,
    /// Whether missing it is a failure, and not just worth knowing.
    binding: bool,
    measured: Result<Figure, Lack>,
}

#[derive(Clone, Copy)]
enum Limit {
    /// At most one part in so many.
    OneIn(f64),
    /// At most so many times.
    Times(f64),
    /// At least so many hundredths.
    Percent(f64),
}

/// What is judged, and how it is shown.
struct Figure {
    value: f64,
    shown: String,
}

/// Why there is nothing to judge.
enum Lack {
    /// Nobody tried, or another tool has no figure.
    Unmeasured(String),
    /// effigy tried, and did not do what was asked.
    Broken(String),
}

/// All promises for a writer of one rate. Gaps are compared as medians, less what the machine does by itself; everything
/// else is compared within each round, and the median of that is judged.
pub(crate) fn bars(courses: &[Course], rate: Rate) -> Vec<Bar> {
    let courses = Courses { rate, of_rate: courses.iter().filter(|course| course.setting.rate == rate).collect() };
    let mut bars = Vec::new();
    for noise in [Kind::Idle, Kind::Loaded] {
        if noise == Kind::Loaded && !courses.has(noise) {
            continue;
        }
        bars.extend([
            courses.gaps((Kind::Live, 4), (Kind::Gcore, 4), noise, Limit::OneIn(500.0)),
            courses.gaps((Kind::Live, 4), (Kind::Clone, 4), noise, Limit::OneIn(20.0)),
            courses.gaps((Kind::Live, 8), (Kind::Live, 1), noise, Limit::Times(1.5)),
            courses.gaps((Kind::Clone, 1), (Kind::Gcore, 1), noise, Limit::OneIn(15.0)),
        ]);
    }
    let sizes = || courses.of_rate.iter().map(|course| course.setting.gib);
    bars.extend(sizes().map(|gib| courses.wall(gib)));
    bars.extend(sizes().map(|gib| courses.writer(gib)));
    bars
}

struct Courses<'a> {
    rate: Rate,
    of_rate: Vec<&'a Course>,
}

impl<'a> Courses<'a> {
    /// Gaps less what `noise` has; what is promised is promised of the idle machine's.
    fn gaps(&self, own: (Kind, u64), other: (Kind, u64), noise: Kind, limit: Limit) -> Bar {
        let measured = self.lane(own).and_then(|(measured, lane)| {
            let own = corrected_gap(measured, lane, noise)?;
            let (measured, lane) = self.lane(other).map_err(Lack::of_another)?;
            let other = corrected_gap(measured, lane, noise).map_err(Lack::of_another)?;
            Ok(Figure::of_gaps(own, other, limit))
        });
        let (own, other) = (named(own), named(other));
        let under_load = noise == Kind::Loaded;
        let less = if under_load { ", less what the machine does under load" } else { "" };
        let what = format!("{own}: longest gap, against {other}{less}");
        Bar { what, limit, binding: self.binding() && !under_load, measured }
    }

    fn wall(&self, gib: u64) -> Bar {
        let measured = self.both((Kind::Live, gib), (Kind::Stop, gib)).and_then(|(live, stop)| {
            let spread = live.against(stop, |sample| sample.wall.as_secs_f64()).ok_or_else(Lack::no_round)?;
            Ok(Figure { value: spread.median, shown: format!("{} ×", spread.show(2)) })
        });
        let (own, other) = (named((Kind::Live, gib)), named((Kind::Stop, gib)));
        Bar {
            what: format!("{own}: wall time, against {other}"),
            limit: Limit::Times(1.3),
            binding: self.binding(),
            measured,
        }
    }

    fn writer(&self, gib: u64) -> Bar {
        let measured = self.both((Kind::Live, gib), (Kind::Idle, gib)).and_then(|(live, idle)| {
            let spread = live.writer_against(idle).ok_or_else(Lack::no_round)?;
            Ok(Figure { value: spread.median, shown: format!("{} %", spread.show(1)) })
        });
        let own = named((Kind::Live, gib));
        Bar {
            what: format!("{own}: the writer's rate, of undisturbed"),
            limit: Limit::Percent(70.0),
            binding: self.binding(),
            measured,
        }
    }

    /// Whether a kind of row ran.
    fn has(&self, kind: Kind) -> bool {
        self.of_rate.iter().filter_map(|course| course.attempt.as_ref().ok()).any(|course| course.lane(kind).is_some())
    }

    fn binding(&self) -> bool {
        self.rate == PROMISED
    }

    fn both(&self, own: (Kind, u64), other: (Kind, u64)) -> Result<(&'a Lane, &'a Lane), Lack> {
        let (_, own) = self.lane(own)?;
        let (_, other) = self.lane(other).map_err(Lack::of_another)?;
        Ok((own, other))
    }

    /// A row that did what it was asked to do.
    fn lane(&self, (kind, gib): (Kind, u64)) -> Result<(&'a Measured, &'a Lane), Lack> {
        let name = named((kind, gib));
        let course = self.of_rate.iter().find(|course| course.setting.gib == gib);
        let course = course.ok_or_else(|| Lack::Unmeasured(format!("{name} was left out")))?;
        let measured = course.attempt.as_ref().map_err(|lack| Lack::Unmeasured(format!("{name}: {lack}")))?;
        let lane = measured.lane(kind).ok_or_else(|| Lack::Unmeasured(format!("{name} was left out")))?;
        match lane.failure.clone().or_else(|| lane.other_snapshot().map(|taken| format!("took {taken}"))) {
            Some(broken) => Err(Lack::Broken(format!("{name} {broken}"))),
            None => Ok((measured, lane)),
        }
    }
}

/// Median of the longest gaps in milliseconds, less that of the row of what the machine does by itself; the heart does not
/// feel less than a beat.
fn corrected_gap(measured: &Measured, lane: &Lane, noise: Kind) -> Result<f64, Lack> {
    let gap = lane.gap().ok_or_else(Lack::no_round)?.median;
    let by_itself = measured.lane(noise).and_then(Lane::gap).ok_or_else(Lack::no_round)?.median;
    Ok((gap - by_itself).max(millis(BEAT)))
}

fn named((kind, gib): (Kind, u64)) -> String {
    format!("{}, {gib} GiB", kind.name())
}

impl Figure {
    fn of_gaps(own: f64, other: f64, limit: Limit) -> Self {
        let value = own / other;
        let ratio = match limit {
            Limit::OneIn(_) => format!("1/{:.0}", other / own),
            Limit::Times(_) | Limit::Percent(_) => format!("{value:.2} ×"),
        };
        Self { value, shown: format!("{ratio} ({own:.2} ms / {other:.2} ms)") }
    }
}

impl Lack {
    fn no_round() -> Self {
        Self::Unmeasured("no round has both".to_owned())
    }

    /// Nobody's fault but the other's.
    fn of_another(self) -> Self {
        match self {
            Self::Broken(why) | Self::Unmeasured(why) => Self::Unmeasured(why),
        }
    }
}

impl Limit {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::OneIn(parts) => value <= 1.0 / parts,
            Self::Times(times) => value <= times,
            Self::Percent(percent) => value >= percent,
        }
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneIn(parts) => write!(f, "≤ 1/{parts}"),
            Self::Times(times) => write!(f, "≤ {times} ×"),
            Self::Percent(percent) => write!(f, "≥ {percent} %"),
        }
    }
}

impl Display for Bar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (met, missed) = if self.binding { ("pass", "**FAIL**") } else { ("met", "not met") };
        let (shown, verdict) = match &self.measured {
            Ok(figure) if self.limit.met_by(figure.value) => (&figure.shown, met),
            Ok(figure) => (&figure.shown, missed),
            Err(Lack::Broken(why)) => (why, missed),
            Err(Lack::Unmeasured(why)) => (why, "not measured"),
        };
        let shown = shown.replace('|', "/");
        write!(f, "| {} | {} | {shown} | {verdict} |", self.what, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lane::tests::{lane, sample};
    use super::super::plan::Setting;
    use super::*;

    fn course(gib: u64, lanes: Vec<Lane>) -> Course {
        let setting = Setting { gib, rate: PROMISED };
        Course { setting, attempt: Ok(Measured { lanes, restless: 0 }) }
    }

    fn shown(courses: &[Course]) -> Vec<String> {
        bars(courses, PROMISED).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn gaps_are_compared_less_what_the_idle_row_has() {
        let at_4 = course(
            4,
            vec![
                lane(Kind::Gcore, &[sample(8001.0, 8.0, 0.0, None)]),
                lane(Kind::Clone, &[sample(101.0, 1.0, 500.0, Some("clone"))]),
                lane(Kind::Live, &[sample(5.0, 1.2, 900.0, Some("live")), sample(3.0, 1.3, 600.0, Some("live"))]),
                lane(Kind::Stop, &[sample(900.0, 1.0, 0.0, Some("stop")), sample(900.0, 1.0, 0.0, Some("stop"))]),
                lane(Kind::Idle, &[sample(1.0, 1.0, 1000.0, None), sample(1.0, 1.0, 1000.0, None)]),
            ],
        );
        let bars = shown(&[at_4]);
        assert_eq!(
            bars,
            [
                "| effigy live, 4 GiB: longest gap, against gcore, 4 GiB | ≤ 1/500 | 1/2667 (3.00 ms / 8000.00 ms) | pass |",
                "| effigy live, 4 GiB: longest gap, against effigy clone, 4 GiB | ≤ 1/20 | 1/33 (3.00 ms / 100.00 ms) | pass |",
                "| effigy live, 8 GiB: longest gap, against effigy live, 1 GiB | ≤ 1.5 × | effigy live, 8 GiB was left out | not measured |",
                "| effigy clone, 1 GiB: longest gap, against gcore, 1 GiB | ≤ 1/15 | effigy clone, 1 GiB was left out | not measured |",
                "| effigy live, 4 GiB: wall time, against effigy stop, 4 GiB | ≤ 1.3 × | 1.25 (1.20–1.30) × | pass |",
                "| effigy live, 4 GiB: the writer's rate, of undisturbed | ≥ 70 % | 75.0 (60.0–90.0) % | pass |",
            ]
        );
    }

    #[test]
    fn no_gap_counts_as_less_than_a_beat() {
        let at = |gib, gap| {
            let idle = lane(Kind::Idle, &[sample(2.0, 1.0, 1000.0, None)]);
            course(gib, vec![lane(Kind::Live, &[sample(gap, 1.0, 1000.0, Some("live"))]), idle])
        };
        let bars = shown(&[at(1, 1.9), at(8, 2.6)]);
        assert!(bars[2].ends_with("| 1.20 × (0.60 ms / 0.50 ms) | pass |"), "{}", bars[2]);
        let bars = shown(&[at(1, 1.9), at(8, 3.0)]);
        assert!(bars[2].ends_with("| 2.00 × (1.00 ms / 0.50 ms) | **FAIL** |"), "{}", bars[2]);
    }

    #[test]
    fn another_snapshot_is_no_success_of_the_one_asked_for() {
        let idle = || lane(Kind::Idle, &[sample(1.0, 1.0, 1000.0, None)]);
        let gcore = || lane(Kind::Gcore, &[sample(1000.0, 1.0, 0.0, None)]);
        let fallen = |kind| lane(kind, &[sample(1.0, 1.0, 1000.0, Some("stop"))]);
        let bars = shown(&[course(1, vec![fallen(Kind::Clone), gcore(), idle()])]);
        assert!(bars[3].ends_with("| effigy clone, 1 GiB took **stop** | **FAIL** |"), "{}", bars[3]);
        let live = lane(Kind::Live, &[sample(1.0, 1.0, 1000.0, Some("live"))]);
        let bars = shown(&[course(4, vec![live, fallen(Kind::Clone), idle()])]);
        assert!(bars[1].ends_with("| effigy clone, 4 GiB took **stop** | not measured |"), "{}", bars[1]);
    }

    #[test]
    fn a_failure_of_effigy_is_no_missing_figure() {
        let mut live = lane(Kind::Live, &[]);
        live.failure = Some("failed (exit code 5): a|b".to_owned());
        let bars = shown(&[course(4, vec![live])]);
        assert!(bars[0].ends_with("| effigy live, 4 GiB failed (exit code 5): a/b | **FAIL** |"), "{}", bars[0]);
    }
}
