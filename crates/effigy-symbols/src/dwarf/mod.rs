//! Names and lines out of DWARF, versions 2 to 5.
//!
//! Which unit an address is in is known from ranges alone (`units`); entries are read only of units that are asked for,
//! once for their functions (`functions`), and once more below the function that holds the address. What was found is
//! kept as *stretches*: ranges of addresses within which the answer stays the same. They are what goes into the index on
//! the disk, so that a second run reads no DWARF at all.

mod files;
mod functions;
mod header;
mod lines;
mod part;
mod scope;
mod split;
#[cfg(test)]
mod tests;
mod unit;
mod units;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bstr::BString;

pub use self::files::{DwarfFiles, LocalFiles};
use self::functions::{Functions, Origin, chain, functions, naming};
use self::header::UnitKind;
use self::lines::Lines;
pub(crate) use self::part::Span;
use self::part::{DwarfFile, Part, Shares};
use self::scope::Scope;
use self::split::Companions;
use self::units::{UnitMap, table_budget};
use crate::cache::Cache;
use crate::image::Image;
use crate::index::{Index, Key, Known, Stretch, Stretches, Units};
use crate::intervals::{Interval, Intervals};
use crate::name::{Name, SourceLine, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;

/// Functions of units that are kept, all together.
const FUNCTIONS_KEPT: usize = 1 << 20;

/// Bytes of lines that are kept.
const LINES_KEPT: usize = 32 << 20;

/// Units that are asked for an address when the ranges of several hold it.
const MOST_UNITS: usize = 8;

/// Entries that are followed for a name.
const MOST_ORIGINS: usize = 16;

/// The DWARF of a module.
#[derive(Debug)]
pub struct DwarfTable {
    file: Arc<DwarfFile>,
    base: u64,
    companions: Companions,
    index: Index,
    map: OnceLock<UnitMap>,
    functions: Cache<u64, Functions>,
    lines: Cache<u64, Option<Lines>>,
    known: Mutex<Memory>,
}

/// What was found, and read from the disk.
#[derive(Debug, Default)]
struct Memory {
    stretches: Stretches,
    /// From the disk; gone once the units are known.
    units: Option<Units>,
    is_read: bool,
    has_news: bool,
}

/// An answer with what it is good for.
struct Answer {
    stretch: Stretch,
    /// Whether nothing was missing for it: then it may be kept for later runs.
    is_whole: bool,
}

impl DwarfTable {
    /// The DWARF in `image`: a module's image or its debug file. `None` where there is none in it.
    #[must_use]
    pub fn new(image: Arc<Image>, files: Arc<dyn DwarfFiles>, index: Index) -> Option<Self> {
        image.section(".debug_info").filter(|section| section.size > 0)?;
        Some(Self {
            base: image.base(),
            file: Arc::new(DwarfFile::new(image, false, Shares::default())),
            companions: Companions::new(files),
            index,
            map: OnceLock::new(),
            functions: Cache::new(FUNCTIONS_KEPT),
            lines: Cache::new(LINES_KEPT),
            known: Mutex::new(Memory::default()),
        })
    }

    fn known(&self) -> MutexGuard<'_, Memory> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_read {
            known.is_read = true;
            if let Some(Known { stretches, units }) = self.key().and_then(|key| self.index.load(&key)) {
                known.stretches = stretches;
                known.units = units;
            }
        }
        known
    }

    /// What the index knows this file by.
    fn key(&self) -> Option<Key> {
        let build_id = self.file.image.identity().build_id.clone()?;
        let size = self.file.image.section(self.file.name_of(Part::Info))?.size;
        Some(Key { build_id, size })
    }

    fn map(&self) -> &UnitMap {
        self.map.get_or_init(|| {
            if let Some(Units { spans, ranges }) = self.known().units.take() {
                self.file.set_spans(spans);
                return UnitMap { ranges: Intervals::new(ranges) };
            }
            UnitMap::read(&self.file)
        })
    }

    /// The unit at `offset` of `.debug_info`, or what was split off it; and whether that was found.
    fn scope(&self, offset: u64) -> Option<(Scope, bool)> {
        let unit = self.file.unit_at(offset)?;
        let shared = self.companions.shared(&self.file.image);
        let scope = Scope { file: self.file.clone(), unit, skeleton: None, shared };
        let root = &scope.unit.root;
        let is_skeleton = scope.unit.header.kind == UnitKind::Skeleton || root.dwo_name.is_some();
        match root.dwo_id.filter(|_| is_skeleton) {
            Some(id) => match self.companions.split_off(&scope, id) {
                Some(split) => Some((split, true)),
                None => Some((scope, false)),
            },
            None => Some((scope, true)),
        }
    }

    fn work_out(&self, address: u64) -> Answer {
        let ranges = &self.map().ranges;
        let mut units: Vec<u64> = ranges.at(address).map(|range| range.value).take(MOST_UNITS).collect();
        units.dedup();
        if units.is_empty() {
            let (begin, end) = ranges.hole_at(address);
            return self.answer(begin, end, Vec::new(), true);
        }
        let found = units.iter().find_map(|unit| self.in_unit(*unit, address));
        found.unwrap_or_else(|| self.answer(address, address.saturating_add(1), Vec::new(), false))
    }

    /// An answer for the addresses from `begin` to `end`.
    fn answer(&self, begin: u64, end: u64, names: Vec<Name>, is_whole: bool) -> Answer {
        let stretch = Stretch { begin: begin.saturating_sub(self.base), end: end.saturating_sub(self.base), names };
        Answer { stretch, is_whole }
    }

    /// What a unit knows of an address; `None` where it is nothing.
    fn in_unit(&self, unit: u64, address: u64) -> Option<Answer> {
        let (scope, is_whole) = self.scope(unit)?;
        let functions = self.functions.get_or_make(unit, || {
            let functions = functions(&scope);
            let cost = functions.list().len();
            Some((functions, cost))
        })?;
        let lines = self.lines.get_or_make(unit, || {
            let lines = Lines::read(&scope);
            let cost = lines.as_ref().map_or(0, Lines::cost);
            Some((lines, cost))
        })?;
        let place = Place { table: self, scope: &scope, lines: lines.as_ref().as_ref(), address };
        place.answer(functions.at(address).next().copied(), is_whole)
    }

    /// The name of the function whose entry is at `entry` of a unit, and of what it refers to.
    fn name(scope: &Scope, entry: usize) -> Option<BString> {
        let mut scope = scope.clone();
        let mut entry = entry;
        let mut plain = None;
        for _ in 0..MOST_ORIGINS {
            let Some(naming) = naming(&scope.unit, entry) else { break };
            if let Some(linkage) = naming.linkage.and_then(|linkage| scope.text(&linkage)) {
                return Some(linkage);
            }
            plain = plain.or_else(|| scope.text(naming.name.as_ref()?));
            let Some(origin) = naming.origin else { break };
            let Some(next) = follow(&scope, origin) else { break };
            (scope, entry) = next;
        }
        plain
    }
}

