//! docs/json.md names every field that the commands print.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::json;
use crate::harness::{Plan, dump_minidump};

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
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let documented = fs::read_to_string(documented).unwrap();
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
