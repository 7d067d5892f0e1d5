//! Memory: of running processes and of dumps, the bytes that are there, and why others are not.

use std::fs;

use super::{json, list, number, read, text};
use crate::harness::{Marker, MarkerKind, Plan, State, Target, Tolerance, dump_core, dump_minidump, effigy, scratch};

fn address(marker: &Marker) -> String {
    format!("{:#x}", marker.address)
}

/// Panics unless the marks of the target are read and extracted from `subject` as they were planted.
fn expect_marks(subject: &str, target: &Target) {
    let folder = scratch();
    for marker in target.markers.iter().filter(|marker| marker.kind != MarkerKind::Absent).take(12) {
        let path = folder.path().join(&marker.name);
        let length = marker.length.to_string();
        read(["memory", "write-file", subject, &address(marker), &length, "-o", path.to_str().unwrap()]);
        assert!(fs::read(&path).unwrap() == marker.bytes(), "{subject}: {}", marker.name);
        let answer = json(["memory", "read", "--json", subject, &address(marker), "--length", "32"]);
        let wanted: String = marker.bytes().iter().take(32).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(answer["bytes"], wanted.as_str(), "{subject}: {}", marker.name);
        assert_eq!(list(&answer["missing"]).len(), 0);
    }
}

#[test]
fn marks_are_found_in_processes_and_in_dumps() {
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let before = State::of(target.pid);
    expect_marks(&target.pid_text(), &target);
    before.assert_unharmed(Tolerance::STRICT);
    let folder = scratch();
    let core = folder.path().join("a.core.zst");
    read(["dump", &target.pid_text(), "--format", "core", "--compress", "zstd", "-o", core.to_str().unwrap()]);
    let minidump = dump_minidump(&target, &[]);
    let marker = target.markers.iter().find(|marker| marker.length >= 16).unwrap();
    let needle: String = marker.bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    for subject in [core.to_str().unwrap(), minidump.path.to_str().unwrap(), &target.pid_text()] {
        expect_marks(subject, &target);
        let answer = json(["memory", "search", "--json", subject, "--bytes", &needle]);
        let hits: Vec<_> = list(&answer["hits"]).iter().map(|hit| number(&hit["address"])).collect();
        assert!(hits.contains(&marker.address), "{subject}: {hits:x?}");
        assert_eq!(answer["report"]["outcome"], "complete");
    }
}

#[test]
fn what_a_dump_does_not_hold_is_no_zero() {
    let target = Plan::c("dd").start();
    let dump = dump_minidump(&target, &[]);
    let path = dump.path.to_str().unwrap();
    let secret = target.number("secret");
    let at = format!("{secret:#x}");
    let answer = json(["memory", "read", "--json", path, &at, "--length", "4", "--as", "dwords"]);
    assert_eq!(answer["values"], serde_json::json!([null]));
    assert_eq!(answer["missing"][0]["reason"], "not_captured");
    assert!(text(["memory", "read", path, &at, "--length", "16"]).contains("?? ?? ??"));
    let folder = scratch();
    let file = folder.path().join("part");
    let start = format!("{:#x}", secret - 4096);
    let arguments = ["memory", "write-file", path, &start, "8192", "-o", file.to_str().unwrap()];
    effigy(arguments).run().expect(5).says("nothing was written").says("not in this dump");
    assert!(!file.exists() && fs::read_dir(folder.path()).unwrap().next().is_none());
    let run = effigy(arguments).args(["--fill", "--json"]).run().expect(6);
    let answer = run.json();
    assert_eq!(fs::metadata(&file).unwrap().len(), 8192);
    assert!(answer["filled_bytes"].as_u64().unwrap() >= 4096);
    assert_eq!(fs::read(&file).unwrap()[4096..], [0; 4096]);
}

#[test]
fn a_search_says_what_it_could_not_search() {
    let target = Plan::c("dd").start();
    let dump = dump_core(&target, &[]);
    let run = read(["memory", "search", dump.path.to_str().unwrap(), "--text", "no such text, I hope"]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.starts_with("no hit in ") && text.contains("not in this dump"), "{text}");
}

/// A huge reservation is neither touched nor waited for.
#[test]
fn searching_a_process_does_not_make_it_grow() {
    let target = Plan::c("big").args(["-m", "8", "-r", "64"]).start();
    let before = State::of(target.pid);
    let run = read(["memory", "search", &target.pid_text(), "--regex", "[^\\x00]{64}", "--limit", "3"]);
    assert!(!run.stdout.is_empty());
    before.assert_unharmed(Tolerance::STRICT);
}
