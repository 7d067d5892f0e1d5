//! Results as a page: verdicts first, then the figures behind them.

use std::fmt::{self, Display, Formatter};

use super::contender::{COPY, EFFIGY_CORE, EFFIGY_MINI, EFFIGY_MINIDUMP, GCORE};
use super::contest::{Entrant, Sample, megabytes};
use super::machine::Machine;
use super::scenario::{Attempt, Plan, Results};
use super::spread::Spread;

/// One run of the benchmark, ready to be shown.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) results: Results,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { machine, plan, results } = self;
        writeln!(f, "Measured {machine}. {}\n", noise(results))?;
        writeln!(f, "### Verdicts\n\n| what | bar | measured | verdict |\n|---|---|---|---|")?;
        for bar in bars(results) {
            writeln!(f, "{bar}")?;
        }
        let shape = plan.resident;
        writeln!(f, "\n### {} MiB resident, {} threads\n", shape.resident_mib, shape.threads)?;
        contest(f, &results.resident, plan.rounds)?;
        let shape = plan.reserved;
        writeln!(f, "\n### {} MiB touched, {} GiB reserved\n", shape.resident_mib, 2 * shape.reserved_gib)?;
        contest(f, &results.reserved, plan.rounds)?;
        own_memory(f, results)?;
        versions(f, results)
    }
}

/// How far the machine itself can be trusted.
fn noise(results: &Results) -> String {
    let gap =
        results.idle_gap.map(|gap| format!("Longest gap of the target's heartbeat at rest: {:.1} ms.", millis(gap)));
    let copy = find(&results.resident, COPY).and_then(Entrant::wall);
    let copy = copy.map(|wall| {
        format!(
            "Disk noise: `cp` alone took {} s, a range of {:.0} % of its median.",
            wall.show(2),
            wall.relative() * 100.0
        )
    });
    [gap, copy].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// One promise, and what became of it. The median is judged, the range is shown.
struct Bar {
    what: String,
    limit: f64,
    inclusive: bool,
    unit: &'static str,
    decimals: usize,
    measured: Option<Spread>,
}

impl Bar {
    fn met(&self) -> Option<bool> {
        let median = self.measured?.median;
        Some(median < self.limit || (self.inclusive && median <= self.limit))
    }
}

impl Display for Bar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { what, limit, unit, decimals, measured, .. } = self;
        let sign = if self.inclusive { "≤" } else { "<" };
        let shown = measured.map_or_else(|| "–".to_owned(), |spread| format!("{} {unit}", spread.show(*decimals)));
        let verdict = match self.met() {
            Some(true) => "pass",
            Some(false) => "**FAIL**",
            None => "not measured",
        };
        write!(f, "| {what} | {sign} {limit} {unit} | {shown} | {verdict} |")
    }
}

fn bars(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    for name in [EFFIGY_MINIDUMP, EFFIGY_CORE] {
        let entrant = find(&results.resident, name);
        let against = |other| entrant?.wall_against(find(&results.resident, other)?);
        let ratio =
            |what: String, limit, unit, measured| Bar { what, limit, inclusive: true, unit, decimals: 2, measured };
        bars.push(ratio(format!("{name}, resident: wall time"), 1.15, "× cp", against(COPY)));
        bars.push(ratio(format!("{name}, resident: wall time"), 0.6, "× gcore", against(GCORE)));
    }
    for name in [EFFIGY_MINIDUMP, EFFIGY_CORE] {
        let entrant = find(&results.reserved, name);
        let wall = entrant.and_then(Entrant::wall);
        bars.push(below(format!("{name}, reserved: wall time"), 0.3, "s", 3, wall));
        bars.push(below(format!("{name}, reserved: on disk"), 70.0, "MB", 1, entrant.and_then(on_disk)));
    }
    for (attempt, target) in [(&results.reserved, "reserved"), (&results.resident, "resident")] {
        let entrant = find(attempt, EFFIGY_MINI);
        bars.push(below(format!("{EFFIGY_MINI}, {target}: on disk"), 5.0, "MB", 2, entrant.and_then(on_disk)));
        bars.push(below(format!("{EFFIGY_MINI}, {target}: pause"), 20.0, "ms", 1, entrant.and_then(pause)));
    }
    for own in &results.own_memory {
        for (name, attempt) in [(EFFIGY_MINIDUMP, &own.minidump), (EFFIGY_CORE, &own.core)] {
            let peak = attempt.as_ref().ok().and_then(|sample| Spread::of([megabytes(sample.peak_rss_bytes)]));
            bars.push(below(format!("{name}, {} GiB: own peak memory", own.gib), 64.0, "MB", 1, peak));
        }
    }
    bars
}

