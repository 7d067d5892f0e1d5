//! Names out of Mach-O images: the table of symbols and the list of where functions begin.
//!
//! Both are found by the load commands, which lie where the image begins, and read as the loader maps them: so they are
//! found in an image out of memory too.

#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use bstr::BString;
use effigy_process::ByteOrder;

use crate::image::{Image, ImageKind};
use crate::name::{Name, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;
use crate::symbol_list::{Entry, SymbolList, code_of, holding};
use crate::text::terminated;

/// Most load commands that are looked at.
const MOST_COMMANDS: u64 = 1 << 16;

/// Most bytes of a table that are read: more than the largest library has.
const LARGEST: u64 = 1 << 30;

/// `LC_SYMTAB`
const SYMBOLS: u32 = 0x2;
/// `LC_FUNCTION_STARTS`
const STARTS: u32 = 0x26;

/// Bits of `n_type`: a debugging entry, what kind of symbol, and whether others see it.
const N_STAB: u8 = 0xe0;
const N_TYPE: u8 = 0x0e;
const N_EXT: u8 = 0x01;
/// Defined in a section.
const N_SECT: u8 = 0x0e;

/// The symbols of a Mach-O image.
#[derive(Debug)]
pub struct MachOTable {
    image: Arc<Image>,
    loaded: OnceLock<Option<Loaded>>,
}

#[derive(Debug, Default)]
struct Loaded {
    list: SymbolList,
    strings: Vec<u8>,
}

/// Where tables lie in the file.
#[derive(Debug, Default)]
struct Places {
    symbols: Range<u64>,
    count: u64,
    strings: Range<u64>,
    starts: Range<u64>,
}

impl MachOTable {
    /// The symbols of an image; `None` where it is no Mach-O.
    #[must_use]
    pub fn new(image: &Arc<Image>) -> Option<Self> {
        (image.kind() == ImageKind::MachO).then(|| Self { image: image.clone(), loaded: OnceLock::new() })
    }

    fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get_or_init(|| self.load()).as_ref()
    }

    fn load(&self) -> Option<Loaded> {
        let places = self.places()?;
        let symbols = self.file(&places.symbols).unwrap_or_default();
        let strings = self.file(&places.strings).unwrap_or_default();
        let wide = self.image.architecture().pointer_size() == 8;
        let order = self.image.byte_order();
        let code = code_of(&self.image);
        let length = if wide { 16 } else { 12 };
        let base = self.image.base();
        let mut entries: Vec<Entry> = symbols
            .chunks_exact(length)
            .take(usize::try_from(places.count).ok()?)
            .filter_map(|symbol| entry(symbol, order, base, &code))
            .collect();
        // Where functions begin says where those before them end.
        let starts = starts(&self.file(&places.starts).unwrap_or_default());
        sized(&mut entries, &starts, &code);
        Some(Loaded { list: SymbolList::new(entries, code), strings })
    }

    /// Reads load commands.
    fn places(&self) -> Option<Places> {
        let order = self.image.byte_order();
        let base = self.image.base();
        let header = self.memory(base, 28)?;
        let field = |bytes: &[u8], at: usize| bytes.get(at..).and_then(|bytes| order.half(bytes));
        let count = u64::from(field(&header, 16)?).min(MOST_COMMANDS);
        let wide = self.image.architecture().pointer_size() == 8;
        let mut at = base.checked_add(if wide { 32 } else { 28 })?;
        let mut places = Places::default();
        for _ in 0..count {
            let command = self.memory(at, 8)?;
            let size = u64::from(field(&command, 4)?);
            let kind = field(&command, 0)?;
            if size < 8 {
                break;
            }
            if kind == SYMBOLS || kind == STARTS {
                let command = self.memory(at, size.min(24))?;
                let number = |at| field(&command, at).map(u64::from);
                let table = |start: u64, size: u64| start..start.saturating_add(size);
                if kind == STARTS {
                    places.starts = table(number(8)?, number(12)?);
                } else {
                    places.count = number(12)?;
                    places.symbols = table(number(8)?, places.count.checked_mul(if wide { 16 } else { 12 })?);
                    places.strings = table(number(16)?, number(20)?);
                }
            }
            at = at.checked_add(size)?;
        }
        Some(places)
    }

    /// Bytes at an image address.
    fn memory(&self, address: u64, size: u64) -> Option<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(size).ok()?];
        let mut done = 0;
        while done < buffer.len() {
            let count = self.image.read(address.checked_add(done as u64)?, &mut buffer[done..])?;
            done += count;
            if count == 0 {
                return None;
            }
        }
        Some(buffer)
    }

    /// Bytes at a place in the file, as they are mapped.
    fn file(&self, place: &Range<u64>) -> Option<Vec<u8>> {
        let holds = |file: &Range<u64>| file.start <= place.start && place.end <= file.end;
        let segment = self.image.segments().iter().find(|segment| holds(&segment.file))?;
        let size = place.end.checked_sub(place.start).filter(|size| (1..=LARGEST).contains(size))?;
        self.memory(segment.address.checked_add(place.start - segment.file.start)?, size)
    }

    fn symbol(&self, loaded: &Loaded, entry: &Entry) -> Option<Symbol> {
        Some(Symbol {
            name: name(loaded, entry)?,
            offset: entry.offset,
            size: (entry.size != 0).then_some(entry.size),
            kind: entry.kind,
            global: entry.global,
        })
    }
}

