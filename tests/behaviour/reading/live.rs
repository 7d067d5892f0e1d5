//! Running processes: seen without a stop, or with one for as long as registers take.

use super::{json, list, number, read, text};
use crate::harness::{Plan, State, Tolerance, dump_core, dump_with};

#[test]
fn a_process_is_seen_without_being_stopped() {
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let pid = target.pid_text();
    let before = State::of(target.pid);
    for command in ["info", "threads", "modules", "regions", "handles"] {
        let run = read([command, "--json", &pid]);
        assert_eq!(run.stderr, "", "{command}");
        let answer = run.json();
        assert_eq!(
            (&answer["source"]["kind"], answer["source"]["pid"].as_i64()),
            (&"live".into(), Some(target.pid.into()))
        );
        assert!(answer["source"].get("pause_us").is_none(), "{command}");
        assert!(!text([command, &pid]).is_empty());
    }
    before.assert_unharmed(Tolerance::STRICT);
}

#[test]
fn registers_take_a_short_stop() {
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let before = State::of(target.pid);
    let run = read(["threads", "--registers", "--json", &target.pid_text()]).says("stood still for");
    before.assert_unharmed(Tolerance::STRICT);
    let answer = run.json();
    assert!(answer["source"]["pause_us"].as_u64().unwrap() > 0);
    let dump = dump_core(&target, &[]);
    let dumped = json(["threads", "--registers", "--json", dump.path.to_str().unwrap()]);
    for tid in &target.threads {
        let find = |answer: &serde_json::Value| {
            let thread = list(&answer["threads"]).iter().find(|thread| thread["tid"] == *tid).cloned();
            thread.unwrap_or_else(|| panic!("no thread {tid} in {answer}"))
        };
        let (live, dumped) = (find(&answer), find(&dumped));
        for fact in ["name", "instruction_pointer", "stack_pointer", "location"] {
            assert_eq!(live[fact], dumped[fact], "thread {tid}: {fact}");
        }
        assert_eq!(live["registers"]["rsp"], dumped["registers"]["rsp"]);
    }
}

#[test]
fn the_working_set_is_that_of_the_kernel() {
    let target = Plan::c("big").args(["-m", "16"]).start();
    let answer = json(["regions", "--summary", "--json", &target.pid_text()]);
    let summary = &answer["summary"];
    let status = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", target.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    let resident = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    // smaps_rollup has no line for vsyscall, which takes no memory.
    assert_eq!(summary["working_set"]["resident"].as_u64(), Some(resident));
    let set = &summary["working_set"];
    assert_eq!(set["private"].as_u64().unwrap() + set["shared"].as_u64().unwrap(), resident);
    // Data of the program and its libraries, which relocation wrote to.
    let copied = summary["copied_on_write"].as_u64().unwrap();
    assert!((4096..1 << 20).contains(&copied), "{copied} bytes copied on write");
    assert!(summary["page_faults"]["minor"].as_u64().unwrap() > 0);
}

/// The kernel tells where threads that sleep have their stacks.
#[test]
fn stacks_are_known_without_a_stop() {
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let answer = json(["regions", "--json", "--usage", "stack", &target.pid_text()]);
    assert!(answer["source"].get("pause_us").is_none());
    let regions = list(&answer["regions"]);
    let threads: Vec<_> =
        regions.iter().flat_map(|region| list(&region["threads"])).filter_map(|id| id.as_u64()).collect();
    for tid in &target.threads {
        assert!(threads.contains(&u64::from(*tid)), "thread {tid} in {regions:?}");
    }
}

#[test]
fn regions_are_those_of_the_process() {
    let target = Plan::c("maps").start();
    let answer = json(["regions", "--json", &target.pid_text()]);
    let bounds = |text: &str| {
        let (start, end) = text.split_whitespace().next().unwrap().split_once('-').unwrap();
        [start, end].map(|digits| u64::from_str_radix(digits, 16).unwrap())
    };
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", target.pid)).unwrap();
    let known: Vec<_> = maps.lines().map(bounds).filter(|[start, _]| start >> 63 == 0).collect();
    let listed = list(&answer["regions"]).iter().filter(|region| region["usage"] != "free");
    let listed: Vec<_> = listed.map(|region| [number(&region["start"]), number(&region["end"])]).collect();
    assert_eq!(listed.iter().filter(|[start, _]| start >> 63 == 0).copied().collect::<Vec<_>>(), known);
}

#[test]
fn a_register_is_an_address() {
    let target = Plan::c("plain").start();
    let pid = target.pid_text();
    let tid = target.threads.iter().next().map_or_else(|| pid.clone(), ToString::to_string);
    let text = text(["memory", "read", &pid, "@rsp", "--thread", &tid, "--as", "pointers+symbols", "--length", "256"]);
    assert_eq!(text.lines().count(), 32, "{text}");
    // Where the call in which it sleeps returns to.
    assert!(text.contains(" plain+0x") || text.contains(" libc.so"), "{text}");
}

/// What lies between the regions of effigy's own dumps is free, as effigy lists them all.
#[test]
fn what_is_free_is_known_of_our_own_dumps() {
    let target = Plan::c("plain").start();
    for name in ["dump.core", "dump.dmp"] {
        let (run, dump) = dump_with(&target, name, &[], Tolerance::STRICT);
        run.expect(0);
        let dump = dump.unwrap();
        let answer = json(["regions".as_ref(), "--summary".as_ref(), "--json".as_ref(), dump.path.as_os_str()]);
        let usages = answer["summary"]["by_usage"].as_array().unwrap();
        let has = |name: &str| usages.iter().any(|usage| usage["key"] == name);
        assert!(has("free") && !has("not_listed"), "{name}: {usages:?}");
    }
}
