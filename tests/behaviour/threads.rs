//! Threads: all of them, in every state that threads can be in.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Cgroup, Core, Dump, MachineLock, Plan, Setting, State, Target, Tolerance, dump_core, dump_minidump, dump_with,
    effigy, heavy, scratch, skip, thread_states, verify,
};

fn live_threads(target: &Target) -> Vec<u32> {
    thread_states(target.pid).into_keys().collect()
}

/// Every thread of the living process has registers in the dump.
#[track_caller]
fn expect_all_threads(dump: &Dump, target: &Target) {
    assert_eq!(dump.threads(), live_threads(target), "threads in the dump, and alive");
}

/// Case 2, with names.
#[test]
fn names_and_numbers() {
    let target = Plan::c("big").args(["-m", "1", "-t", "40"]).start();
    let core = dump_core(&target, &[]);
    expect_all_threads(&core, &target);
    let minidump = dump_minidump(&target, &[]);
    expect_all_threads(&minidump, &target);
    for tid in live_threads(&target) {
        let name = fs::read_to_string(format!("/proc/{}/task/{tid}/comm", target.pid)).unwrap();
        assert_eq!(minidump.thread_name(tid).as_deref(), Some(name.trim_end()), "name of thread {tid}");
    }
    // A debugger shows the main thread first when nothing is at fault.
    assert_eq!(core.core().threads().first().copied(), u32::try_from(target.pid).ok());
}

/// Cases 2 and 3: more than a thousand, more than 1,024.
#[test]
fn twelve_hundred_threads() {
    let target = Plan::c("big").args(["-m", "4", "-t", "1200"]).start();
    let core = dump_core(&target, &[]);
    expect_all_threads(&core, &target);
    verify(&core, &target.markers);
    assert_eq!(core.json["threads"], 1201);
    let minidump = dump_minidump(&target, &[]);
    expect_all_threads(&minidump, &target);
    verify(&minidump, &target.markers);
    eprintln!("pause of 1,201 threads: core {} us, minidump {} us", core.json["pause_us"], minidump.json["pause_us"]);
}

/// Case 3 at its end.
#[test]
fn heavy_thirty_thousand_threads() {
    if !heavy() {
        return;
    }
    let _machine = MachineLock::take();
    let pids = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let _limit = if pids.trim().parse::<u64>().unwrap() < 65536 {
        let limit = Setting::set("/proc/sys/kernel/pid_max", "65536");
        if limit.is_none() {
            return skip("kernel.pid_max cannot be raised");
        }
        limit
    } else {
        None
    };
    let target = Plan::c("many").args(["30000"]).start();
    let core = dump_core(&target, &[]);
    expect_all_threads(&core, &target);
    verify(&core, &target.markers);
    eprintln!("pause of 30,001 threads: {} us", core.json["pause_us"]);
    expect_all_threads(&dump_minidump(&target, &[]), &target);
}

/// Case 5: threads born and dying at 1 kHz; every one was still when the first byte was read.
#[test]
fn threads_born_and_dying() {
    let mut target = Plan::c("churn").start();
    let lively = Tolerance { threads: true, growth_kib: 16 * 1024, ..Tolerance::STRICT };
    for (round, name) in ["dump.core", "dump.dmp"].into_iter().cycle().take(10).enumerate() {
        let (run, dump) = dump_with(&target, name, &[], lively);
        run.expect(0);
        let dump = dump.unwrap();
        verify(&dump, &target.markers);
        expect_one_instant(&dump, &target, round);
    }
    let before: u64 = target.ask("born")["born"].parse().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(target.ask("born")["born"].parse::<u64>().unwrap() > before, "threads are born no more");
}

/// No slot's high page is ahead of its low page, nor more than one behind.
#[track_caller]
fn expect_one_instant(dump: &Dump, target: &Target, round: usize) {
    let slots = |name: &str| -> Vec<u64> {
        let bytes = dump.memory(target.number(name), 256 * 8).unwrap();
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    };
    for (slot, (low, high)) in slots("low").into_iter().zip(slots("high")).enumerate() {
        assert!(low == high || low == high + 1, "round {round}, slot {slot}: low {low}, high {high}: something ran");
    }
}

/// Case 34: the leader is a zombie, a worker lives: the worker is dumped.
#[test]
fn zombie_leader() {
    let target = Plan::c("zl").start();
    let worker = u32::try_from(target.number("worker")).unwrap();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        assert!(dump.threads().contains(&worker), "the live worker is missing: {:?}", dump.threads());
    }
}

