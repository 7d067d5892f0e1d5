//! What to search for, as a caller says it.

use effigy_process::{AddressRange, Architecture, ByteOrder};
use serde::Serialize;

/// Something to look for. A search looks for several at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pattern {
    /// These bytes: 1 to [`LONGEST_NEEDLE`] of them.
    Bytes(Vec<u8>),
    /// This text.
    Text(TextPattern),
    /// Words that point into a range.
    Pointers(PointerPattern),
    /// What a regular expression describes.
    Expression(ExpressionPattern),
}

/// Most bytes of a pattern.
pub const LONGEST_NEEDLE: usize = 64 << 10;

/// Most bytes of a text that is looked for in upper and lower case, in its longest encoding.
pub const LONGEST_FOLDED_TEXT: usize = 2 << 10;

/// Most bytes of a regular expression's hit that is sure to be found whole, among the first 256 of its hits in a piece of
/// memory. A longer one may be given in part, and is marked then ([`Hit::cut`](super::Hit::cut)).
pub const LONGEST_MATCH: usize = 64 << 10;

/// The same for the hits that follow: so the time of a search is in proportion to the memory, whatever the expression is
/// and whatever the memory holds. A longer one may be given in part, or, where its end decides whether it is one, be missed.
pub const SURE_MATCH: usize = 4 << 10;

/// Most patterns of a search, texts counted once for each encoding.
pub const MOST_NEEDLES: usize = 1000;

/// Text to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPattern {
    /// The text, not empty.
    pub text: String,
    /// Look for it in UTF-8, which is ASCII where the text is.
    pub utf8: bool,
    /// Look for it in UTF-16, low byte first, at any address.
    pub utf16: bool,
    /// Let upper case stand for lower case and the other way round: for each letter alone, so that `ß` is not `SS`.
    pub ignore_case: bool,
}

impl TextPattern {
    /// `text` in both encodings, as it is written.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), utf8: true, utf16: true, ignore_case: false }
    }
}

/// Pointers to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerPattern {
    /// Where they point.
    pub into: AddressRange,
    /// How long they are.
    pub width: PointerWidth,
    /// In which order their bytes lie.
    pub byte_order: ByteOrder,
    /// Look at every address, and not only at multiples of a pointer's length.
    pub unaligned: bool,
}

/// Length of a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum PointerWidth {
    /// 32 bits.
    #[serde(rename = "4")]
    Four,
    /// 64 bits.
    #[serde(rename = "8")]
    Eight,
}

impl PointerWidth {
    /// Length of the pointers of an architecture.
    #[must_use]
    pub fn of(architecture: Architecture) -> Self {
        if architecture.pointer_size() == 4 { Self::Four } else { Self::Eight }
    }

    /// Bytes of such a pointer.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// A regular expression over bytes, in the syntax of the `regex` crate. `.`, `\w`, `\b` and classes are about ASCII
/// bytes unless the expression says `(?u)`.
///
/// Hits do not overlap: behind one, the search goes on at its end. Where an expression matches no bytes at all, that is
/// no hit. `\A` and `^` match where captured memory begins, `\z` and `$` where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionPattern {
    /// The expression.
    pub expression: String,
    /// Let upper case stand for lower case and the other way round.
    pub ignore_case: bool,
}

/// Why a search cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// There are no patterns.
    #[error("there is nothing to search for")]
    None,
    /// There are too many.
    #[error("{count} patterns are asked for, and {MOST_NEEDLES} are the most")]
    TooMany {
        /// How many, texts counted once for each encoding.
        count: usize,
    },
    /// One has no bytes.
    #[error("pattern {index} is empty")]
    Empty {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// One is too long.
    #[error("pattern {index} has {bytes} bytes, and {limit} are the most")]
    TooLong {
        /// Its place in the list, from 0.
        index: usize,
        /// Its length in bytes.
        bytes: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// A text is to be searched in no encoding.
    #[error("no encoding is asked for in which to search text {index}")]
    NoEncoding {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// No pointer of this width has a value in the range.
    #[error("no pointer of {width} bytes points into {into}")]
    NoPointer {
        /// The range.
        into: AddressRange,
        /// Bytes of a pointer.
        width: usize,
    },
    /// A regular expression is wrong, or becomes too large.
    #[error("the regular expression (pattern {index}) cannot be used: {reason}")]
    Expression {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// Texts are too many or too long together.
    #[error("the patterns cannot be searched together: {reason}")]
    Together {
        /// Why not.
        reason: String,
    },
}