/// Names have an underscore more than the compiler's others: it is left out.
fn name(loaded: &Loaded, entry: &Entry) -> Option<BString> {
    let name = terminated(&loaded.strings, u64::from(entry.name))?;
    let plain = name.strip_prefix(b"_").map(BString::from);
    Some(plain.unwrap_or(name))
}

fn entry(symbol: &[u8], order: ByteOrder, base: u64, code: &[Range<u64>]) -> Option<Entry> {
    let name = order.half(symbol)?;
    let kind = *symbol.get(4)?;
    if kind & N_STAB != 0 || kind & N_TYPE != N_SECT || name == 0 {
        return None;
    }
    let offset = order.number(symbol.get(8..)?).checked_sub(base)?;
    let global = kind & N_EXT != 0;
    let kind = if holding(code, offset).is_some() { SymbolKind::Function } else { SymbolKind::Data };
    Some(Entry { offset, size: 0, name, kind, global, rank: u8::from(global) })
}

/// Offsets of functions: distances, seven bits a byte, ended by zero.
fn starts(bytes: &[u8]) -> Vec<u64> {
    let mut starts = Vec::new();
    let (mut offset, mut distance, mut shift) = (0u64, 0u64, 0u32);
    for byte in bytes {
        distance |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            if distance == 0 {
                break;
            }
            offset = offset.saturating_add(distance);
            starts.push(offset);
            (distance, shift) = (0, 0);
        }
    }
    starts
}

/// Gives functions their lengths: up to the next function, named or not, or the end of the section.
fn sized(entries: &mut [Entry], starts: &[u64], code: &[Range<u64>]) {
    let named = entries.iter().filter(|entry| entry.kind.is_code()).map(|entry| entry.offset);
    let mut bounds: Vec<u64> = named.chain(starts.iter().copied()).chain(code.iter().map(|code| code.end)).collect();
    bounds.sort_unstable();
    for entry in entries.iter_mut().filter(|entry| entry.kind.is_code()) {
        let next = bounds.get(bounds.partition_point(|bound| *bound <= entry.offset));
        entry.size = next.map_or(0, |next| next - entry.offset);
    }
}

impl SymbolTable for MachOTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        let name = || {
            let loaded = self.loaded()?;
            let entry = loaded.list.function_at(offset)?;
            let size = (entry.size != 0).then_some(entry.size);
            Some(Name { function: name(loaded, entry)?, start: entry.offset, size, line: None, inlined: false })
        };
        name().into_iter().collect()
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        let loaded = self.loaded()?;
        self.symbol(loaded, loaded.list.nearest(offset)?)
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let Some(loaded) = self.loaded() else { return };
        let pattern = Pattern::new(pattern);
        let symbols = loaded.list.entries().iter().filter_map(|entry| self.symbol(loaded, entry));
        let _ = symbols.filter(|symbol| pattern.matches_symbol(&symbol.name)).try_for_each(found);
    }

    fn source_of(&self) -> &'static str {
        "Mach-O symbols"
    }
}
