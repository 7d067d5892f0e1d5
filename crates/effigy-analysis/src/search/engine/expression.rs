//! Regular expressions, and texts in upper and lower case, which become one.

use std::fmt::Write as _;
use std::ops::{ControlFlow, Range};

use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, Match};

use super::{Emit, Haystack, Label};
use crate::search::query::{ExpressionPattern, LONGEST_MATCH, PatternError, SURE_MATCH};
use crate::search::{Encoding, Hit};

/// Times that an expression may look through all that is left of a piece of memory. Where it has more hits than that, it
/// looks no further than [`STEP`] behind each. One search takes time in proportion to what it looks through, and hits of
/// one byte may each take a look through all of it: `.*[^a]|a` on nothing but `a`. That would be the square of the piece's
/// length; so it is in proportion to it.
const THOROUGH: usize = 256;

/// Bytes of a hit that are sure to be seen when there are many.
const STEP: usize = SURE_MATCH;

/// Bytes of memory that the tables of a search may take.
const TABLES: usize = 2 << 20;
/// Bytes that a compiled expression may take.
const LARGEST: usize = 10 << 20;

/// A regular expression.
#[derive(Clone, Debug)]
pub(in crate::search) struct Expression {
    label: Label,
    regex: Regex,
    longest: usize,
    /// Whether hits may not overlap.
    exclusive: bool,
}

impl Expression {
    pub(super) fn new(label: Label, pattern: &ExpressionPattern) -> Result<Self, PatternError> {
        let regex = build(label, &pattern.expression, pattern.ignore_case)?;
        Ok(Self { label, regex, longest: LONGEST_MATCH, exclusive: true })
    }

    /// `text` in upper and lower case.
    pub(super) fn folded(label: Label, text: &str, encoding: Encoding) -> Result<Self, PatternError> {
        let mut expression = String::new();
        let mut longest = 0;
        for letter in text.chars() {
            let forms: Vec<_> =
                cases(letter).into_iter().map(|form| encoding.encode(form.encode_utf8(&mut [0; 4]))).collect();
            longest += forms.iter().map(Vec::len).max().unwrap_or(0);
            expression.push_str("(?:");
            for (index, form) in forms.iter().enumerate() {
                if index > 0 {
                    expression.push('|');
                }
                for byte in form {
                    // Writing to a string cannot fail.
                    let _ = write!(expression, "\\x{byte:02x}");
                }
            }
            expression.push(')');
        }
        Ok(Self { label, regex: build(label, &expression, false)?, longest, exclusive: false })
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn exclusive_pattern(&self) -> Option<usize> {
        self.exclusive.then_some(self.label.pattern)
    }

    pub(super) fn find(&self, haystack: Haystack<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
        let bytes = haystack.bytes();
        let (mut from, end) = haystack.starts;
        for searches in 0.. {
            if from >= end {
                break;
            }
            let reach = (searches >= THOROUGH).then(|| self.longest.min(STEP));
            let search = |within: Range<usize>| self.regex.search(&Input::new(bytes).range(within));
            let Some((found, limit)) = next(from..end, bytes.len(), reach, search) else { break };
            if found.start() >= end {
                break;
            }
            if !found.is_empty() {
                let cut = found.end() == limit && (haystack.goes_on || limit < bytes.len());
                let hit = self.label.hit(haystack.address(found.start()), found.len());
                emit(Hit { cut: cut && self.exclusive, ..hit })?;
            }
            from = if self.exclusive && !found.is_empty() { found.end() } else { found.start() + 1 };
        }
        ControlFlow::Continue(())
    }
}

/// The first match that starts at one of `starts` or behind, and where the bytes end in which it was looked for: at `end`,
/// or, with a `reach`, at least so many bytes behind the match's beginning. `search` searches a part of the bytes.
fn next(
    starts: Range<usize>,
    end: usize,
    reach: Option<usize>,
    search: impl Fn(Range<usize>) -> Option<Match>,
) -> Option<(Match, usize)> {
    let Some(reach) = reach else { return Some((search(starts.start..end)?, end)) };
    for from in starts.step_by(STEP) {
        let limit = from.saturating_add(STEP).saturating_add(reach).min(end);
        match search(from..limit) {
            // One that begins further on is seen better from there.
            Some(found) if found.start() < from.saturating_add(STEP) || limit == end => return Some((found, limit)),
            _ => {}
        }
    }
    None
}

fn build(label: Label, expression: &str, ignore_case: bool) -> Result<Regex, PatternError> {
    let config = Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(LARGEST))
        .onepass_size_limit(Some(LARGEST / 10))
        .hybrid_cache_capacity(TABLES);
    let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case);
    Regex::builder().configure(config).syntax(syntax).build(expression).map_err(|error| {
        let reason = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
        PatternError::Expression { index: label.pattern, reason }
    })
}

