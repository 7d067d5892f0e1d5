//! What a dump leaves of itself in the target: nothing. No child, no zombie, no signal, no descriptor, no mapping, no page
//! under watch, and nothing in the system calls and registers of its threads.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use super::{Mode, dump_in, dump_lively_in, expect_mode_or_reason, modes};
use crate::harmless::{expect_calls_unharmed, expect_endless_calls_unharmed};
use crate::harness::{
    Cgroup, Mappings, Plan, State, Target, Tolerance, compile, dump_with, is_root, skip, status_field, thread_states,
    twins_of, verify, watched,
};

/// Nothing about a quiet target is other than before: its size neither, but for what an injected call puts below a stack.
#[test]
fn quiet_target() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "64", "-t", "20", "-r", "1"]).start();
        let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
        for name in ["dump.core", "dump.dmp"].iter().cycle().take(6) {
            verify(&dump_in(mode, &target, name, &[]), &target.markers);
        }
        before.assert_unharmed(Tolerance { growth_kib: 256, ..Tolerance::STRICT });
        mappings.assert_same();
        assert_eq!(watched(target.pid), Vec::<String>::new());
        assert_eq!(twins_of(target.pid), Vec::<i32>::new());
    }
}

/// A target that changes its memory all the time.
#[test]
fn busy_target() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "64", "-t", "8", "-d", "500"]).start();
        let mappings = Mappings::of(target.pid);
        for name in ["dump.core", "dump.dmp"].iter().cycle().take(6) {
            verify(&dump_in(mode, &target, name, &[]), &target.markers);
        }
        mappings.assert_same();
        assert_eq!(twins_of(target.pid), Vec::<i32>::new());
    }
}

/// A family as the target `family` tells of it: only its own members, and every one of them.
#[track_caller]
fn expect_only_own_children(target: &mut Target, orphans: u64) -> BTreeMap<String, u64> {
    let report: BTreeMap<String, u64> =
        target.ask("report").into_iter().map(|(name, count)| (name, count.parse().unwrap())).collect();
    assert!(
        report["foreign"] <= orphans && report["errors"] == 0,
        "children that are not its own, wrong results: {report:?}"
    );
    assert!(report["signals"] <= report["own"], "more SIGCHLD than children: {report:?}");
    report
}

/// Dumps the family several times in each mode.
fn dump_family(start: impl Fn() -> Target) {
    dump_family_with(0, start);
}

/// The same for one that collects orphans: a clone is one, and may be seen by whoever waits for all kinds of children.
fn dump_family_with(orphans: u64, start: impl Fn() -> Target) {
    for mode in modes() {
        let mut target = start();
        // Its own children come and go, where it has any; making one, it waits for locks of the kernel.
        let tolerance = Tolerance { children: true, locks: true, ..Tolerance::STRICT };
        for name in ["dump.core", "dump.dmp"].iter().cycle().take(6) {
            verify(&dump_lively_in(mode, &target, name, &[], tolerance), &target.markers);
            sleep(Duration::from_millis(30));
        }
        let before = expect_only_own_children(&mut target, orphans);
        sleep(Duration::from_millis(300));
        let after = expect_only_own_children(&mut target, orphans);
        assert!(after["rounds"] > before["rounds"], "its waiting thread stands still");
        if after["own"] == 0 {
            assert_eq!(State::of(target.pid).children(), [0_i32; 0], "children of a childless target");
        }
    }
}

/// No SIGCHLD, and nobody to wait for (`wait4(-1, __WALL)`).
#[test]
fn childless_target() {
    dump_family(|| Plan::c("family").start());
}

/// The same for one that ignores SIGCHLD.
#[test]
fn childless_target_that_ignores_its_children() {
    dump_family(|| Plan::c("family").args(["-i"]).start());
}

/// One that waits, blocked, for children of its own.
#[test]
fn parent() {
    dump_family(|| Plan::c("family").args(["-b"]).start());
}

#[test]
fn parent_that_ignores_its_children() {
    dump_family(|| Plan::c("family").args(["-i", "-b"]).start());
}

