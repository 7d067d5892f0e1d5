//! Asking for a dump in every way, of a target that cannot have some of them: what comes is bounded in time, true, and
//! harmless.

use serde_json::Value;

use super::{Mode, expect_mode_or_reason};
use crate::harness::{Dump, Mappings, State, Target, Tolerance, effigy, scratch, twins_of, verify};

/// What may be asked for, and the best that may come of it.
const ASKS: [(&[&str], Mode); 5] = [
    (&["--snapshot", "clone"], Mode::Clone),
    (&["--snapshot", "live"], Mode::Live),
    (&["-r"], Mode::Live),
    (&["-r", "--avoid-outage"], Mode::Live),
    (&[], Mode::Live),
];

/// Nothing was written because the target would have had to stand still (`--avoid-outage`).
pub(super) const SKIPPED: i32 = 8;

/// Asks in every way; `codes` are the exit codes that a dump may have here. Gives how each was taken.
#[track_caller]
pub(super) fn ask_in_every_way(target: &Target, codes: &[i32]) -> Vec<String> {
    ASKS.iter().map(|(arguments, best)| ask(target, arguments, *best, codes)).collect()
}

#[track_caller]
fn ask(target: &Target, arguments: &[&str], best: Mode, codes: &[i32]) -> String {
    let dir = scratch();
    let path = dir.path().join("dump.core");
    let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
    let run = effigy(["dump", &target.pid_text(), "--json", "-o"]).arg(&path).args(arguments).within(60).run();
    before.assert_unharmed(Tolerance::STRICT);
    mappings.assert_same();
    assert!(twins_of(target.pid).iter().all(|twin| before.children().contains(twin)), "a twin is left");
    let avoid = arguments.contains(&"--avoid-outage");
    let used = match run.code {
        Some(SKIPPED) if avoid => {
            assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a file was written");
            assert!(!run.stderr.is_empty() || !run.stdout.is_empty(), "nothing is said");
            "skipped".to_owned()
        }
        Some(code) if codes.contains(&code) => {
            let json: Value = run.json();
            expect_mode_or_reason(best, &json);
            assert!(!avoid || json["snapshot"] != "stop", "stopped, though asked not to: {json}");
            verify(&Dump::open(&path), &target.markers);
            format!("{} ({})", json["snapshot"], json["snapshot_reason"])
        }
        code => panic!("{arguments:?}: exit code {code:?}: {}", run.stderr),
    };
    eprintln!("{arguments:?}: {used} in {:?}", run.wall);
    used
}
