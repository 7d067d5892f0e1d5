//! Regular expressions, and texts in upper and lower case, which become one.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use regex::bytes::{Regex, RegexBuilder};

use super::{Emit, Haystack, Label};
use crate::search::query::{ExpressionPattern, LONGEST_MATCH, PatternError};
use crate::search::{Encoding, Hit};

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
        while from < end {
            let Some(found) = self.regex.find_at(bytes, from) else { break };
            if found.start() >= end {
                break;
            }
            if !found.is_empty() {
                let cut = haystack.goes_on && found.end() == bytes.len();
                let hit = self.label.hit(haystack.address(found.start()), found.len());
                emit(Hit { cut: cut && self.exclusive, ..hit })?;
            }
            from = if self.exclusive && !found.is_empty() { found.end() } else { found.start() + 1 };
        }
        ControlFlow::Continue(())
    }
}

fn build(label: Label, expression: &str, ignore_case: bool) -> Result<Regex, PatternError> {
    RegexBuilder::new(expression)
        .unicode(false)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|error| PatternError::Expression { index: label.pattern, reason: error.to_string() })
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
