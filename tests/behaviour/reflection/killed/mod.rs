//! effigy is killed, cancelled or fails in the middle of a dump, in every mode and at every step of it: the target runs on,
//! correct and untraced, without a running twin, without watched pages, without descriptors that are not its own.

#[cfg(feature = "fault-injection")]
mod steps;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Mode, expect_mode_or_reason, modes};
use crate::harmless::complaints_of_calls;
use crate::harness::{
    Dump, Effigy, Likeness, Mappings, Plan, Run, Running, State, Target, Tolerance, alive, effigy, heavy, is_root,
    scratch, skip, status_field, twins_of, verify, watched,
};

/// A target whose dumper is killed, again and again.
trait Victim {
    fn target(&self) -> &Target;

    /// Panics if anything is wrong with it; a dead child that nobody has buried yet may be there.
    #[track_caller]
    fn expect_well(&self);

    /// Panics unless all is well after it was left alone and dumped once more.
    #[track_caller]
    fn expect_well_in_the_end(&mut self);
}

/// No twin of the target runs, and what children it has beyond its own are dead.
#[track_caller]
fn expect_no_twin(target: &Target) {
    let since = Instant::now();
    loop {
        let twins = twins_of(target.pid);
        let running: Vec<_> = State::of(target.pid).children().iter().copied().filter(|child| alive(*child)).collect();
        if twins.is_empty() && running.is_empty() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "twins {twins:?}, running children {running:?}");
        sleep(Duration::from_millis(5));
    }
}

/// The target `selfcheck`, which knows itself whether it is well.
struct SelfCheck {
    target: Target,
    board: File,
    before: State,
    _dir: TempDir,
}

impl SelfCheck {
    fn start() -> Option<Self> {
        if !is_root() {
            skip("the target unshares its IPC namespace, which is for root");
            return None;
        }
        let dir = scratch();
        let board = dir.path().join("board");
        let target = Plan::c("selfcheck").args([&dir.path().join("lock"), &board]).start();
        let before = State::of(target.pid);
        Some(Self { target, board: File::open(board).unwrap(), before, _dir: dir })
    }

    fn words(&self, first: u64, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; 8 * count];
        self.board.read_exact_at(&mut bytes, 8 * first).unwrap();
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    }

    #[track_caller]
    fn expect_no_failure(&self) {
        let mut text = [0; 1024];
        self.board.read_exact_at(&mut text, 8 * 128).unwrap();
        let text = String::from_utf8_lossy(&text);
        let failures = self.words(0, 1)[0];
        assert_eq!(failures, 0, "the target found itself harmed, first {}", text.trim_end_matches('\0'));
    }

    /// Every worker goes on.
    #[track_caller]
    fn expect_progress(&self) {
        let workers = usize::try_from(self.words(1, 1)[0]).unwrap();
        let (before, since) = (self.words(16, workers), Instant::now());
        loop {
            let still: Vec<_> =
                (0..workers).zip(self.words(16, workers)).filter(|(worker, now)| before[*worker] == *now).collect();
            if still.is_empty() {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "workers and their rounds stand still: {still:?}");
            sleep(Duration::from_millis(2));
        }
    }
}

impl Victim for SelfCheck {
    fn target(&self) -> &Target {
        &self.target
    }

    fn expect_well(&self) {
        let pid = self.target.pid;
        // Its threads come and go, and its calls open and close files.
        let tolerance = Tolerance { threads: true, descriptors: true, children: true, locks: true, growth_kib: 8192 };
        self.before.assert_unharmed(tolerance);
        expect_no_twin(&self.target);
        assert_eq!(watched(pid), Vec::<String>::new(), "mappings watched by a userfaultfd");
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let left: Vec<_> = links.filter_map(|link| fs::read_link(link.path()).ok()).filter(|to| is_ours(to)).collect();
        assert!(left.is_empty(), "descriptors left behind: {left:?}");
        self.expect_no_failure();
        self.expect_progress();
    }

    fn expect_well_in_the_end(&mut self) {
        self.expect_well();
        let report = self.target.ask("stop");
        let count = |name: &str| -> u64 { report[name].parse().unwrap() };
        assert_eq!((count("received"), count("misordered")), (count("sent"), 0), "numbered signals");
        assert_eq!(count("children"), 0, "SIGCHLD");
        let (timer, expected) = (count("timer"), count("timer_expected"));
        assert!(timer.abs_diff(expected) < 500, "timer signals: {timer} of {expected}");
        let wrong = complaints_of_calls(&report);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.expect_no_failure();
    }
}

/// Whether a descriptor is one that effigy may have opened in a target.
fn is_ours(link: &Path) -> bool {
    let text = link.to_string_lossy();
    ["userfaultfd", "pidfd", "/proc/"].iter().any(|word| text.contains(word))
}

