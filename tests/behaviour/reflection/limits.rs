//! Targets at a limit: of processes, of memory, of descriptors, or with a thread that cannot be stopped. A dump ends in
//! bounded time, says truly how it was taken, and is never what a limit kills the target for.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::asking::ask_in_every_way;
use crate::harness::{
    Cgroup, Elsewhere, MachineLock, NOBODY, Plan, Setting, Target, alive, compile, heavy, is_root, oracle, skip,
};

/// Starts a target as a member of a control group from its first moment on, so that the group is charged for all it has.
fn start_in(group: &Cgroup, name: &str, arguments: &[&str]) -> Target {
    let script = "echo $$ > \"$0\" && exec \"$@\"";
    let procs = group.path().join("cgroup.procs");
    Plan::program("sh").args(["-c", script]).args([&procs, &compile(name, &[])]).args(arguments).start()
}

/// Not one process or thread more (case 45): there can be no clone.
#[test]
fn number_of_processes_in_a_group() {
    let Some(group) = Cgroup::with("pids", "reflection-pids") else { return skip("no control group for processes") };
    let target = start_in(&group, "big", &["-m", "16", "-t", "4"]);
    let tasks = group.tasks();
    group.limit_tasks(tasks);
    let used = ask_in_every_way(&target, &[0]);
    assert!(used.iter().all(|used| !used.contains("\"clone\"")), "a clone where none can be made: {used:?}");
    assert_eq!(group.tasks(), tasks);
}

/// Memory for 3 MiB more, while the target writes to all of its 150: a clone's copies would get it killed (case 45).
#[test]
fn memory_of_a_group() {
    let Some(group) = Cgroup::with("memory", "reflection-memory") else { return skip("no control group for memory") };
    let target = start_in(&group, "big", &["-m", "150", "-t", "4", "-d", "200"]);
    group.limit_memory(group.memory() + (3 << 20));
    let used = ask_in_every_way(&target, &[0]);
    assert_eq!(group.memory_kills(), 0, "killed for want of memory: {used:?}");
    assert!(alive(target.pid));
}

/// A user with no process to spare (RLIMIT_NPROC).
#[test]
fn number_of_processes_of_a_user() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("big")).args(["-m", "16", "-t", "4"]).by_user(NOBODY).start();
    // Asked for by the user himself, who may: root may not everywhere (CAP_SYS_RESOURCE).
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if !limit(&target, &as_nobody, "--nproc=1:1") {
        return;
    }
    let used = ask_in_every_way(&target, &[0]);
    assert!(used.iter().all(|used| !used.contains("\"clone\"")), "a clone where none can be made: {used:?}");
}

/// No descriptor to spare (RLIMIT_NOFILE): a userfaultfd is made in the target before it is taken out of it.
#[test]
fn number_of_descriptors() {
    let target = Plan::c("big").args(["-m", "16", "-t", "4"]).start();
    let open = fs::read_dir(format!("/proc/{}/fd", target.pid)).unwrap().count();
    if limit(&target, &[], &format!("--nofile={open}:{open}")) {
        ask_in_every_way(&target, &[0]);
    }
}

/// No room for another mapping of any size (RLIMIT_AS).
#[test]
fn size_of_the_address_space() {
    let target = Plan::c("big").args(["-m", "16", "-t", "4"]).start();
    if limit(&target, &[], "--as=1048576:1048576") {
        ask_in_every_way(&target, &[0]);
    }
}

/// Sets a limit of a running process; false, and said to be skipped, where there is no tool for it.
fn limit(target: &Target, wrapper: &[&str], which: &str) -> bool {
    let Some(prlimit) = oracle("prlimit") else { return false };
    let pid = target.pid_text();
    let words = [wrapper, &[prlimit.to_str().unwrap(), "--pid", &pid, which]].concat();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// A system that lends no memory that it does not have (vm.overcommit_memory 2), and a target that has more than half of
/// what is left: there is not enough for another of its size. Other programs keep what the target does not take.
#[test]
fn heavy_memory_that_is_not_lent() {
    if !heavy() {
        return;
    }
    let _machine = MachineLock::take();
    let (Some(_ratio), Some(_mode)) =
        (Setting::set("/proc/sys/vm/overcommit_ratio", "90"), Setting::set("/proc/sys/vm/overcommit_memory", "2"))
    else {
        return skip("vm.overcommit_memory cannot be changed");
    };
    let left = memory_fact("CommitLimit").saturating_sub(memory_fact("Committed_AS"));
    // The target reserves as many GiB again without access, which costs nothing.
    let gibibytes = (left * 6 / 10) >> 20;
    if gibibytes == 0 {
        return skip("the system has no GiB to lend");
    }
    let target = Plan::c("big").args(["-m", "16", "-t", "4", "-r", &gibibytes.to_string()]).start();
    let used = ask_in_every_way(&target, &[0]);
    assert!(used.iter().all(|used| !used.contains("\"clone\"")), "a clone where none can be made: {used:?}");
}

/// A line of `/proc/meminfo`, in KiB.
fn memory_fact(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// A thread in vfork(2) cannot be stopped, and its child has the same memory (case 33): that thread's registers are missing,
/// as in a plain dump, and nobody waits for it for ever.
#[test]
fn thread_in_vfork() {
    let target = Plan::c("vf").args(["120"]).start();
    let since = std::time::Instant::now();
    ask_in_every_way(&target, &[0, 6]);
    assert!(since.elapsed() < Duration::from_secs(100), "took {:?}", since.elapsed());
}
