//! One target, and every row in turn on it, round after round, so that what disturbs the machine disturbs them all.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::lane::{Lane, Sample, millis};
use super::plan::{PROMISED, Setting};
use super::row::{Kind, Row};
use crate::bench::arena::Arena;
use crate::bench::contender::Contender;
use crate::bench::contest::megabytes;
use crate::bench::machine::room;
use crate::bench::run;
use crate::bench::scenario::Attempt;
use crate::bench::target::Target;
use crate::step::announce;

/// What was measured with one target.
pub(crate) struct Course {
    pub(crate) setting: Setting,
    pub(crate) attempt: Attempt<Measured>,
}

/// The rows of one target.
pub(crate) struct Measured {
    pub(crate) lanes: Vec<Lane>,
    /// Runs after which the heartbeat did not calm down in time.
    pub(crate) restless: u32,
}

impl Measured {
    /// The first row of a kind.
    pub(crate) fn lane(&self, kind: Kind) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.row.kind == kind)
    }
}

/// From this size on peers run in one round only.
const PEERS_ONCE_FROM_GIB: u64 = 8;

/// Runs every row once a round; each round begins with the next row.
pub(crate) fn hold(arena: &Arena, rows: &[Row], setting: Setting, rounds: u32) -> Result<Course> {
    announce(&format!("{} GiB, {}", setting.gib, setting.rate.show()));
    arena.clear()?;
    if let Some(lack) = room(arena.output())?.lacks(&setting.room()) {
        println!("not measured: {lack}");
        return Ok(Course { setting, attempt: Err(lack) });
    }
    let mut lanes: Vec<_> = rows.iter().cloned().map(Lane::new).collect();
    let mut stage = Stage { arena, setting, target: None, restless: 0 };
    stage.renew()?;
    warm_up(&mut stage, &mut lanes)?;
    let count = lanes.len();
    for round in 1..=rounds {
        for turn in 0..count {
            let index = (usize::try_from(round - 1)? + turn) % count;
            let idle_for = idle_span(&lanes, setting);
            let lane = &mut lanes[index];
            if lane.failure.is_some() || !takes_part(lane.row.kind, setting, round) {
                continue;
            }
            let result = stage.turn(&lane.row, idle_for)?;
            tell(&format!("round {round}/{rounds}"), lane, &result);
            note(lane, Some(round), result);
        }
    }
    Ok(Course { setting, attempt: Ok(Measured { lanes, restless: stage.restless }) })
}

/// Peers take a good part of the time: they run once where no promise is about them.
fn takes_part(kind: Kind, setting: Setting, round: u32) -> bool {
    round == 1 || !kind.is_peer() || (setting.gib < PEERS_ONCE_FROM_GIB && setting.rate == PROMISED)
}

/// One run that is not counted: in it a virtual machine gets the memory that the others reuse, and the idle row its span.
fn warm_up(stage: &mut Stage<'_>, lanes: &mut [Lane]) -> Result<()> {
    let own = lanes.iter().position(|lane| lane.row.kind.snapshot().is_some());
    let Some(index) = own.or_else(|| lanes.iter().position(|lane| lane.row.tool.is_some())) else {
        return Ok(());
    };
    let lane = &mut lanes[index];
    let result = stage.turn(&lane.row, Duration::ZERO)?;
    tell("warming up", lane, &result);
    note(lane, None, result);
    Ok(())
}

fn note(lane: &mut Lane, round: Option<u32>, result: Result<Sample, String>) {
    match result {
        Ok(sample) => {
            lane.last_wall = Some(sample.wall);
            if let Some(round) = round {
                lane.rounds.insert(round, sample);
            }
        }
        Err(failure) => lane.failure = Some(failure),
    }
}

/// As long as the fastest dump took last: a longer watch would see more of the machine's noise than a dump does, and with
/// it more would be subtracted.
fn idle_span(lanes: &[Lane], setting: Setting) -> Duration {
    let own = |lane: &&Lane| lane.row.kind.snapshot().is_some();
    let fastest = |lanes: &mut dyn Iterator<Item = &Lane>| lanes.filter_map(|lane| lane.last_wall).min();
    fastest(&mut lanes.iter().filter(own))
        .or_else(|| fastest(&mut lanes.iter().filter(|lane| lane.row.tool.is_some())))
        .unwrap_or(Duration::from_secs(setting.gib))
}

fn tell(turn: &str, lane: &Lane, result: &Result<Sample, String>) {
    let turn = format!("{turn:<10}  {:<14}", lane.row.name);
    match result {
        Ok(sample) => {
            let taken = lane.row.kind.snapshot().filter(|asked| asked.name() != sample.snapshot());
            println!(
                "{turn} {:>8.3} s  gap {:>9.2} ms  longest write {:>9.2} ms  {:>8.0} pages/s{}",
                sample.wall.as_secs_f64(),
                millis(sample.felt.longest_gap),
                millis(sample.felt.longest_write),
                sample.felt.write_rate,
                taken.map(|_| format!("  took {}", sample.snapshot())).unwrap_or_default(),
            );
        }
        Err(failure) => println!("{turn} {failure}"),
    }
}

