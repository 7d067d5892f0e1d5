//! docs/json.md names every field that the commands print.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::json;
use crate::harness::{Plan, dump_core, dump_minidump};

/// Where the document is.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");

/// Fields that are only there where something is missing, or the compiler of a program wrote more than that of tests.
const RARE: [&str; 3] = ["column", "mangled", "python_missing"];

/// All names of fields, but those below fields whose names are data.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                if !matches!(
                    name.as_str(),
                    "registers"
                        | "vector_registers"
                        | "fields"
                        | "header"
                        | "capabilities"
                        | "unread_bytes"
                        | "only_before"
                        | "only_after"
                ) {
                    names(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let documented = fs::read_to_string(DOCUMENT).unwrap();
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let dump = dump_minidump(&target, &[]);
    let (path, pid) = (dump.path.to_str().unwrap(), target.pid_text());
    let marker = format!("{:#x}", target.markers[0].address);
    let mut found = BTreeSet::new();
    for subject in [path, pid.as_str()] {
        for arguments in [
            &["info", subject][..],
            &["threads", "--all-registers", subject],
            &["modules", subject],
            &["regions", subject],
            &["regions", "--summary", subject],
            &["handles", subject],
            &["memory", "read", subject, &marker],
            &["memory", "read", subject, &marker, "--as", "pointers+symbols"],
            &["memory", "search", subject, "--text", "ready", "--limit", "5"],
            &["compare", subject, path],
        ] {
            names(&json(arguments.iter().chain(&["--json"])), &mut found);
        }
    }
    names(&json(["streams", "--json", path]), &mut found);
    let missing: Vec<_> = found.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/json.md: {missing:?}");
}

/// The fields in the table of a section.
fn fields_of(document: &str, section: &str) -> BTreeSet<String> {
    let (_, text) = document.split_once(&format!("\n## {section}\n")).expect(section);
    let text = text.split("\n## ").next().unwrap_or_default();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split(['`', ',', ' ']).filter(|name| !name.is_empty()).map(ToOwned::to_owned)).collect()
}

/// What these sections name is printed, and what is printed they name.
#[test]
fn stacks_and_names_are_documented_and_no_field_too_many() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let target = Plan::c("frames").start();
    let dump = dump_core(&target, &["--kind", "full"]);
    let (path, pid) = (dump.path.to_str().unwrap(), target.pid_text());
    for subject in [path, pid.as_str()] {
        let found = json(["symbol", "--json", subject, "frames!recurse"]);
        let inside = found["symbols"][0]["address"].as_str().unwrap().to_owned();
        for (section, commands) in [
            ("stacks", [&["stacks", subject][..], &["stacks", subject, "--unique"]]),
            ("symbol", [&["symbol", subject, "frames!recurse"], &["symbol", subject, &inside]]),
            ("source", [&["source", subject, "frames!recurse"], &["source", subject, &inside]]),
            ("disassemble", [&["disassemble", subject, "frames!recurse"], &["disassemble", subject, &inside]]),
        ] {
            let mut found = BTreeSet::new();
            for arguments in commands {
                let mut answer = json(arguments.iter().chain(&["--json", "--no-index"]));
                answer.as_object_mut().unwrap().remove("source");
                names(&answer, &mut found);
            }
            let documented = fields_of(&document, section);
            let made_up: Vec<_> = found.difference(&documented).collect();
            assert!(made_up.is_empty(), "{section}: not in docs/json.md: {made_up:?}");
            let unseen = documented.difference(&found).filter(|name| !RARE.contains(&name.as_str()));
            let unseen: Vec<_> = unseen.collect();
            assert!(unseen.is_empty(), "{section}: in docs/json.md, and not printed: {unseen:?}");
        }
    }
}
