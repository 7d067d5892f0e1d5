//! Names out of the symbol tables of ELF files: `.symtab`, `.dynsym`, and the one that is packed into `.gnu_debugdata`.
//!
//! Symbols are 24 bytes each and names far more: the table is read whole, and a name when it is wanted.

mod stubs;
#[cfg(test)]
mod tests;
mod thumb;

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use bstr::BString;
use effigy_process::{Architecture, ByteOrder};
use lzma_rust2::XzReader;

use crate::image::{Image, ImageKind};
use crate::name::{Name, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;
use crate::symbol_list::{Entry, SymbolList, code_of};
use crate::text;

pub use self::thumb::is_thumb;

/// Memory that unpacking `.gnu_debugdata` may take, in KiB: more than any preset of xz needs.
const UNPACKING: u32 = 128 << 10;

/// Most bytes that `.gnu_debugdata` may become. It holds symbols alone; the kernel's are 20 MB.
const MOST_UNPACKED: u64 = 256 << 20;

/// `SHN_UNDEF`, `SHN_ABS`: symbols that are in no section.
const UNDEFINED: u16 = 0;
const ABSOLUTE: u16 = 0xfff1;

/// `STB_*`: who sees a symbol.
const LOCAL: u8 = 0;
const WEAK: u8 = 2;

/// `STT_*`: what a symbol stands for.
const NO_TYPE: u8 = 0;
const OBJECT: u8 = 1;
const FUNCTION: u8 = 2;
const COMMON: u8 = 5;
const INDIRECT: u8 = 10;

/// Which table of symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// `.symtab`: all symbols, unless they were stripped.
    Whole,
    /// `.dynsym`: those that other files see. The stubs of the procedure linkage table are named after it.
    Dynamic,
    /// `.symtab` of the file in `.gnu_debugdata`: functions that `.dynsym` does not have.
    Packed,
}

/// A table of symbols of an ELF file.
#[derive(Debug)]
pub struct ElfTable {
    which: Which,
    image: Arc<Image>,
    base: u64,
    read: OnceLock<Option<Loaded>>,
}

/// A table that was read.
#[derive(Debug)]
struct Loaded {
    /// Where the names are: another file where it was packed.
    image: Arc<Image>,
    list: SymbolList,
}

impl ElfTable {
    /// All symbols of a file, or `None` where they were stripped.
    #[must_use]
    pub fn whole(image: &Arc<Image>) -> Option<Self> {
        Self::with_section(image, Which::Whole, ".symtab")
    }

    /// The symbols of a file that other files see, or `None` where there are none.
    #[must_use]
    pub fn dynamic(image: &Arc<Image>) -> Option<Self> {
        Self::with_section(image, Which::Dynamic, ".dynsym")
    }

    /// The symbols that are packed into a file, or `None` where there are none.
    #[must_use]
    pub fn packed(image: &Arc<Image>) -> Option<Self> {
        Self::with_section(image, Which::Packed, ".gnu_debugdata")
    }

    fn with_section(image: &Arc<Image>, which: Which, section: &str) -> Option<Self> {
        let found = image.section(section).filter(|section| section.size > 0 && image.kind() == ImageKind::Elf);
        found.map(|_| Self { which, image: image.clone(), base: image.base(), read: OnceLock::new() })
    }

    fn read(&self) -> Option<&Loaded> {
        let read = || {
            let image = match self.which {
                Which::Packed => unpacked(&self.image)?,
                Which::Whole | Which::Dynamic => self.image.clone(),
            };
            let mut entries = entries(&image, self.base, self.section())?;
            if self.which == Which::Dynamic {
                entries.extend(stubs::stubs(&image, self.base));
            }
            Some(Loaded { list: SymbolList::new(entries, code_of(&self.image)), image })
        };
        self.read.get_or_init(read).as_ref()
    }

    fn section(&self) -> &'static str {
        if self.which == Which::Dynamic { ".dynsym" } else { ".symtab" }
    }

    fn strings(&self) -> &'static str {
        if self.which == Which::Dynamic { ".dynstr" } else { ".strtab" }
    }

    fn name(&self, read: &Loaded, entry: &Entry) -> Option<BString> {
        let mut name = text::read(&read.image, self.strings(), u64::from(entry.name))?;
        if entry.kind == SymbolKind::Stub {
            name.extend_from_slice(b"@plt");
        }
        Some(name)
    }

    fn symbol(&self, read: &Loaded, entry: &Entry) -> Option<Symbol> {
        Some(Symbol {
            name: self.name(read, entry)?,
            offset: entry.offset,
            size: (entry.size != 0).then_some(entry.size),
            kind: entry.kind,
            global: entry.global,
        })
    }
}

