//! `compare`: what changed between two looks at one process.

use super::{json, list, number, text};
use crate::harness::{Plan, dump_core, dump_minidump};

#[test]
fn nothing_changes_in_a_process_that_sleeps() {
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let (before, after) = (dump_core(&target, &[]), dump_minidump(&target, &[]));
    let paths = [before.path.to_str().unwrap(), after.path.to_str().unwrap()];
    let answer = json(["compare", "--json", paths[0], paths[1]]);
    assert_eq!(list(&answer["threads"]["gone"]).len() + list(&answer["threads"]["new"]).len(), 0);
    for list_of in ["loaded", "unloaded", "changed"] {
        assert_eq!(list(&answer["modules"][list_of]).len(), 0, "{list_of}: {answer}");
    }
    let memory = &answer["memory"];
    assert_eq!(memory["complete"], true);
    // The thread that was asked to make calls has a little more on its stack.
    assert!(memory["changed"]["pages"].as_u64().unwrap() <= 4, "{memory}");
    assert!(memory["equal"]["bytes"].as_u64().unwrap() > 4 << 20);
    assert!(text(["compare", "--details", paths[0], paths[1]]).contains("modules: 0 loaded"));
}

/// Two programs are not one.
#[test]
fn other_processes_differ() {
    let (one, other) = (Plan::c("plain").start(), Plan::c("dd").start());
    let answer = json(["compare", "--json", &one.pid_text(), &other.pid_text()]);
    assert_eq!(answer["before"]["pid"].as_i64(), Some(one.pid.into()));
    assert!(!list(&answer["threads"]["gone"]).is_empty() && !list(&answer["threads"]["new"]).is_empty());
    assert!(!list(&answer["modules"]["loaded"]).is_empty());
    let secret = other.number("secret");
    let added = list(&answer["regions"]["changes"]).iter().filter(|change| change["change"] == "added");
    let mut added = added.map(|change| number(&change["start"])..number(&change["end"]));
    assert!(added.any(|range| range.contains(&secret)));
}
