//! Where in a file a function is: by the names that the file itself has for what it holds.
//!
//! Only what a breakpoint needs. Separate files of debug information, inlined functions and the like are not looked at.

use std::fs::File;

use bstr::BStr;
use object::{Object, ObjectSegment, ObjectSymbol, ReadCache};

/// A program or library that a process runs.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Its path as the process sees it.
    pub path: &'a BStr,
    /// The file.
    pub file: &'a File,
}

/// Finds functions.
pub trait Resolve: Send {
    /// How far from the beginning of the file a symbol is; `None` when it has none of that name.
    fn offset(&self, image: &Image<'_>, symbol: &str) -> Option<u64>;
}

impl<F: Fn(&Image<'_>, &str) -> Option<u64> + Send> Resolve for F {
    fn offset(&self, image: &Image<'_>, symbol: &str) -> Option<u64> {
        self(image, symbol)
    }
}

/// Looks in the file's own tables, the dynamic and the full one. The name is the mangled one, or of C++ and Rust the path
/// without types and arguments (`space::function`).
#[must_use]
pub fn resolve(image: &Image<'_>, symbol: &str) -> Option<u64> {
    let cache = ReadCache::new(image.file);
    let file = object::File::parse(&cache).ok()?;
    let wanted = Wanted::new(symbol);
    let mut symbols = file.dynamic_symbols().chain(file.symbols());
    let found = symbols.find(|symbol| symbol.is_definition() && symbol.name().is_ok_and(|name| wanted.is(name)))?;
    file_offset(&file, found.address())
}

/// Where in the file an address of its own is.
fn file_offset<'data, R: object::ReadRef<'data>>(file: &object::File<'data, R>, address: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let distance = address.checked_sub(segment.address()).filter(|distance| *distance < size)?;
        offset.checked_add(distance)
    })
}

/// A name that is looked for.
struct Wanted<'a> {
    name: &'a str,
    /// How C++ and Rust write it between their own marks.
    mangled: [String; 4],
}

impl<'a> Wanted<'a> {
    fn new(name: &'a str) -> Self {
        let plain: String = name.split("::").map(|part| format!("{}{part}", part.len())).collect();
        // The newer mangling of Rust sets a mark before what begins like a number or mark (RFC 2603).
        let marked = |part: &str| part.starts_with(|first: char| first == '_' || first.is_ascii_digit());
        let part = |part: &str| format!("{}{}{part}", part.len(), if marked(part) { "_" } else { "" });
        let newer: String = name.split("::").map(part).collect();
        let alone = if name.contains("::") { String::new() } else { format!("_Z{plain}") };
        Self { name, mangled: [format!("_ZN{plain}E"), format!("_ZN{plain}17h"), newer, alone] }
    }

    fn is(&self, name: &str) -> bool {
        let [cpp, rust, newer, alone] = &self.mangled;
        let path = self.name.contains("::");
        name == self.name
            || path && (name.starts_with(cpp.as_str()) || name.starts_with(rust.as_str()))
            || path && name.starts_with("_R") && name.ends_with(newer.as_str())
            || !path && name.starts_with(alone.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_however_they_are_mangled() {
        assert!(Wanted::new("main").is("main"));
        assert!(Wanted::new("compute").is("_Z7computei"));
        assert!(Wanted::new("space::compute").is("_ZN5space7computeEv"));
        assert!(Wanted::new("core::panicking::panic_fmt").is("_ZN4core9panicking9panic_fmt17h0123456789abcdefE"));
        assert!(Wanted::new("__rustc::rust_panic").is("_RNvCs4fqI2P2rA04_7___rustc10rust_panic"));
        assert!(!Wanted::new("compute").is("_Z8computeri") && !Wanted::new("compute").is("precompute"));
        assert!(!Wanted::new("space::compute").is("_ZN5space8computerEv"));
    }

    #[test]
    fn this_program_finds_its_own_functions() {
        let path = std::env::current_exe().unwrap();
        let file = File::open(&path).unwrap();
        let image = Image { path: BStr::new(b""), file: &file };
        assert!(resolve(&image, "main").is_some());
        assert_eq!(resolve(&image, "there_is_no_such_function"), None);
    }
}
