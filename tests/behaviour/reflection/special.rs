//! Targets in which something cannot be called, or that do with their memory what effigy does: sandboxes, a userfaultfd of
//! their own, another word size, another user; and programs that people really run.

use std::thread::sleep;
use std::time::Duration;

use super::asking::ask_in_every_way;
use super::{Mode, dump_in, dump_lively_in, expect_mode_or_reason, modes};
use crate::harness::{
    Dump, Elsewhere, NOBODY, Plan, Target, Tolerance, alive, compile, dump_with, is_root, skip, status_field, verify,
};
use crate::namespaces::compile_32;
use crate::real_programs::{Redis, expect_goroutines, start_go, start_java};

/// A program under a filter or in strict mode lives, is still in its sandbox, and answers as before.
#[track_caller]
fn dump_sandbox(how: &str, seccomp: &str) {
    let mut target = Plan::c("sandbox").args([how]).start();
    let before = target.ask("before");
    let used = ask_in_every_way(&target, &[0]);
    assert!(alive(target.pid), "the sandbox has ended the target: {used:?}");
    assert_eq!(status_field(target.pid, "Seccomp").as_deref(), Some(seccomp), "the sandbox is gone");
    let after = target.ask("after");
    assert_eq!((after["rounds"].as_str(), &after["errno"]), ("2", &before["errno"]));
}

/// Calls that effigy needs are refused to the program; effigy may have the filter suspended, or do without them.
#[test]
fn filter_that_refuses() {
    dump_sandbox("errno", "2");
}

/// They end the program: one wrong call and it is gone (case 46).
#[test]
fn filter_that_kills() {
    dump_sandbox("kill", "2");
}

#[test]
fn strict_sandbox() {
    dump_sandbox("strict", "1");
}

/// The same for a user who may not suspend a filter: nothing can be called, so the target is stopped.
#[test]
fn filters_of_ones_own_process() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    for how in ["errno", "kill", "strict"] {
        let mut target = Plan::program(place.program("sandbox")).args([how]).by_user(NOBODY).start();
        target.ask("before");
        for mode in [Mode::Live, Mode::Clone] {
            let arguments = [&["--json", "--overwrite"][..], &mode.arguments()].concat();
            let json = place.dump_as_nobody(&target, &arguments).expect(0).json();
            assert!(alive(target.pid), "the sandbox has ended the target");
            assert_eq!(json["snapshot"], "stop", "{how}");
            expect_mode_or_reason(mode, &json);
            verify(&Dump::open(&place.output()), &target.markers);
        }
        assert_eq!(target.ask("after")["rounds"], "2");
    }
}

/// A target with a userfaultfd of its own sees its own faults as before, no more and no fewer.
#[test]
fn userfaultfd_of_its_own() {
    let mut target = Plan::c("ownuffd").start();
    if target.is_unsupported() {
        return skip("the system offers programs no userfaultfd");
    }
    target.ask("touch");
    for round in 2..5 {
        ask_in_every_way(&target, &[0]);
        let report = target.ask("touch");
        let counts = ["missing", "written", "wrong"].map(|name| report[name].parse::<u64>().unwrap());
        assert_eq!(counts, [round, round, 0], "faults of missing pages, of protected ones, and wrong ones");
    }
}

/// A 32-bit program: its calls are others.
#[test]
fn thirty_two_bit_target() {
    let Some(program) = compile_32() else { return skip("gcc -m32 does not work here") };
    let target = Plan::program(&program).args(["-m", "16", "-t", "3"]).start();
    ask_in_every_way(&target, &[0]);
}

/// A program of a user who may have no userfaultfd himself.
#[test]
fn another_users_process() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    for arguments in [&["-m", "24", "-t", "4"][..], &["-m", "24", "-t", "4", "-d", "100"]] {
        let target = Plan::program(place.program("big")).args(arguments).by_user(NOBODY).start();
        for mode in modes() {
            verify(&dump_in(mode, &target, "dump.core", &[]), &target.markers);
        }
    }
}