/// The unit and the entry that an entry refers to.
fn follow(scope: &Scope, origin: Origin) -> Option<(Scope, usize)> {
    let (file, offset) = match origin {
        Origin::Unit(entry) => return Some((scope.clone(), entry)),
        Origin::File(offset) => (scope.file.clone(), offset),
        Origin::Shared(offset) => (scope.shared.clone()?, offset),
    };
    let unit = file.unit_with(offset)?;
    let entry = usize::try_from(offset - unit.offset).ok()?;
    Some((Scope { file, unit, ..scope.clone() }, entry))
}

/// An address in a unit.
struct Place<'a> {
    table: &'a DwarfTable,
    scope: &'a Scope,
    lines: Option<&'a Lines>,
    address: u64,
}

impl Place<'_> {
    fn answer(&self, function: Option<Interval>, mut is_whole: bool) -> Option<Answer> {
        let found = self.lines.and_then(|lines| lines.at(self.address));
        let line = found.and_then(|found| self.source(Some(found.file), found.line, found.column));
        // Without a line it is not known how far that goes.
        let (mut begin, mut end) =
            found.map_or((self.address, self.address.saturating_add(1)), |found| (found.begin, found.end));
        let Some(function) = function else {
            let found = found?;
            let name = self.named(BString::default(), Interval { begin, end, value: 0 }, Some(line?), false);
            return Some(self.table.answer(found.begin, found.end, vec![name], is_whole));
        };
        let chain = chain(self.scope, function, self.address);
        (begin, end) = (begin.max(chain.begin), end.min(chain.end));
        let mut line = line;
        let mut names = Vec::new();
        for call in chain.inlined.iter().rev() {
            let name = DwarfTable::name(self.scope, call.entry);
            is_whole &= name.is_some();
            let outer = self.source(call.file, call.line, call.column);
            names.push(self.named(name.unwrap_or_default(), call.piece, std::mem::replace(&mut line, outer), true));
        }
        let name = usize::try_from(function.value).ok().and_then(|entry| DwarfTable::name(self.scope, entry));
        is_whole &= name.is_some();
        names.push(self.named(name.unwrap_or_default(), function, line, false));
        Some(self.table.answer(begin, end, names, is_whole))
    }

    fn named(&self, function: BString, piece: Interval, line: Option<SourceLine>, inlined: bool) -> Name {
        let start = piece.begin.saturating_sub(self.table.base);
        Name { function, start, size: Some(piece.end - piece.begin), line, inlined }
    }

    fn source(&self, file: Option<u64>, line: u32, column: u32) -> Option<SourceLine> {
        self.lines?.source(self.scope, file?, line, column)
    }
}

