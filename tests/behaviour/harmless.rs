//! Doing no harm: what the target was doing it goes on doing, whatever happens to effigy.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{
    Heartbeat, Plan, State, Target, Tolerance, alive, dump_core, dump_with, effigy, heavy, is_root, scratch, skip,
    status_field, verify,
};

/// System calls that the kernel itself ends with EINTR when a thread is stopped by a tracer, handlers or not
/// (signal(7)). With a timeout, as here, effigy leaves it at that: starting one again would begin its timeout anew, and a
/// program that is dumped again and again would never see it pass. docs/harmlessness.md says so.
const NOT_RESTARTED: [&str; 6] =
    ["epoll_wait", "epoll_pwait", "recv_timeout", "semtimedop", "sigtimedwait", "io_uring"];

/// Calls, interruptions, wrong outcomes, early and very late returns, last error of each kind of system call.
type Calls = BTreeMap<String, Vec<u64>>;

/// Takes the calls out of what a target reports.
fn calls_in(report: &BTreeMap<String, String>) -> Calls {
    let split = |counts: &str| counts.split('/').map(|count| count.parse().unwrap_or(0)).collect();
    let calls = report.iter().filter(|(_, counts)| counts.matches('/').count() == 5);
    calls.map(|(name, counts)| (name.clone(), split(counts))).collect()
}

/// What went wrong with the calls of a target that reports them, but for the interruptions that a tracer cannot help.
pub(crate) fn complaints_of_calls(report: &BTreeMap<String, String>) -> Vec<String> {
    let mut calls = calls_in(report);
    assert!(calls.len() >= 20, "only {} kinds of calls", calls.len());
    forgive_interruptions(&mut calls);
    complaints(&calls)
}

/// Dumps the target again and again while it is in its calls, every fifth time of the second kind.
fn dump_repeatedly(times: usize, kinds: [&str; 2], arguments: &[&str]) -> Option<BTreeMap<String, String>> {
    if !is_root() {
        skip("the target unshares its IPC namespace, which is for root");
        return None;
    }
    let dir = scratch();
    let mut target = Plan::c("syscalls").args([dir.path().join("lock")]).start();
    // One of its threads forks, with signals blocked for that moment; others open files.
    let tolerance = Tolerance { threads: true, children: true, descriptors: true, ..Tolerance::STRICT };
    for round in 0..times {
        let kind = kinds[usize::from(round % 5 == 4)];
        let (run, _dump) = dump_with(&target, "dump.core", &[&["--kind", kind], arguments].concat(), tolerance);
        run.expect(0);
        // Not in step with the calls' timeouts.
        sleep(Duration::from_millis(37 + 13 * (round as u64 % 7)));
    }
    sleep(Duration::from_millis(500));
    Some(target.ask("report"))
}

/// What went wrong with each kind of call.
fn complaints(calls: &Calls) -> Vec<String> {
    calls
        .iter()
        .filter(|(_, counts)| counts[1..5].iter().any(|count| *count > 0))
        .map(|(name, counts)| {
            let [calls, interrupted, wrong, early, late, error] = counts[..] else { panic!("report of {name}") };
            format!("{name}: of {calls} calls {interrupted} EINTR, {wrong} wrong (error {error}), {early} early, {late} late")
        })
        .collect()
}

/// Case 38: two dozen kinds of blocking system calls end as they would have without us.
#[test]
fn blocking_system_calls() {
    expect_calls_unharmed(["mini", "full"], &[]);
}

