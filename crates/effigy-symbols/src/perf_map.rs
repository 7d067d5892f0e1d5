//! Names of code that was made at run time, as just-in-time compilers write them down for `perf`: a line a function in
//! `/tmp/perf-PID.map`, `START SIZE NAME`, the numbers hexadecimal (tools/perf/Documentation/jit-interface.txt of Linux).

use bstr::{BString, ByteSlice};

use crate::{Symbol, SymbolKind};

/// Most functions that are taken. Programs that run for weeks write on and on.
const MOST: usize = 4 << 20;

/// The functions that a compiler has written down.
#[derive(Debug, Default)]
pub struct PerfMap {
    /// By rising address. Of two that overlap the later one in the file is meant: code is thrown away, and other code put
    /// in its place.
    functions: Vec<Symbol>,
}

impl PerfMap {
    /// Takes a file apart. Lines that are something else are passed over.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut functions: Vec<Symbol> = text.lines().filter_map(function).take(MOST).collect();
        // Stable: those that begin at the same address stay in the file's order.
        functions.sort_by_key(|function| function.offset);
        Self { functions }
    }

    /// The function that an address belongs to. Its `offset` is its address.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&Symbol> {
        let after = self.functions.partition_point(|function| function.offset <= address);
        let holds = |function: &&Symbol| address - function.offset < function.size.unwrap_or(0);
        // One that is larger may lie around several smaller ones: look back a little.
        self.functions[..after].iter().rev().take(64).find(holds)
    }

    /// How many functions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

fn function(line: &[u8]) -> Option<Symbol> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let word = std::str::from_utf8(words.next()?).ok()?;
        u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = BString::from(words.next()?.trim());
    Some(Symbol { name, offset: start, size: Some(size), kind: SymbolKind::Function, global: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_address() {
        let text = b"7f00 10 Lfoo;::bar(int)\n7f10 20 LazyCompile:~x /a b.js:1\nnonsense\n7f10 8 later\n0x8000 4 with prefix\n";
        let map = PerfMap::parse(text);
        assert_eq!(map.len(), 4);
        let name = |address| map.at(address).map(|symbol| symbol.name.to_string());
        assert_eq!(name(0x7f0f).as_deref(), Some("Lfoo;::bar(int)"));
        assert_eq!(name(0x7f12).as_deref(), Some("later"));
        assert_eq!(name(0x7f20).as_deref(), Some("LazyCompile:~x /a b.js:1"));
        assert_eq!(name(0x8001).as_deref(), Some("with prefix"));
        assert_eq!(name(0x7f30), None);
        assert_eq!(name(0), None);
    }

    #[test]
    fn sizes_up_to_the_end_of_all_addresses_are_no_trouble() {
        let map = PerfMap::parse(b"ffffffffffffff00 ffffffffffffffff x\n");
        assert!(map.at(u64::MAX).is_some());
        assert!(PerfMap::parse(b"").is_empty());
    }
}
