//! A minidump's prologue from a process.
//!
//! One file a stream. [`STREAMS`] is the table of them, in the order in which they lie in the file; the list of memory is
//! last, as readers that recover cut-off dumps expect it near the memory.

pub(super) mod attachments;
mod comment;
mod context;
mod exception;
mod facts;
mod handles;
mod memory_info;
pub(super) mod memory_list;
mod misc_info;
mod modules;
pub(super) mod output;
mod register_notes;
pub(super) mod soft_errors;
mod stacks;
mod system_info;
mod text;
mod thread_info;
mod thread_names;
mod threads;
mod vm_counters;
mod working_sets;

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use effigy_process::Process;
use serde::Serialize;

use self::context::ContextLayout;
use self::output::{Output, narrow};
use self::stacks::Stacks;
use super::layout::{Directory, Header, Location, SIGNATURE, VERSION, stream};
use crate::{Contents, WriteError};

/// All that a stream may want to know.
struct Scene<'a> {
    contents: &'a Contents<'a>,
    process: &'a Process,
    context: ContextLayout,
    stacks: Stacks,
    /// Where the memory begins in the file. While measuring, some number that no length depends on.
    data_offset: u64,
}

/// Writes a stream and says how many of its bytes the directory is to count: from where it began, without the strings
/// and records that lie behind it and are found through it. `None` when the dump does not have this stream; then
/// nothing was written.
type WriteStream = fn(&Scene<'_>, &mut Output<'_>) -> Result<Option<u64>, WriteError>;

/// All streams but the list of memory, in the order in which they are written.
const STREAMS: &[(u32, WriteStream)] = &[
    (stream::SYSTEM_INFO, system_info::write),
    (stream::MISC_INFO, misc_info::write),
    (stream::EXCEPTION, exception::write),
    (stream::THREAD_LIST, threads::write),
    (stream::THREAD_NAMES, thread_names::write),
    (stream::THREAD_INFO_LIST, thread_info::write),
    (stream::MODULE_LIST, modules::write),
    (stream::MEMORY_INFO_LIST, memory_info::write),
    (stream::HANDLE_DATA, handles::write),
    (stream::PROCESS_VM_COUNTERS, vm_counters::write),
    (stream::COMMENT_W, comment::write),
    (stream::LINUX_CPU_INFO, |scene, out| text::write(&scene.process.files.cpuinfo, out)),
    (stream::LINUX_PROC_STATUS, |scene, out| text::write(&scene.process.files.status, out)),
    (stream::LINUX_LSB_RELEASE, |scene, out| text::write(&scene.process.files.release, out)),
    (stream::LINUX_CMD_LINE, |scene, out| text::write(&scene.process.files.command_line, out)),
    (stream::LINUX_ENVIRON, |scene, out| text::write(&scene.process.files.environment, out)),
    (stream::LINUX_AUXV, |scene, out| text::write(&scene.process.files.auxv, out)),
    (stream::LINUX_MAPS, text::write_maps),
    (stream::LINUX_PROC_STAT, |scene, out| text::write(&scene.process.files.stat, out)),
    (stream::LINUX_PROC_UPTIME, |scene, out| text::write(&scene.process.files.uptime, out)),
    (stream::MOZ_LINUX_LIMITS, |scene, out| text::write(&scene.process.files.limits, out)),
    (stream::MOZ_SOFT_ERRORS, |scene, out| soft_errors::write(scene.contents, out)),
    (stream::EFFIGY_FACTS, facts::write),
    (stream::EFFIGY_REGISTER_NOTES, register_notes::write),
    (stream::EFFIGY_WORKING_SETS, working_sets::write),
    (stream::EFFIGY_ATTACHMENTS, |scene, out| attachments::write(scene.contents, scene.data_offset, out)),
];

/// See [`Format::prologue_size`](crate::Format::prologue_size).
///
/// # Errors
/// When the architecture has no CONTEXT, or the prologue reaches beyond 4 GiB.
pub fn prologue_size(contents: &Contents<'_>) -> Result<u64, WriteError> {
    Ok(measure(&Scene::new(contents, 0)?)?.size)
}

