//! Writing the part of a core that stands before the memory.
//!
//! In the file: ELF header, program headers, section header 0 where there are too many of them to count in the ELF
//! header, notes, zeros up to the memory. All of it is written in one pass and nothing is collected first: a process may
//! have 30,000 threads and millions of segments. How long it is comes from running the same code without an output, so
//! length and content cannot disagree.

mod header;
mod notes;
mod own_notes;
mod process_notes;
mod segments;
mod thread_notes;

use std::io::{self, BufWriter, Write};

use effigy_process::{Address, ByteOrder};

use crate::{Contents, WriteError};

use self::header::Headers;
use self::notes::Notes;
use self::segments::segments;
use super::layout::{Class, machine};

/// Bytes that are gathered before they go to the output.
const BUFFER: usize = 128 << 10;

/// See [`crate::Format::prologue_size`].
///
/// # Errors
/// When the contents do not fit in the 32-bit offsets of a 32-bit core.
pub fn prologue_size(contents: &Contents<'_>) -> Result<u64, WriteError> {
    Ok(plan(contents)?.end())
}

/// See [`crate::Format::write_prologue`].
///
/// # Errors
/// When the output fails, or the contents do not fit.
pub fn write_prologue(contents: &Contents<'_>, data_offset: u64, out: &mut dyn Write) -> Result<(), WriteError> {
    let headers = plan(contents)?;
    let reserved = data_offset;
    if headers.end() > reserved {
        return Err(WriteError::PrologueTooLarge { needed: headers.end(), reserved });
    }
    let mut out = BufWriter::with_capacity(BUFFER, out);
    headers.write(contents, data_offset, &mut out)?;
    let mut notes = Notes::writing(&mut out);
    all_notes(contents, data_offset, &mut notes)?;
    debug_assert_eq!(notes.length(), headers.note_bytes, "measuring and writing are the same code");
    io::copy(&mut io::Read::take(io::repeat(0), reserved - headers.end()), &mut out)?;
    out.flush()?;
    Ok(())
}

/// Counts and measures.
fn plan(contents: &Contents<'_>) -> Result<Headers, WriteError> {
    check(contents)?;
    let mut notes = Notes::measuring();
    all_notes(contents, 0, &mut notes)?;
    let headers = Headers {
        class: Class::of(contents.process.architecture),
        segments: segments(contents).count() as u64,
        note_bytes: notes.length(),
    };
    headers.check(contents.extents.bytes())?;
    Ok(headers)
}

/// Whether a core can say what is to be in it.
fn check(contents: &Contents<'_>) -> Result<(), WriteError> {
    let (architecture, byte_order) = (contents.process.architecture, contents.process.byte_order);
    // Numbers are written with the lowest byte first, as all of these have it.
    if machine(architecture).0 == 0 || byte_order != ByteOrder::Little {
        return Err(WriteError::NoCore { architecture, byte_order });
    }
    let limit = Address(1 << 32);
    let regions = contents.process.regions.iter().map(|region| region.range);
    let wide = || contents.extents.iter().map(|extent| extent.range).chain(regions).find(|range| range.end() > limit);
    match Class::of(architecture) {
        Class::Elf32 => wide().map_or(Ok(()), |range| Err(WriteError::Address { address: range.start() })),
        Class::Elf64 => Ok(()),
    }
}

/// The notes in the kernel's order (`fill_note_info`, fs/binfmt_elf.c): the thread that a debugger is to show first,
/// then what is the process's, then that thread's other registers, then the other threads; then effigy's own.
fn all_notes(contents: &Contents<'_>, data_offset: u64, notes: &mut Notes<'_>) -> io::Result<()> {
    let process = contents.process;
    let first = thread_notes::first(process);
    if let Some(first) = first {
        thread_notes::write_status(process, first, notes)?;
    }
    process_notes::write(process, notes)?;
    if let Some(first) = first {
        thread_notes::write_other_sets(first, notes)?;
    }
    let others = process.threads.iter().filter(|thread| Some(thread.id) != first.map(|first| first.thread.id));
    for thread in others.filter_map(|thread| thread_notes::WithRegisters::of(process, thread)) {
        thread_notes::write_status(process, thread, notes)?;
        thread_notes::write_other_sets(thread, notes)?;
    }
    thread_notes::write_xsave_layout(first, notes)?;
    own_notes::write(contents, data_offset, notes)?;
    notes.ensure_linux()
}

#[cfg(test)]
mod tests;
