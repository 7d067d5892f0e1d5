//! Where effigy and an oracle see other frames, and why. docs/unwinding.md has the same list.

use std::fs;
use std::path::Path;

/// A difference in the stacks of a program.
#[derive(Debug)]
pub(super) struct Known {
    /// The program, as its test calls it.
    pub(super) program: &'static str,
    pub(super) oracle: &'static str,
    /// The function whose caller they do not agree on.
    pub(super) callee: &'static str,
    pub(super) why: &'static str,
}

/// All of them. A difference that is not here fails its test, and so does one that is here and gone.
pub(super) const KNOWN: &[Known] = &[];

/// People are told what the tests know.
#[test]
fn known_differences_are_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/unwinding.md");
    let text = fs::read_to_string(page).unwrap();
    for Known { program, oracle, callee, why } in KNOWN {
        let row = format!("| {program} | {oracle} | `{callee}` | {why} |");
        assert!(text.contains(&row), "docs/unwinding.md does not have the line\n{row}");
    }
    let rows = text.lines().skip_while(|line| !line.starts_with("| program | oracle |")).skip(2);
    assert_eq!(rows.take_while(|line| line.starts_with('|')).count(), KNOWN.len(), "lines too many");
}
