//! What C++ exceptions and Rust panics say, read from memory; no code of the program is run for it.

use bstr::BString;
use effigy_process::{Address, Memory};

use crate::LiveMemory;

/// The table of functions of type information for classes with one base class (Itanium C++ ABI, 2.9.5).
pub(super) const SINGLE_BASE: &str = "_ZTVN10__cxxabiv120__si_class_type_infoE";
/// Classes of the standard libraries (GNU's and LLVM's) whose text lies behind the pointer to the table of functions.
const WITH_TEXT: [&[u8]; 4] =
    [b"St13runtime_error", b"St11logic_error", b"NSt3__113runtime_errorE", b"NSt3__111logic_errorE"];
/// Base classes that are gone through.
const MOST_BASES: usize = 16;
/// Bytes of a name or message that are read.
const LONGEST_TEXT: usize = 4096;

/// A C++ exception that is being thrown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its type, as mangled as in its type information; empty when that cannot be read.
    pub mangled: BString,
    /// What `what()` would say, for classes of the standard library and those derived from them.
    pub message: Option<BString>,
    /// The object.
    pub object: Address,
}

/// Reads values of the languages.
pub(super) struct Reader<'a>(pub(super) &'a LiveMemory);

impl Reader<'_> {
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(Address(address), &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length.min(LONGEST_TEXT)];
        self.0.read_exact(Address(address), &mut bytes).ok()?;
        Some(bytes)
    }

    /// Text up to a zero byte; `None` when there is none within bounds.
    fn text(&self, address: u64) -> Option<BString> {
        let mut text = Vec::new();
        let mut piece = [0; 64];
        while text.len() < LONGEST_TEXT {
            let at = Address(address.checked_add(text.len() as u64)?);
            let count = self.0.read(at, &mut piece).ok().filter(|count| *count > 0)?;
            let piece = piece.get(..count)?;
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&piece[..end]);
                return Some(text.into());
            }
            text.extend_from_slice(piece);
        }
        None
    }

    /// The exception by its object and type information. `single_base` is what type information of a class with one base
    /// class begins with; 0 when that is not known.
    pub(super) fn exception(&self, object: Address, information: Address, single_base: u64) -> Exception {
        // `struct type_info`: the table of functions, the name; then, with one base class, its type information.
        let name = |information: u64| self.word(information.checked_add(8)?).and_then(|name| self.text(name));
        let mangled = name(information.0).unwrap_or_default();
        let mut class = information.0;
        let mut message = None;
        for _ in 0..MOST_BASES {
            let Some(known) = name(class) else { break };
            if WITH_TEXT.contains(&known.as_slice()) {
                message = object.0.checked_add(8).and_then(|at| self.word(at)).and_then(|text| self.text(text));
                break;
            }
            if single_base == 0 || self.word(class) != Some(single_base) {
                break;
            }
            let Some(base) = class.checked_add(16).and_then(|at| self.word(at)) else { break };
            class = base;
        }
        // A name that is compared by its address begins with a star.
        let mangled = mangled.strip_prefix(b"*").map(BString::from).unwrap_or(mangled);
        Exception { mangled, message, object }
    }

    /// The message of a panic: by the size of the payload that `rust_panic` is given, which tells a `&str` from a `String`.
    /// Rust promises no layout, so only what is text without doubt is taken for it.
    pub(super) fn panic(&self, payload: Address, table: Address) -> Option<BString> {
        let field = |index: u64| self.word(payload.0.checked_add(index * 8)?);
        // A table of functions begins with the destructor, size and alignment.
        match self.word(table.0.checked_add(8)?)? {
            16 => self.message(field(0)?, field(1)?),
            size @ (24 | 32) => {
                let words: Vec<u64> = (0..size / 8).map_while(field).collect();
                // Capacity, address, length.
                let mut strings = words.windows(3).filter(|words| words[0] >= words[2] && words[0] >> 32 == 0);
                strings.find_map(|words| self.message(words[1], words[2]))
            }
            _ => None,
        }
    }

    fn message(&self, address: u64, length: u64) -> Option<BString> {
        let length = usize::try_from(length).ok().filter(|length| (1..=LONGEST_TEXT).contains(length))?;
        let bytes = self.bytes(address, length)?;
        let text = std::str::from_utf8(&bytes).ok()?;
        let readable = text.chars().all(|letter| !letter.is_control() || letter.is_whitespace());
        readable.then(|| BString::from(text))
    }
}
