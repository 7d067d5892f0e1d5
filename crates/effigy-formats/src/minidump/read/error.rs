//! What can be wrong with a minidump.

/// Why a minidump, or a part of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file is something else.
    #[error("the file begins with {found:#010x} and not with a minidump's signature")]
    Signature {
        /// Its first four bytes.
        found: u32,
    },
    /// A minidump of a version that nobody has written yet.
    #[error("the minidump has version {found:#06x}")]
    Version {
        /// The version.
        found: u32,
    },
    /// Something lies partly or wholly behind the end of what should hold it.
    #[error("{what} of {size} bytes at offset {offset:#x} reaches beyond {end:#x}, where what holds it ends")]
    OutOfBounds {
        /// What does not fit.
        what: &'static str,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Its length in bytes.
        size: u64,
        /// Where the file or the stream ends.
        end: u64,
    },
    /// A list claims to have more entries than there is room for.
    #[error("{what} at offset {offset:#x} counts {count} entries of {entry_size} bytes in a stream of {size} bytes")]
    Count {
        /// The list.
        what: &'static str,
        /// Where its stream begins, from the start of the file, in bytes.
        offset: u64,
        /// Number of entries that it claims.
        count: u64,
        /// Length of an entry in bytes.
        entry_size: u64,
        /// Length of the stream in bytes.
        size: u64,
    },
    /// The file cannot be read.
    #[error("reading {what} at offset {offset:#x}: {detail}")]
    Input {
        /// What was to be read.
        what: &'static str,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Kind of the system's error.
        kind: std::io::ErrorKind,
        /// The system's words.
        detail: String,
    },
    /// Something is longer than anything of its kind, or the same bytes are counted again and again.
    #[error("{what} of {size} bytes at offset {offset:#x} is longer than is accepted")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// A field has a value that makes no sense.
    #[error("{what} at offset {offset:#x} is {value:#x}")]
    Value {
        /// The field.
        what: &'static str,
        /// Where the structure or the text begins that it is in, from the start of the file, in bytes.
        offset: u64,
        /// Its value.
        value: u64,
    },
    /// Text is not what it should be.
    #[error("{what} at offset {offset:#x} is no text in UTF-8")]
    Text {
        /// The text.
        what: &'static str,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
    },
}
