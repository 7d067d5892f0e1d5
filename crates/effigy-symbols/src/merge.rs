//! Several tables of one module as one: what the best of them does not know, the next may.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::breakpad::BreakpadTable;
use crate::demangle;
use crate::dwarf::{DwarfFiles, DwarfTable};
use crate::elf::ElfTable;
use crate::go::{self, GoTable};
use crate::image::Image;
use crate::index::{Index, Remembered};
use crate::locate;
use crate::macho::MachOTable;
use crate::name::{Name, Symbol, SymbolTable};
use crate::pdb::PdbTable;
use crate::pe::ExportTable;

/// What the table of a file's DWARF calls itself.
const DWARF: &str = "DWARF";

/// The files that were found for a module, all of them its own.
#[derive(Clone, Debug, Default)]
pub struct ModuleFiles {
    /// The image itself.
    pub image: Option<Arc<Image>>,
    /// The file with its debug information, where that is another.
    pub debug: Option<Arc<Image>>,
    /// Its PDB.
    pub pdb: Option<PathBuf>,
    /// Its symbol file of Breakpad's.
    pub breakpad: Option<PathBuf>,
}

/// All tables of a module, the best first.
#[derive(Clone, Default)]
pub struct Tables {
    tables: Vec<Arc<dyn SymbolTable>>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tables.iter().map(|table| table.source_of())).finish()
    }
}

impl Tables {
    /// Tables, the best first.
    #[must_use]
    pub fn new(tables: Vec<Arc<dyn SymbolTable>>) -> Self {
        Self { tables }
    }

    /// The tables of a module's files. Nothing of them is read yet; a file that cannot be opened has none.
    #[must_use]
    pub fn open(files: &ModuleFiles, finder: &Arc<dyn DwarfFiles>, index: &Index) -> Self {
        let mut tables: Vec<Arc<dyn SymbolTable>> = Vec::new();
        let images = || files.debug.iter().chain(&files.image);
        for image in images() {
            tables.extend(DwarfTable::new(image.clone(), finder.clone(), index.clone()).map(shared));
        }
        let pdb = files.pdb.as_ref().and_then(|path| Some((PdbTable::open(path).ok()?, locate::pdb_key(path))));
        tables.extend(pdb.map(|(table, key)| shared(Remembered::new(table, key, index.clone()))));
        let breakpad = files.breakpad.as_ref().and_then(|path| BreakpadTable::open(path).ok());
        tables.extend(breakpad.map(|table| {
            let key = table.key();
            shared(Remembered::new(table, key, index.clone()))
        }));
        // It has lines, which tables of symbols have not. Files with symbols alone have none.
        tables.extend(images().find_map(GoTable::of_image).map(shared));
        for table in [ElfTable::whole, ElfTable::packed, ElfTable::dynamic] {
            tables.extend(images().filter_map(table).map(shared));
        }
        tables.extend(images().filter_map(MachOTable::new).map(shared));
        tables.extend(images().filter_map(ExportTable::new).map(shared));
        Self { tables }
    }

    /// The functions that an offset belongs to, and where that is known from.
    #[must_use]
    pub fn names_and_source(&self, offset: u64) -> Option<(Vec<Name>, &'static str)> {
        let mut tables = self.tables.iter();
        let (table, mut names) =
            tables.by_ref().map(|table| (table, table.names_at(offset))).find(|(_, names)| !names.is_empty())?;
        let mut source = table.source_of();
        let Some(outer) = names.last_mut().filter(|outer| wants_symbol(outer)) else { return Some((names, source)) };
        // Where it has no name, any function there is it; else only what begins where it does.
        let (is_nameless, start) = (outer.function.is_empty(), outer.start);
        let mut symbols = tables.filter_map(|table| Some((table.source_of(), table.names_at(offset).pop()?)));
        let fits = |name: &Name| is_nameless || name.start == start && demangle::is_mangled(&name.function);
        if let Some((from, name)) = symbols.find(|(_, name)| fits(name)) {
            if is_nameless {
                (outer.start, outer.size, source) = (name.start, name.size, from);
            }
            outer.function = name.function;
        }
        Some((names, source))
    }
}

fn shared(table: impl SymbolTable + 'static) -> Arc<dyn SymbolTable> {
    Arc::new(table)
}

/// Whether a table of symbols may know a better name. Compilers of C++ leave out the mangled name of functions that no
/// other file sees, and so the namespaces and classes that they are in; the name alone does not tell that it is C++.
fn wants_symbol(name: &Name) -> bool {
    const PLAIN: [&[u8]; 7] = [b"c", b"h", b"S", b"s", b"rs", b"go", b"asm"];
    if name.function.is_empty() {
        return true;
    }
    let file = name.line.as_ref().map(|line| line.file.as_slice()).unwrap_or_default();
    let ending = memchr::memrchr(b'.', file).and_then(|dot| file.get(dot + 1..));
    !demangle::is_mangled(&name.function) && ending.is_some_and(|ending| !PLAIN.contains(&ending))
}

