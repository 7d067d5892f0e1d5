//! Results as a page: verdicts first, then the figures behind them.

use std::fmt::{self, Display, Formatter};

use super::course::{Course, Measured};
use super::lane::{Lane, Sample, millis};
use super::plan::{PROMISED, Rate};
use super::row::Kind;
use super::verdict::bars;
use crate::bench::machine::Machine;
use crate::bench::run::Told;
use crate::bench::spread::Spread;

/// What one run of the benchmark has measured with writers of one rate, ready to be shown.
pub(crate) struct Report<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) versions: &'a [String],
    /// What is not installed.
    pub(crate) missing: &'a [Kind],
    pub(crate) rate: Rate,
    pub(crate) courses: Vec<Course>,
    pub(crate) rounds: u32,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "### A writer of {}\n", self.rate.show())?;
        writeln!(f, "Measured {}. {}\n", self.machine, self.circumstances())?;
        if self.rate != PROMISED {
            writeln!(f, "For information: promises are made for {} only.\n", PROMISED.show())?;
        }
        writeln!(f, "| what | bar | measured | verdict |\n|---|---|---|---|")?;
        for bar in bars(&self.courses, self.rate) {
            writeln!(f, "{bar}")?;
        }
        writeln!(f, "\n{HEADINGS}")?;
        for course in &self.courses {
            rows(f, course)?;
        }
        writeln!(f, "\nVersions: {}.", self.versions.join("; "))
    }
}

const HEADINGS: &str = "| target | row | taken | rounds | longest gap, ms | less idle, ms | pause told, ms | stall told, ms | longest write, ms | wall time, s | writer, % of idle |
|---|---|---|---|---|---|---|---|---|---|---|";

impl Report<'_> {
    /// What a reader must know of how it was measured this time.
    fn circumstances(&self) -> String {
        let mut sentences = vec![format!("Rounds: {}, rows in turn; median (range).", self.rounds)];
        let once = self.measured().any(|measured| measured.lanes.iter().any(|lane| self.ran_once(lane)));
        if once {
            sentences.push("Peers ran in fewer rounds where no promise is about them, to save time.".to_owned());
        }
        if !self.missing.is_empty() {
            let names: Vec<_> = self.missing.iter().map(|kind| kind.name()).collect();
            sentences.push(format!("Not installed: {}.", names.join(", ")));
        }
        let restless: u32 = self.measured().map(|measured| measured.restless).sum();
        if restless > 0 {
            sentences.push(format!("The machine did not come to rest in time before {restless} runs."));
        }
        sentences.join(" ")
    }

    /// Whether a row was spared most of its rounds.
    fn ran_once(&self, lane: &Lane) -> bool {
        lane.row.kind.is_peer() && lane.failure.is_none() && lane.rounds.len() < self.rounds as usize
    }

    fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.courses.iter().filter_map(|course| course.attempt.as_ref().ok())
    }
}

fn rows(f: &mut Formatter<'_>, course: &Course) -> fmt::Result {
    let gib = course.setting.gib;
    match &course.attempt {
        Err(lack) => writeln!(f, "| {gib} GiB | not measured: {lack} {}|", "| ".repeat(9)),
        Ok(measured) => measured.lanes.iter().try_for_each(|lane| row(f, gib, measured, lane)),
    }
}

fn row(f: &mut Formatter<'_>, gib: u64, measured: &Measured, lane: &Lane) -> fmt::Result {
    let name = &lane.row.name;
    if let Some(failure) = &lane.failure {
        return writeln!(f, "| {gib} GiB | {name} | {} {}|", failure.replace('|', "/"), "| – ".repeat(8));
    }
    let taken = match (lane.row.kind.snapshot(), lane.rounds.is_empty()) {
        (Some(_), false) => lane.snapshots().show(),
        _ => "–".to_owned(),
    };
    let idle = measured.lane(Kind::Idle).filter(|_| lane.row.kind != Kind::Idle);
    let shown = |spread| shown(spread, lane.rounds.len());
    let told = |measure: fn(&Told) -> Option<_>| {
        shown(lane.spread(|sample: &Sample| Some(millis(sample.told.as_ref().and_then(measure)?))))
    };
    let less_idle = idle.and_then(|idle| Spread::of([lane.gap()?.median - idle.gap()?.median]));
    let cells = [
        taken,
        lane.rounds.len().to_string(),
        shown(lane.gap()),
        figure(less_idle),
        told(|told| Some(told.pause())),
        told(Told::stall),
        shown(lane.spread(|sample| Some(millis(sample.felt.longest_write)))),
        shown(lane.spread(|sample| Some(sample.wall.as_secs_f64()))),
        match idle {
            Some(idle) => shown(lane.writer_against(idle)),
            None => format!("{} pages/s", figure(lane.spread(|sample| Some(sample.felt.write_rate)))),
        },
    ];
    writeln!(f, "| {gib} GiB | {name} | {} |", cells.join(" | "))
}

/// The median with its range, if there was more than one round.
fn shown(spread: Option<Spread>, rounds: usize) -> String {
    match spread {
        Some(spread) if rounds > 1 => spread.show(decimals(spread.median)),
        spread => figure(spread),
    }
}

fn figure(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.*}", decimals(spread.median), spread.median))
}

/// Three figures that count are enough.
fn decimals(value: f64) -> usize {
    match value.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lane::tests::{lane, sample};
    use super::super::plan::Setting;
    use super::*;

    struct Shown<'a>(&'a Course);

    impl Display for Shown<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            rows(f, self.0)
        }
    }

    #[test]
    fn every_row_has_a_cell_for_every_heading() {
        let mut broken = lane(Kind::Clone, &[]);
        broken.failure = Some("failed: a|b".to_owned());
        let lanes = vec![
            lane(Kind::Gcore, &[sample(2580.0, 2.6, 12.0, None)]),
            lane(Kind::Live, &[sample(1.5, 1.0, 900.0, Some("live")), sample(3.5, 2.0, 800.0, Some("live"))]),
            broken,
            lane(Kind::Idle, &[sample(1.5, 1.0, 1000.0, None), sample(0.5, 1.0, 1000.0, None)]),
        ];
        let setting = Setting { gib: 2, rate: PROMISED };
        let measured = Course { setting, attempt: Ok(Measured { lanes, restless: 0 }) };
        assert_eq!(
            Shown(&measured).to_string(),
            "| 2 GiB | gcore | – | 1 | 2580 | 2579 | – | – | 0.10 | 2.60 | 1.20 |
| 2 GiB | effigy live | live | 2 | 2.50 (1.50–3.50) | 1.50 | 2.00 (2.00–2.00) | 3.00 (3.00–3.00) | 0.10 (0.10–0.10) | 1.50 (1.00–2.00) | 85.0 (80.0–90.0) |
| 2 GiB | effigy clone | failed: a/b | – | – | – | – | – | – | – | – |
| 2 GiB | idle | – | 2 | 1.00 (0.50–1.50) | – | – | – | 0.10 (0.10–0.10) | 1.00 (1.00–1.00) | 1000 pages/s |
"
        );
        let unmeasured = Shown(&Course { setting, attempt: Err("no room".to_owned()) }).to_string();
        for line in HEADINGS.lines().chain(unmeasured.lines()) {
            assert_eq!(line.matches('|').count(), 12, "{line}");
        }
    }
}