/// The same with these arguments.
#[track_caller]
pub(crate) fn expect_calls_unharmed(kinds: [&str; 2], arguments: &[&str]) {
    let Some(report) = dump_repeatedly(20, kinds, arguments) else { return };
    let wrong = complaints_of_calls(&report);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Takes the interruptions out of the report on calls with a timeout that the kernel does not start again by itself: EINTR is
/// all that may happen to them, never a wrong outcome or an early or late return.
fn forgive_interruptions(calls: &mut Calls) {
    for (_, counts) in calls.iter_mut().filter(|(name, _)| NOT_RESTARTED.contains(&name.as_str())) {
        counts[1] = 0;
    }
}

/// Case 38, for the same calls without a timeout: they are never interrupted by us, and always by a signal.
#[test]
fn calls_without_a_timeout_are_not_interrupted() {
    expect_endless_calls_unharmed("mini", &[]);
}

/// The same with these arguments.
#[track_caller]
pub(crate) fn expect_endless_calls_unharmed(kind: &str, arguments: &[&str]) {
    let mut target = Plan::c("forever").start();
    for name in ["dump.core", "dump.dmp", "dump.core", "dump.dmp", "dump.core"] {
        let (run, _dump) = dump_with(&target, name, &[&["--kind", kind], arguments].concat(), Tolerance::STRICT);
        run.expect(0);
    }
    let interruptions = target.ask("report");
    assert!(interruptions.values().all(|count| count == "0"), "{interruptions:?}");
    let after_signals = target.ask("wake");
    assert!(after_signals.values().all(|count| count == "1"), "{after_signals:?}");
}

/// Case 38 in full: a hundred dumps.
#[test]
fn heavy_blocking_system_calls() {
    if !heavy() {
        return;
    }
    let Some(report) = dump_repeatedly(100, ["mini", "full"], &[]) else { return };
    let wrong = complaints_of_calls(&report);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Case 39: no queued signal is lost or out of order, blocked ones stay pending, no SIGCHLD comes from us.
#[test]
fn signals_are_not_lost() {
    let mut target = Plan::c("sigs").start();
    let mut sender = Plan::c("sender").args([target.pid_text()]).start();
    // The queue of pending signals changes all the time; the blocked ones are asked for at the end.
    let tolerance = Tolerance { threads: true, ..Tolerance::STRICT };
    for name in ["dump.core", "dump.dmp", "dump.core", "dump.dmp", "dump.core"] {
        let (run, dump) = dump_with(&target, name, &[], tolerance);
        run.expect(0);
        verify(&dump.unwrap(), &target.markers);
    }
    let sent: u64 = sender.ask("stop")["sent"].parse().unwrap();
    let report = report_of_all(&mut target, sent);
    let count = |name: &str| -> u64 { report[name].parse().unwrap() };
    assert_eq!((count("queued"), count("out_of_order")), (sent, 0), "queued signals received, and out of order");
    assert_eq!((count("pending"), count("children")), (0, 0), "blocked signals delivered, SIGCHLD");
    assert_eq!(report["lost"], "0", "expirations of a timer that were never told");
    assert!(count("alarms") > 10, "SIGALRM comes no more");
    assert_eq!(target.ask("unblock")["pending"], "3", "signals that were blocked and pending");
}

/// Cases 39 and 40 together: effigy is killed while signals are being delivered, and none is lost.
#[test]
fn signals_are_not_lost_when_the_dumper_is_killed() {
    let mut target = Plan::c("sigs").start();
    let mut sender = Plan::c("sender").args([target.pid_text()]).start();
    for round in 0..60u64 {
        let out = scratch();
        let run = effigy(["dump", &target.pid_text(), "-o"]).arg(out.path().join("dump.core")).start();
        sleep(Duration::from_millis(round % 30));
        run.send(Signal::SIGKILL);
        run.wait();
    }
    let sent: u64 = sender.ask("stop")["sent"].parse().unwrap();
    let report = report_of_all(&mut target, sent);
    let count = |name: &str| -> u64 { report[name].parse().unwrap() };
    assert_eq!((count("queued"), count("out_of_order")), (sent, 0), "queued signals received, and out of order");
    assert_eq!(report["lost"], "0", "expirations of a timer that were never told");
}

/// What the target reports when it has got all that was sent, or has had time enough for that.
fn report_of_all(target: &mut Target, sent: u64) -> BTreeMap<String, String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let report = target.ask("report");
        if report["queued"].parse::<u64>().unwrap() >= sent || Instant::now() > deadline {
            return report;
        }
        sleep(Duration::from_millis(20));
    }
}