/// A target and what it takes to run rows on it one after the other.
struct Stage<'a> {
    arena: &'a Arena,
    setting: Setting,
    target: Option<Target>,
    restless: u32,
}

/// Memory that is freed is the hypervisor's again after two seconds and a bit, where it takes free memory back. The next
/// run is to start without what the run before left, whenever it starts: that can make it several times as fast.
const REST: Duration = Duration::from_secs(3);
/// A gap that is not longer is calm.
const CALM: Duration = Duration::from_millis(5);
const CALM_FOR: u32 = 2;
const LOOK: Duration = Duration::from_millis(250);
const CALM_WITHIN: Duration = Duration::from_secs(20);

impl Stage<'_> {
    /// One run, and rest after it. An outer error ends the benchmark; an inner one is the row's own, and the target that it
    /// may have harmed makes way for a new one.
    fn turn(&mut self, row: &Row, idle_for: Duration) -> Result<Result<Sample, String>> {
        let mut result = match &row.tool {
            Some(tool) => self.dump(tool)?,
            None if row.kind == Kind::Loaded => self.load()?,
            None => self.idle(idle_for)?,
        };
        if result.is_ok() {
            match self.settle()? {
                Ok(calm) => self.restless += u32::from(!calm),
                Err(failure) => result = Err(failure),
            }
        }
        if result.is_err() {
            self.renew()?;
        }
        Ok(result)
    }

    fn dump(&self, tool: &Contender) -> Result<Result<Sample, String>> {
        let within = Duration::from_secs(60 * (1 + self.setting.gib));
        Ok(run::run(self.arena, self.target()?, tool, within)?.and_then(|run| {
            let (written, memory) = (run.written_bytes, self.setting.bytes());
            if written < memory {
                return Err(format!("wrote {:.0} MB of {:.0} MB of memory", megabytes(written), megabytes(memory)));
            }
            Ok(Sample { wall: run.wall, felt: run.felt, told: run.told })
        }))
    }

    fn idle(&self, span: Duration) -> Result<Result<Sample, String>> {
        let watch = self.target()?.heartbeat().watch()?;
        let started = Instant::now();
        while started.elapsed() < span {
            self.arena.interrupt().check()?;
            thread::sleep(Duration::from_millis(10));
        }
        let wall = started.elapsed();
        Ok(watch.end().map(|felt| Sample { wall, felt, told: None }).map_err(|error| format!("{error:#}")))
    }

    /// Two processes, as a live dump has two threads that copy, which step back as far as those do: one makes bytes, the
    /// other writes them.
    fn load(&self) -> Result<Result<Sample, String>> {
        let watch = self.target()?.heartbeat().watch()?;
        let started = Instant::now();
        let dd = |words: &[&str]| {
            let mut command = Command::new("nice");
            command.args(["-n", "10", "dd", "bs=1M", "status=none"]).args(words);
            command
        };
        let count = format!("count={}", self.setting.gib * 1024);
        let mut makes = dd(&["if=/dev/zero", &count]).stdout(Stdio::piped()).spawn().context("cannot start dd")?;
        let file = format!("of={}", self.arena.output().join("load").display());
        let input = makes.stdout.take().context("dd has no output")?;
        let mut writes = dd(&["iflag=fullblock", &file]).stdin(input).spawn().context("cannot start dd")?;
        let written = writes.wait();
        let _ = makes.kill();
        let _ = makes.wait();
        let wall = started.elapsed();
        self.arena.interrupt().check()?;
        if !written.context("cannot wait for dd")?.success() {
            return Ok(Err("dd failed".to_owned()));
        }
        Ok(watch.end().map(|felt| Sample { wall, felt, told: None }).map_err(|error| format!("{error:#}")))
    }

    /// Removes what was written, and waits until the target is as it was before. Whether it is.
    fn settle(&self) -> Result<Result<bool, String>> {
        self.arena.clear()?;
        let cleared = Instant::now();
        let mut calm = 0;
        while (calm < CALM_FOR || cleared.elapsed() < REST) && cleared.elapsed() < CALM_WITHIN {
            self.arena.interrupt().check()?;
            match self.look() {
                Ok(gap) if gap <= CALM => calm += 1,
                Ok(_) => calm = 0,
                Err(error) => return Ok(Err(format!("harmed the target: {error:#}"))),
            }
        }
        Ok(Ok(calm >= CALM_FOR))
    }

    /// The longest gap in a short while.
    fn look(&self) -> Result<Duration> {
        let watch = self.target()?.heartbeat().watch()?;
        thread::sleep(LOOK);
        Ok(watch.end()?.longest_gap)
    }

    fn target(&self) -> Result<&Target> {
        self.target.as_ref().context("there is no target")
    }

    /// The old target goes before the new one comes: there is not always room for both.
    fn renew(&mut self) -> Result<()> {
        self.target = None;
        self.target = Some(Target::start(self.arena, self.setting.shape())?);
        if let Ok(false) = self.settle()? {
            self.restless += 1;
        }
        Ok(())
    }
}
