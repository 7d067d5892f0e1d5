//! Threads: `NT_PRSTATUS`, with which each begins, and the register sets behind it.

use std::time::Duration;

use effigy_process::{
    Architecture, CompactBytes, RegisterSet, Registers, SchedulingFacts, Thread, ThreadId, ThreadTimes, note,
};

use super::super::layout::Class;
use super::cursor::Cursor;
use super::{Core, CoreError};

/// Bytes before the registers in `struct elf_prstatus`, for both widths of words.
const STATUS_64: usize = 112;
const STATUS_32: usize = 72;

/// The threads, as the notes come.
#[derive(Default)]
pub(super) struct Threads {
    threads: Vec<Thread>,
    signals: Vec<i32>,
    process: Option<u32>,
    /// Sets that came before any thread: gdb 7 put those of the first there.
    early: Vec<RegisterSet>,
}

impl Threads {
    /// Takes a note, whose contents begin at `offset` of the file: a thread, or a set of the thread at hand. Of a thread
    /// whose note is cut off there is as much as there is of it.
    pub(super) fn add(&mut self, core: &Core, kind: u32, bytes: &[u8], offset: u64) -> Result<(), CoreError> {
        if kind == note::PRSTATUS {
            let head = if core.class() == Class::Elf64 { STATUS_64 } else { STATUS_32 };
            let size = bytes.len() as u64;
            let short = |field, least: usize| CoreError::ShortNote {
                note: "NT_PRSTATUS",
                offset,
                size,
                field,
                least: least as u64,
            };
            let status = Status::read(core, bytes).ok_or_else(|| short("pr_cstime", head))?;
            let missing = status.thread.registers.as_ref().is_ok_and(|registers| registers.missing != 0);
            self.process = self.process.or(Some(status.group_leader));
            self.signals.push(status.signal);
            self.threads.push(status.thread);
            return if missing { Err(short("pr_reg", head + core.architecture().general_size())) } else { Ok(()) };
        }
        // The layout is the same for all threads and stands behind the last: it is no thread's own.
        if kind == note::X86_XSAVE_LAYOUT {
            return Ok(());
        }
        let set = RegisterSet { note: kind, bytes: CompactBytes::new(bytes) };
        match self.threads.last_mut().and_then(|thread| thread.registers.as_mut().ok()) {
            Some(registers) => registers.sets.push(set),
            None => self.early.push(set),
        }
        Ok(())
    }

    /// The threads, the one that made the process end first.
    pub(super) fn finish(&self) -> Vec<Thread> {
        let mut threads = self.threads.clone();
        if let Some(registers) = threads.first_mut().and_then(|thread| thread.registers.as_mut().ok()) {
            registers.sets.extend(self.early.iter().cloned());
        }
        threads
    }

    /// `pr_cursig` of the first thread: the signal that ended the process.
    pub(super) fn signal(&self) -> Option<i32> {
        self.signals.first().copied().filter(|signal| *signal != 0)
    }

    /// The process's id by the first thread's status; a core without `NT_PRPSINFO` tells it nowhere else, and only in the
    /// main thread's.
    pub(super) fn process_id(&self) -> Option<u32> {
        self.process
    }
}

/// What an `NT_PRSTATUS` says.
struct Status {
    thread: Thread,
    signal: i32,
    group_leader: u32,
}

impl Status {
    fn read(core: &Core, bytes: &[u8]) -> Option<Self> {
        let mut at = core.header.shape.cursor(bytes);
        at.take(12)?;
        let signal = i32::from(at.short()?.cast_signed());
        at.short()?;
        let (pending, blocked) = (at.word()?, at.word()?);
        let (id, _parent, _group, _session) = (at.half()?, at.half()?, at.half()?, at.half()?);
        let (user, kernel) = (time(&mut at)?, time(&mut at)?);
        let (registers, missing) = general(core.architecture(), core.class(), bytes)?;
        let sets = vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(registers) }];
        let registers = Registers { architecture: core.architecture(), byte_order: core.byte_order(), sets, missing };
        let thread = Thread {
            id: ThreadId(id),
            registers: Ok(registers),
            times: Some(ThreadTimes { user, kernel, started: None }),
            scheduling: SchedulingFacts {
                signals_pending: Some(pending),
                signals_blocked: Some(blocked),
                ..SchedulingFacts::default()
            },
            ..Thread::default()
        };
        Some(Self { thread, signal, group_leader: id })
    }
}

/// A `timeval`.
fn time(at: &mut Cursor<'_>) -> Option<Duration> {
    let (seconds, micros) = (at.word()?, at.word()?);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)))
}

/// The general registers in an `NT_PRSTATUS`, and which words of them are missing. Behind them stand a number of four
/// bytes, which says whether there are floating-point registers, and padding.
pub(super) fn general(architecture: Architecture, class: Class, bytes: &[u8]) -> Option<(&[u8], u64)> {
    let head = if class == Class::Elf64 { STATUS_64 } else { STATUS_32 };
    let rest = bytes.get(head..)?;
    let size = match architecture {
        Architecture::Other { .. } => rest.len().saturating_sub(4) / 8 * 8,
        known => known.general_size(),
    };
    let there = size.min(rest.len());
    let word = architecture.word_size();
    // A note that is cut short has the first registers.
    let missing = if there < size { u64::MAX.checked_shl(u32::try_from(there / word).ok()?).unwrap_or(0) } else { 0 };
    Some((&rest[..there], missing))
}
