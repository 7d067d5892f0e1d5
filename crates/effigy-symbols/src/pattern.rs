//! Patterns of names: `*` stands for any text, `?` for one byte.

use bstr::ByteSlice;

use crate::demangle;

/// What names are compared with.
#[derive(Clone, Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    /// A pattern of text with `*` and `?` in it.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self { bytes: pattern.as_bytes().to_vec() }
    }

    /// Whether all of `text` fits.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = &self.bytes;
        let (mut at, mut read) = (0, 0);
        // Where to go on when what follows the last star does not fit: only the last star needs to be tried again.
        let mut star: Option<(usize, usize)> = None;
        while read < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at + 1, read));
                    at += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[read] => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((after, from)) = star else { return false };
                    star = Some((after, from + 1));
                    at = after;
                    read = from + 1;
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// Whether a symbol's name fits: as it is, demangled, or demangled without parameters.
    #[must_use]
    pub fn matches_symbol(&self, name: &[u8]) -> bool {
        self.matches(name)
            || demangle::is_mangled(name)
                && (demangle::demangle(name).is_some_and(|text| self.matches(text.as_bytes()))
                    || demangle::demangle_short(name).is_some_and(|text| self.matches(text.as_bytes())))
    }

    /// The name, where the pattern is one and nothing else.
    #[must_use]
    pub fn exact(&self) -> Option<&[u8]> {
        self.bytes.find_byteset(b"*?").is_none().then_some(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let matches = |pattern: &str, text: &str| Pattern::new(pattern).matches(text.as_bytes());
        assert!(matches("main", "main") && !matches("main", "mains") && !matches("main", "mai"));
        assert!(matches("*", "") && matches("**", "x") && matches("a*c*e", "abcde") && !matches("a*c*f", "abcde"));
        assert!(matches("?ain", "main") && !matches("?ain", "ain"));
        assert!(matches("*aab", "aaaaaab") && matches("a*b?", "aabbc"));
        assert!(matches("", "") && !matches("", "a"));
    }

    #[test]
    fn names_are_also_compared_demangled() {
        let name = b"_ZN5space3fooEibc";
        assert!(Pattern::new("space::foo").matches_symbol(name));
        assert!(Pattern::new("space::*(int, bool, char)").matches_symbol(name));
        assert!(Pattern::new("_ZN5*").matches_symbol(name));
        assert!(!Pattern::new("foo").matches_symbol(name));
    }
}
