//! Where things are in the table.
//!
//! Sources: <https://golang.org/s/go12symtab>; `pcHeader` and `moduledata` in src/runtime/symtab.go, `_func` in
//! src/runtime/runtime2.go, and src/debug/gosym/pclntab.go of Go 1.16 to 1.26; `inlinedCall` in src/runtime/symtab.go of Go
//! 1.19 and src/runtime/symtabinl.go of Go 1.21.

use super::bytes::Bytes;

/// Most functions that are believed. The largest programs have less than a million.
const MOST_FUNCTIONS: u64 = 1 << 24;

/// Bytes of the header that all versions share: magic, two of zero, the smallest instruction's length, and that of an
/// address.
pub(super) const COMMON_HEADER: u64 = 8;

/// Which layout a table has: the version of Go that wrote it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Go12,
    Go116,
    Go118,
    Go120,
}

impl Version {
    pub(super) fn of_magic(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffb => Some(Self::Go12),
            0xffff_fffa => Some(Self::Go116),
            0xffff_fff0 => Some(Self::Go118),
            0xffff_fff1 => Some(Self::Go120),
            _ => None,
        }
    }

    /// Whether functions are told by their distance from the beginning of the code, and not by address.
    pub(super) fn is_relative(self) -> bool {
        self >= Self::Go118
    }
}

/// Parts of the table, by offset from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: Version,
    /// Bytes of the smallest instruction, in which distances in code are counted.
    pub(super) quantum: u32,
    /// Bytes of an address: 4 or 8.
    pub(super) word: usize,
    /// How many functions there are.
    pub(super) functions: u64,
    /// Where each function begins, and where its record is: pairs by rising address, and last where the last one ends.
    pub(super) list: u64,
    /// To what the places of records are relative.
    pub(super) records: u64,
    /// Names of functions.
    pub(super) names: u64,
    /// Of each compilation unit, where its files' names are. From Go 1.16 on.
    pub(super) units: u64,
    /// Names of files; before Go 1.16 where each file's name is.
    pub(super) files: u64,
    /// Numbers by address.
    pub(super) values: u64,
}

impl Layout {
    /// `None` for what is no such table.
    pub(super) fn parse(bytes: &Bytes) -> Option<Self> {
        let version = Version::of_magic(bytes.half(0)?)?;
        let (zeros, quantum, pointer) = (bytes.number(4, 2)?, bytes.number(6, 1)?, bytes.number(7, 1)?);
        let word = bytes.image().architecture().pointer_size();
        if zeros != 0 || !matches!(quantum, 1 | 2 | 4) || pointer != word as u64 || !matches!(word, 4 | 8) {
            return None;
        }
        let field = |index: u64| bytes.number(COMMON_HEADER + index * word as u64, word);
        let functions = field(0).filter(|functions| (1..=MOST_FUNCTIONS).contains(functions))?;
        let quantum = u32::try_from(quantum).ok()?;
        let own =
            Self { version, quantum, word, functions, list: 0, records: 0, names: 0, units: 0, files: 0, values: 0 };
        let parts = |first: u64| {
            Some(Self {
                names: field(first)?,
                units: field(first + 1)?,
                files: field(first + 2)?,
                values: field(first + 3)?,
                list: field(first + 4)?,
                records: field(first + 4)?,
                ..own
            })
        };
        let layout = match version {
            Version::Go12 => {
                let layout = Self { list: COMMON_HEADER + word as u64, ..own };
                Self { files: bytes.half(layout.list_end()?)?.into(), ..layout }
            }
            // Behind the counts of functions and files; from 1.18 on, the address of the code follows these.
            Version::Go116 => parts(2)?,
            Version::Go118 | Version::Go120 => parts(3)?,
        };
        layout.list_end().filter(|end| *end <= bytes.size())?;
        Some(layout)
    }

    /// Bytes of either number of a pair in the list of functions.
    pub(super) fn list_width(&self) -> usize {
        if self.version.is_relative() { 4 } else { self.word }
    }

    fn list_end(&self) -> Option<u64> {
        let numbers = self.functions * 2 + 1;
        self.list.checked_add(numbers * self.list_width() as u64)
    }

    /// Where the address of the code is in the header: only from Go 1.18 on, and zero from 1.26 on.
    pub(super) fn text_field(&self) -> Option<u64> {
        self.version.is_relative().then_some(COMMON_HEADER + 2 * self.word as u64)
    }

    /// Where a function's record has a field.
    pub(super) fn field(&self, field: Field) -> u64 {
        // It begins with the function's address, or its distance from the beginning of the code.
        let first = self.list_width() as u64;
        let last = match self.version {
            Version::Go12 => 28,
            Version::Go116 | Version::Go118 => 32,
            // The line at which it begins was added.
            Version::Go120 => 36,
        };
        first
            + match field {
                Field::Name => 0,
                Field::Depths => 12,
                Field::Files => 16,
                Field::Lines => 20,
                Field::ValueCount => 24,
                Field::Unit => 28,
                Field::Flags => last + 1,
                Field::DataCount => last + 3,
                Field::Values => last + 4,
            }
    }

    /// Bytes of an inlined call, and where in it the name and the place of the call are.
    pub(super) fn inlined(&self) -> Inlined {
        match self.version {
            Version::Go120 => Inlined { size: 16, name: 4, parent: 8 },
            _ => Inlined { size: 20, name: 12, parent: 16 },
        }
    }
}

/// A field of a function's record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    /// Its name.
    Name,
    /// How far the stack pointer is below where it was when the function was called.
    Depths,
    /// Its files.
    Files,
    /// Its lines.
    Lines,
    /// How many other numbers by address it has.
    ValueCount,
    /// To what the numbers of its files are relative. From Go 1.16 on.
    Unit,
    /// From Go 1.17 on; zero in 1.16.
    Flags,
    /// How many addresses of other things it has.
    DataCount,
    /// The other numbers by address, behind which the addresses of other things are.
    Values,
}

/// `funcFlag_TOPFRAME`: a stack ends with this function.
pub(super) const TOP: u8 = 1;
/// `funcFlag_SPWRITE`: it sets the stack pointer to something else.
pub(super) const SETS_STACK: u8 = 2;
/// `funcFlag_ASM`: it was written in assembly.
pub(super) const ASSEMBLY: u8 = 4;

/// `PCDATA_InlTreeIndex`: which inlined call an instruction belongs to.
pub(super) const INLINED_INDEX: u64 = 2;
/// `FUNCDATA_InlTree`: the inlined calls, from Go 1.18 on.
pub(super) const INLINED_CALLS: u64 = 3;

/// The layout of an inlined call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inlined {
    pub(super) size: u64,
    pub(super) name: u64,
    pub(super) parent: u64,
}

/// Words of `moduledata`, in which the linker tells the runtime where everything is. The first is the address of the table;
/// these are those of the names in it and of the code.
pub(super) const MODULE_NAMES: u64 = 1;
pub(super) const MODULE_TEXT: u64 = 22;
/// The word (`gofunc`) that tells to what the addresses of other things are relative. From Go 1.26 on it is the one before
/// the end of the table, wherever that is among the words from here on.
pub(super) const MODULE_CALLS_118: u64 = 38;
pub(super) const MODULE_CALLS_120: u64 = 40;
pub(super) const MODULE_CALLS_SEARCHED: std::ops::Range<u64> = 32..64;
