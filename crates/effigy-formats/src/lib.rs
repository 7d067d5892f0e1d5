//! Bytes to process and back.
//!
//! Each format is written and parsed here and nowhere else: [`minidump`], [`elf_core`], the compressed [`container`] that
//! either may be wrapped in, and the [`reflection`] pair, one process in two minidumps. Nothing in this crate opens a
//! file or a process; it takes bytes and gives bytes.
//!
//! A dump file, whatever its format, has three parts in this order: a *prologue* (everything that is known before the
//! memory is read: headers, tables, threads, modules, facts), the *memory* (the bytes of all extents, one behind the
//! other in the order of their list, which need not be that of their addresses), and *attachments* (whole files, such
//! as embedded program images). Only the prologue differs between formats. It is written in one pass to anything that
//! takes bytes. Where memory turns out to be unreadable and the output can be written again, the prologue is written a
//! second time, in the same place, with what is now known.
#![forbid(unsafe_code)]

mod auxiliary;
pub mod container;
pub mod elf_core;
mod facts;
mod image;
mod memory;
pub mod minidump;
mod open;
mod opened;
pub mod reflection;
pub mod source;
mod unpack;
pub mod verify;
mod working_set;

use std::io::{self, Write};

use bstr::BString;
pub use memory::MemoryMap;
pub use open::{OpenError, Surroundings, open};
pub use opened::{
    Compression, Coverage, DumpKind, Field, FieldValue, OpenedDump, PairFile, Part, Warning, names_offset,
};

pub use unpack::UnpackError;

use effigy_process::{BuildId, ExtentList, Gap, Process};

/// What a dump is to hold.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The process. What a kind of dump must not hold (a triage dump's environment, say) has been taken out already.
    pub process: &'a Process,
    /// Its memory, in the order in which it lies in the file.
    pub extents: &'a ExtentList,
    /// What the dump does not hold; takes the place of `process.gaps`.
    pub gaps: &'a [Gap],
    /// MINIDUMP_TYPE bits that say what is inside (the `Flags` of a minidump's header).
    pub minidump_type: u64,
    /// Files that follow the memory.
    pub attachments: &'a [Attachment],
}

/// A file embedded in the dump, behind the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its path in the target's file system.
    pub name: BString,
    /// Its build id, for program images.
    pub build_id: Option<BuildId>,
    /// Its length in bytes.
    pub length: u64,
}

/// A format that a dump can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Minidump.
    Minidump,
    /// ELF core.
    ElfCore,
}

impl Format {
    /// The length in bytes of the prologue for `contents`, padding to the data's alignment not included.
    ///
    /// # Errors
    /// When the contents cannot be expressed in the format.
    pub fn prologue_size(self, contents: &Contents<'_>) -> Result<u64, WriteError> {
        match self {
            Self::Minidump => minidump::write::prologue_size(contents),
            Self::ElfCore => elf_core::write::prologue_size(contents),
        }
    }

    /// Writes the prologue, padded with zeros to exactly `data_offset` bytes: the file offset at which the memory
    /// begins, a multiple of the target's page size and no less than [`prologue_size`](Self::prologue_size).
    ///
    /// # Errors
    /// When the output fails, or the contents do not fit.
    pub fn write_prologue(
        self,
        contents: &Contents<'_>,
        data_offset: u64,
        out: &mut dyn Write,
    ) -> Result<(), WriteError> {
        match self {
            Self::Minidump => minidump::write::write_prologue(contents, data_offset, out),
            Self::ElfCore => elf_core::write::write_prologue(contents, data_offset, out),
        }
    }
}

/// What writes a dump's prologue: a [`Format`], or what makes a new prologue out of that of another dump.
pub trait Prologue {
    /// The length in bytes of the prologue for `contents`, padding to the data's alignment not included.
    ///
    /// # Errors
    /// When the contents cannot be expressed.
    fn prologue_size(&self, contents: &Contents<'_>) -> Result<u64, WriteError>;

    /// Writes the prologue, padded with zeros to exactly `data_offset` bytes; see [`Format::write_prologue`].
    ///
    /// # Errors
    /// When the output fails, or the contents do not fit.
    fn write_prologue(&self, contents: &Contents<'_>, data_offset: u64, out: &mut dyn Write) -> Result<(), WriteError>;
}

impl Prologue for Format {
    fn prologue_size(&self, contents: &Contents<'_>) -> Result<u64, WriteError> {
        Self::prologue_size(*self, contents)
    }

    fn write_prologue(&self, contents: &Contents<'_>, data_offset: u64, out: &mut dyn Write) -> Result<(), WriteError> {
        Self::write_prologue(*self, contents, data_offset, out)
    }
}

/// Why a dump could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output failed.
    #[error("writing the dump's headers")]
    Output(#[from] io::Error),
    /// The prologue does not fit in the room that was reserved for it.
    #[error("the dump's headers need {needed} bytes and only {reserved} are reserved for them")]
    PrologueTooLarge {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        reserved: u64,
    },
    /// A minidump's headers reach beyond what its 32-bit offsets can express.
    #[error(
        "the dump's headers take {size} bytes, more than a minidump's 32-bit offsets can express; write an ELF core instead"
    )]
    BeyondMinidump {
        /// Their length in bytes.
        size: u64,
    },
    /// A 32-bit core has no place for an address.
    #[error("a 32-bit core has no place for memory at {address}; write a minidump instead")]
    Address {
        /// The address.
        address: effigy_process::Address,
    },
    /// effigy does not know how registers of the architecture, in this order of bytes, lie in a core.
    #[error(
        "effigy writes no cores of {} processes ({}); leave format and kind as they are, which copies the dump",
        architecture.as_str(),
        match byte_order {
            effigy_process::ByteOrder::Big => "big-endian",
            effigy_process::ByteOrder::Little => "little-endian",
        }
    )]
    NoCore {
        /// The process's architecture.
        architecture: effigy_process::Architecture,
        /// The order of the bytes of its numbers.
        byte_order: effigy_process::ByteOrder,
    },
    /// The format cannot express this architecture.
    #[error("{format} has no register layout for {}; write {instead} instead", architecture.as_str())]
    Architecture {
        /// The format.
        format: &'static str,
        /// The process's architecture.
        architecture: effigy_process::Architecture,
        /// A format that can.
        instead: &'static str,
    },
}
