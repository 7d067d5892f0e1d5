//! Names as people write them: Rust (both manglings), C++ (Itanium and Microsoft's), Swift (what code in a stack is called).
//!
//! Names come out of files that nobody vouches for: what is too long or too deep stays as it is.

mod swift;

use std::fmt::{self, Write};
use std::thread::{self, Builder};

use cpp_demangle::{BorrowedSymbol, DemangleOptions, ParseOptions};
use msvc_demangler::DemangleFlags;

/// Longest name that is demangled, in bytes.
const LONGEST: usize = 32 << 10;

/// Longest name of Microsoft's kind: their demangler goes as deep as the name says, and copies what it refers back to.
const LONGEST_MICROSOFT: usize = 2 << 10;

/// Longest of them that are demangled on the stack that is there, and the stack that longer ones get, in bytes.
const SHORT_MICROSOFT: usize = 256;
const STACK: usize = 16 << 20;

/// How often parts of such a name may be copied into each other.
const MOST_COPIES: usize = 20_000;

/// Longest text that a name may become, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

/// How deep parts of a C++ name may lie in each other.
const DEEPEST: u32 = 96;

/// The ways to mangle that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mangling {
    Rust,
    Itanium,
    Microsoft,
    Swift,
}

/// Whether a name looks like one that can be demangled.
#[must_use]
pub fn is_mangled(name: &[u8]) -> bool {
    mangling(name).is_some()
}

/// A name with its parameters; `None` where it is not mangled, or in a way that is not known.
#[must_use]
pub fn demangle(name: &[u8]) -> Option<String> {
    demangled(name, true)
}

/// A name without parameters, results and hashes: what identifies a function to its author.
#[must_use]
pub fn demangle_short(name: &[u8]) -> Option<String> {
    demangled(name, false)
}

fn mangling(name: &[u8]) -> Option<Mangling> {
    match name {
        [b'_', b'R', ..] | [b'_', b'_', b'R', ..] => Some(Mangling::Rust),
        [b'?', ..] => Some(Mangling::Microsoft),
        // Mach-O puts an underscore before every name.
        [b'_', b'Z', ..] | [b'_', b'_', b'Z', ..] | [b'_', b'_', b'_', b'Z', ..] => {
            Some(if is_legacy_rust(name) { Mangling::Rust } else { Mangling::Itanium })
        }
        _ if name.starts_with(b"_GLOBAL__") => Some(Mangling::Itanium),
        _ if swift::is_mangled(name) => Some(Mangling::Swift),
        _ => None,
    }
}

/// Whether a name of the form that Rust once borrowed from C++ ends with Rust's hash.
fn is_legacy_rust(name: &[u8]) -> bool {
    // What the compiler's back end adds comes behind a dot.
    let end = memchr::memchr(b'.', name).unwrap_or(name.len());
    let hash = name.get(..end).and_then(|name| name.strip_suffix(b"E")).and_then(|name| name.last_chunk::<19>());
    hash.is_some_and(|hash| hash.starts_with(b"17h") && hash[3..].iter().all(u8::is_ascii_hexdigit))
}

fn demangled(name: &[u8], parameters: bool) -> Option<String> {
    let mangling = mangling(name).filter(|_| name.len() <= LONGEST)?;
    let text = std::str::from_utf8(name).ok()?;
    let mut out = Bounded(String::new());
    match mangling {
        Mangling::Rust => {
            let demangled = rustc_demangle::try_demangle(text).ok()?;
            // Without the hash.
            write!(out, "{demangled:#}").ok()?;
        }
        Mangling::Itanium => itanium(text, parameters, &mut out)?,
        Mangling::Microsoft => microsoft(text, parameters, &mut out)?,
        Mangling::Swift => out.write_str(&swift::demangle(text, parameters)?).ok()?,
    }
    Some(out.0).filter(|text| !text.is_empty())
}

