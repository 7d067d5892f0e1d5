//! `--json`: one object a dump, with fields that scripts rely on.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Plan, State, Tolerance, disk_bytes, effigy, scratch};

const FIELDS: [&str; 16] = [
    "path",
    "format",
    "kind",
    "bytes",
    "disk_bytes",
    "memory_bytes",
    "threads",
    "regions",
    "modules",
    "gaps",
    "snapshot",
    "snapshot_reason",
    "pause_us",
    "stall_us",
    "wall_us",
    "target",
];

#[test]
fn fields() {
    let target = Plan::c("big").args(["-m", "8", "-t", "3"]).start();
    let dir = scratch();
    for (name, format) in [("a.core", "core"), ("a.dmp", "minidump")] {
        let path = dir.path().join(name);
        let before = State::of(target.pid);
        let run = effigy(["dump", &target.pid_text(), "--json", "-o"]).arg(&path).run().expect(0);
        before.assert_unharmed(Tolerance::STRICT);
        let object = run.json();
        let missing: Vec<_> = FIELDS.iter().filter(|field| object.get(**field).is_none()).collect();
        assert!(missing.is_empty(), "missing {missing:?} in {object}");
        expect_true(&object, &path, format);
        assert_eq!(object["threads"], 4);
        expect_target(&object["target"], target.pid);
        object["gaps"].as_array().unwrap().iter().for_each(expect_gap);
    }
}

fn expect_true(object: &Value, path: &Path, format: &str) {
    assert_eq!(Path::new(object["path"].as_str().unwrap()).canonicalize().unwrap(), path.canonicalize().unwrap());
    assert_eq!(object["format"], format);
    assert_eq!(object["kind"], "full");
    assert_eq!(object["bytes"], fs::metadata(path).unwrap().len());
    let on_disk = object["disk_bytes"].as_u64().unwrap();
    assert!(on_disk.abs_diff(disk_bytes(path)) <= 1 << 20, "disk_bytes {on_disk}, truly {}", disk_bytes(path));
    assert!(object["memory_bytes"].as_u64().unwrap() >= 8 << 20);
    let (pause, wall) = (object["pause_us"].as_u64().unwrap(), object["wall_us"].as_u64().unwrap());
    assert!(pause > 0 && pause <= wall, "pause {pause} us, wall {wall} us");
    assert!(object["regions"].as_u64().unwrap() > 20);
    assert!(object["modules"].as_u64().unwrap() >= 3);
    assert!(object["snapshot"].is_string(), "{}", object["snapshot"]);
}

fn expect_target(told: &Value, pid: i32) {
    assert_eq!(told["pid"], pid);
    assert_eq!(told["name"], "big");
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(told["exe"].as_str(), exe.to_str());
    let build_id = told["build_id"].as_str().unwrap();
    assert!(build_id.len() == 40 && build_id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{build_id}");
}

fn expect_gap(gap: &Value) {
    assert!(gap["reason"].is_string() && gap["loss"].is_boolean() && gap["detail"].is_string(), "{gap}");
    match gap["subject"].as_str() {
        Some("memory") => assert!(gap["start"].is_string() && gap["end"].is_string(), "{gap}"),
        Some("registers") => assert!(gap["tid"].is_u64(), "{gap}"),
        Some("fact") => assert!(gap["fact"].is_string(), "{gap}"),
        other => panic!("subject {other:?} of a gap: {gap}"),
    }
}

/// With --json nothing else is on standard output, and without it a script can rely on silence on a pipe's stderr.
#[test]
fn silence_when_piped() {
    let target = Plan::c("plain").start();
    let dir = scratch();
    let run = effigy(["dump", &target.pid_text(), "-o", "a.dmp", "--json"]).dir(dir.path()).run().expect(0);
    assert_eq!(run.stderr, "", "progress or chatter on a pipe");
    assert_eq!(run.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
}

/// What went wrong goes to standard error, not into the JSON stream.
#[test]
fn errors_go_to_stderr() {
    let run = effigy(["dump", "4194000", "--json", "-o", "-"]).run().expect(2);
    assert!(run.stdout.is_empty(), "{}", String::from_utf8_lossy(&run.stdout));
    assert!(!run.stderr.is_empty());
}
