//! Names and lines out of Breakpad's symbol files (`.sym`). Their rules for unwinding are the business of `unwind`.
//!
//! Such a file is text, and large. It is read through once, when it is first asked, for where what stands; the lines of a
//! function are read when they are wanted.

mod records;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bstr::BString;

use self::records::{Record, Words};
use self::source::{LONGEST_LINE, Source};
use crate::index::Key;
use crate::intervals::{Interval, Intervals};
use crate::name::{Name, SourceLine, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;

/// Calls that were inlined into each other, at most.
const DEEPEST: u64 = 256;

/// Why a symbol file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BreakpadError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its first line is not `MODULE …`.
    #[error("{} is no symbol file of Breakpad", path.display())]
    NotSymbols {
        /// The file.
        path: PathBuf,
    },
}

/// A symbol file.
#[derive(Debug)]
struct SymFile {
    source: Source,
    id: String,
    index: OnceLock<Index>,
}

/// Where what stands. The values of ranges are where their lines begin.
#[derive(Debug, Default)]
struct Index {
    functions: Intervals,
    /// By rising offset: offset and where its line begins.
    publics: Vec<(u64, u64)>,
    files: HashMap<u64, u64>,
    origins: HashMap<u64, u64>,
}

impl SymFile {
    fn new(source: Source) -> Option<Self> {
        let mut id = None;
        source.each_line(0, source.size().min(LONGEST_LINE as u64), &mut |_, line| {
            if let Record::Module { id: found } = Record::parse(line) {
                id = Some(String::from_utf8_lossy(found).into_owned());
            }
            false
        });
        Some(Self { source, id: id?, index: OnceLock::new() })
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            let mut functions = Vec::new();
            let interval =
                |start: u64, size: u64, at: u64| Interval { begin: start, end: start.saturating_add(size), value: at };
            self.source.each_line(0, self.source.size(), &mut |at, line| {
                match Record::parse(line) {
                    Record::Function { start, size } => functions.push(interval(start, size, at)),
                    Record::Public { start } => index.publics.push((start, at)),
                    Record::File { number } => drop(index.files.insert(number, at)),
                    Record::Origin { number } => drop(index.origins.insert(number, at)),
                    Record::Module { .. } | Record::OfFunction | Record::Other => {}
                }
                true
            });
            index.publics.sort_unstable();
            index.functions = Intervals::new(functions);
            index
        })
    }

    /// The line that begins at `at`.
    fn line(&self, at: u64) -> Vec<u8> {
        let mut found = Vec::new();
        let end = at.saturating_add(LONGEST_LINE as u64);
        self.source.each_line(at, end.min(self.source.size()), &mut |_, line| {
            found = line.to_vec();
            false
        });
        found
    }

    /// What follows `words` words of the line that begins at `at`: the name, with its spaces.
    fn name_after(&self, at: u64, words: usize) -> BString {
        let line = self.line(at);
        let mut rest = Words(&line);
        let kind = rest.next();
        if matches!(kind, Some(b"FUNC" | b"PUBLIC")) {
            let before = rest;
            if rest.next() != Some(b"m") {
                rest = before;
            }
        }
        for _ in 0..words {
            rest.next();
        }
        rest.0.into()
    }

    fn file_name(&self, number: u64) -> Option<BString> {
        self.index().files.get(&number).map(|at| self.name_after(*at, 1))
    }

    /// A line of a file.
    fn source_line(&self, file: u64, line: u64) -> Option<SourceLine> {
        let line = u32::try_from(line).ok().filter(|line| *line > 0)?;
        Some(SourceLine { file: self.file_name(file)?, line, column: 0 })
    }
}

/// A call that was inlined: `INLINE depth line file origin (start size)…`, all decimal but starts and sizes. Symbol files
/// from before 2021 leave the file out, and have it in `INLINE_ORIGIN number file name`, where it is of no use.
struct Call {
    depth: u64,
    line: u64,
    file: Option<u64>,
    origin: u64,
    piece: Interval,
}

fn call(line: &[u8], offset: u64) -> Option<Call> {
    let rest = line.strip_prefix(b"INLINE ")?;
    let mut words = Words(rest);
    let (depth, call_line) = (words.decimal()?, words.decimal()?);
    let file = if Words(rest).count() % 2 == 0 { Some(words.decimal()?) } else { None };
    let origin = words.decimal()?;
    while let Some(start) = words.hexadecimal() {
        let piece = Interval { begin: start, end: start.saturating_add(words.hexadecimal()?), value: 0 };
        if piece.contains(offset) {
            return Some(Call { depth, line: call_line, file, origin, piece });
        }
    }
    None
}

/// The file and the line of `start size line file`, the last two decimal, if it holds `offset`.
fn code_line(line: &[u8], offset: u64) -> Option<(Option<u64>, u64)> {
    let mut words = Words(line);
    let (start, size) = (words.hexadecimal()?, words.hexadecimal()?);
    let number = words.decimal()?;
    (offset.checked_sub(start)? < size).then(|| Some((Some(words.decimal()?), number))).flatten()
}

/// The names of a module out of its symbol file.
#[derive(Clone, Debug)]
pub struct BreakpadTable {
    file: Arc<SymFile>,
}