/// RSS, descriptors, children and signals of a target with a thread that dirties pages, over many dumps.
#[test]
fn many_dumps_of_one_target() {
    let target = Plan::c("big").args(["-m", "32", "-t", "8", "-d", "50"]).start();
    let before = State::of(target.pid);
    for _ in 0..10 {
        verify(&dump_core(&target, &[]), &target.markers);
    }
    before.assert_unharmed(Tolerance::STRICT);
}

/// Case 40: effigy is killed at some moment of a dump; the target runs on, untraced, and no file has the final name
/// unless it is whole.
fn kill_dumper(rounds: u64, step: Duration) {
    let dir = scratch();
    let heart = Heartbeat::new(dir.path());
    let target = Plan::c("big").args(["-m", "64", "-t", "20", "-b", heart.path()]).start();
    let before = State::of(target.pid);
    for round in 0..rounds {
        let out = scratch();
        let path = out.path().join("dump.core");
        let run = effigy(["dump", &target.pid_text(), "-o"]).arg(&path).start();
        sleep(step * u32::try_from(round % 40).unwrap());
        run.send(Signal::SIGKILL);
        let run = run.wait();
        before.assert_unharmed(Tolerance::STRICT);
        expect_beating(&heart);
        if path.exists() {
            // Looking through each of two thousand dumps takes longer than taking them.
            if rounds <= 40 || round % 40 == 39 {
                verify(&crate::harness::Dump::open(&path), &target.markers);
            }
        } else {
            assert_ne!(run.code, Some(0), "said to be written, but is not there");
        }
    }
    verify(&dump_core(&target, &[]), &target.markers);
}

/// Cases 32 and 40: effigy is killed while it dumps a stopped target; that stays stopped.
#[test]
fn dumper_of_a_stopped_target_killed() {
    let target = Plan::c("big").args(["-m", "64", "-t", "10"]).start();
    target.stop();
    let before = State::of(target.pid);
    for round in 0..10 {
        let out = scratch();
        let run = effigy(["dump", &target.pid_text(), "-o"]).arg(out.path().join("dump.core")).start();
        sleep(Duration::from_millis(5 + 8 * round));
        run.send(Signal::SIGKILL);
        run.wait();
        before.assert_unharmed(Tolerance::STRICT);
    }
}

/// effigy itself stays under 64 MB, however large the target.
#[test]
fn own_memory_does_not_grow_with_the_target() {
    let target = Plan::c("big").args(["-m", "1500", "-z", "-t", "20"]).start();
    for arguments in [&["--format", "core"][..], &["--format", "minidump"], &["--format", "core", "--compress", "zstd"]]
    {
        let out = scratch();
        let mut run = effigy(["dump", &target.pid_text(), "-o", "dump"]).args(arguments).dir(out.path()).start();
        let mut most = 0;
        while !run.is_over() {
            let peak = status_field(run.pid(), "VmHWM").and_then(|text| text.trim_end_matches(" kB").parse().ok());
            most = most.max(peak.unwrap_or(0));
            sleep(Duration::from_millis(2));
        }
        run.wait().expect(0);
        eprintln!("{arguments:?}: effigy's resident size was {most} KiB at most");
        assert!(most > 0 && most < 64_000_000 / 1024, "{arguments:?}: {most} KiB");
    }
}

