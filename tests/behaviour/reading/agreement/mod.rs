//! What two other readers say of every dump of the corpus that is well formed, beside what effigy says: field by field.
//!
//! Where they disagree, the disagreement is listed with its reason. A disagreement that is not listed fails the test, and
//! so does one that is listed and no longer there.

mod lldb;
mod stackwalk;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use serde_json::Value;

use super::{json, number};

/// What effigy says of a dump.
struct Ours {
    info: Value,
    threads: Vec<Value>,
    modules: Vec<Value>,
}

/// A disagreement that is known: of which file (`*` for several), about what, and why.
struct Known {
    file: &'static str,
    field: &'static str,
    #[expect(dead_code, reason = "it is there to be read")]
    why: &'static str,
}

/// Compares what effigy says of one file after the other with what somebody else says.
struct Comparison {
    known: &'static [Known],
    used: BTreeSet<usize>,
    /// Fields that were compared, and those that were not equal.
    compared: usize,
    unexplained: Vec<String>,
}

impl Ours {
    fn of(file: &Path) -> Self {
        let path = file.to_str().unwrap();
        let threads = json(["threads", "--json", "--registers", path]);
        let modules = json(["modules", "--json", path]);
        Self {
            info: json(["info", "--json", path]),
            threads: threads["threads"].as_array().unwrap().clone(),
            modules: modules["modules"].as_array().unwrap().clone(),
        }
    }

    fn is_core(&self) -> bool {
        self.info["source"]["kind"] == "core"
    }

    /// The module that begins at an address.
    fn module(&self, base: u64) -> Option<&Value> {
        self.modules.iter().find(|module| number(&module["range"]["start"]) == base)
    }
}

impl Comparison {
    fn new(known: &'static [Known]) -> Self {
        Self { known, used: BTreeSet::new(), compared: 0, unexplained: Vec::new() }
    }

    fn same<T: PartialEq + Debug>(&mut self, file: &str, field: &str, ours: T, theirs: T) {
        self.compared += 1;
        if ours == theirs {
            return;
        }
        let matches = |known: &Known| match known.file.split_once('*') {
            Some((start, end)) => file.starts_with(start) && file.ends_with(end),
            None => known.file == file,
        };
        match self.known.iter().position(|known| known.field == field && matches(known)) {
            Some(index) => _ = self.used.insert(index),
            None => self.unexplained.push(format!("{file}: {field}: {ours:x?}, and by the oracle {theirs:x?}")),
        }
    }

    #[track_caller]
    fn finish(self, at_least: usize) {
        assert!(self.unexplained.is_empty(), "{}", self.unexplained.join("\n"));
        let over: Vec<_> = self.known.iter().enumerate().filter(|(index, _)| !self.used.contains(index)).collect();
        let over: Vec<_> = over.iter().map(|(_, known)| format!("{}: {}", known.file, known.field)).collect();
        assert!(over.is_empty(), "they agree by now: {}", over.join(", "));
        assert!(self.compared >= at_least, "only {} fields were compared", self.compared);
    }
}

/// The dumps of the corpus that are well formed, by their paths in it.
pub(super) fn dumps(corpus: &Path, beginnings: &[&str]) -> Vec<String> {
    let index = std::fs::read_to_string(corpus.join("INDEX.tsv")).unwrap();
    let rows = index.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let chosen = rows.filter(|row| beginnings.iter().any(|beginning| row[4].starts_with(beginning)));
    chosen.filter(|row| !row[4].contains("malformed")).map(|row| row[0].to_owned()).collect()
}

/// The value of a field that is `0x…`, or nothing.
fn maybe(value: &Value) -> Option<u64> {
    value.is_string().then(|| number(value))
}
