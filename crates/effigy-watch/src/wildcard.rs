//! Patterns with wildcards, as ProcDump's filters have them: `*` stands for any text, also none; `?` for one letter. A
//! pattern is looked for anywhere in a text, and upper and lower case are the same.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    text: String,
    letters: Vec<char>,
}

impl Wildcard {
    /// From its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // Looked for anywhere: as if it began and ended with `*`.
        let letters = format!("*{}*", text.to_lowercase()).chars().collect();
        Self { text: text.to_owned(), letters }
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text holds it. Takes time in proportion to the product of both lengths, at most.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.to_lowercase().chars().collect();
        let pattern = &self.letters;
        let (mut at, mut in_pattern) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: one letter later.
        let mut retry: Option<(usize, usize)> = None;
        while at < text.len() {
            match pattern.get(in_pattern) {
                Some('*') => {
                    retry = Some((at, in_pattern + 1));
                    in_pattern += 1;
                }
                Some(letter) if *letter == '?' || *letter == text[at] => {
                    at += 1;
                    in_pattern += 1;
                }
                _ => match retry {
                    Some((from, after_star)) => {
                        at = from + 1;
                        in_pattern = after_star;
                        retry = Some((at, after_star));
                    }
                    None => return false,
                },
            }
        }
        pattern[in_pattern..].iter().all(|letter| *letter == '*')
    }
}

/// What is wanted and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these must fit; with none, everything does.
    pub include: Vec<Wildcard>,
    /// None of these may fit.
    pub exclude: Vec<Wildcard>,
}

impl Filter {
    /// Whether a text passes.
    #[must_use]
    pub fn passes(&self, text: &str) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|pattern| pattern.fits(text));
        included && !self.exclude.iter().any(|pattern| pattern.fits(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Wildcard::new(pattern).fits(text)
    }

    #[test]
    fn patterns() {
        assert!(fits("error", "an ERROR here") && fits("", "") && fits("*", "x") && fits("a*c", "xabbcx"));
        assert!(fits("a?c", "abc") && !fits("a?c", "ac") && !fits("abc", "ab") && fits("a*b*c", "a1b2b3c"));
        assert!(!fits("a*z", "abc"));
        assert!(fits("größe", "die GRÖSSE") || fits("größe", "die GRÖßE"));
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let text = "a".repeat(20_000);
        let pattern = format!("{}b", "a*".repeat(200));
        assert!(!fits(&pattern, &text));
    }

    #[test]
    fn filters() {
        let filter = Filter { include: vec![Wildcard::new("error")], exclude: vec![Wildcard::new("ignored*error")] };
        assert!(filter.passes("error 5") && !filter.passes("fine") && !filter.passes("ignored: error 6"));
        assert!(Filter::default().passes("anything"));
    }
}
