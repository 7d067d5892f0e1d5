//! What can be wrong with a core.

use crate::opened::Placed;

/// Why a core, or a part of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// It does not begin as ELF files do.
    #[error("not an ELF file")]
    NotElf,
    /// It is an ELF file of another type.
    #[error("not a core: e_type at offset 0x10 is {kind}{} in place of 4", meaning(*kind))]
    NotCore {
        /// Its `e_type`.
        kind: u16,
    },
    /// A field of a header has a value that effigy does not know.
    #[error("{field} at offset {offset:#x} is {value}, and {known} is what effigy reads")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Where it stands, from the start of the file, in bytes.
        offset: u64,
        /// Its value.
        value: u64,
        /// Values that are known, in words.
        known: &'static str,
    },
    /// It ends before something that it must have.
    #[error("the core ends at {end:#x}, before the end of its {what} ({size} bytes at offset {offset:#x})")]
    Truncated {
        /// What it must have.
        what: &'static str,
        /// Where that begins, from the start of the file, in bytes.
        offset: u64,
        /// Its length in bytes.
        size: u64,
        /// The file's length in bytes.
        end: u64,
    },
    /// The file cannot be read.
    #[error("reading the core's {what} at offset {offset:#x}: {detail}")]
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
    /// Something is longer than anything of its kind.
    #[error("a {what} of {size} bytes at offset {offset:#x} is longer than is accepted")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// Segments of notes lie over each other.
    #[error("the segment of notes at offset {offset:#x} lies over others: all together they are longer than the file")]
    Overlap {
        /// Where the one begins that is too many, from the start of the file, in bytes.
        offset: u64,
    },
    /// A segment of notes ends within the header of a note.
    #[error("a note's header at offset {offset:#x} reaches beyond {end:#x}, the end of its segment")]
    NoteHeader {
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Where the segment ends.
        end: u64,
    },
    /// A note is longer than what is left of its segment.
    #[error(
        "the note at offset {offset:#x} has a name of {name_size} bytes (n_namesz) and contents of {size} (n_descsz), \
         which reach beyond {end:#x}, the end of its segment"
    )]
    NoteSize {
        /// Where its header begins, from the start of the file, in bytes.
        offset: u64,
        /// `n_namesz`.
        name_size: u32,
        /// `n_descsz`.
        size: u32,
        /// Where the segment ends.
        end: u64,
    },
    /// A note ends before one of its fields does.
    #[error("{note} at offset {offset:#x} has {size} bytes, and its {field} ends at {least}")]
    ShortNote {
        /// The note.
        note: &'static str,
        /// Where its contents begin, from the start of the file, in bytes.
        offset: u64,
        /// Their length in bytes.
        size: u64,
        /// The field.
        field: &'static str,
        /// Where the field ends in the contents.
        least: u64,
    },
    /// A note lists more than it has room for.
    #[error("{note} at offset {offset:#x} counts {count} entries of {entry_size} bytes (count), and has {size} bytes")]
    Count {
        /// The note.
        note: &'static str,
        /// Where its contents begin, from the start of the file, in bytes.
        offset: u64,
        /// What it counts.
        count: u64,
        /// Length of an entry in bytes.
        entry_size: u64,
        /// Length of the contents in bytes.
        size: u64,
    },
}

/// What an ELF file is by its `e_type`.
fn meaning(kind: u16) -> &'static str {
    match kind {
        1 => " (an object file)",
        2 => " (a program)",
        3 => " (a program or a library)",
        _ => "",
    }
}

impl Placed for CoreError {
    fn place(&self) -> Option<u64> {
        Some(match self {
            Self::NotElf => 0,
            Self::NotCore { .. } => 16,
            // That is where something can be done: it is what is missing.
            Self::Truncated { end, .. } => *end,
            Self::Unsupported { offset, .. }
            | Self::Input { offset, .. }
            | Self::TooLarge { offset, .. }
            | Self::Overlap { offset }
            | Self::NoteHeader { offset, .. }
            | Self::NoteSize { offset, .. }
            | Self::ShortNote { offset, .. }
            | Self::Count { offset, .. } => *offset,
        })
    }
}