impl SymbolTable for DwarfTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        if let Some(names) = self.known().stretches.at(offset) {
            return names.to_vec();
        }
        let Some(address) = self.base.checked_add(offset) else { return Vec::new() };
        let Answer { stretch, is_whole } = self.work_out(address);
        let names = stretch.names.clone();
        let mut known = self.known();
        known.stretches.insert(stretch, is_whole);
        known.has_news |= is_whole;
        names
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        let name = self.names_at(offset).pop().filter(|name| !name.function.is_empty())?;
        Some(Symbol {
            name: name.function,
            offset: name.start,
            size: name.size,
            kind: SymbolKind::Function,
            global: true,
        })
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let pattern = Pattern::new(pattern);
        // Where the units are may be known from the disk.
        self.map();
        let mut tables = table_budget(&self.file);
        for span in self.file.spans() {
            let header = self.file.header_at(span.offset, 0);
            let length =
                header.and_then(|(header, _)| self.file.length_of_abbreviations(header.abbreviations, tables.0));
            if !length.is_some_and(|length| tables.take(length)) {
                continue;
            }
            let Some((scope, _)) = self.scope(span.offset) else { continue };
            for function in functions(&scope).list() {
                let entry = usize::try_from(function.value).ok();
                let name = entry.and_then(|entry| Self::name(&scope, entry));
                let Some(name) = name.filter(|name| pattern.matches_symbol(name)) else { continue };
                let symbol = Symbol {
                    name,
                    offset: function.begin.saturating_sub(self.base),
                    size: Some(function.end - function.begin),
                    kind: SymbolKind::Function,
                    global: true,
                };
                if found(symbol).is_break() {
                    return;
                }
            }
        }
    }

    fn source_of(&self) -> &'static str {
        "DWARF"
    }

    fn save(&self) {
        let Some(key) = self.key() else { return };
        let mut known = self.known();
        if !known.has_news {
            return;
        }
        known.has_news = false;
        let units = match self.map.get() {
            Some(map) => Some(Units { spans: self.file.spans().to_vec(), ranges: map.ranges.list().to_vec() }),
            None => known.units.clone(),
        };
        // What cannot be written is worked out again.
        let _ = self.index.store(&key, &known.stretches, units.as_ref());
    }
}
