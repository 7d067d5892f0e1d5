//! Stacks of running processes, which stand still for milliseconds.

use super::tally::Tally;
use super::{backtraces, stacks};
use crate::harness::{Plan, State, Tolerance, gdb_live, oracle};

#[test]
fn a_process_goes_on_while_it_is_unwound() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("frames").start();
    let before = State::of(target.pid);
    let answer = stacks(&target.pid_text(), &[]);
    before.assert_unharmed(Tolerance::STRICT);
    assert!(answer["source"]["pause_us"].as_u64().unwrap() > 0);
    let mut ours = backtraces(&answer);
    let mut theirs = gdb_live(&gdb, target.pid);
    // One thread computes: it is elsewhere each time.
    let threads = answer["threads"].as_array().unwrap();
    let busy = threads.iter().find(|thread| thread["name"] == "busy").unwrap();
    let busy = u32::try_from(busy["tid"].as_u64().unwrap()).unwrap();
    let (own, their) = (ours.remove(&busy).unwrap(), theirs.remove(&busy).unwrap());
    assert_eq!(own.len(), their.len());
    let mut tally = Tally::new("C, live", "gdb");
    tally.compare(&ours, &theirs);
    tally.expect(90);
}

/// The stacks are those of one instant, though they are read when the process has gone on.
#[test]
fn many_threads_at_once() {
    let target = Plan::c("big").args(["-m", "16", "-t", "100"]).start();
    let before = State::of(target.pid);
    let answer = stacks(&target.pid_text(), &["--unique"]);
    before.assert_unharmed(Tolerance::STRICT);
    let threads = answer["threads"].as_array().unwrap();
    assert!(threads.len() > 100);
    let ended: Vec<_> = threads.iter().filter(|thread| thread["stop"] != "end").collect();
    assert!(ended.is_empty(), "{} of {} stacks are not whole: {}", ended.len(), threads.len(), ended[0]);
    let groups = answer["groups"].as_array().unwrap();
    assert!(groups.len() < 40, "{} groups", groups.len());
    assert_eq!(groups.iter().map(|group| group.as_array().unwrap().len()).sum::<usize>(), threads.len());
}

/// A just-in-time compiler's functions have the names that it wrote down for perf.
#[test]
fn node_with_a_perf_map() {
    let script = "function busy(n) { let s = 0; for (let i = 0; i < n; i++) s += Math.sqrt(i); return s; }\n\
                  function again() { for (;;) busy(1e6); }\nconsole.log('ready'); setTimeout(again, 1);";
    if oracle("node").is_none() {
        return;
    }
    // It writes a log beside the map, which nobody needs.
    let log = ["--logfile=/dev/null", "--no-logfile-per-isolate"];
    let names = ["--perf-basic-prof", "--interpreted-frames-native-stack"];
    let target = Plan::program("node").args(log).args(names).args(["-e", script]).start();
    let found = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        stacks(&target.pid_text(), &[]).to_string().contains("again")
    });
    let _ = std::fs::remove_file(format!("/tmp/perf-{}.map", target.pid));
    assert!(found, "no frame of the script has a name");
}
