//! Notes about threads: `NT_PRSTATUS` and the other register sets.

use std::io;
use std::time::Duration;

use effigy_process::{Architecture, Process, Registers, Thread, note};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::super::layout::{Class, OWNER_CORE, OWNER_LINUX, ThreadStatus32, ThreadStatus64, Time32, Time64};
use super::super::xsave;
use super::notes::Notes;

/// A thread and its registers.
#[derive(Clone, Copy)]
pub(super) struct WithRegisters<'a> {
    pub(super) thread: &'a Thread,
    registers: &'a Registers,
}

impl<'a> WithRegisters<'a> {
    /// `None` when it has none, or those of another architecture than the process's, for which a core has no place.
    pub(super) fn of(process: &Process, thread: &'a Thread) -> Option<Self> {
        let registers = thread.registers.as_ref().ok()?;
        let general = registers.sets.iter().any(|set| set.note == note::PRSTATUS);
        (general && registers.architecture == process.architecture).then_some(Self { thread, registers })
    }
}

/// The thread that a debugger is to show first: it shows the one whose note comes first.
pub(super) fn first(process: &Process) -> Option<WithRegisters<'_>> {
    let all = || process.threads.iter().filter_map(|thread| WithRegisters::of(process, thread));
    all().find(|thread| Some(thread.thread.id) == process.selected).or_else(|| all().next())
}

/// `pr_cursig`: the signal that ended the process, 0 when none did.
///
/// All threads say the same, as in the kernel's cores: for x86-64, BFD believes the last of them, not the first. Without a
/// fault it is 0, also in the thread shown first: gdb would say "Program terminated with signal SIGSTOP" of a process
/// that lives on. lldb 19 then says SIGSTOP of its own accord; older versions waited for ever when there was no signal
/// (dotnet/coreclr#11590), for which `NT_SIGINFO` has one.
fn current_signal(process: &Process) -> u16 {
    let signal = process.fault.as_ref().and_then(effigy_process::Fault::as_signal);
    signal.map_or(0, |(number, _)| u16::try_from(number).unwrap_or(0))
}

/// `NT_PRSTATUS`, filled as `fill_prstatus` (fs/binfmt_elf.c) does.
pub(super) fn write_status(process: &Process, with: WithRegisters<'_>, notes: &mut Notes<'_>) -> io::Result<()> {
    let architecture = with.registers.architecture;
    let class = Class::of(architecture);
    let head = status(process, with.thread);
    let mut description = match class {
        Class::Elf64 => head.as_bytes().to_vec(),
        Class::Elf32 => narrow(&head).as_bytes().to_vec(),
    };
    let mut general = with.registers.set(note::PRSTATUS).unwrap_or_default();
    general.resize(architecture.general_size(), 0);
    description.extend_from_slice(&general);
    description.extend_from_slice(&u32::from(floating_point(with.registers).is_some()).to_le_bytes());
    description.resize(description.len().next_multiple_of(architecture.pointer_size()), 0);
    notes.add(OWNER_CORE, note::PRSTATUS, &description)
}

fn status(process: &Process, thread: &Thread) -> ThreadStatus64 {
    let signal = current_signal(process);
    let identity = &process.identity;
    // The main thread's note shows the times of all threads together, as the kernel's does.
    let (user, system) = if identity.pid.is_some_and(|pid| pid.0 == thread.id.0) {
        (identity.user_time.unwrap_or_default(), identity.kernel_time.unwrap_or_default())
    } else {
        let times = thread.times.unwrap_or_default();
        (times.user, times.kernel)
    };
    ThreadStatus64 {
        signal: U32::new(u32::from(signal)),
        signal_code: U32::ZERO,
        signal_error: U32::ZERO,
        current_signal: U16::new(signal),
        pad: U16::ZERO,
        pending: U64::new(thread.scheduling.signals_pending.unwrap_or(0)),
        blocked: U64::new(thread.scheduling.signals_blocked.unwrap_or(0)),
        pid: U32::new(thread.id.0),
        parent: U32::new(identity.parent.map_or(0, |parent| parent.0)),
        group: U32::new(identity.group.unwrap_or(0)),
        session: U32::new(identity.session.unwrap_or(0)),
        user: time(user),
        system: time(system),
        children_user: time(Duration::ZERO),
        children_system: time(Duration::ZERO),
    }
}

fn time(duration: Duration) -> Time64 {
    Time64 { seconds: U64::new(duration.as_secs()), microseconds: U64::new(u64::from(duration.subsec_micros())) }
}

fn narrow(status: &ThreadStatus64) -> ThreadStatus32 {
    // The first word of the signal masks and the low half of the times is what the kernel keeps, too.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    let low = |word: U64| U32::new(word.get() as u32);
    let time = |time: Time64| Time32 { seconds: low(time.seconds), microseconds: low(time.microseconds) };
    ThreadStatus32 {
        signal: status.signal,
        signal_code: status.signal_code,
        signal_error: status.signal_error,
        current_signal: status.current_signal,
        pad: status.pad,
        pending: low(status.pending),
        blocked: low(status.blocked),
        pid: status.pid,
        parent: status.parent,
        group: status.group,
        session: status.session,
        user: time(status.user),
        system: time(status.system),
        children_user: time(status.children_user),
        children_system: time(status.children_system),
    }
}

/// All register sets but the general ones, the floating-point registers first.
pub(super) fn write_other_sets(with: WithRegisters<'_>, notes: &mut Notes<'_>) -> io::Result<()> {
    if let Some(floating_point) = floating_point(with.registers) {
        notes.add(OWNER_CORE, note::PRFPREG, &floating_point)?;
    }
    for set in &with.registers.sets {
        match set.note {
            // The layout is the same for all threads and has its place behind them.
            note::PRSTATUS | note::PRFPREG | note::X86_XSAVE_LAYOUT => {}
            note::X86_XSTATE => {
                notes.add(OWNER_LINUX, set.note, &xsave::in_common_places(set.bytes.to_vec()))?;
            }
            other => notes.add(OWNER_LINUX, other, &set.bytes.to_vec())?,
        }
    }
    Ok(())
}

/// `NT_X86_XSAVE_LAYOUT`, which newer kernels (6.12 and later) write behind all threads.
pub(super) fn write_xsave_layout(first: Option<WithRegisters<'_>>, notes: &mut Notes<'_>) -> io::Result<()> {
    let area = first.and_then(|first| first.registers.set(note::X86_XSTATE)).map(xsave::in_common_places);
    match area.and_then(|area| xsave::layout_note(&area)) {
        Some(layout) => notes.add(OWNER_LINUX, note::X86_XSAVE_LAYOUT, &layout),
        None => Ok(()),
    }
}

/// The bytes of `NT_PRFPREG`. On x86-64 that is what FXSAVE stores, with which an XSAVE area begins, so a thread may
/// have been kept without it; the kernel clears the part that is left to software.
fn floating_point(registers: &Registers) -> Option<Vec<u8>> {
    registers.set(note::PRFPREG).or_else(|| {
        if registers.architecture != Architecture::X86_64 {
            return None;
        }
        let mut area = registers.set(note::X86_XSTATE)?;
        if area.len() < xsave::LEGACY_SIZE {
            return None;
        }
        area.truncate(xsave::LEGACY_SIZE);
        area[xsave::XCR0_OFFSET..].fill(0);
        Some(area)
    })
}
