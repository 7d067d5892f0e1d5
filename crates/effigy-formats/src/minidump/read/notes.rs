//! effigy's own register notes.

use effigy_process::{CompactBytes, RegisterSet, ThreadId};

use super::source::Block;
use super::{Dump, ReadError};
use crate::minidump::layout::context::{self, NOTES_VERSION, NoteHeader, NotesHeader};
use crate::minidump::layout::stream;

/// All register sets of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadNotes {
    /// The thread.
    pub thread: ThreadId,
    /// ELF machine (`EM_*`) in whose layout the notes are.
    pub machine: u16,
    /// The sets.
    pub notes: Vec<RegisterSet>,
}

const WHAT: &str = "register notes";

impl Dump {
    /// The register sets of all threads, in the dump's order; none in dumps that effigy did not write.
    ///
    /// # Errors
    /// When they are cut off.
    pub fn register_notes(&self) -> Result<Vec<ThreadNotes>, ReadError> {
        let Some(block) = self.block(stream::EFFIGY_REGISTER_NOTES)? else { return Ok(Vec::new()) };
        let header: NotesHeader = block.record(0, WHAT)?;
        if header.version.get() != NOTES_VERSION {
            let value = header.version.get().into();
            return Err(ReadError::Value { what: "the version of the register notes", offset: block.offset(), value });
        }
        let mut at = size_of::<NotesHeader>() as u64;
        let mut threads = Vec::new();
        for _ in 0..header.threads.get() {
            threads.push(thread(&block, &mut at)?);
        }
        Ok(threads)
    }
}

/// The notes of the thread at `at`, which then lies behind them. Every step takes bytes of the stream, so that a count
/// cannot make this run longer than the stream is.
fn thread(block: &Block, at: &mut u64) -> Result<ThreadNotes, ReadError> {
    let header: context::ThreadNotes = block.record(*at, WHAT)?;
    *at += size_of::<context::ThreadNotes>() as u64;
    let mut notes = Vec::new();
    for _ in 0..header.notes.get() {
        let note: NoteHeader = block.record(*at, WHAT)?;
        *at += size_of::<NoteHeader>() as u64;
        let size = u64::from(note.size.get());
        let bytes = block.part(*at, size, WHAT)?.bytes(WHAT)?;
        notes.push(RegisterSet { note: note.kind.get(), bytes: CompactBytes::new(&bytes) });
        *at += size.next_multiple_of(4);
    }
    Ok(ThreadNotes { thread: ThreadId(header.id.get()), machine: header.machine.get(), notes })
}
