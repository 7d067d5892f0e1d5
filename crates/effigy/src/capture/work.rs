//! What the worker does while the target stands still.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use effigy_dump::attachments::{OpenAttachment, append_attachments, open_attachments};
use effigy_dump::kind::Kind;
use effigy_dump::output::{FileWriter, Output, StreamWriter};
use effigy_dump::redact;
use effigy_dump::select::{SelectError, Wish, select};
use effigy_dump::sink::PartialFile;
use effigy_dump::write::{Job, Moved, Progress, move_memory};
use effigy_formats::container::SeekableWriter;
use effigy_formats::{Contents, Format};
use effigy_live::remote::{Refused, Twin, Userfault};
use effigy_live::snapshot::{LiveSnapshot, Prelude};
use effigy_live::stop::{Release, Stopped};
use effigy_live::{Haste, LiveError, inject};
use effigy_process::{ExtentList, Fault, Gap, Process, Snapshot, ThreadId};

use super::{Failure, Request, in_thread};
use crate::kernel_text;

/// Absent memory between present pages is written as zeros up to this length where holes in a file cost nothing: an
/// ELF core on a disk. A debugger then reads zeros there, as the program would have.
const HOLE_IN_FILE: u64 = 64 << 20;
/// The same where zeros take room or time.
const HOLE_IN_STREAM: u64 = 64 << 10;

/// One dump to be written.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) kind: Kind,
    pub(super) format: Format,
    pub(super) destination: Option<PathBuf>,
    /// The file; `None` for standard output.
    pub(super) file: Option<PartialFile>,
}

/// One dump, written as far as the target was needed for it.
pub(super) struct Written {
    pub(super) goal: Goal,
    pub(super) output: Destination,
    pub(super) moved: Moved,
    pub(super) attachments: Vec<OpenAttachment>,
    /// The kernel's side of the threads as text, if it was asked for.
    pub(super) kernel_text: Option<String>,
}

/// All dumps of a target.
pub(super) struct Finished {
    pub(super) dumps: Vec<Written>,
    pub(super) snapshot: Arc<LiveSnapshot>,
    /// The longest time that the target may have waited for a page.
    pub(super) longest_wait: Duration,
}

/// How the target is frozen.
pub(super) enum Freeze {
    /// Not at all.
    Not,
    /// It stands still until the work is done.
    Stopped(Stopped),
    /// It stands still, and a twin is being made.
    Twin { stopped: Stopped, twin: Receiver<Result<Twin, Refused>>, stages: Sender<Stage> },
    /// It runs; it is to be stopped when the worker says so.
    Live(Hands),
}

/// What the worker of a live dump takes part in the stop with.
pub(super) struct Hands {
    pub(super) userfault: Userfault,
    pub(super) stages: Sender<Stage>,
    /// Tells when all threads stand still.
    pub(super) still: Receiver<Instant>,
    pub(super) stopped: Receiver<Stopped>,
    pub(super) release: Release,
}

/// What the worker says on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The target is to be stopped now.
    ReadyToStop,
    /// The target may go on.
    Frozen,
}

pub(super) type WorkResult = Result<Finished, Failure>;

/// Where the bytes of one dump go.
pub(super) enum Destination {
    File(FileWriter),
    Stream(StreamWriter<File>),
    CompressedStream(Option<StreamWriter<SeekableWriter<File>>>),
}

impl Destination {
    pub(super) fn output(&mut self) -> Option<&mut dyn Output> {
        match self {
            Self::File(file) => Some(file),
            Self::Stream(stream) => Some(stream),
            Self::CompressedStream(stream) => stream.as_mut().map(|stream| stream as &mut dyn Output),
        }
    }
}

/// Everything that the worker needs.
pub(super) struct Work {
    pub(super) prelude: Prelude,
    pub(super) freeze: Freeze,
    pub(super) goals: Vec<Goal>,
    /// What the dump is about, when something has happened.
    pub(super) cause: Option<(ThreadId, Option<Fault>)>,
    pub(super) request: Request,
    pub(super) progress: Arc<Progress>,
}

impl Work {
    /// Starts it.
    pub(super) fn start(self) -> io::Result<Receiver<WorkResult>> {
        in_thread("worker", move || self.run())
    }

    fn run(self) -> WorkResult {
        let Self { prelude, freeze, goals, cause, request, progress } = self;
        assert!(!inject::hit(inject::WORKER_PANIC), "injected failure");
        let mut snapshot = match freeze {
            Freeze::Not => LiveSnapshot::of_unstopped(prelude)?,
            Freeze::Stopped(stopped) => LiveSnapshot::of_stopped(prelude, stopped)?,
            Freeze::Twin { stopped, twin, stages } => {
                let _haste = Haste::begin();
                // The facts are read while the kernel copies page tables.
                let snapshot = LiveSnapshot::of_stopped(prelude, stopped)?;
                let twin = twin.recv().map_err(|_| LiveError::OwnThread("tracer"))?.map_err(LiveError::from)?;
                let snapshot = snapshot.onto_twin(&twin).map_err(LiveError::from)?;
                let _ = stages.send(Stage::Frozen);
                snapshot
            }
            Freeze::Live(hands) => return super::live::run(prelude, goals, &request, &progress, hands),
        };
        request.describe(&mut snapshot);
        if let Some((thread, fault)) = cause {
            snapshot.set_cause(thread, fault);
        }
        let snapshot = Arc::new(snapshot);
        let mut dumps = Vec::new();
        for goal in goals {
            if progress.is_stopped() {
                break;
            }
            dumps.push(write_one(&snapshot, goal, &request, &progress)?);
        }
        Ok(Finished { dumps, snapshot, longest_wait: Duration::ZERO })
    }
}