/// See [`Format::write_prologue`](crate::Format::write_prologue).
///
/// # Errors
/// As [`prologue_size`], and when the output fails or `data_offset` leaves too little room.
pub fn write_prologue(contents: &Contents<'_>, data_offset: u64, out: &mut dyn Write) -> Result<(), WriteError> {
    let scene = Scene::new(contents, data_offset)?;
    let Measured { directory, size } = measure(&scene)?;
    if size > data_offset {
        return Err(WriteError::PrologueTooLarge { needed: size, reserved: data_offset });
    }
    let mut out = Output::writing(out);
    let written = write(&scene, &directory, &mut out)?;
    debug_assert_eq!(written.len(), directory.len(), "the measured streams are the written streams");
    debug_assert_eq!(out.position(), size, "the measured length is the written length");
    out.fill(data_offset.saturating_sub(out.position()), 0)?;
    out.flush()?;
    Ok(())
}

/// What the first pass over a prologue learns.
struct Measured {
    directory: Vec<Directory>,
    size: u64,
}

fn measure(scene: &Scene<'_>) -> Result<Measured, WriteError> {
    let mut out = Output::measuring();
    let directory = write(scene, &[], &mut out)?;
    let size = out.position();
    if size > u64::from(u32::MAX) {
        return Err(WriteError::BeyondMinidump { size });
    }
    Ok(Measured { directory, size })
}

/// Writes header, `directory` and all streams, and says where the streams came to lie.
fn write(scene: &Scene<'_>, directory: &[Directory], out: &mut Output<'_>) -> Result<Vec<Directory>, WriteError> {
    out.record(&header(scene, directory))?;
    directory.iter().try_for_each(|entry| out.record(entry))?;
    // Room for streams that this dump does not have is kept too: where things lie must not depend on the directory,
    // which is known only after they were laid out.
    let room = size_of::<Header>() + (STREAMS.len() + 1) * size_of::<Directory>();
    out.fill(room as u64 - out.position(), 0)?;

    let memory_list: (u32, WriteStream) = if memory_list::is_narrow(scene.contents) {
        (stream::MEMORY_LIST, |scene, out| {
            memory_list::write_narrow(scene.contents, scene.stacks.range_count(), scene.data_offset, out)
        })
    } else {
        (stream::MEMORY64_LIST, |scene, out| {
            memory_list::write_wide(scene.contents, scene.stacks.range_count(), scene.data_offset, out)
        })
    };
    let mut found = Vec::new();
    for (kind, write) in STREAMS.iter().chain([&memory_list]) {
        out.align(8)?;
        let start = out.position();
        if let Some(size) = write(scene, out)? {
            found.push(Directory { kind: (*kind).into(), location: location(start, size) });
        }
    }
    Ok(found)
}

fn header(scene: &Scene<'_>, directory: &[Directory]) -> Header {
    Header {
        signature: SIGNATURE.into(),
        version: VERSION.into(),
        stream_count: narrow(directory.len() as u64).into(),
        directory_rva: narrow(size_of::<Header>() as u64).into(),
        checksum: 0.into(),
        captured: narrow(scene.process.captured.map_or(0, |captured| since_1970(captured).as_secs())).into(),
        flags: scene.contents.minidump_type.into(),
    }
}

impl<'a> Scene<'a> {
    fn new(contents: &'a Contents<'a>, data_offset: u64) -> Result<Self, WriteError> {
        Ok(Self {
            contents,
            process: contents.process,
            context: ContextLayout::of(contents.process.architecture)?,
            stacks: Stacks::new(&contents.process.threads, contents.extents),
            data_offset,
        })
    }
}

/// A block of the file.
pub(super) fn location(start: u64, size: u64) -> Location {
    Location { size: narrow(size).into(), rva: narrow(start).into() }
}

/// Writes a JSON document.
fn json(document: &(impl Serialize + ?Sized), out: &mut Output<'_>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, document)?)
}

/// Time since 1970; none for times before.
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