/// The first process of a PID namespace: what it does not bury stays for ever, and what it is given by orphans is its own.
#[test]
fn first_process_of_a_namespace() {
    if !is_root() {
        return skip("namespaces need root");
    }
    let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    dump_family_with(6, || {
        let target = Plan::by(&wrapper, &compile("family", &[])).start();
        assert!(status_field(target.pid, "NSpid").unwrap().ends_with("\t1"), "it is PID 1 there");
        target
    });
    // Once it was given an orphan, each wait of this one is answered by the child before.
    dump_family_with(u64::MAX, || Plan::by(&wrapper, &compile("family", &[])).args(["-b"]).start());
}

/// Queued, timed and pending signals all arrive, in order, and no other.
#[test]
fn signals() {
    for mode in modes() {
        let mut target = Plan::c("sigs").start();
        let mut sender = Plan::c("sender").args([target.pid_text()]).start();
        for name in ["dump.core", "dump.dmp", "dump.core", "dump.dmp"] {
            let tolerance = Tolerance { threads: true, ..Tolerance::STRICT };
            verify(&dump_lively_in(mode, &target, name, &[], tolerance), &target.markers);
        }
        let sent: u64 = sender.ask("stop")["sent"].parse().unwrap();
        sleep(Duration::from_millis(300));
        let report = target.ask("report");
        let count = |name: &str| -> u64 { report[name].parse().unwrap() };
        assert_eq!((count("queued"), count("out_of_order")), (sent, 0), "queued signals received, and out of order");
        assert_eq!((count("pending"), count("children")), (0, 0), "blocked signals delivered, SIGCHLD");
        assert_eq!(target.ask("unblock")["pending"], "3", "signals that were blocked and pending");
    }
}

/// Two dozen kinds of blocking system calls end as they would have.
#[test]
fn blocking_system_calls_clone() {
    expect_calls_unharmed(["miniplus", "full"], &Mode::Clone.arguments());
}

#[test]
fn blocking_system_calls_live() {
    if Mode::Live.is_offered() {
        expect_calls_unharmed(["miniplus", "full"], &Mode::Live.arguments());
    }
}

/// Calls that wait for ever are not interrupted.
#[test]
fn endless_system_calls() {
    for mode in modes() {
        expect_endless_calls_unharmed("full", &mode.arguments());
    }
}

/// A stopped target stays stopped, though something may have to run in it.
#[test]
fn stopped_target_stays_stopped() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "16", "-t", "5"]).start();
        target.stop();
        for name in ["dump.core", "dump.dmp"] {
            let (run, dump) = dump_with(&target, name, &mode.arguments(), Tolerance::STRICT);
            run.expect(0);
            let dump = dump.unwrap();
            expect_mode_or_reason(mode, &dump.json);
            verify(&dump, &target.markers);
            assert!(thread_states(target.pid).values().all(|letter| *letter == 'T'), "not all threads are stopped");
        }
    }
}

/// A frozen target stays frozen.
#[test]
fn frozen_target_stays_frozen() {
    for mode in modes() {
        let target = Plan::c("big").args(["-m", "4", "-t", "5"]).start();
        let Some(group) = Cgroup::new(&format!("frozen-{}", mode.name())) else {
            return skip("no control group can be made");
        };
        group.add(target.pid);
        group.freeze(true);
        let (run, dump) = dump_with(&target, "dump.core", &mode.arguments(), Tolerance::STRICT);
        run.expect(0);
        let dump = dump.unwrap();
        expect_mode_or_reason(mode, &dump.json);
        verify(&dump, &target.markers);
        group.await_frozen();
        group.freeze(false);
    }
}

/// A target whose leader has ended: there is another thread to run what must be run.
#[test]
fn zombie_leader() {
    for mode in modes() {
        let target = Plan::c("zl").start();
        let (run, dump) = dump_with(&target, "dump.core", &mode.arguments(), Tolerance::STRICT);
        run.expect(0);
        let dump = dump.unwrap();
        expect_mode_or_reason(mode, &dump.json);
        verify(&dump, &target.markers);
    }
}