/// A target that stands still but for one thread that dirties pages, so that everything about it can be compared.
struct Quiet {
    target: Target,
    before: State,
    mappings: Mappings,
}

impl Quiet {
    fn start() -> Self {
        let target = Plan::c("big").args(["-m", "24", "-t", "6", "-d", "20"]).start();
        let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
        Self { target, before, mappings }
    }
}

impl Victim for Quiet {
    fn target(&self) -> &Target {
        &self.target
    }

    fn expect_well(&self) {
        self.before.assert_unharmed(Tolerance { children: true, ..Tolerance::STRICT });
        expect_no_twin(&self.target);
        self.mappings.assert_same_memory();
    }

    fn expect_well_in_the_end(&mut self) {
        self.before.assert_unharmed(Tolerance::STRICT);
        self.mappings.assert_same_memory();
    }
}

/// How dumps are taken that are killed.
#[derive(Clone, Copy)]
struct Way {
    mode: Mode,
    /// A failure that is always asked for.
    fault: &'static str,
}

impl From<Mode> for Way {
    fn from(mode: Mode) -> Self {
        Self { mode, fault: "" }
    }
}

/// Live, with what is written to copied on write after the stop.
#[cfg(feature = "fault-injection")]
const ASIDE: Way = Way { mode: Mode::Live, fault: "no-convergence" };

/// A run of `effigy dump` on the target, not yet started, into this directory.
fn dumping(way: impl Into<Way>, target: &Target, dir: &Path, fault: &str) -> Effigy {
    let Way { mode, fault: always } = way.into();
    let run = effigy(["dump", &target.pid_text(), "--json", "-o"]).arg(dir.join("dump.core"));
    run.args(mode.arguments()).env("EFFIGY_FAULT", &format!("{always},{fault}")).within(60)
}

/// A dump that nobody disturbs is complete, and buries what a killed effigy left.
#[track_caller]
fn expect_complete(way: impl Into<Way>, victim: &mut impl Victim) {
    let way = way.into();
    let dir = scratch();
    let run = dumping(way, victim.target(), dir.path(), "").run().expect(0);
    expect_mode_or_reason(way.mode, &run.json());
    verify(&Dump::open(&dir.path().join("dump.core")), &victim.target().markers);
    let since = Instant::now();
    while !State::of(victim.target().pid).children().is_empty() {
        let children = State::of(victim.target().pid);
        assert!(since.elapsed() < Duration::from_secs(30), "children after a whole dump: {:?}", children.children());
        sleep(Duration::from_millis(5));
    }
    victim.expect_well_in_the_end();
}

/// What a killed run may leave: nothing under the final name that is not whole.
#[track_caller]
fn expect_whole_or_nothing(run: &Run, dir: &Path, target: &Target) {
    let path = dir.join("dump.core");
    if path.exists() {
        verify(&Dump::open(&path), &target.markers);
    } else {
        assert_ne!(run.code, Some(0), "said to be written, but is not there");
    }
}

/// Kills effigy at moments spread over the time that a dump takes, evenly and in no order.
#[track_caller]
fn kill_at_moments(way: impl Into<Way>, victim: &mut impl Victim, rounds: u32) {
    let way = way.into();
    let mut whole = Duration::MAX;
    for _ in 0..3 {
        let dir = scratch();
        whole = whole.min(dumping(way, victim.target(), dir.path(), "").run().expect(0).wall);
    }
    let mut died = 0;
    for round in 0..rounds {
        let dir = scratch();
        let run = dumping(way, victim.target(), dir.path(), "").start();
        // The golden ratio's multiples fall into the largest gap between those before.
        sleep(whole.mul_f64((f64::from(round) * 0.618_033_988_749_895).fract()));
        run.send(Signal::SIGKILL);
        let run = run.wait();
        died += u32::from(run.signal == Some(9));
        expect_whole_or_nothing(&run, dir.path(), victim.target());
        victim.expect_well();
    }
    eprintln!("{}: killed {died} times in {rounds} dumps of about {whole:?}", way.mode.name());
    assert!(died * 3 >= rounds, "killed {died} times in {rounds} dumps");
    expect_complete(way, victim);
}

#[track_caller]
fn kill_at_some_moments(way: impl Into<Way>) {
    let way = way.into();
    if !way.mode.is_offered() {
        return;
    }
    kill_at_moments(way, &mut Quiet::start(), 20);
    let Some(mut victim) = SelfCheck::start() else { return };
    kill_at_moments(way, &mut victim, 20);
}

#[test]
fn killed_at_some_moments_clone() {
    kill_at_some_moments(Mode::Clone);
}

#[test]
fn killed_at_some_moments_live() {
    kill_at_some_moments(Mode::Live);
}

#[track_caller]
fn kill_at_a_thousand_moments(way: impl Into<Way>) {
    let way = way.into();
    if !heavy() || !way.mode.is_offered() {
        return;
    }
    kill_at_moments(way, &mut Quiet::start(), 400);
    let Some(mut victim) = SelfCheck::start() else { return };
    kill_at_moments(way, &mut victim, 600);
}