fn write_one(
    snapshot: &Arc<LiveSnapshot>,
    goal: Goal,
    request: &Request,
    progress: &Progress,
) -> Result<Written, Failure> {
    let redacted = goal.kind.is_triage().then(|| {
        let mut process = redact::triage(snapshot.process());
        process.comment.clone_from(&request.triage_comment);
        process
    });
    let process = redacted.as_ref().unwrap_or_else(|| snapshot.process());
    let (attachments, image_gaps) =
        if request.embed_binaries && !goal.kind.is_triage() { open_attachments(&**snapshot) } else { <_>::default() };
    let about: Vec<_> = attachments.iter().map(|attachment| attachment.about.clone()).collect();
    let most_bytes = match request.size_limit {
        Some(limit) => Some(room_for_memory(limit, process, &goal, &about)?),
        None => None,
    };
    let wish = Wish {
        kind: goal.kind,
        include_dontdump: request.include_dontdump,
        longest_hole: longest_hole(&goal, request),
        most_bytes,
    };
    let mut selected = select(&**snapshot, &wish).map_err(|error| gone(snapshot, error))?;
    selected.gaps.extend(image_gaps);
    if goal.kind.is_triage() {
        selected.gaps.iter_mut().for_each(|gap: &mut Gap| gap.detail.clear());
    }
    let mut output = open_output(&goal, request)?;
    let job = Job {
        process,
        selected,
        minidump_type: goal.kind.mask().bits(),
        deface: goal.kind.is_triage(),
        format: &goal.format,
        attachments: about,
    };
    let moved = match output.output() {
        Some(output) => move_memory(&**snapshot, job, output, progress, request.keep_partial)
            .map_err(|error| failure(snapshot, error))?,
        None => return Err(Failure::OwnThread),
    };
    let kernel_text = request.kernel_stacks.then(|| kernel_text::render(process));
    Ok(Written { goal, output, moved, attachments, kernel_text })
}

/// How long a hole between present pages is written as zeros.
pub(super) fn longest_hole(goal: &Goal, request: &Request) -> u64 {
    let holes_are_free = goal.file.is_some() && !request.compress && goal.format == Format::ElfCore;
    if holes_are_free { HOLE_IN_FILE } else { HOLE_IN_STREAM }
}

/// How much of a size limit is left for memory when the headers have their part.
fn room_for_memory(
    limit: u64,
    process: &Process,
    goal: &Goal,
    attachments: &[effigy_formats::Attachment],
) -> Result<u64, Failure> {
    let contents = Contents {
        process,
        extents: &ExtentList::new(process.system.page_size),
        gaps: &process.gaps,
        minidump_type: goal.kind.mask().bits(),
        attachments,
    };
    let headers = goal.format.prologue_size(&contents).map_err(effigy_dump::write::MoveError::from)?;
    let embedded: u64 = attachments.iter().map(|attachment| attachment.length).sum();
    limit.checked_sub(headers + embedded).filter(|room| *room > 0).ok_or(Failure::Limit((limit, headers + embedded)))
}

fn open_output(goal: &Goal, request: &Request) -> Result<Destination, Failure> {
    match &goal.file {
        Some(file) => file.writer().map(Destination::File).map_err(Failure::Output),
        None if request.compress => {
            let compressor = SeekableWriter::new(standard_output()?, workers()).map_err(Failure::Output)?;
            Ok(Destination::CompressedStream(Some(StreamWriter::new(compressor))))
        }
        None => Ok(Destination::Stream(StreamWriter::new(standard_output()?))),
    }
}

/// Standard output without the line buffering that the standard library puts before it.
fn standard_output() -> Result<File, Failure> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(Failure::Output)
}

/// Threads that compress: one for each processor.
pub(super) fn workers() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// A page table that is no more belongs to a process that is no more.
fn gone(snapshot: &LiveSnapshot, error: SelectError) -> Failure {
    match error {
        SelectError::Scan { .. } if snapshot.is_gone() => Failure::Ended(snapshot.pid()),
        error => error.into(),
    }
}

fn failure(snapshot: &LiveSnapshot, error: effigy_dump::write::MoveError) -> Failure {
    use effigy_dump::write::MoveError;
    match error {
        MoveError::Ended => Failure::Ended(snapshot.pid()),
        MoveError::Output(error) => Failure::Output(error),
        MoveError::Prologue(effigy_formats::WriteError::Output(error)) => Failure::Output(error),
        other => Failure::Move(other),
    }
}

impl Written {
    /// Writes what follows the memory and ends the output; the target runs again. Gives the number of bytes that went
    /// to a stream.
    pub(super) fn complete(&mut self, progress: &Progress) -> io::Result<u64> {
        let attachments = std::mem::take(&mut self.attachments);
        let Some(output) = self.output.output() else { return Ok(0) };
        append_attachments(attachments, output, progress)?;
        output.finish()?;
        match &mut self.output {
            Destination::File(_) => Ok(0),
            Destination::Stream(stream) => Ok(stream.written()),
            Destination::CompressedStream(stream) => {
                let Some(stream) = stream.take() else { return Ok(0) };
                let (mut inner, counts) = stream.into_inner().finish()?;
                inner.flush()?;
                Ok(counts.compressed)
            }
        }
    }
}
