//! What the closing line counts: tests that passed, failed, or had nothing to do.

use std::collections::BTreeMap;
use std::fmt;

/// Tests run, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// What nextest wrote down in its report; nothing if the report has no totals.
    pub(crate) fn of_report(xml: &str) -> Option<Self> {
        let head = xml.split_once("<testsuites ")?.1.split_once('>')?.0;
        let count = |name| attribute(head, name)?.parse::<usize>().ok();
        let failed = count("failures")? + count("errors")?;
        Some(Self { passed: count("tests")?.checked_sub(failed)?, failed, skipped: 0 })
    }

    /// What a `test result:` line of the built-in harness says. Ignored tests count as skipped.
    pub(crate) fn of_harness_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let count = |word| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse::<usize>().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// A test that skipped itself has passed as empty: it is moved to where it belongs.
    pub(crate) fn take_out(&mut self, skips: &Skips) {
        self.passed = self.passed.saturating_sub(skips.0.len());
        self.skipped += skips.0.len();
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The tests that found nothing they could check, each with its reason.
#[derive(Debug, Default)]
pub(crate) struct Skips(BTreeMap<String, String>);

impl Skips {
    /// Reads the log to which a test appends `SKIPPED name: reason`. A test counts once, with its first reason.
    pub(crate) fn of_log(log: &str) -> Self {
        let mut skips = BTreeMap::new();
        for line in log.lines().filter_map(|line| line.strip_prefix("SKIPPED ")) {
            let (test, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
            skips.entry(test.trim().to_owned()).or_insert_with(|| reason.trim().to_owned());
        }
        Self(skips)
    }

    /// Name and reason of each, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(test, reason)| (test.as_str(), reason.as_str()))
    }
}

fn attribute<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let value = head.split_once(&format!("{name}=\""))?.1;
    Some(value.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_totals_are_read() {
        let xml = "<?xml version=\"1.0\"?>\n<testsuites name=\"effigy\" tests=\"12\" failures=\"2\" errors=\"1\" uuid=\"x\">\n";
        assert_eq!(Tally::of_report(xml), Some(Tally { passed: 9, failed: 3, skipped: 0 }));
    }

    #[test]
    fn report_without_totals_is_no_tally() {
        for xml in
            ["", "<testsuites>", "<testsuites tests=\"2\" failures=\"3\" errors=\"0\">", "<testsuites tests=\"x\">"]
        {
            assert_eq!(Tally::of_report(xml), None, "{xml}");
        }
    }

    #[test]
    fn harness_lines_are_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.10s";
        assert_eq!(Tally::of_harness_line(line), Some(Tally { passed: 3, failed: 1, skipped: 2 }));
        assert_eq!(Tally::of_harness_line("running 3 tests"), None);
    }

    #[test]
    fn skipped_tests_are_not_counted_as_passed() {
        let skips =
            Skips::of_log("SKIPPED a::b: no lldb-19\nnoise\nSKIPPED a::b: no gdb: sorry\nSKIPPED c: not root\n");
        let mut tally = Tally { passed: 5, failed: 1, skipped: 0 };
        tally.take_out(&skips);
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 2 skipped");
        assert_eq!(skips.iter().collect::<Vec<_>>(), [("a::b", "no lldb-19"), ("c", "not root")]);
    }
}