/// One that declared itself not dumpable, which root may dump.
#[test]
fn process_that_is_not_dumpable() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("plain")).args(["-n"]).by_user(NOBODY).start();
    for mode in modes() {
        verify(&dump_in(mode, &target, "dump.core", &[]), &target.markers);
    }
}

/// One's own process, without any rights but its owner's: a clone at least.
#[test]
fn own_process_without_privileges() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("big")).args(["-m", "24", "-t", "4"]).by_user(NOBODY).start();
    for (arguments, best) in [(&["-r"][..], Mode::Live), (&[], Mode::Live), (&["--snapshot", "clone"], Mode::Clone)] {
        let arguments = [&["--json", "--overwrite"], arguments].concat();
        let json = place.dump_as_nobody(&target, &arguments).expect(0).json();
        expect_mode_or_reason(best, &json);
        assert_ne!(json["snapshot"], "stop", "{arguments:?}: {}", json["snapshot_reason"]);
        eprintln!("as nobody, {arguments:?}: {} ({})", json["snapshot"], json["snapshot_reason"]);
        verify(&Dump::open(&place.output()), &target.markers);
    }
}

/// A program in user, PID and mount namespaces of its own, as in a container without privileges.
#[test]
fn container() {
    if !is_root() {
        return skip("whether users may make namespaces differs");
    }
    let wrapper =
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child", "--net", "--ipc"];
    let target = Plan::by(&wrapper, &compile("big", &[])).args(["-m", "24"]).start();
    for mode in modes() {
        for name in ["dump.core", "dump.dmp"] {
            verify(&dump_in(mode, &target, name, &[]), &target.markers);
        }
    }
}

/// A dump with `-r` of a program that lives on meanwhile.
#[track_caller]
fn reflect(target: &Target, name: &str) -> Dump {
    let (run, dump) = dump_with(target, name, &["-r"], Tolerance::LIVELY);
    run.expect(0);
    let dump = dump.unwrap();
    expect_mode_or_reason(Mode::Live, &dump.json);
    dump
}

/// A Go program moves its goroutines between threads, by signals, and reserves its memory in advance.
#[test]
fn go() {
    let Some(mut target) = start_go() else { return };
    for name in ["dump.core", "dump.dmp", "dump.core"] {
        assert!(reflect(&target, name).threads().len() > 1);
        expect_goroutines(&mut target);
    }
    for mode in modes() {
        // Calls need a thread on a stack with free room, and its main thread may be on a goroutine's at that moment.
        let (run, dump) = dump_with(&target, "dump.core", &mode.arguments(), Tolerance::LIVELY);
        run.expect(0);
        expect_mode_or_reason(mode, &dump.unwrap().json);
        expect_goroutines(&mut target);
    }
}

/// A JVM handles faults of its own (SIGSEGV), and protects pages to stop its threads.
#[test]
fn java() {
    let Some((_, mut target)) = start_java() else { return };
    for name in ["dump.core", "dump.dmp", "dump.core"] {
        assert!(reflect(&target, name).threads().len() > 5);
        assert!(target.ask("work")["answered"].parse::<u32>().unwrap() >= 1);
    }
    for mode in modes() {
        dump_lively_in(mode, &target, "dump.core", &[], Tolerance::LIVELY);
        assert!(target.ask("work")["answered"].parse::<u32>().unwrap() >= 1);
    }
}

/// Redis under load.
#[test]
fn redis() {
    let Some(redis) = Redis::start() else { return };
    for name in ["dump.core", "dump.dmp", "dump.core", "dump.dmp", "dump.core"] {
        redis.expect_values(&reflect(&redis.target, name));
        sleep(Duration::from_millis(100));
    }
    for mode in modes() {
        redis.expect_values(&dump_lively_in(mode, &redis.target, "dump.core", &[], Tolerance::LIVELY));
    }
    redis.expect_all_keys();
}
