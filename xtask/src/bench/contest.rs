//! Tools run in turn on targets of one shape, round after round, so that what disturbs the machine disturbs them all.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arena::Arena;
use super::contender::Contender;
use super::run::{self, Told};
use super::spread::Spread;
use super::target::{Shape, Target};

/// One run of one tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// The longest gap in the target's heartbeat.
    pub(crate) pause: Duration,
    /// What effigy says of the pause itself.
    pub(crate) own_pause: Option<Duration>,
    pub(crate) disk_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
}

/// A tool and how it did, round by round.
pub(crate) struct Entrant {
    pub(crate) contender: Contender,
    rounds: Vec<Sample>,
    /// Why it is out.
    pub(crate) failure: Option<String>,
}

impl Entrant {
    /// The spread of one measure over all rounds; nothing if the tool failed in any of them.
    pub(crate) fn spread(&self, measure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        if self.failure.is_some() { None } else { Spread::of(self.rounds.iter().map(measure)) }
    }

    pub(crate) fn wall(&self) -> Option<Spread> {
        self.spread(|sample| sample.wall.as_secs_f64())
    }

    /// Wall time in relation to another's in the same round.
    pub(crate) fn wall_against(&self, other: &Self) -> Option<Spread> {
        if self.failure.is_some() || other.failure.is_some() {
            return None;
        }
        let pairs = self.rounds.iter().zip(&other.rounds);
        Spread::of(pairs.map(|(own, other)| own.wall.as_secs_f64() / other.wall.as_secs_f64()))
    }
}

/// Longer than any tool needs for what is asked here.
const EACH_WITHIN: Duration = Duration::from_secs(900);

/// Runs every tool once a round; each round begins with the next tool. The round before the first is not counted: in it a
/// virtual machine gets the memory that the others reuse.
pub(crate) fn hold(arena: &Arena, shape: Shape, contenders: Vec<Contender>, rounds: u32) -> Result<Vec<Entrant>> {
    let enter = |contender| Entrant { contender, rounds: Vec::new(), failure: None };
    let mut entrants: Vec<_> = contenders.into_iter().map(enter).collect();
    let count = entrants.len();
    for round in 0..=usize::try_from(rounds)? {
        for turn in 0..count {
            let entrant = &mut entrants[(round + turn) % count];
            if entrant.failure.is_some() {
                continue;
            }
            let result = run_once(arena, shape, &entrant.contender)?;
            let turn = if round == 0 { "warming up".to_owned() } else { format!("round {round}/{rounds}") };
            tell(&turn, &entrant.contender.name, &result);
            match result {
                Ok(sample) if round > 0 => entrant.rounds.push(sample),
                Ok(_) => {}
                Err(failure) => entrant.failure = Some(failure),
            }
        }
    }
    arena.clear()?;
    Ok(entrants)
}

fn tell(turn: &str, name: &str, result: &Result<Sample, String>) {
    let turn = format!("{turn:<10}  {name:<22}");
    match result {
        Ok(sample) => println!(
            "{turn} {:>8.3} s  pause {:>9.1} ms  {:>8.1} MB on disk  {:>7.1} MB memory",
            sample.wall.as_secs_f64(),
            sample.pause.as_secs_f64() * 1e3,
            megabytes(sample.disk_bytes),
            megabytes(sample.peak_rss_bytes),
        ),
        Err(failure) => println!("{turn} {failure}"),
    }
}

/// One measured run, on a target that nobody has dumped before: dumpers that read what was not present make their target
/// grow, and the next one would pay for it. An outer error ends the benchmark; an inner one is the tool's own.
pub(crate) fn run_once(arena: &Arena, shape: Shape, tool: &Contender) -> Result<Result<Sample, String>> {
    let target = Target::start(arena, shape)?;
    arena.clear()?;
    let run = match run::run(arena, &target, tool, EACH_WITHIN)? {
        Ok(run) => run,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(Ok(Sample {
        wall: run.wall,
        pause: run.felt.longest_gap,
        own_pause: run.told.as_ref().map(Told::pause),
        disk_bytes: blocks_in(arena.output())?,
        peak_rss_bytes: run.peak_rss_bytes,
    }))
}

/// What the files in a folder take on the disk; holes take nothing.
fn blocks_in(folder: &Path) -> Result<u64> {
    // Blocks of what is not yet on its way to the disk are not all counted yet.
    rustix::fs::sync();
    let mut bytes = 0;
    for entry in fs::read_dir(folder).context("cannot list the output folder")? {
        bytes += entry?.metadata().context("cannot look at a dump")?.blocks() * 512;
    }
    Ok(bytes)
}

/// For people; 1 MB is 1,000,000 bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