/// Case 33: a vfork parent cannot be stopped. The dump does not hang, has everything but that thread's registers, and
/// says so.
#[test]
fn thread_in_uninterruptible_sleep() {
    let target = Plan::c("vf").args(["60"]).start();
    let parent = target.number("parent");
    for name in ["dump.core", "dump.dmp"] {
        let (run, dump) = dump_with(&target, name, &[], Tolerance::STRICT);
        let run = run.expect(6);
        assert!(run.wall < Duration::from_secs(20), "took {:?}", run.wall);
        let dump = dump.unwrap();
        verify(&dump, &target.markers);
        let gap = dump.gaps().iter().find(|gap| gap["subject"] == "registers" && gap["tid"] == parent);
        let gap = gap.unwrap_or_else(|| panic!("no gap for the thread's registers: {:?}", dump.gaps()));
        assert_eq!(gap["reason"], "uninterruptible_sleep");
    }
    let dir = scratch();
    let run = effigy(["dump", &target.pid_text(), "-o", "dump.dmp"]).dir(dir.path()).run().expect(6);
    let said = run.stderr.clone() + &String::from_utf8_lossy(&run.stdout);
    assert!(said.contains(&parent.to_string()) && said.contains("uninterruptible"), "{said}");
}

/// Case 33: SIGTERM is obeyed while such a thread is waited for.
#[test]
fn cancelled_while_waiting_for_a_sleeper() {
    let dir = scratch();
    let target = Plan::c("vf").args(["60"]).start();
    let before = State::of(target.pid);
    let run = effigy(["dump", &target.pid_text(), "-o"]).arg(dir.path().join("dump.core")).start();
    std::thread::sleep(Duration::from_millis(700));
    run.send(Signal::SIGTERM);
    let run = run.wait();
    before.assert_unharmed(Tolerance::STRICT);
    if run.code != Some(0) && run.code != Some(6) {
        run.expect(143);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a file was left behind");
    }
}

