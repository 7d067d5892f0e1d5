//! Byte strings: one alone, or many at once. Hits are found at every address, also where they overlap.

use std::ops::ControlFlow;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem::Finder;

use super::{Emit, Haystack, Label};
use crate::search::query::PatternError;

/// One byte string.
#[derive(Clone, Debug)]
pub(in crate::search) struct Needle {
    label: Label,
    finder: Finder<'static>,
    /// Least distance of two hits.
    period: usize,
}

impl Needle {
    pub(super) fn new(label: Label, bytes: &[u8]) -> Self {
        Self { label, finder: Finder::new(bytes).into_owned(), period: period(bytes) }
    }

    pub(super) fn longest(&self) -> usize {
        self.finder.needle().len()
    }

    pub(super) fn find(&self, haystack: Haystack<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
        let needle = self.finder.needle();
        let bytes = haystack.for_length(needle.len());
        let mut from = haystack.starts().start;
        while let Some(found) = bytes.get(from..).and_then(|rest| self.finder.find(rest)) {
            let mut at = from + found;
            emit(self.label.hit(haystack.address(at), needle.len()))?;
            // The next hit that overlaps this one is a period further on and needs only its tail compared; comparing
            // all of it each time would take quadratic time in memory full of one byte.
            let tail = &needle[needle.len() - self.period..];
            while bytes[at + needle.len()..].starts_with(tail) {
                at += self.period;
                emit(self.label.hit(haystack.address(at), needle.len()))?;
            }
            from = at + 1;
        }
        ControlFlow::Continue(())
    }
}

/// The least distance, not 0, at which two copies of `bytes` can overlap: by the borders of Knuth, Morris and Pratt.
fn period(bytes: &[u8]) -> usize {
    let mut borders = vec![0; bytes.len()];
    let mut border = 0;
    for end in 1..bytes.len() {
        while border > 0 && bytes[border] != bytes[end] {
            border = borders[border - 1];
        }
        if bytes[border] == bytes[end] {
            border += 1;
        }
        borders[end] = border;
    }
    bytes.len() - border
}

/// Many byte strings.
#[derive(Clone, Debug)]
pub(in crate::search) struct Needles {
    needles: Vec<(Label, Vec<u8>)>,
    automaton: AhoCorasick,
    /// By their first byte, the needles in the order of the caller: what else may start where one starts.
    by_first_byte: Vec<Vec<usize>>,
    longest: usize,
}

impl Needles {
    pub(super) fn new(needles: Vec<(Label, Vec<u8>)>) -> Result<Self, PatternError> {
        // Leftmost search is the one that can jump over memory where nothing starts. It gives one needle an address, and
        // the others that start there are compared with.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(needles.iter().map(|(_, bytes)| bytes))
            .map_err(|error| PatternError::Together { reason: error.to_string() })?;
        let mut by_first_byte = vec![Vec::new(); 256];
        for (index, (_, bytes)) in needles.iter().enumerate() {
            by_first_byte[usize::from(bytes[0])].push(index);
        }
        let longest = needles.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
        Ok(Self { needles, automaton, by_first_byte, longest })
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn find(&self, haystack: Haystack<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
        let bytes = haystack.for_length(self.longest);
        let mut from = haystack.starts().start;
        while let Some(found) = bytes.get(from..).and_then(|rest| self.automaton.find(rest)) {
            let at = from + found.start();
            if at >= haystack.starts().end {
                break;
            }
            for (label, needle) in self.by_first_byte[usize::from(bytes[at])].iter().map(|index| &self.needles[*index])
            {
                if bytes[at..].starts_with(needle) {
                    emit(label.hit(haystack.address(at), needle.len()))?;
                }
            }
            from = at + 1;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::period;

    #[test]
    fn periods() {
        assert_eq!(period(b"a"), 1);
        assert_eq!(period(b"aaaa"), 1);
        assert_eq!(period(b"abab"), 2);
        assert_eq!(period(b"abcab"), 3);
        assert_eq!(period(b"abcd"), 4);
    }
}
