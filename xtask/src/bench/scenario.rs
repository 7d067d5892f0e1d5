//! What is measured: the targets, the tools for each, and what there must be room for.

use std::time::Duration;

use anyhow::Result;

use super::arena::Arena;
use super::contender::Contender;
use super::contest::{self, Entrant, Sample};
use super::machine::{Room, room};
use super::target::{Shape, Target};
use crate::step::announce;

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) resident: Shape,
    pub(crate) reserved: Shape,
    pub(crate) rounds: u32,
    /// Sizes of target, in GiB, at which effigy's own memory is looked at.
    pub(crate) own_memory_at: &'static [u64],
}

/// With fewer, one hiccup of the disk is a result.
pub(crate) const ENOUGH_ROUNDS: u32 = 5;

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            resident: Shape { resident_mib: 2048, threads: 50, reserved_gib: 0, dirtied: 0 },
            reserved: Shape { resident_mib: 64, threads: 10, reserved_gib: 4, dirtied: 0 },
            rounds: ENOUGH_ROUNDS,
            own_memory_at: &[1, 4, 8],
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            resident: Shape { resident_mib: 512, threads: 50, reserved_gib: 0, dirtied: 0 },
            reserved: Shape { resident_mib: 64, threads: 10, reserved_gib: 1, dirtied: 0 },
            rounds: 2,
            own_memory_at: &[1],
        }
    }

    pub(crate) fn with_rounds(mut self, rounds: Option<u32>) -> Self {
        self.rounds = rounds.unwrap_or(self.rounds);
        self
    }
}

/// A measurement, or why there is none.
pub(crate) type Attempt<T> = Result<T, String>;

/// Everything that was measured.
pub(crate) struct Results {
    /// Longest gap of the heartbeat with nothing going on: what a pause cannot be told from.
    pub(crate) idle_gap: Option<Duration>,
    pub(crate) resident: Attempt<Vec<Entrant>>,
    pub(crate) reserved: Attempt<Vec<Entrant>>,
    pub(crate) own_memory: Vec<OwnMemory>,
}

/// effigy's own peak memory at one size of target.
pub(crate) struct OwnMemory {
    pub(crate) gib: u64,
    pub(crate) minidump: Attempt<Sample>,
    pub(crate) core: Attempt<Sample>,
}

pub(crate) fn run(arena: &Arena, plan: &Plan) -> Result<Results> {
    let mut idle_gap = None;
    Ok(Results {
        resident: resident(arena, plan, &mut idle_gap)?,
        reserved: reserved(arena, plan)?,
        own_memory: plan.own_memory_at.iter().map(|gib| own_memory(arena, *gib)).collect::<Result<_>>()?,
        idle_gap,
    })
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn resident(arena: &Arena, plan: &Plan, idle_gap: &mut Option<Duration>) -> Result<Attempt<Vec<Entrant>>> {
    let shape = plan.resident;
    let bytes = shape.resident_mib * MIB;
    announce(&format!("{} MiB resident, {} threads", shape.resident_mib, shape.threads));
    // The target, the file to copy, and the copy while it waits to be written.
    if let Err(lack) = enough(arena, &Room { memory: 3 * bytes + GIB, disk: bytes + bytes / 4 })? {
        return Ok(Err(lack));
    }
    let source = arena.incompressible_file(bytes)?;
    *idle_gap = Some(gap_at_rest(arena, shape)?);
    let mut contenders = vec![
        Contender::effigy_minidump(arena),
        Contender::copy(source.path()),
        Contender::effigy_core(arena),
        Contender::copy_and_sync(source.path()),
        Contender::effigy_mini(arena),
    ];
    contenders.extend(Contender::peers(arena));
    contest::hold(arena, shape, contenders, plan.rounds).map(Ok)
}

fn gap_at_rest(arena: &Arena, shape: Shape) -> Result<Duration> {
    let target = Target::start(arena, shape)?;
    arena.clear()?;
    let watch = target.heartbeat().watch()?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(watch.end()?.longest_gap)
}

fn reserved(arena: &Arena, plan: &Plan) -> Result<Attempt<Vec<Entrant>>> {
    let shape = plan.reserved;
    let whole = shape.resident_mib * MIB + 2 * shape.reserved_gib * GIB;
    announce(&format!("{} MiB touched, {} GiB reserved", shape.resident_mib, 2 * shape.reserved_gib));
    // Peers write out what was only reserved.
    if let Err(lack) = enough(arena, &Room { memory: 2 * GIB, disk: whole + GIB })? {
        return Ok(Err(lack));
    }
    let mut contenders =
        vec![Contender::effigy_minidump(arena), Contender::effigy_core(arena), Contender::effigy_mini(arena)];
    contenders.extend(Contender::peers(arena));
    contest::hold(arena, shape, contenders, plan.rounds).map(Ok)
}

fn own_memory(arena: &Arena, gib: u64) -> Result<OwnMemory> {
    announce(&format!("effigy's own memory, {gib} GiB resident"));
    let bytes = gib * GIB;
    if let Err(lack) = enough(arena, &Room { memory: bytes + bytes / 4 + GIB, disk: bytes + bytes / 4 })? {
        return Ok(OwnMemory { gib, minidump: Err(lack.clone()), core: Err(lack) });
    }
    let shape = Shape { resident_mib: gib * 1024, threads: 10, reserved_gib: 0, dirtied: 0 };
    let minidump = contest::run_once(arena, shape, &Contender::effigy_minidump(arena))?;
    let core = contest::run_once(arena, shape, &Contender::effigy_core(arena))?;
    arena.clear()?;
    Ok(OwnMemory { gib, minidump, core })
}

fn enough(arena: &Arena, needed: &Room) -> Result<Attempt<()>> {
    arena.clear()?;
    let free = room(arena.output())?;
    let lack = free.lacks(needed);
    if let Some(lack) = &lack {
        println!("not measured: {lack}");
    }
    Ok(lack.map_or(Ok(()), Err))
}
