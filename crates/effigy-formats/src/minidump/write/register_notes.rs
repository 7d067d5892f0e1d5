//! Our own stream of register notes: all that the kernel told of each thread's registers.

use std::io;

use effigy_process::{Architecture, Thread};

use super::Scene;
use super::output::{Output, narrow};
use crate::WriteError;
use crate::minidump::layout::context::{NOTES_VERSION, NoteHeader, NotesHeader, ThreadNotes};

/// Writes the notes of all threads that have any.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let with_registers = || scene.process.threads.iter().filter(|thread| thread.registers.is_ok());
    let count = with_registers().count();
    if count == 0 {
        return Ok(None);
    }
    let start = out.position();
    out.record(&NotesHeader { version: NOTES_VERSION.into(), threads: narrow(count as u64).into() })?;
    with_registers().try_for_each(|thread| write_thread(thread, out))?;
    Ok(Some(out.position() - start))
}

fn write_thread(thread: &Thread, out: &mut Output<'_>) -> io::Result<()> {
    let Ok(registers) = &thread.registers else { return Ok(()) };
    // A thread has a dozen sets at most; the limit only keeps number and content together.
    let sets = registers.sets.get(..usize::from(u16::MAX)).unwrap_or(&registers.sets);
    out.record(&ThreadNotes {
        id: thread.id.0.into(),
        machine: machine(registers.architecture).into(),
        notes: u16::try_from(sets.len()).unwrap_or(u16::MAX).into(),
    })?;
    for set in sets {
        out.record(&NoteHeader { kind: set.note.into(), size: narrow(set.bytes.len() as u64).into() })?;
        out.bytes_with(set.bytes.len(), || set.bytes.to_vec())?;
        out.align(4)?;
    }
    Ok(())
}

/// `e_machine` of the ELF specification, from include/uapi/linux/elf-em.h.
fn machine(architecture: Architecture) -> u16 {
    match architecture {
        Architecture::X86 => 3,
        Architecture::Arm => 40,
        Architecture::X86_64 => 62,
        Architecture::Aarch64 => 183,
        Architecture::Riscv64 => 243,
        _ => 0,
    }
}
