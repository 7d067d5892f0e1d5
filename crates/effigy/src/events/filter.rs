//! Which events count, by what is said of them.

/// Texts that an event's description must hold one of, and none of which it may hold. Upper and lower case are the same,
/// and `*` stands for any text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Filter {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Self {
        let lower = |all: &[String]| all.iter().map(|text| text.to_lowercase()).collect();
        Self { include: lower(include), exclude: lower(exclude) }
    }

    /// Whether one of the things that are said of an event makes it count, and none speaks against it.
    pub(crate) fn takes(&self, said: &[String]) -> bool {
        let said: Vec<String> = said.iter().map(|text| text.to_lowercase()).collect();
        let any = |patterns: &[String]| patterns.iter().any(|pattern| said.iter().any(|text| holds(text, pattern)));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// Whether a text holds the parts of a pattern one behind the other.
fn holds(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude))
    }

    #[test]
    fn parts_are_looked_for_in_their_order() {
        assert!(holds("sigsegv / segv_maperr", "segv*maperr") && holds("x", "") && holds("x", "*"));
        assert!(!holds("sigsegv / segv_maperr", "maperr*sigsegv"));
    }

    #[test]
    fn what_is_excluded_does_not_count() {
        let said = ["SIGSEGV".to_owned(), "/usr/lib/libfoo.so".to_owned()];
        assert!(filter(&[], &[]).takes(&said) && filter(&["libfoo"], &[]).takes(&said));
        assert!(!filter(&["libbar"], &[]).takes(&said) && !filter(&["sigsegv"], &["LIB*so"]).takes(&said));
    }
}