impl BreakpadTable {
    /// Opens a symbol file and reads its first line.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, BreakpadError> {
        let failed = |source| BreakpadError::Read { path: path.to_owned(), source };
        // Opening a pipe would wait for its other end.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(BreakpadError::NotSymbols { path: path.to_owned() });
        }
        let source = File::open(path).and_then(Source::of_file).map_err(failed)?;
        let file = SymFile::new(source).ok_or_else(|| BreakpadError::NotSymbols { path: path.to_owned() })?;
        Ok(Self { file: Arc::new(file) })
    }

    /// The symbol file in `bytes`; `None` where it is none.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Option<Self> {
        Some(Self { file: Arc::new(SymFile::new(Source::Bytes(bytes.into()))?) })
    }

    /// What it says it belongs to: 32 hexadecimal digits of a GUID (or what is made of a build id), then the age.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.file.id
    }

    /// What the index knows this file by; `None` where its id is that of every file without one.
    pub(crate) fn key(&self) -> Option<Key> {
        let is_known = self.file.id.bytes().any(|digit| digit != b'0');
        is_known.then(|| Key::tagged(self.file.id.as_bytes(), b"SYM", self.file.source.size()))
    }

    fn in_function(&self, function: Interval, offset: u64) -> Vec<Name> {
        let mut line = None;
        let mut calls: Vec<Call> = Vec::new();
        let mut is_first = true;
        self.file.source.each_line(function.value, self.file.source.size(), &mut |_, text| {
            if std::mem::take(&mut is_first) {
                return true;
            }
            if Record::parse(text) != Record::OfFunction {
                return false;
            }
            match call(text, offset) {
                Some(call) if call.depth < DEEPEST => calls.push(call),
                Some(_) => {}
                None => line = line.or_else(|| code_line(text, offset)),
            }
            true
        });
        calls.sort_by_key(|call| call.depth);
        calls.dedup_by_key(|call| call.depth);
        let mut place = line;
        let mut names = Vec::new();
        for call in calls.iter().rev() {
            let origin = self.file.index().origins.get(&call.origin);
            let words = if call.file.is_some() { 1 } else { 2 };
            let function = origin.map(|at| self.file.name_after(*at, words)).unwrap_or_default();
            names.push(self.name(function, call.piece, place.replace((call.file, call.line)), true));
        }
        names.push(self.name(self.file.name_after(function.value, 3), function, place, false));
        names
    }

    fn name(&self, function: BString, piece: Interval, place: Option<(Option<u64>, u64)>, inlined: bool) -> Name {
        let line = place.and_then(|(file, line)| self.file.source_line(file?, line));
        Name { function, start: piece.begin, size: Some(piece.end - piece.begin), line, inlined }
    }

    /// The nearest public symbol at or below, and where its line begins.
    fn public_at(&self, offset: u64) -> Option<(u64, u64)> {
        let publics = &self.file.index().publics;
        let count = publics.partition_point(|(start, _)| *start <= offset);
        publics.get(count.checked_sub(1)?).copied()
    }

    fn symbol(&self, function: &Interval) -> Symbol {
        let (name, size) = (self.file.name_after(function.value, 3), function.end - function.begin);
        Symbol { name, offset: function.begin, size: Some(size), kind: SymbolKind::Function, global: true }
    }

    fn public(&self, start: u64, at: u64) -> Symbol {
        let name = self.file.name_after(at, 2);
        Symbol { name, offset: start, size: None, kind: SymbolKind::Function, global: true }
    }
}

impl SymbolTable for BreakpadTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        let functions = &self.file.index().functions;
        if let Some(function) = functions.at(offset).next() {
            return self.in_function(*function, offset);
        }
        // A public symbol goes as far as the next function.
        let below = functions.hole_at(offset).0;
        let public = self.public_at(offset).filter(|(start, _)| *start >= below);
        let name = public.map(|(start, at)| self.public(start, at));
        let name = name.map(|symbol| Name {
            function: symbol.name,
            start: symbol.offset,
            size: None,
            line: None,
            inlined: false,
        });
        name.into_iter().collect()
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        let functions = &self.file.index().functions;
        if let Some(function) = functions.at(offset).next() {
            return Some(self.symbol(function));
        }
        let count = functions.list().partition_point(|function| function.begin <= offset);
        let function = count.checked_sub(1).and_then(|index| functions.list().get(index));
        match (function, self.public_at(offset)) {
            (Some(function), Some((start, _))) if function.begin > start => Some(self.symbol(function)),
            (_, Some((start, at))) => Some(self.public(start, at)),
            (function, None) => function.map(|function| self.symbol(function)),
        }
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let pattern = Pattern::new(pattern);
        let index = self.file.index();
        let functions = index.functions.list().iter().map(|function| self.symbol(function));
        let publics = index.publics.iter().map(|(start, at)| self.public(*start, *at));
        let mut fitting = functions.chain(publics).filter(|symbol| pattern.matches_symbol(&symbol.name));
        let _ = fitting.try_for_each(found);
    }

    fn source_of(&self) -> &'static str {
        "Breakpad"
    }
}