impl SymbolTable for ElfTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        let name = || {
            let read = self.read()?;
            let entry = read.list.function_at(offset)?;
            let size = (entry.size != 0).then_some(entry.size);
            let function = self.name(read, entry)?;
            Some(Name { function, start: entry.offset, size, line: None, inlined: false })
        };
        name().into_iter().collect()
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        let read = self.read()?;
        self.symbol(read, read.list.nearest(offset)?)
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let Some(read) = self.read() else { return };
        let pattern = Pattern::new(pattern);
        // All names are looked at: better at once than one by one.
        let names = read.image.data(self.strings());
        for entry in read.list.entries() {
            let Some(mut name) = names.and_then(|names| text::terminated(names, u64::from(entry.name))) else {
                continue;
            };
            if entry.kind == SymbolKind::Stub {
                name.extend_from_slice(b"@plt");
            }
            if pattern.matches_symbol(&name)
                && let Some(symbol) = self.symbol(read, entry)
                && found(symbol).is_break()
            {
                return;
            }
        }
    }

    fn source_of(&self) -> &'static str {
        match self.which {
            Which::Whole => "symtab",
            Which::Dynamic => "dynsym",
            Which::Packed => "gnu_debugdata",
        }
    }
}

/// The file in `.gnu_debugdata`.
fn unpacked(image: &Image) -> Option<Arc<Image>> {
    let packed = image.data(".gnu_debugdata")?;
    let mut bytes = Vec::new();
    let reader = XzReader::new_mem_limit(packed, true, UNPACKING);
    let count = reader.take(MOST_UNPACKED + 1).read_to_end(&mut bytes).ok()?;
    if count as u64 > MOST_UNPACKED {
        return None;
    }
    Image::from_bytes(bytes, image.path()).ok().map(Arc::new)
}

/// A symbol as it stands in a table.
#[derive(Clone, Copy)]
struct Raw {
    name: u32,
    info: u8,
    section: u16,
    value: u64,
    size: u64,
}

impl Raw {
    /// Bytes of a symbol.
    fn length(architecture: Architecture) -> usize {
        if architecture.pointer_size() == 8 { 24 } else { 16 }
    }

    fn parse(bytes: &[u8], order: ByteOrder) -> Option<Self> {
        let number = |range: Range<usize>| bytes.get(range).map(|bytes| order.number(bytes));
        let name = order.half(bytes)?;
        Some(match bytes.len() {
            24 => Self {
                name,
                info: *bytes.get(4)?,
                section: u16::try_from(number(6..8)?).ok()?,
                value: number(8..16)?,
                size: number(16..24)?,
            },
            _ => Self {
                name,
                info: *bytes.get(12)?,
                section: u16::try_from(number(14..16)?).ok()?,
                value: number(4..8)?,
                size: number(8..12)?,
            },
        })
    }
}

/// The symbols of a section that have an address and a name.
fn entries(image: &Image, base: u64, section: &str) -> Option<Vec<Entry>> {
    let architecture = image.architecture();
    let raws = image.data(section)?.chunks_exact(Raw::length(architecture));
    let order = image.byte_order();
    Some(raws.filter_map(|raw| entry(Raw::parse(raw, order)?, base, architecture)).collect())
}

fn entry(raw: Raw, base: u64, architecture: Architecture) -> Option<Entry> {
    let (binding, kind) = (raw.info >> 4, raw.info & 0xf);
    // Undefined ones and mere numbers are no places.
    if raw.name == 0 || raw.section == UNDEFINED || raw.section == ABSOLUTE {
        return None;
    }
    let global = binding != LOCAL;
    let kind = match kind {
        FUNCTION => SymbolKind::Function,
        INDIRECT => SymbolKind::Indirect,
        OBJECT | COMMON => SymbolKind::Data,
        // Assemblers for these mark with local labels where code and data begin.
        NO_TYPE if global || !has_mapping_symbols(architecture) => SymbolKind::Label,
        _ => return None,
    };
    let rank = match binding {
        LOCAL => 0,
        WEAK => 1,
        _ => 2,
    };
    let thumb = u64::from(architecture == Architecture::Arm && kind.is_code());
    let offset = (raw.value & !thumb).checked_sub(base)?;
    // What has a type was named on purpose.
    let rank = rank + if kind == SymbolKind::Label { 0 } else { 4 };
    Some(Entry { offset, size: raw.size, name: raw.name, kind, global, rank })
}

fn has_mapping_symbols(architecture: Architecture) -> bool {
    matches!(architecture, Architecture::Arm | Architecture::Aarch64 | Architecture::Riscv64)
}