#[test]
fn heavy_killed_at_a_thousand_moments_clone() {
    kill_at_a_thousand_moments(Mode::Clone);
}

#[test]
fn heavy_killed_at_a_thousand_moments_live() {
    kill_at_a_thousand_moments(Mode::Live);
}

#[cfg(feature = "fault-injection")]
#[test]
fn heavy_killed_at_a_thousand_moments_aside() {
    kill_at_a_thousand_moments(ASIDE);
}

fn is_empty(dir: &Path) -> bool {
    dir.read_dir().unwrap().next().is_none()
}

/// Waits until effigy does something about a signal, or has ended.
fn await_listening(run: &mut Running, signal: Signal) {
    let since = Instant::now();
    let pid = run.pid();
    let has = |field| {
        let mask = status_field(pid, field).and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        mask.is_some_and(|mask| mask & 1 << (signal as i32 - 1) != 0)
    };
    while !has("SigCgt") && !has("SigBlk") && !run.is_over() {
        assert!(since.elapsed() < Duration::from_secs(60), "effigy does not listen to {signal}");
        sleep(Duration::from_millis(1));
    }
}

/// A signal that effigy obeys: nothing is left behind, neither in the target nor on the disk.
#[test]
fn cancelled() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "256", "-z", "-t", "6"]).start();
        let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
        for (round, (signal, code)) in
            [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)].iter().cycle().take(6).enumerate()
        {
            let dir = scratch();
            let mut run = dumping(mode, &target, dir.path(), "").start();
            if round > 0 {
                await_listening(&mut run, *signal);
            }
            sleep(Duration::from_millis(10 + 25 * round as u64));
            if !run.is_over() {
                run.send(*signal);
            }
            let run = run.wait();
            before.assert_unharmed(Tolerance::STRICT);
            expect_no_twin(&target);
            mappings.assert_same();
            // It may not even listen yet.
            let ended_early = round == 0 && run.signal == Some(*signal as i32);
            if run.code != Some(0) {
                assert!(ended_early || run.code == Some(*code), "{:?} {:?}: {}", run.code, run.signal, run.stderr);
                assert!(is_empty(dir.path()), "a file was left behind");
            }
        }
    }
}

/// Time runs out in the middle.
#[test]
fn timed_out() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "512", "-z"]).start();
        let (before, mappings, dir) = (State::of(target.pid), Mappings::of(target.pid), scratch());
        let run = dumping(mode, &target, dir.path(), "").args(["--timeout", "0.1"]).run();
        before.assert_unharmed(Tolerance::STRICT);
        expect_no_twin(&target);
        mappings.assert_same();
        // A fast disk may be faster than that.
        if run.code != Some(0) {
            run.expect(7);
            assert!(is_empty(dir.path()), "a file was left behind");
        }
    }
}

/// The target is killed in the middle: its twin goes with it, and effigy ends.
#[test]
fn target_killed() {
    for mode in modes() {
        for round in 0..6_u64 {
            let dir = scratch();
            let mut target = Plan::c("big").args(["-m", "128", "-t", "4"]).start();
            let likeness = Likeness::of(target.pid);
            let run = dumping(mode, &target, dir.path(), "").start();
            sleep(Duration::from_millis(5 + 20 * round));
            target.send(Signal::SIGKILL);
            let run = run.wait();
            target.end();
            assert!(matches!(run.code, Some(0 | 2 | 6)), "exit code {:?}: {}", run.code, run.stderr);
            if run.code == Some(2) {
                assert!(is_empty(dir.path()), "a file was left behind");
            }
            let since = Instant::now();
            while !likeness.others().is_empty() {
                assert!(since.elapsed() < Duration::from_secs(30), "a twin outlives its original");
                sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Bugs of ours, and reads that do not come back.
#[cfg(feature = "fault-injection")]
#[test]
fn failures_of_effigy() {
    for mode in modes() {
        for (fault, codes) in [("tracer-panic", &[5, 7][..]), ("worker-panic", &[5]), ("read-hangs", &[7])] {
            let target = Plan::c("big").args(["-m", "16", "-t", "5"]).start();
            let (before, mappings, dir) = (State::of(target.pid), Mappings::of(target.pid), scratch());
            let run = dumping(mode, &target, dir.path(), fault).args(["--timeout", "3"]).run();
            before.assert_unharmed(Tolerance::STRICT);
            expect_no_twin(&target);
            mappings.assert_same_memory();
            let failed = run.code.is_some_and(|code| codes.contains(&code));
            assert!(failed, "{} {fault}: exit code {:?}: {}", mode.name(), run.code, run.stderr);
            assert!(is_empty(dir.path()), "{} {fault}: a file was left behind", mode.name());
        }
    }
}
