//! What is known of a place in an image: the functions it is in, its line of source, the symbols around it.
//!
//! Places are *offsets*: bytes from the start of the image as it lies in memory.

use std::ops::ControlFlow;

use bstr::BString;

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// Path of the file as the compiler knew it, absolute where that is known.
    pub file: BString,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 where it is not known.
    pub column: u32,
}

/// A function that a place belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Its name as it stands in the file, mangled if it is mangled there. Empty where only the line is known.
    pub function: BString,
    /// Offset of its first byte. A function in several pieces has one for each; so has every copy of an inlined one.
    pub start: u64,
    /// Length of that piece in bytes, where it is known.
    pub size: Option<u64>,
    /// The line: of the innermost function that of the instruction, of the others that of the call.
    pub line: Option<SourceLine>,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
}

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SymbolKind {
    /// A function.
    Function,
    /// A function that says when the program is loaded which of several it is (`STT_GNU_IFUNC`).
    Indirect,
    /// A piece of code through which functions of other images are called; its name ends with `@plt`.
    Stub,
    /// A label of which it is not known what it stands for.
    Label,
    /// Data.
    Data,
}

impl SymbolKind {
    /// Whether it is code, or may be.
    #[must_use]
    pub fn is_code(self) -> bool {
        self != Self::Data
    }
}

/// A named place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// Its name as it stands in the file.
    pub name: BString,
    /// Where it is.
    pub offset: u64,
    /// Length in bytes, where it is known.
    pub size: Option<u64>,
    /// What it stands for.
    pub kind: SymbolKind,
    /// Whether other files may refer to it.
    pub global: bool,
}

/// The names of one module out of one place: DWARF, a PDB, a table of symbols. Nothing is read before it is asked for.
pub trait SymbolTable: Send + Sync {
    /// The functions that `offset` belongs to, innermost first: those that were inlined, then the one itself. Empty
    /// where nothing is known.
    fn names_at(&self, offset: u64) -> Vec<Name>;

    /// The nearest symbol at or below `offset`, of code or of data.
    fn symbol_at(&self, offset: u64) -> Option<Symbol>;

    /// Gives the symbols whose name fits a [`Pattern`](crate::pattern::Pattern), mangled or not, until told to stop.
    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>);

    /// Where the names come from: `DWARF`, `PDB`, `symtab`, …
    fn source_of(&self) -> &'static str;

    /// Writes down what was found for the next time, where that pays and can be done.
    fn save(&self) {}
}
