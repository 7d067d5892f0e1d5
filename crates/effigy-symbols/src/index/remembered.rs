//! A table of which the index keeps the answers: for files of which nothing can be found without reading most of them.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Index, Key, Known, Stretch, Stretches};
use crate::name::{Name, Symbol, SymbolTable};

/// A table, and what it has answered in this run and those before. It is asked only what is not known of it.
#[derive(Debug)]
pub(crate) struct Remembered<T> {
    table: T,
    index: Index,
    /// `None` for a file of which it cannot be told which it is.
    key: Option<Key>,
    known: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    stretches: Stretches,
    is_read: bool,
    has_news: bool,
}

impl<T> Remembered<T> {
    pub(crate) fn new(table: T, key: Option<Key>, index: Index) -> Self {
        Self { table, index, key, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Answers> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_read {
            known.is_read = true;
            if let Some(Known { stretches, .. }) = self.key.as_ref().and_then(|key| self.index.load(key)) {
                known.stretches = stretches;
            }
        }
        known
    }
}

impl<T: SymbolTable> SymbolTable for Remembered<T> {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        if let Some(names) = self.known().stretches.at(offset) {
            return names.to_vec();
        }
        let names = self.table.names_at(offset);
        // That there is nothing may also be because the file could not be read. How far an answer reaches is not told.
        if let (false, Some(end)) = (names.is_empty(), offset.checked_add(1)) {
            let mut known = self.known();
            known.stretches.insert(Stretch { begin: offset, end, names: names.clone() }, true);
            known.has_news = true;
        }
        names
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        self.table.symbol_at(offset)
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        self.table.find(pattern, found);
    }

    fn source_of(&self) -> &'static str {
        self.table.source_of()
    }

    fn save(&self) {
        let Some(key) = &self.key else { return };
        let mut known = self.known();
        if std::mem::take(&mut known.has_news) {
            // What cannot be written is worked out again.
            let _ = self.index.store(key, &known.stretches, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::name::SymbolKind;

    /// Knows the even places, and counts how often it is asked.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl SymbolTable for Counting {
        fn names_at(&self, offset: u64) -> Vec<Name> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let function = format!("f{offset}").into();
            let name = Name { function, start: offset, size: Some(2), line: None, inlined: false };
            if offset.is_multiple_of(2) { vec![name] } else { Vec::new() }
        }

        fn symbol_at(&self, offset: u64) -> Option<Symbol> {
            Some(Symbol { name: "s".into(), offset, size: None, kind: SymbolKind::Data, global: true })
        }

        fn find(&self, _: &str, _: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {}

        fn source_of(&self) -> &'static str {
            "counting"
        }
    }

    #[test]
    fn what_was_answered_once_is_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = || Some(Key::tagged(&[7; 16], b"PDB", 1000));
        let open = || Remembered::new(Counting::default(), key(), Index::in_folder(folder.path()));
        let first = open();
        let said: Vec<_> = [0, 4, 5, 4].map(|offset| first.names_at(offset)).into();
        assert_eq!((said[1][0].function.to_string(), said[2].len(), &said[1]), ("f4".to_owned(), 0, &said[3]));
        assert_eq!(first.table.0.load(Ordering::Relaxed), 3);
        first.save();
        let second = open();
        assert_eq!([0, 4].map(|offset| second.names_at(offset)), [said[0].clone(), said[1].clone()]);
        assert_eq!(second.table.0.load(Ordering::Relaxed), 0);
        assert!(second.names_at(5).is_empty());
        assert_eq!(second.names_at(6)[0].function, "f6", "only what was asked is known");
        assert_eq!(second.table.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_file_that_is_not_known_is_asked_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let table = Remembered::new(Counting::default(), None, Index::in_folder(folder.path()));
        assert_eq!(table.names_at(2).len(), 1);
        table.save();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