#[track_caller]
fn expect_beating(heart: &Heartbeat) {
    let (beats, since) = (heart.beats(), Instant::now());
    while heart.beats() == beats {
        assert!(since.elapsed() < Duration::from_secs(30), "the target's heart stands still");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn dumper_killed_at_any_moment() {
    kill_dumper(40, Duration::from_millis(4));
}

/// The same for `effigy stacks`, which stops the target for a millisecond or two.
#[test]
fn stacks_killed_at_any_moment() {
    let dir = scratch();
    let heart = Heartbeat::new(dir.path());
    let target = Plan::c("big").args(["-m", "8", "-t", "100", "-b", heart.path()]).start();
    let before = State::of(target.pid);
    for round in 0..60 {
        let run = effigy(["stacks", &target.pid_text()]).start();
        sleep(Duration::from_micros(700) * (round % 30));
        run.send(Signal::SIGKILL);
        run.wait();
        before.assert_unharmed(Tolerance::STRICT);
        expect_beating(&heart);
    }
}

/// And right before each ptrace request of its.
#[cfg(feature = "fault-injection")]
#[test]
fn stacks_killed_at_every_step() {
    let dir = scratch();
    let heart = Heartbeat::new(dir.path());
    let target = Plan::c("big").args(["-m", "8", "-t", "3", "-b", heart.path()]).start();
    let before = State::of(target.pid);
    let mut step = 0;
    loop {
        step += 1;
        let run = effigy(["stacks", &target.pid_text()]).env("EFFIGY_FAULT", &format!("die-at-step:{step}")).run();
        before.assert_unharmed(Tolerance::STRICT);
        expect_beating(&heart);
        if run.signal.is_none() {
            break;
        }
    }
    // To trace, to stop and to let go each of five threads.
    assert!(step > 15, "only {step} steps");
}

#[test]
fn heavy_dumper_killed_two_thousand_times() {
    if heavy() {
        kill_dumper(2000, Duration::from_micros(2300));
    }
}

/// Case 41: a signal to effigy in the middle of a dump: the target goes on within 100 ms, the partial file is gone, the
/// exit code says which signal it was.
fn cancel(signal: Signal, code: i32) {
    let dir = scratch();
    let heart = Heartbeat::new(dir.path());
    let target = Plan::c("big").args(["-m", "1500", "-z", "-t", "10", "-b", heart.path()]).start();
    let before = State::of(target.pid);
    let out = scratch();
    let mut cancelled = 0;
    for (round, name) in ["dump.core", "dump.dmp", "dump.core"].into_iter().enumerate() {
        heart.reset();
        let run = effigy(["dump", &target.pid_text(), "--snapshot", "stop", "-o"]).arg(out.path().join(name)).start();
        let stood_still = await_standstill(&heart);
        sleep(Duration::from_millis(30 + 40 * round as u64));
        let sent = Heartbeat::now();
        run.send(signal);
        let run = run.wait();
        before.assert_unharmed(Tolerance::STRICT);
        if run.code == Some(0) {
            // It was quicker than we were.
            std::fs::remove_file(out.path().join(name)).unwrap();
            continue;
        }
        cancelled += 1;
        run.expect(code);
        assert_eq!(files_in(out.path()), Vec::<String>::new(), "left behind");
        expect_beating(&heart);
        let resumed = heart.gap_end().saturating_sub(sent);
        eprintln!("{signal}: stood still {stood_still}, resumed {resumed:?} after the signal");
        assert!(resumed < Duration::from_secs(1), "resumed {resumed:?} after the signal");
    }
    assert!(cancelled > 0, "every dump was quicker than the signal");
}

/// Waits until the heart has not beaten for a while; false when it never paused.
fn await_standstill(heart: &Heartbeat) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        if Heartbeat::now().saturating_sub(heart.last()) > Duration::from_millis(25) {
            return true;
        }
        sleep(Duration::from_millis(1));
    }
    false
}

