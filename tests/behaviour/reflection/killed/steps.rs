//! effigy is killed before one of its operations on the target, and before the next, and so on.

use super::super::{Mode, expect_mode_or_reason};
use super::{ASIDE, Quiet, SelfCheck, Victim, Way, dumping, expect_complete, expect_whole_or_nothing};
use crate::harness::{Target, heavy, scratch};

/// Kills effigy before some of its steps: `every` gives the first and the distance to the next when it is told how many
/// there are.
#[track_caller]
fn kill_at_steps(way: impl Into<Way>, victim: &mut impl Victim, every: impl Fn(usize) -> (usize, usize)) {
    let way = way.into();
    // A live dump has more or fewer rounds, each of many steps.
    let counts = [0; 3].map(|_| count_steps(way, victim.target()));
    let least = *counts.iter().min().unwrap();
    let (first, distance) = every(least);
    let steps = if distance <= 1 { *counts.iter().max().unwrap() } else { least };
    let mut died = 0;
    let mut rounds = 0;
    for step in (first..=steps).step_by(distance.max(1)) {
        let dir = scratch();
        let run = dumping(way, victim.target(), dir.path(), &format!("die-at-step:{step}")).run();
        // Another run may have fewer steps.
        died += usize::from(run.signal == Some(9));
        rounds += 1;
        assert!(run.signal == Some(9) || run.code == Some(0), "step {step}: {run:?}");
        expect_whole_or_nothing(&run, dir.path(), victim.target());
        eprintln!("{}: killed before step {step} of {steps}", way.mode.name());
        victim.expect_well();
    }
    assert!(died * 2 >= rounds, "effigy died {died} times in {rounds} runs");
    expect_complete(way, victim);
}

/// The number of operations on the target in a dump of it.
#[track_caller]
fn count_steps(way: impl Into<Way>, target: &Target) -> usize {
    let way = way.into();
    let dir = scratch();
    let run = dumping(way, target, dir.path(), "count-steps").run().expect(0);
    expect_mode_or_reason(way.mode, &run.json());
    let line = run.stderr.lines().find_map(|line| line.trim().strip_prefix("steps: "));
    line.unwrap_or_else(|| panic!("no steps are told: {}", run.stderr)).trim().parse().unwrap()
}

#[track_caller]
fn kill_at_some_steps(way: impl Into<Way>) {
    let way = way.into();
    if !way.mode.is_offered() {
        return;
    }
    kill_at_steps(way, &mut Quiet::start(), |steps| (1, steps / 20));
    let Some(mut victim) = SelfCheck::start() else { return };
    kill_at_steps(way, &mut victim, |steps| (2, steps / 25));
}

#[test]
fn killed_at_some_steps_stop() {
    kill_at_some_steps(Mode::Stop);
}

#[test]
fn killed_at_some_steps_clone() {
    kill_at_some_steps(Mode::Clone);
}

#[test]
fn killed_at_some_steps_live() {
    kill_at_some_steps(Mode::Live);
}

#[test]
fn killed_at_some_steps_aside() {
    kill_at_some_steps(ASIDE);
}

/// Every step of dumps of a quiet target, which have the fewest.
#[track_caller]
fn kill_at_every_step_of_quiet(way: impl Into<Way>) {
    let way = way.into();
    if heavy() && way.mode.is_offered() {
        kill_at_steps(way, &mut Quiet::start(), |_| (1, 1));
    }
}

/// Every third step, from this on, of dumps of a target that checks itself.
#[track_caller]
fn kill_at_every_third_step(way: impl Into<Way>, first: usize) {
    let way = way.into();
    if heavy()
        && way.mode.is_offered()
        && let Some(mut victim) = SelfCheck::start()
    {
        kill_at_steps(way, &mut victim, |_| (first, 3));
    }
}

#[test]
fn heavy_killed_at_every_step_of_quiet_clone() {
    kill_at_every_step_of_quiet(Mode::Clone);
}

#[test]
fn heavy_killed_at_every_step_of_quiet_live() {
    kill_at_every_step_of_quiet(Mode::Live);
}

#[test]
fn heavy_killed_at_every_step_of_quiet_aside() {
    kill_at_every_step_of_quiet(ASIDE);
}

// In three parts each, as together they take longer than a test may.

#[test]
fn heavy_killed_at_every_step_clone_1() {
    kill_at_every_third_step(Mode::Clone, 1);
}

#[test]
fn heavy_killed_at_every_step_clone_2() {
    kill_at_every_third_step(Mode::Clone, 2);
}

#[test]
fn heavy_killed_at_every_step_clone_3() {
    kill_at_every_third_step(Mode::Clone, 3);
}

#[test]
fn heavy_killed_at_every_step_live_1() {
    kill_at_every_third_step(Mode::Live, 1);
}

#[test]
fn heavy_killed_at_every_step_live_2() {
    kill_at_every_third_step(Mode::Live, 2);
}

#[test]
fn heavy_killed_at_every_step_live_3() {
    kill_at_every_third_step(Mode::Live, 3);
}
