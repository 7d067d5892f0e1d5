//! Names out of PE images: the functions that they export. It is all that is known of a library without its PDB.
//!
//! The table is read as the loader maps it: so it is found in an image out of memory too.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use bstr::BString;

use crate::image::{Image, ImageKind};
use crate::name::{Name, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;
use crate::symbol_list::{Entry, SymbolList, code_of, holding};

/// Most functions that are looked at. Ordinals have 16 bits.
const MOST: u32 = 1 << 16;

/// Longest name that is read, in bytes.
const LONGEST: usize = 4096;

/// The functions that a PE image exports.
#[derive(Debug)]
pub struct ExportTable {
    image: Arc<Image>,
    list: OnceLock<SymbolList>,
}

impl ExportTable {
    /// The exports of an image; `None` where it is no PE.
    #[must_use]
    pub fn new(image: &Arc<Image>) -> Option<Self> {
        (image.kind() == ImageKind::Pe).then(|| Self { image: image.clone(), list: OnceLock::new() })
    }

    fn list(&self) -> &SymbolList {
        self.list.get_or_init(|| {
            let code = code_of(&self.image);
            let mut entries = self.entries().unwrap_or_default();
            for entry in &mut entries {
                if holding(&code, entry.offset).is_none() {
                    entry.kind = SymbolKind::Data;
                }
            }
            SymbolList::new(entries, code)
        })
    }

    /// Bytes at a relative address.
    fn bytes(&self, offset: u64, size: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; size];
        let address = self.image.base().checked_add(offset)?;
        (self.image.read(address, &mut buffer)? == size).then_some(buffer)
    }

    fn word(&self, offset: u64) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes(offset, 4)?.first_chunk()?))
    }

    fn entries(&self) -> Option<Vec<Entry>> {
        // From the header of the executable to its optional header, and there to the first of the directories.
        let header = u64::from(self.word(0x3c)?).checked_add(24)?;
        let directory = match self.word(header)? & 0xffff {
            0x10b => 96,
            0x20b => 112,
            _ => return None,
        };
        let start = u64::from(self.word(header + directory)?);
        let end = start.checked_add(u64::from(self.word(header + directory + 4)?))?;
        let field = |at: u64| self.word(start + at);
        let (functions, names) = (field(20)?.min(MOST), field(24)?.min(MOST));
        let table =
            |place: u32, count: u32, size: u32| self.bytes(u64::from(place), usize::try_from(count * size).ok()?);
        let addresses = table(field(28)?, functions, 4)?;
        let name_places = table(field(32)?, names, 4)?;
        let numbers = table(field(36)?, names, 2)?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        let entry = |(name, which): (&[u8], &[u8])| {
            let at = usize::try_from(number(which)).ok()?.checked_mul(4)?;
            let offset = u64::from(number(addresses.get(at..at + 4)?));
            // What lies within the table is no function but the name of one in another library.
            let is_here = offset != 0 && !(start..end).contains(&offset);
            let name = number(name);
            is_here.then_some(Entry { offset, size: 0, name, kind: SymbolKind::Function, global: true, rank: 0 })
        };
        Some(name_places.chunks_exact(4).zip(numbers.chunks_exact(2)).filter_map(entry).collect())
    }

    fn name(&self, entry: &Entry) -> Option<BString> {
        let mut text = Vec::new();
        let mut buffer = [0; 64];
        let start = self.image.base().checked_add(u64::from(entry.name))?;
        while text.len() < LONGEST {
            let count = self.image.read(start.checked_add(text.len() as u64)?, &mut buffer)?;
            let piece = buffer.get(..count)?;
            match memchr::memchr(0, piece) {
                Some(end) => {
                    text.extend_from_slice(&piece[..end]);
                    return Some(text.into());
                }
                None if count == 0 => return None,
                None => text.extend_from_slice(piece),
            }
        }
        None
    }

    fn symbol(&self, entry: &Entry) -> Option<Symbol> {
        let (offset, kind) = (entry.offset, entry.kind);
        Some(Symbol { name: self.name(entry)?, offset, size: None, kind, global: true })
    }
}

impl SymbolTable for ExportTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        let name = || {
            let entry = self.list().function_at(offset)?;
            Some(Name { function: self.name(entry)?, start: entry.offset, size: None, line: None, inlined: false })
        };
        name().into_iter().collect()
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        self.symbol(self.list().nearest(offset)?)
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let pattern = Pattern::new(pattern);
        let symbols = self.list().entries().iter().filter_map(|entry| self.symbol(entry));
        let _ = symbols.filter(|symbol| pattern.matches_symbol(&symbol.name)).try_for_each(found);
    }

    fn source_of(&self) -> &'static str {
        "exports"
    }
}
