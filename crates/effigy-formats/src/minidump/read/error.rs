//! What can be wrong with a minidump.

use std::fmt;

use crate::opened::{MOST_WARNINGS, Placed, Warning, warn};

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
    #[error("Header.Version at offset 0x4 is {found:#x}, and that of every known minidump ends in a793")]
    Version {
        /// The version.
        found: u32,
    },
    /// Something lies partly or wholly behind the end of what should hold it.
    #[error("{what} of {size} bytes at offset {offset:#x} reaches beyond {end:#x}, the end of {holder}")]
    OutOfBounds {
        /// What does not fit.
        what: &'static str,
        /// What should hold it: the file, or a stream or record.
        holder: &'static str,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Its length in bytes.
        size: u64,
        /// Where that ends.
        end: u64,
    },
    /// What a field of the file leads to cannot be read.
    #[error("{field} at offset {offset:#x}: {cause}")]
    Field {
        /// The field.
        field: FieldName,
        /// Where it stands, from the start of the file, in bytes.
        offset: u64,
        /// What is wrong with what it leads to.
        cause: Box<ReadError>,
    },
    /// A list says that its head is longer than its stream.
    #[error(
        "{what} at offset {offset:#x} says that its head has {size} bytes (SizeOfHeader), and its stream has {room}"
    )]
    HeadSize {
        /// The list.
        what: &'static str,
        /// Where its stream begins, from the start of the file, in bytes.
        offset: u64,
        /// What it says.
        size: u32,
        /// Length of the stream in bytes.
        room: u64,
    },
    /// A list says that its entries are shorter than any.
    #[error(
        "{what} at offset {offset:#x} says that each entry has {size} bytes (SizeOfEntry), and they have {least} at least"
    )]
    EntrySize {
        /// The list.
        what: &'static str,
        /// Where its stream begins, from the start of the file, in bytes.
        offset: u64,
        /// What it says.
        size: u32,
        /// What an entry has at least, in bytes.
        least: usize,
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

/// A field of a minidump, by the names of minidumpapiset.h: `ThreadList[3].ThreadContext`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName {
    /// The stream or structure that it is in.
    pub list: &'static str,
    /// Which entry of it, from 0; `None` where there is but one.
    pub index: Option<u64>,
    /// The entry's field.
    pub member: &'static str,
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, index, member } = self;
        match index {
            Some(index) => write!(f, "{list}[{index}].{member}"),
            None => write!(f, "{list}.{member}"),
        }
    }
}

impl ReadError {
    /// The same, told of the field that led there, which stands at `offset` of the file.
    pub(super) fn led_by(self, list: &'static str, index: Option<u64>, member: &'static str, offset: u64) -> Self {
        Self::Field { field: FieldName { list, index, member }, offset, cause: Box::new(self) }
    }
}

/// What is wrong with names, without which the rest can be read.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<ReadError>);

impl Wrong {
    /// Takes what is wrong with one; of a million only the first.
    pub(super) fn add(&mut self, error: ReadError) {
        if self.0.len() < MOST_WARNINGS {
            self.0.push(error);
        }
    }

    /// Makes warnings of them.
    pub(super) fn warn(self, warnings: &mut Vec<Warning>) {
        self.0.iter().for_each(|error| warn(Warning::of(error), warnings));
    }
}

impl Placed for ReadError {
    fn place(&self) -> Option<u64> {
        Some(match self {
            Self::Signature { .. } => 0,
            Self::Version { .. } => 4,
            Self::OutOfBounds { offset, .. }
            | Self::Field { offset, .. }
            | Self::HeadSize { offset, .. }
            | Self::EntrySize { offset, .. }
            | Self::Count { offset, .. }
            | Self::Input { offset, .. }
            | Self::TooLarge { offset, .. }
            | Self::Value { offset, .. }
            | Self::Text { offset, .. } => *offset,
        })
    }
}