fn files_in(dir: &Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn interrupted_by_control_c() {
    cancel(Signal::SIGINT, 130);
}

#[test]
fn terminated() {
    cancel(Signal::SIGTERM, 143);
}

/// `--timeout`: gives up in time, lets the target go, leaves nothing behind.
#[test]
fn timed_out() {
    let target = Plan::c("big").args(["-m", "1500", "-z"]).start();
    let out = scratch();
    let before = State::of(target.pid);
    let run = effigy(["dump", &target.pid_text(), "--timeout", "0.1", "-o"]).arg(out.path().join("dump.core")).run();
    before.assert_unharmed(Tolerance::STRICT);
    let run = run.expect(7);
    assert!(run.wall < Duration::from_secs(5), "took {:?}", run.wall);
    assert_eq!(files_in(out.path()), Vec::<String>::new(), "left behind");
}

/// `--timeout` with `--keep-partial`: what was written stays, the exit code tells.
#[test]
fn timed_out_keeping_the_part() {
    let target = Plan::c("big").args(["-m", "1500", "-z"]).start();
    let out = scratch();
    let before = State::of(target.pid);
    let run = effigy(["dump", &target.pid_text(), "--timeout", "0.2", "--keep-partial", "-o"])
        .arg(out.path().join("dump.core"))
        .run();
    before.assert_unharmed(Tolerance::STRICT);
    // With nothing written in time there is nothing to keep.
    assert!(matches!(run.code, Some(6 | 7)), "exit code {:?}: {}", run.code, run.stderr);
    assert_eq!(files_in(out.path()).len(), usize::from(run.code == Some(6)), "{:?}", files_in(out.path()));
}

/// Case 44: two dumps of one target at once: each is whole or refused as busy; of ten targets, all are whole.
#[test]
fn at_the_same_time() {
    let target = Plan::c("big").args(["-m", "64", "-t", "4"]).start();
    let before = State::of(target.pid);
    let out = scratch();
    let runs: Vec<_> = (0..4)
        .map(|number| {
            let path = out.path().join(format!("{number}.core"));
            (effigy(["dump", &target.pid_text(), "-o"]).arg(&path).start(), path)
        })
        .collect();
    let mut whole = 0;
    for (run, path) in runs {
        let run = run.wait();
        assert!(matches!(run.code, Some(0 | 4)), "exit code {:?}: {}", run.code, run.stderr);
        assert_eq!(path.exists(), run.code == Some(0));
        if run.code == Some(0) {
            whole += 1;
            verify(&crate::harness::Dump::open(&path), &target.markers);
        }
    }
    before.assert_unharmed(Tolerance::STRICT);
    assert!(whole >= 1, "all four were refused");
    eprintln!("{whole} of 4 at once were written");
}

/// Case 44: ten targets at once.
#[test]
fn ten_targets_at_the_same_time() {
    let out = scratch();
    let targets: Vec<_> = (0..10).map(|_| Plan::c("big").args(["-m", "8", "-t", "2"]).start()).collect();
    let states: Vec<_> = targets.iter().map(|target| State::of(target.pid)).collect();
    let runs: Vec<_> = targets
        .iter()
        .map(|target| {
            effigy(["dump", &target.pid_text(), "-o"]).arg(out.path().join(target.pid_text() + ".dmp")).start()
        })
        .collect();
    for run in runs {
        run.wait().expect(0);
    }
    for (target, state) in targets.iter().zip(states) {
        state.assert_unharmed(Tolerance::STRICT);
        verify(&crate::harness::Dump::open(&out.path().join(target.pid_text() + ".dmp")), &target.markers);
    }
}

/// A thousand dumps of one busy target: nothing leaks into it.
#[test]
fn heavy_soak() {
    if !heavy() {
        return;
    }
    let target = Plan::c("big").args(["-m", "16", "-t", "8", "-d", "100"]).start();
    let before = State::of(target.pid);
    let out = scratch();
    for round in 0..1000 {
        let path = out.path().join("dump.dmp");
        let kind = if round % 10 == 0 { "full" } else { "mini" };
        effigy(["dump", &target.pid_text(), "--overwrite", "--kind", kind, "-o"]).arg(&path).run().expect(0);
    }
    assert!(alive(target.pid));
    before.assert_unharmed(Tolerance::STRICT);
}
