//! Results as a page: verdicts first, then the figures behind them.

use std::fmt::{self, Display, Formatter};

use super::Lane;
use crate::bench::gauge::Gauged;
use crate::bench::machine::Machine;
use crate::bench::spread::Spread;

/// One run of the benchmark, ready to be shown.
pub(in crate::bench) struct Report {
    pub(in crate::bench) machine: Machine,
    pub(in crate::bench) rounds: u32,
    pub(in crate::bench) tables: Vec<Table>,
}

/// What was asked of all tools on one dump.
pub(in crate::bench) struct Table {
    pub(in crate::bench) title: &'static str,
    pub(in crate::bench) bars: Vec<Bar>,
    pub(in crate::bench) lanes: Vec<Lane>,
    /// Bytes that were gone through.
    pub(in crate::bench) bytes: Option<u64>,
}

/// A promise, and what became of it.
pub(in crate::bench) struct Bar {
    what: &'static str,
    bound: f64,
    at_most: bool,
    measured: Option<Spread>,
}

impl Bar {
    pub(in crate::bench) fn most(what: &'static str, bound: f64, measured: Option<Spread>) -> Self {
        Self { what, bound, at_most: true, measured }
    }

    pub(in crate::bench) fn least(what: &'static str, bound: f64, measured: Option<Spread>) -> Self {
        Self { what, bound, at_most: false, measured }
    }
}

impl Lane {
    /// The spread of one measure; nothing of a tool that failed.
    pub(in crate::bench) fn median(&self, measure: impl Fn(&Gauged) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.as_ref().ok()?.iter().map(measure))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Measured {}. Rounds: {}, tools in turn; median (range).", self.machine, self.rounds)?;
        self.tables.iter().try_for_each(|table| write!(f, "\n{table}"))
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n| what | bar | measured | verdict |\n|---|---|---|---|", self.title)?;
        for bar in &self.bars {
            let sign = if bar.at_most { "≤" } else { "≥" };
            let (shown, verdict) = match bar.measured {
                None => ("–".to_owned(), "**FAIL**"),
                Some(spread) => {
                    let met = if bar.at_most { spread.median <= bar.bound } else { spread.median >= bar.bound };
                    (spread.show_three_digits(), if met { "pass" } else { "**FAIL**" })
                }
            };
            writeln!(f, "| {} | {sign} {} | {shown} | {verdict} |", bar.what, bar.bound)?;
        }
        writeln!(f, "\n| tool | wall time, ms | processor time, ms | peak memory, MB | GB/s |\n|---|---|---|---|---|")?;
        for lane in &self.lanes {
            if let Err(failure) = &lane.rounds {
                writeln!(f, "| {} | {} | – | – | – |", lane.name, failure.replace('|', "/"))?;
                continue;
            }
            let show = |spread: Option<Spread>| spread.map_or_else(|| "–".to_owned(), |spread| spread.show(1));
            writeln!(
                f,
                "| {} | {} | {} | {} | {} |",
                lane.name,
                show(lane.median(|gauged| gauged.wall_us as f64 / 1e3)),
                show(lane.median(|gauged| gauged.cpu_us as f64 / 1e3)),
                show(lane.median(|gauged| gauged.peak_rss_bytes as f64 / 1e6)),
                show(self.bytes.and_then(|bytes| lane.median(|gauged| bytes as f64 / 1e3 / gauged.wall_us as f64))),
            )?;
        }
        Ok(())
    }
}