fn below(what: String, limit: f64, unit: &'static str, decimals: usize, measured: Option<Spread>) -> Bar {
    Bar { what, limit, inclusive: false, unit, decimals, measured }
}

fn contest(f: &mut Formatter<'_>, attempt: &Attempt<Vec<Entrant>>, rounds: u32) -> fmt::Result {
    let entrants = match attempt {
        Ok(entrants) => entrants,
        Err(lack) => return writeln!(f, "Not measured: {lack}."),
    };
    writeln!(f, "Rounds: {rounds}, tools in turn; median (range).\n")?;
    writeln!(
        f,
        "| tool | wall time, s | × cp | × gcore | pause felt, ms | pause told, ms | on disk, MB | own peak memory, MB |"
    )?;
    writeln!(f, "|---|---|---|---|---|---|---|---|")?;
    for entrant in entrants {
        let name = &entrant.contender.name;
        if let Some(failure) = &entrant.failure {
            writeln!(f, "| {name} | {} | – | – | – | – | – | – |", failure.replace('|', "/"))?;
            continue;
        }
        let against = |other| entrant.wall_against(find(attempt, other)?);
        let cells = [
            shown(entrant.wall(), 3),
            shown(against(COPY), 2),
            shown(against(GCORE), 2),
            shown(pause(entrant), 1),
            shown(told_pause(entrant), 1),
            shown(on_disk(entrant), 2),
            shown(entrant.spread(|sample| megabytes(sample.peak_rss_bytes)), 1),
        ];
        writeln!(f, "| {name} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

fn own_memory(f: &mut Formatter<'_>, results: &Results) -> fmt::Result {
    writeln!(f, "\n### effigy's own memory\n\n| target | dump | wall time, s | on disk, MB | own peak memory, MB |")?;
    writeln!(f, "|---|---|---|---|---|")?;
    for own in &results.own_memory {
        for (name, attempt) in [(EFFIGY_MINIDUMP, &own.minidump), (EFFIGY_CORE, &own.core)] {
            match attempt {
                Ok(sample) => writeln!(
                    f,
                    "| {} GiB | {name} | {:.2} | {:.1} | {:.1} |",
                    own.gib,
                    sample.wall.as_secs_f64(),
                    megabytes(sample.disk_bytes),
                    megabytes(sample.peak_rss_bytes),
                )?,
                Err(failure) => writeln!(f, "| {} GiB | {name} | {} | – | – |", own.gib, failure.replace('|', "/"))?,
            }
        }
    }
    Ok(())
}

fn versions(f: &mut Formatter<'_>, results: &Results) -> fmt::Result {
    let mut lines = Vec::new();
    for entrant in results.resident.iter().chain(&results.reserved).flatten() {
        // effigy takes part more than once.
        if let Some(version) = entrant.contender.version().filter(|version| !lines.contains(version)) {
            lines.push(version);
        }
    }
    writeln!(f, "\nVersions: {}.", lines.join("; "))
}

fn find<'a>(attempt: &'a Attempt<Vec<Entrant>>, name: &str) -> Option<&'a Entrant> {
    attempt.as_ref().ok()?.iter().find(|entrant| entrant.contender.name == name)
}

fn pause(entrant: &Entrant) -> Option<Spread> {
    entrant.spread(|sample| millis(sample.pause))
}

/// What effigy says the pause was; nothing for tools that do not say.
fn told_pause(entrant: &Entrant) -> Option<Spread> {
    let told = entrant.spread(|sample: &Sample| sample.own_pause.map_or(f64::NAN, millis))?;
    told.median.is_finite().then_some(told)
}

fn on_disk(entrant: &Entrant) -> Option<Spread> {
    entrant.spread(|sample| megabytes(sample.disk_bytes))
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn shown(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.show(decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_judge_the_median() {
        let bar = |limit, inclusive| Bar {
            what: "x".to_owned(),
            limit,
            inclusive,
            unit: "s",
            decimals: 1,
            measured: Spread::of([1.0, 2.0, 9.0]),
        };
        assert_eq!(bar(2.0, true).met(), Some(true));
        assert_eq!(bar(2.0, false).met(), Some(false));
        assert_eq!(Bar { measured: None, ..bar(2.0, true) }.met(), None);
        assert_eq!(bar(2.0, false).to_string(), "| x | < 2 s | 2.0 (1.0–9.0) s | **FAIL** |");
    }
}
