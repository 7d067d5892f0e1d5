//! What notes say, field by field, by the names that the fields have in the kernel's headers.
//!
//! The process is made of the notes elsewhere; here is all that a note says, for those who look at the file itself. A note
//! is decoded when it is asked for: a core of ten thousand threads has thirty thousand of them.

mod arm;
mod process;
mod qemu;
mod registers;
mod simple;
mod thread;
mod xstate;

use std::sync::Arc;

use effigy_process::note as set;

use self::thread::Subject;
use super::super::layout::{OWNER_CORE, OWNER_EFFIGY, OWNER_LINUX, effigy, note};
use super::{CoreError, FileHeader, LARGEST_NOTE, headers};
use crate::opened::{Field, LONGEST_TEXT, MOST_CONTENT, Part};
use crate::source::SharedSource;

/// The fields of a note of the core whose file is `source`.
///
/// # Errors
/// When the file cannot be read, or the note is longer than any.
pub(crate) fn of(source: &SharedSource, part: &Part) -> Result<Vec<Field>, CoreError> {
    let header = FileHeader::read(&headers::part(source, 0, source.size().min(64), "ELF header")?)?;
    let kind = Kind::of(&part.owner, part.number);
    let size = match kind {
        Kind::Nothing => return Ok(Vec::new()),
        Kind::Text => part.size.min(LONGEST_TEXT as u64),
        Kind::Unknown => part.size.min(MOST_CONTENT as u64),
        Kind::Linux => part.size,
        Kind::Qemu => part.size.min(qemu::SIZE),
    };
    if size > LARGEST_NOTE {
        return Err(CoreError::TooLarge { what: "note", offset: part.offset, size });
    }
    let bytes = headers::part(&Arc::clone(source), part.offset, size, "notes")?;
    let subject = Subject { shape: header.shape, architecture: super::architecture(&header), bytes: &bytes };
    Ok(match kind {
        Kind::Nothing => Vec::new(),
        Kind::Text => vec![Field::text("Text", String::from_utf8_lossy(&bytes).trim_end_matches('\0'))],
        Kind::Qemu => qemu::fields(subject),
        Kind::Linux => linux(part.number, subject).unwrap_or_else(|| undecoded(part, &bytes)),
        Kind::Unknown => undecoded(part, &bytes),
    })
}

/// What a note is, by its owner.
#[derive(Clone, Copy)]
enum Kind {
    /// It is there for its owner's name alone.
    Nothing,
    /// Text from its beginning to its end.
    Text,
    /// One of the kernel's, or of qemu's emulator, whose owners are empty.
    Linux,
    /// A processor of a guest.
    Qemu,
    Unknown,
}

impl Kind {
    fn of(owner: &[u8], number: u32) -> Self {
        match owner {
            b"" => Self::Linux,
            owner if owner == OWNER_CORE.as_bytes() || owner == OWNER_LINUX.as_bytes() => match number {
                note::NOTHING => Self::Nothing,
                _ => Self::Linux,
            },
            owner if owner == OWNER_EFFIGY.as_bytes() => match number {
                note::NOTHING => Self::Nothing,
                effigy::FACTS..=effigy::MAPS => Self::Text,
                _ => Self::Unknown,
            },
            b"GDB" if number == super::names::GDB_TARGET => Self::Text,
            // The kernel's description of itself, for readers of its dumps.
            b"VMCOREINFO" => Self::Text,
            b"QEMU" if number == 0 => Self::Qemu,
            _ => Self::Unknown,
        }
    }
}

/// A note of the kernel's; `None` when its fields are not known or it is too short to have any.
fn linux(number: u32, subject: Subject<'_>) -> Option<Vec<Field>> {
    match number {
        set::PRSTATUS => thread::status(subject),
        note::PRPSINFO => process::info(subject),
        note::SIGINFO => process::signal(subject),
        note::AUXV => Some(process::auxiliary_vector(subject)),
        note::FILE => process::files(subject),
        set::PRFPREG => registers::floating_point(subject),
        set::PRXFPREG => registers::fxsave(subject, 8),
        set::X86_XSTATE => xstate::area(subject),
        set::X86_XSAVE_LAYOUT => Some(xstate::layout(subject)),
        set::ARM_VFP => arm::vfp(subject),
        set::ARM_SVE | set::ARM_SSVE => arm::scalable(subject),
        set::ARM_ZA => arm::array(subject),
        simple::HW_BREAK | simple::HW_WATCH => arm::debug_registers(subject),
        set::I386_TLS => Some(simple::descriptors(subject)),
        other => simple::fields(other, subject),
    }
}

fn undecoded(part: &Part, bytes: &[u8]) -> Vec<Field> {
    let why = match part.name {
        Some(_) if bytes.is_empty() => "it is empty",
        Some(_) => "effigy does not know this note's fields for this architecture, or it is too short for them",
        None => "effigy does not know this owner's notes of this type",
    };
    Field::undecoded(why, bytes)
}

#[cfg(test)]
mod tests;