/// A letter as it is, in upper and in lower case, where those are one letter each.
fn cases(letter: char) -> Vec<char> {
    let mut forms = vec![letter];
    let mut add = |mut mapped: Box<dyn Iterator<Item = char>>| {
        if let (Some(form), None) = (mapped.next(), mapped.next())
            && !forms.contains(&form)
        {
            forms.push(form);
        }
    };
    add(Box::new(letter.to_lowercase()));
    add(Box::new(letter.to_uppercase()));
    forms
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn regex(expression: &str) -> Regex {
        build(Label { pattern: 0, encoding: None }, expression, false).unwrap()
    }

    /// Bytes that are given to searches while all hits are found, and how many hits there are.
    fn work(expression: &str, bytes: &[u8]) -> (usize, usize) {
        let regex = regex(expression);
        let given = Cell::new(0);
        let search = |within: Range<usize>| {
            given.set(given.get() + within.len());
            regex.search(&Input::new(bytes).range(within))
        };
        let (mut from, mut hits) = (0, 0);
        while from < bytes.len() {
            let Some((found, _)) = next(from..bytes.len(), bytes.len(), Some(STEP), search) else { break };
            (from, hits) = (found.end().max(from + 1), hits + 1);
        }
        (given.get(), hits)
    }

    /// Each hit of one byte, and the search for each, looks at all that follows.
    #[test]
    fn the_time_of_many_hits_is_in_proportion_to_the_memory() {
        for size in [20_000, 40_000] {
            let bytes = vec![b'a'; size];
            let (given, hits) = work("[a].*[^a]|[a]", &bytes);
            assert_eq!(hits, size);
            assert!(given <= size * 2 * STEP, "{given} bytes were looked at for {size}");
        }
        // Without hits a step is looked at twice.
        let (given, hits) = work("b+", &vec![b'a'; 100_000]);
        assert!(hits == 0 && given <= 2 * 100_000 + 2 * STEP, "{given}");
    }

    #[test]
    fn a_short_reach_finds_what_is_no_longer_than_it() {
        let regex = regex("b[^c]{0,8000}c");
        let search = |bytes: &[u8], length: usize| {
            let found =
                next(0..bytes.len(), bytes.len(), Some(STEP), |within| regex.search(&Input::new(bytes).range(within)));
            assert_eq!(found.map(|(found, _)| found.len()), Some(length));
        };
        for before in [0, 1, STEP - 1, STEP, 3 * STEP + 7] {
            let bytes = [&vec![b'a'; before][..], b"b", &vec![b'a'; STEP - 2], b"c", &vec![b'a'; 3 * STEP]].concat();
            search(&bytes, STEP);
        }
    }

    /// What lies around the part that is searched is seen by `^`, `$` and `\b`.
    #[test]
    fn the_end_of_a_part_is_not_the_end_of_memory() {
        let regex = regex(r"x\z|x\b");
        let bytes = [&vec![b'x'; 2 * STEP][..], b"x."].concat();
        let search = |within: Range<usize>| regex.search(&Input::new(&bytes).range(within));
        let (found, _) = next(0..bytes.len(), bytes.len(), Some(STEP), search).unwrap();
        assert_eq!(found.start(), 2 * STEP);
    }
}