/// Case 32: a stopped target is dumped and stays stopped.
#[test]
fn stopped_target_stays_stopped() {
    let target = Plan::c("big").args(["-m", "4", "-t", "5"]).start();
    target.stop();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        expect_all_threads(&dump, &target);
        assert!(thread_states(target.pid).values().all(|letter| *letter == 'T'), "not all threads are stopped");
    }
    // A stop that is cancelled by SIGCONT must still be one.
    target.send(Signal::SIGCONT);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while thread_states(target.pid).values().any(|letter| *letter == 'T') {
        assert!(std::time::Instant::now() < deadline, "SIGCONT does not wake the target");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Case 32: a frozen target is dumped and stays frozen.
#[test]
fn frozen_target_stays_frozen() {
    let target = Plan::c("big").args(["-m", "4", "-t", "5"]).start();
    let Some(group) = Cgroup::new("frozen") else {
        return skip("no control group can be made");
    };
    group.add(target.pid);
    group.freeze(true);
    for name in ["dump.core", "dump.dmp"] {
        let (run, dump) = dump_with(&target, name, &[], Tolerance::STRICT);
        run.expect(0);
        let dump = dump.unwrap();
        verify(&dump, &target.markers);
        expect_all_threads(&dump, &target);
        group.await_frozen();
    }
    let before = State::of(target.pid);
    let run = effigy(["stacks", &target.pid_text()]).run().expect(0);
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(said.matches("Thread ").count(), live_threads(&target).len(), "{said}");
    assert!(!said.contains("no registers"), "{said}");
    group.await_frozen();
    before.assert_unharmed(Tolerance::STRICT);
    group.freeze(false);
}

/// Case 36: the target is killed in the middle: told, and no file under the final name unless it was complete.
#[test]
fn target_killed_midway() {
    let mut seen_midway = 0;
    for round in 0..8_u64 {
        let dir = scratch();
        let path = dir.path().join("dump.core");
        let mut target = Plan::c("big").args(["-m", "256", "-t", "4"]).start();
        let mut run = effigy(["dump", &target.pid_text(), "-o"]).arg(&path).start();
        std::thread::sleep(Duration::from_millis(10 + 30 * round));
        let was_over = run.is_over();
        target.send(Signal::SIGKILL);
        let run = run.wait();
        target.end();
        if run.code == Some(0) {
            // It was complete before the kill, or at least everything of the target had been read.
            verify(&Dump::open(&path), &target.markers);
            continue;
        }
        assert!(!was_over, "failed before the target was killed: {}", run.stderr);
        assert!(matches!(run.code, Some(2 | 6)), "exit code {:?}: {}", run.code, run.stderr);
        if run.code == Some(2) {
            seen_midway += 1;
            assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a file was left behind");
        }
    }
    eprintln!("{seen_midway} of 8 runs saw the target die midway");
}

/// Case 36 with --keep-partial: what was read stays, and the exit code says that it is not all.
#[test]
fn target_killed_midway_keeping_the_part() {
    for round in 0..6_u64 {
        let dir = scratch();
        let path = dir.path().join("dump.core");
        let mut target = Plan::c("big").args(["-m", "256"]).start();
        let run = effigy(["dump", &target.pid_text(), "--keep-partial", "-o"]).arg(&path).start();
        std::thread::sleep(Duration::from_millis(60 + 25 * round));
        target.send(Signal::SIGKILL);
        let run = run.wait();
        target.end();
        assert!(matches!(run.code, Some(0 | 2 | 6)), "exit code {:?}: {}", run.code, run.stderr);
        if run.code == Some(6) {
            let said = run.stderr.clone() + &String::from_utf8_lossy(&run.stdout);
            assert!(said.to_lowercase().contains("partial"), "{said}");
            let kept: Vec<_> = dir.path().read_dir().unwrap().flatten().map(|entry| entry.path()).collect();
            assert_eq!(kept.len(), 1, "{kept:?}");
        }
    }
}

/// Case 37: a target that turns into another program again and again. Each dump is of one program, whole, or there is
/// none.
#[test]
fn target_that_executes_another_program() {
    let build = |variant: &str| crate::harness::compile("execloop", &[&format!("-DVARIANT={variant}"), "-no-pie"]);
    let (one, two) = (build("1"), build("2"));
    let place = Plan::program(&one).args(["where"]).start().number("variant");
    let target = Plan::program(&one).args([two.to_str().unwrap(), "15"]).start();
    let mut complete = 0;
    for round in 0..30 {
        let dir = scratch();
        let path = dir.path().join("dump.core");
        let run = effigy(["dump", &target.pid_text(), "-o"]).arg(&path).within(60).run();
        assert!(matches!(run.code, Some(0 | 2 | 6)), "round {round}: exit code {:?}: {}", run.code, run.stderr);
        if run.code == Some(0) {
            complete += 1;
            expect_unmixed(&Core::open(&path), place, (one.to_str().unwrap(), two.to_str().unwrap()));
        }
    }
    assert!(crate::harness::alive(target.pid), "the target died");
    assert_eq!(crate::harness::status_field(target.pid, "TracerPid").as_deref(), Some("0"));
    eprintln!("{complete} of 30 dumps are complete");
    assert!(complete > 0, "no dump came to be");
}

/// Case 37 with many threads: execve in one of them waits for the tracer of the others, while the tracer waits for a lock
/// that execve holds. Nobody may wait for ever, and a process that lives is never said to have ended.
#[test]
fn target_with_many_threads_that_executes_itself() {
    let target = Plan::c("execstorm").args(["400"]).start();
    for round in 0..25 {
        let dir = scratch();
        let run = effigy(["dump", &target.pid_text(), "--kind", "mini", "-o"])
            .arg(dir.path().join("dump.core"))
            .within(60)
            .run();
        assert!(matches!(run.code, Some(0 | 6)), "round {round}: exit code {:?}: {}", run.code, run.stderr);
    }
    assert!(crate::harness::alive(target.pid), "the target died");
    assert_eq!(crate::harness::status_field(target.pid, "TracerPid").as_deref(), Some("0"));
}

/// The program that NT_FILE names is the one whose variant is in memory.
#[track_caller]
fn expect_unmixed(core: &Core, place: u64, programs: (&str, &str)) {
    const NT_FILE: u32 = 0x4649_4c45;
    let files = core.notes_of("CORE", NT_FILE).next().expect("NT_FILE");
    let names = |program: &str| bstr::ByteSlice::find(files, program).is_some();
    assert_ne!(names(programs.0), names(programs.1), "files of both programs, or of neither");
    // The page is there only once the program has run that far.
    let Some(bytes) = core.memory(place, 24) else { return };
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let variant = word(16);
    assert_eq!((word(0), word(8)), (0x6566_6669_6779_0000 + variant, !variant), "the variant's words belong together");
    let (named, other) = if variant == 1 { (programs.0, programs.1) } else { (programs.1, programs.0) };
    assert!(names(named) && !names(other), "memory of variant {variant}, files of the other");
}
