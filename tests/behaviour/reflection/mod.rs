//! Process reflection: dumps for which the target stands still no longer than its threads take to stop (`--snapshot live`
//! and `clone`), held to the same truth and the same harmlessness as those for which it stands still throughout.

mod asking;
#[cfg(feature = "fault-injection")]
mod choices;
mod counters;
mod equality;
mod instant;
mod killed;
mod limits;
mod options;
mod special;
mod structures;
mod unharmed;

use std::fs;

use serde_json::Value;

use crate::harness::{Dump, Mappings, Target, Tolerance, dump_with, effigy, is_root, scratch, skip};

/// How the target is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Live,
    Clone,
    Stop,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Clone => "clone",
            Self::Stop => "stop",
        }
    }

    fn arguments(self) -> [&'static str; 2] {
        ["--snapshot", self.name()]
    }

    /// Whether this user can have it here; the test is said to be skipped if not.
    fn is_offered(self) -> bool {
        let offered = self != Self::Live || is_root();
        if !offered {
            skip("a live snapshot needs a userfaultfd for the kernel's own faults too, which is for root");
        }
        offered
    }
}

/// The modes that this user can have here, the plain one first.
fn modes() -> impl Iterator<Item = Mode> {
    [Mode::Stop, Mode::Clone, Mode::Live].into_iter().filter(|mode| mode.is_offered())
}

/// A dump in this mode and no other; it must come out complete, and leave the target and its mappings as they were.
#[track_caller]
fn dump_in(mode: Mode, target: &Target, name: &str, arguments: &[&str]) -> Dump {
    let mappings = Mappings::of(target.pid);
    let dump = dump_lively_in(mode, target, name, arguments, Tolerance::STRICT);
    mappings.assert_same();
    dump
}

/// The same of a target that does things meanwhile.
#[track_caller]
fn dump_lively_in(mode: Mode, target: &Target, name: &str, arguments: &[&str], tolerance: Tolerance) -> Dump {
    let arguments = [&mode.arguments(), arguments].concat();
    let (run, dump) = dump_with(target, name, &arguments, tolerance);
    run.expect(0);
    let dump = dump.unwrap();
    expect_mode(mode, &dump.json);
    dump
}

/// The mode that was asked for was used, so that there is nothing to explain.
#[track_caller]
fn expect_mode(mode: Mode, json: &Value) {
    assert_eq!(json["snapshot"], mode.name(), "because {}", json["snapshot_reason"]);
    assert_eq!(json["snapshot_reason"], "");
}

/// The mode that was asked for was used, or a lesser one and it is said why.
#[track_caller]
fn expect_mode_or_reason(mode: Mode, json: &Value) {
    let used = json["snapshot"].as_str().unwrap_or("nothing");
    let reason = json["snapshot_reason"].as_str().unwrap_or_else(|| panic!("no snapshot_reason: {json}"));
    let lesser = match mode {
        Mode::Live => ["clone", "stop"].contains(&used),
        Mode::Clone => ["live", "stop"].contains(&used),
        Mode::Stop => false,
    };
    assert!(used == mode.name() || lesser, "{used} where {} was asked for", mode.name());
    assert_eq!(
        used != mode.name(),
        !reason.is_empty(),
        "{used} where {} was asked for, because {reason:?}",
        mode.name()
    );
}

/// The formats and kinds that repeated dumps take by turns.
const TURNS: [(&str, &str); 3] = [("dump.core", "full"), ("dump.dmp", "full"), ("small.dmp", "miniplus")];

/// Dumps to be taken of a target, one after the other.
struct Repeat<'a> {
    arguments: &'a [&'a str],
    /// Names of failures for EFFIGY_FAULT; none without the feature `fault-injection`.
    fault: &'a str,
    times: usize,
}

impl Repeat<'_> {
    /// Takes them. `expect_told` looks at how each says that it was taken, `complaints` for what is wrong with its memory. Whether
    /// the target is unharmed is for the caller to see, at the end.
    #[track_caller]
    fn of(&self, target: &Target, expect_told: impl Fn(&Value), complaints: impl Fn(&Dump) -> Vec<String>) {
        let dir = scratch();
        for round in 0..self.times {
            let (name, kind) = TURNS[round % TURNS.len()];
            let path = dir.path().join(name);
            let run = effigy(["dump", &target.pid_text(), "--json", "--kind", kind, "-o"]).arg(&path);
            let json = run.args(self.arguments).env("EFFIGY_FAULT", self.fault).run().expect(0).json();
            expect_told(&json);
            let wrong = complaints(&Dump::open(&path).with_json(json));
            assert!(wrong.is_empty(), "{:?}, round {round}, {kind} {name}:\n{}", self.arguments, wrong.join("\n"));
            // Before it has gone to the disk.
            fs::remove_file(&path).unwrap();
        }
    }
}