impl SymbolTable for Tables {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        let found = self.names_and_source(offset);
        found.map(|(names, _)| names.into_iter().filter(|name| !name.function.is_empty()).collect()).unwrap_or_default()
    }

    /// A table of symbols is asked first, and DWARF, which takes far longer, for what it does not hold. That is also what
    /// debuggers tell: a piece that the compiler split off a function is `f.cold`, and not `f`. Go's own table has no data,
    /// and is asked in between.
    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        let holds = |symbol: &Symbol| symbol.size.is_some_and(|size| offset - symbol.offset < size);
        let mut best: Option<Symbol> = None;
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by_key(|table| match table.source_of() {
            DWARF => 2,
            go::SOURCE => 1,
            _ => 0,
        });
        for table in tables {
            let Some(symbol) = table.symbol_at(offset).filter(|symbol| symbol.offset <= offset) else { continue };
            if holds(&symbol) {
                return Some(symbol);
            }
            if best.as_ref().is_none_or(|best| best.offset < symbol.offset) {
                best = Some(symbol);
            }
        }
        best
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        // What has all symbols has the functions of the DWARF, and is searched without reading that.
        let has_all = self.tables.iter().any(|table| matches!(table.source_of(), "symtab" | "Mach-O symbols"));
        let is_left_out = |table: &Arc<dyn SymbolTable>| has_all && matches!(table.source_of(), DWARF | go::SOURCE);
        let mut told = HashSet::new();
        let mut stopped = false;
        for table in self.tables.iter().filter(|table| !is_left_out(table)) {
            if stopped {
                break;
            }
            table.find(pattern, &mut |symbol| {
                if !told.insert((symbol.offset, symbol.name.clone())) {
                    return ControlFlow::Continue(());
                }
                let flow = found(symbol);
                stopped |= flow.is_break();
                flow
            });
        }
    }

    fn source_of(&self) -> &'static str {
        self.tables.first().map_or("nothing", |table| table.source_of())
    }

    fn save(&self) {
        self.tables.iter().for_each(|table| table.save());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{SourceLine, SymbolKind};

    struct Fixed {
        names: Vec<Name>,
        source: &'static str,
    }

    impl SymbolTable for Fixed {
        fn names_at(&self, _: u64) -> Vec<Name> {
            self.names.clone()
        }

        fn symbol_at(&self, _: u64) -> Option<Symbol> {
            let name = self.names.last()?;
            let (name, offset, size) = (name.function.clone(), name.start, name.size);
            Some(Symbol { name, offset, size, kind: SymbolKind::Function, global: true })
        }

        fn find(&self, _: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
            let _ = self.symbol_at(0).map(found);
        }

        fn source_of(&self) -> &'static str {
            self.source
        }
    }

    fn fixed(source: &'static str, names: Vec<Name>) -> Arc<dyn SymbolTable> {
        Arc::new(Fixed { names, source })
    }

    fn name(function: &str, file: &str) -> Name {
        let line = (!file.is_empty()).then(|| SourceLine { file: file.into(), line: 3, column: 0 });
        Name { function: function.into(), start: 16, size: Some(8), line, inlined: false }
    }

    fn named(tables: Vec<Arc<dyn SymbolTable>>) -> Vec<String> {
        Tables::new(tables).names_at(20).into_iter().map(|name| name.function.to_string()).collect()
    }

    #[test]
    fn a_line_without_a_name_takes_that_of_the_symbol() {
        let dwarf = fixed("DWARF", vec![name("", "/a/b.S")]);
        let tables = Tables::new(vec![dwarf.clone(), fixed("dynsym", vec![name("memcpy", "")])]);
        let (names, source) = tables.names_and_source(20).unwrap();
        assert_eq!((names[0].function.to_string(), source), ("memcpy".to_owned(), "dynsym"));
        assert_eq!(names[0].line.as_ref().unwrap().line, 3);
        assert!(named(vec![dwarf]).is_empty());
    }

    #[test]
    fn names_of_c_plus_plus_are_made_whole() {
        let symbols = || fixed("symtab", vec![name("_ZN1a1bEv", "")]);
        assert_eq!(named(vec![fixed("DWARF", vec![name("b", "/x.cc")]), symbols()]), ["_ZN1a1bEv"]);
        assert_eq!(named(vec![fixed("DWARF", vec![name("b", "/x.c")]), symbols()]), ["b"]);
        let mut elsewhere = name("b", "/x.cc");
        elsewhere.start = 18;
        assert_eq!(named(vec![fixed("DWARF", vec![elsewhere]), symbols()]), ["b"]);
    }

    /// A table of symbols knows what lies where without reading what DWARF has of it.
    #[test]
    fn the_symbol_table_is_asked_before_dwarf() {
        let symbol = |tables| Tables::new(tables).symbol_at(20).map(|symbol| symbol.name.to_string());
        let dwarf = || fixed("DWARF", vec![name("f", "/x.c")]);
        assert_eq!(symbol(vec![dwarf(), fixed("symtab", vec![name("f.cold", "")])]).as_deref(), Some("f.cold"));
        // What ends before is only the nearest.
        let mut before = name("before", "");
        before.size = Some(2);
        assert_eq!(symbol(vec![dwarf(), fixed("dynsym", vec![before.clone()])]).as_deref(), Some("f"));
        assert_eq!(symbol(vec![fixed("dynsym", vec![before])]).as_deref(), Some("before"));
    }

    #[test]
    fn symbols_are_told_once() {
        let same = || fixed("symtab", vec![name("f", "")]);
        let mut count = 0;
        Tables::new(vec![same(), same()]).find("*", &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(count, 1);
    }
}