fn itanium(name: &str, parameters: bool, out: &mut Bounded) -> Option<()> {
    // The version that a symbol table may add to a name is not part of it.
    let (name, version) = match name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (name, None),
    };
    let limits = ParseOptions::default().recursion_limit(DEEPEST);
    let symbol = BorrowedSymbol::new_with_options(name.as_bytes(), &limits).ok()?;
    let options = DemangleOptions::new().recursion_limit(DEEPEST);
    let options = if parameters { options } else { options.no_params().no_return_type() };
    symbol.structured_demangle(out, &options).ok()?;
    version.map_or(Some(()), |version| write!(out, "@{version}").ok())
}

fn microsoft(name: &str, parameters: bool, out: &mut Bounded) -> Option<()> {
    if name.len() > LONGEST_MICROSOFT || copies(name.as_bytes()) > MOST_COPIES {
        return None;
    }
    let flags = if parameters {
        DemangleFlags::llvm() | DemangleFlags::NO_ACCESS_SPECIFIERS | DemangleFlags::NO_MEMBER_TYPE
    } else {
        DemangleFlags::NAME_ONLY
    };
    let demangle = || msvc_demangler::demangle(name, flags).ok();
    let text = if name.len() <= SHORT_MICROSOFT {
        demangle()?
    } else {
        thread::scope(|scope| {
            Builder::new().stack_size(STACK).spawn_scoped(scope, demangle).ok()?.join().ok().flatten()
        })?
    };
    out.write_str(&text).ok()
}

/// How often parts of a name may at most get copied into each other. A digit stands for one of the first ten types, and
/// the parameters of a function may be such, of a function in them as well: each of those multiplies what is below it.
fn copies(name: &[u8]) -> usize {
    let digits = name.iter().filter(|byte| byte.is_ascii_digit()).count();
    let functions = name.windows(2).filter(|pair| matches!(pair, [b'6' | b'8', b'A'..=b'Z'])).count();
    let levels = functions.clamp(1, 10);
    (0..levels).fold(1usize, |copies, _| copies.saturating_mul(digits.div_ceil(levels).max(1)))
}

/// Text that does not grow beyond a bound.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST_TEXT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(name: &str) -> (String, String) {
        let text = |found: Option<String>| found.unwrap_or_default();
        (text(demangle(name.as_bytes())), text(demangle_short(name.as_bytes())))
    }

    #[test]
    fn manglings_of_five_kinds() {
        for (name, long, short) in [
            ("_ZN5space3fooEibc", "space::foo(int, bool, char)", "space::foo"),
            ("__ZN5space3fooEibc", "space::foo(int, bool, char)", "space::foo"),
            (
                "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
                "core::fmt::Write::write_fmt",
                "core::fmt::Write::write_fmt",
            ),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo", "mycrate::foo"),
            ("?foo@bar@@YAXH@Z", "void __cdecl bar::foo(int)", "bar::foo"),
            ("$s4main3fooyySiF", "main.foo(Swift.Int) -> ()", "main.foo"),
            (
                "_ZNSt6vectorIiSaIiEE9push_backERKi",
                "std::vector<int, std::allocator<int> >::push_back(int const&)",
                "std::vector<int, std::allocator<int> >::push_back",
            ),
        ] {
            assert_eq!(both(name), (long.to_owned(), short.to_owned()), "{name}");
        }
    }

    #[test]
    fn what_is_not_mangled_is_none() {
        for name in ["", "main", "_start", "_Zfoo", "?", "_R", "operator new", "$s", "$scope"] {
            assert_eq!(demangle(name.as_bytes()), None, "{name}");
        }
        assert_eq!(demangle(b"_ZN\xff"), None);
    }

    #[test]
    fn hostile_names_stay_as_they_are() {
        let deep = format!("_Z1f{}i", "P".repeat(10_000));
        assert_eq!(demangle(deep.as_bytes()), None);
        let deep = format!("?f@@YAX{}H@Z", "PA".repeat(1_000));
        let _ = demangle(deep.as_bytes());
        let copied = format!("?f@@YAX{}@Z", "P6AX00000000112233@Z".repeat(12));
        assert_eq!(demangle(copied.as_bytes()), None);
        let long = format!("_ZN{}E", "1a".repeat(20_000));
        assert_eq!(demangle(long.as_bytes()), None);
    }
}
