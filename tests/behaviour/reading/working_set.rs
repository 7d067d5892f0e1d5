//! The working set of dumps: what of each region was in memory, as the kernel counted it before the dump was taken.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;

use super::{json, list, number, text};
use crate::harness::{Plan, Target, Tolerance, dump_core, dump_minidump, dump_with, effigy, scratch};

const PAGE: u64 = 4096;
/// What is counted of each region, in JSON and in `smaps`.
const COUNTERS: [(&str, &[&str]); 3] =
    [("resident", &["Rss"]), ("swapped", &["Swap"]), ("shared", &["Shared_Clean", "Shared_Dirty"])];

fn subject(folder: &Path) -> Target {
    let file = folder.join("file");
    fs::write(&file, vec![7; 8 * 4096]).unwrap();
    Plan::c("sets").args([file.to_str().unwrap()]).start()
}

/// Bytes by counter of each region, by its first address.
fn kernels(pid: i32) -> BTreeMap<u64, BTreeMap<String, u64>> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut all: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    let mut at = 0;
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap();
        if let Some((start, _)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            at = u64::from_str_radix(start, 16).unwrap();
        } else if let Some(kilobytes) = line.strip_suffix(" kB") {
            let bytes = kilobytes.rsplit(' ').next().unwrap().parse::<u64>().unwrap() * 1024;
            all.entry(at).or_default().insert(first.trim_end_matches(':').to_owned(), bytes);
        }
    }
    all
}

/// What a counter may be that was read between two looks at it.
fn between(one: u64, other: u64) -> RangeInclusive<u64> {
    one.min(other)..=one.max(other)
}

fn regions(path: &Path) -> Value {
    json(["regions".as_ref(), "--json".as_ref(), "--no-images".as_ref(), path.as_os_str()])
}

fn region_at(answer: &Value, start: u64) -> &Value {
    let found = list(&answer["regions"]).iter().find(|region| number(&region["start"]) == start);
    found.unwrap_or_else(|| panic!("no region begins at {start:#x}"))
}

#[test]
fn dumps_of_every_kind_have_the_kernels_counters() {
    let folder = scratch();
    let target = subject(folder.path());
    for (name, arguments) in
        [("a.core", &["--kind", "full"][..]), ("b.dmp", &["--kind", "miniplus"]), ("c.dmp", &["--kind", "mini"])]
    {
        let before = kernels(target.pid);
        let (run, dump) = dump_with(&target, name, arguments, Tolerance::STRICT);
        run.expect(0);
        let after = kernels(target.pid);
        let answer = regions(&dump.unwrap().path);
        let mut compared = 0;
        for (start, old) in before.iter().filter(|(start, _)| **start >> 63 == 0) {
            let Some(new) = after.get(start) else { continue };
            let region = region_at(&answer, *start);
            for (counter, names) in COUNTERS {
                let sum = |kernels: &BTreeMap<String, u64>| names.iter().map(|name| kernels[*name]).sum::<u64>();
                let found = region[counter].as_u64();
                let right = found.is_some_and(|found| between(sum(old), sum(new)).contains(&found));
                assert!(right, "{name}: {counter} of {start:#x}: {found:?}, kernel {} and {}", sum(old), sum(new));
                compared += 1;
            }
        }
        assert!(compared > 30, "{name}: {compared}");
    }
}

#[test]
fn what_was_written_locked_and_shared_is_told() {
    let folder = scratch();
    let target = subject(folder.path());
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &["--kind", "mini"])] {
        let answer = regions(&dump.path);
        let at = |name| region_at(&answer, target.number(name));
        assert_eq!(at("copied")["copied_on_write"], 3 * PAGE);
        assert_eq!(at("locked")["locked"], target.number("is_locked") == 1);
        assert_eq!(at("locked")["copied_on_write"], Value::Null);
        assert_eq!(at("shared0")["shared"], 4 * PAGE);
        let moment = &answer["counted"];
        assert_eq!(moment["while_stopped"], false);
        let info = json(["info".as_ref(), "--json".as_ref(), "--no-images".as_ref(), dump.path.as_os_str()]);
        assert!(moment["unix"].as_f64().unwrap() <= info["captured_unix"].as_f64().unwrap());
        let path = dump.path.to_str().unwrap();
        let summary = json(["regions", "--summary", "--json", "--no-images", path]);
        let sum =
            |counter: &str| list(&answer["regions"]).iter().filter_map(|region| region[counter].as_u64()).sum::<u64>();
        assert_eq!(summary["summary"]["working_set"]["resident"], sum("resident"));
        assert_eq!(summary["summary"]["copied_on_write"], sum("copied_on_write"));
        assert!(summary["summary"]["page_faults"]["minor"].as_u64().unwrap() > 0);
    }
}

#[test]
fn people_are_told_when_it_was_counted() {
    let folder = scratch();
    let target = subject(folder.path());
    let dump = dump_minidump(&target, &[]);
    let path = dump.path.to_str().unwrap();
    let words = "before the dump's instant, while the process ran";
    let table = text(["regions", "--no-images", path]);
    let first = table.lines().next().unwrap();
    assert!(first.starts_with("Resident, swapped and shared memory was counted ") && first.contains(words), "{table}");
    assert!(table.lines().nth(1).unwrap().contains("Resident"), "{table}");
    let at = format!("{:#x}", target.number("copied"));
    let one = text(["regions", "--no-images", "--at", &at, path]);
    let line =
        |name: &str| one.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {one}"));
    assert!(line("Counted:").ends_with(words));
    assert!(line("Copied on write:").contains(" 3000 ("));
    let summary = text(["regions", "--no-images", "--summary", path]);
    for words in [
        "--- Working Set",
        "  Private ",
        "  Shared ",
        "  Copied on write ",
        "Swapped out ",
        "Locked ",
        "Page tables ",
        "Soft faults ",
        "Hard faults ",
        words,
    ] {
        assert!(summary.contains(words), "{words}: {summary}");
    }
    // Of a running process it is counted just now.
    assert!(!text(["regions", "--summary", &target.pid_text()]).contains(" was counted "));
}

#[test]
fn conversions_keep_the_working_set() {
    let folder = scratch();
    let target = subject(folder.path());
    let strip = |answer: &Value| {
        let told = |region: &Value| {
            let fields = ["start", "end", "resident", "swapped", "shared", "locked", "copied_on_write"];
            fields.map(|field| region[field].clone())
        };
        (answer["counted"].clone(), list(&answer["regions"]).iter().map(told).collect::<Vec<_>>())
    };
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        let expected = strip(&regions(&dump.path));
        for (name, arguments) in
            [("x.core", &[][..]), ("x.dmp", &[]), ("y.dmp", &["--kind", "mini"]), ("z.core", &["--kind", "miniplus"])]
        {
            let to = folder.path().join(name);
            let run =
                effigy(["convert", "--json", "--overwrite"]).arg(&dump.path).arg(&to).args(arguments).run().expect(0);
            let found = strip(&regions(run.json()["path"].as_str().unwrap().as_ref()));
            assert_eq!(found, expected, "{name} of {}", dump.path.display());
        }
    }
}
