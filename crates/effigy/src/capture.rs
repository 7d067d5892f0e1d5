//! Takes the dumps of one process: looks, stops, writes, lets go, finishes.
//!
//! Three threads have a part. The tracer holds the target ([`Tracer`](effigy_live::stop::Tracer)). A worker reads facts
//! and memory and writes them out; it may get stuck in a dead disk or network for as long as that pleases. This thread
//! waits for the worker, for signals, for the deadline and for the target's end, and can let the target go at any moment
//! whatever the worker does. Ways of freezing the target are tried in turn, the one that holds it up least first
//! ([`mode`]).

mod drive;
mod finish;
mod live;
pub(crate) mod mode;
mod moment;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use effigy_dump::kind::Kind;
use effigy_dump::name::{NameParts, destination, format_of};
use effigy_dump::pair::PairPaths;
use effigy_dump::select::SelectError;
use effigy_dump::sink::{PartialFile, Remover, SinkError, size};
use effigy_dump::write::{MoveError, Progress};
use effigy_formats::Format;
use effigy_live::procfs::{ProcDir, Stat};
use effigy_live::snapshot::{LiveSnapshot, Prelude, PreludeOptions};
use effigy_live::{LiveError, headroom};
use effigy_process::{Journal, ProcessId, ThreadId, ThreadState};
use jiff::Zoned;

use crate::cancel::Cancel;
use crate::job_control::NoJobControl;
use crate::print;
use crate::progress::ProgressView;
use crate::report::Report;
use drive::{Drive, Held};
use mode::{Declined, Mode, Wish, modes};
pub(crate) use moment::Moment;
use moment::Patience;
use work::{Finished, Goal, WorkResult};

/// How often signals and the deadline are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long another effigy's dump of the same process is waited for.
const LONGEST_TURN: Duration = Duration::from_secs(600);
/// How long the target is held while nothing of its dump is read or written.
const LONGEST_STALL: Duration = Duration::from_secs(30);
/// Times that a target may become another program before it is given up.
const MOST_REPLACEMENTS: u32 = 20;
/// How long a worker that was asked to stop is waited for before it is left behind.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same when what it has written is to be kept.
const PATIENCE_TO_KEEP: Duration = Duration::from_secs(30);
/// Room that headers and tables may need beyond the memory, in bytes.
const HEADROOM: u64 = 4 << 20;
/// Room for a mini or triage dump, in bytes.
const SMALL_DUMP: u64 = 16 << 20;

/// What is asked for, checked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) output: OutputPlace,
    pub(crate) format: Option<Format>,
    pub(crate) kernel_stacks: bool,
    pub(crate) compress: bool,
    pub(crate) size_limit: Option<u64>,
    /// What goes into the dump's comment: who, with what command line, by which trigger, and the user's own words.
    pub(crate) comment: String,
    /// The same without paths, for triage dumps.
    pub(crate) triage_comment: String,
    pub(crate) keep_partial: bool,
    pub(crate) overwrite: bool,
    pub(crate) include_dontdump: bool,
    pub(crate) embed_binaries: bool,
    pub(crate) registers: bool,
    pub(crate) snapshot: Wish,
    /// Clones of one target that may exist at once.
    pub(crate) clones: usize,
    /// Take no dump rather than let the target stand still while its memory is copied.
    pub(crate) avoid_outage: bool,
    /// The two dumps that are asked for are a reflection pair.
    pub(crate) split: bool,
    pub(crate) show_progress: bool,
    /// What was measured before the dump.
    pub(crate) journal: Option<Journal>,
    /// The thread that the dump is about, which debuggers are to show first.
    pub(crate) selected: Option<ThreadId>,
}

impl Request {
    /// Puts into a snapshot what is known of it from outside.
    fn describe(&self, snapshot: &mut LiveSnapshot) {
        snapshot.set_comment(self.comment.clone());
        snapshot.set_journal(self.journal.clone());
        if let Some(thread) = self.selected {
            snapshot.select(thread);
        }
    }
}

/// Where dumps go.
#[derive(Clone, Debug)]
pub(crate) enum OutputPlace {
    /// The current folder, a folder, or a file.
    Path(Option<PathBuf>),
    /// Standard output.
    Stream,
}

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("process {0} ended before its dump was complete; nothing was kept")]
    Ended(ProcessId),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error("the size limit of {} leaves no room for memory beside the headers, which take {}", size(.0.0), size(.0.1))]
    Limit((u64, u64)),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Move(#[from] MoveError),
    #[error("writing the dump (the process goes on, nothing was kept)")]
    Output(#[source] std::io::Error),
    #[error("gave up after {seconds} s as asked (--timeout); the process goes on")]
    TimedOut { seconds: f64 },
    #[error("gave up: for {seconds} s nothing could be read or written while the process stood still; it goes on")]
    Stalled { seconds: u64 },
    #[error("cancelled by signal {signal}; the process goes on and nothing was kept")]
    Cancelled { signal: i32 },
    #[error("writing the configuration of the reflection pair")]
    Pair(#[from] effigy_formats::reflection::ConfigurationError),
    #[error("skipped (--avoid-outage): the process would have to stand still while its memory is copied. {why}")]
    Skipped { why: String },
    #[error("effigy's own worker thread failed; the process goes on")]
    OwnThread,
}

/// Takes the dumps of one process that nothing is known of. See [`capture_at`].
pub(crate) fn capture(pid: ProcessId, request: &Request, cancel: &Cancel) -> Result<Vec<Report>, Failure> {
    capture_at(pid, request, cancel, None)
}

/// Takes the dumps of one process, at a moment for which a session holds it or whenever that is. When another effigy holds
/// it, that one's dump is waited for; when it becomes another program meanwhile, it is looked at again.
pub(crate) fn capture_at(
    pid: ProcessId,
    request: &Request,
    cancel: &Cancel,
    moment: Option<&Moment>,
) -> Result<Vec<Report>, Failure> {
    let began = Instant::now();
    let mut told = false;
    let mut replaced = 0;
    let mut careful = false;
    let (modes, mut declined) = modes(request, moment);
    let mut modes = modes.into_iter();
    let mut mode = modes.next().unwrap_or(Mode::Stop);
    loop {
        let skips =
            mode == Mode::Stop && request.avoid_outage && !matches!(request.snapshot, Wish::Exactly(Mode::Stop));
        if skips && !declined.is_empty() {
            return Err(Failure::Skipped { why: sentence(&declined) });
        }
        match capture_once(pid, request, cancel, began, Attempt { mode, careful, declined: &declined, moment }) {
            // What would be dumped now is not what was to be dumped.
            Err(failure) if moment.is_some_and(Moment::is_over) => return Err(failure),
            Err(Failure::Live(LiveError::NoSnapshot(refused))) => {
                declined.push(Declined { mode, why: refused.to_string() });
                // There is no way after the last, and the last refuses for no such reason.
                let Some(next) = modes.next() else { return Err(Failure::Live(LiveError::NoSnapshot(refused))) };
                mode = next;
                cancel.check()?;
            }
            Err(Failure::Live(LiveError::AlreadyTraced { tracer, tracer_name, .. }))
                if tracer_name == "effigy" && began.elapsed() < LONGEST_TURN =>
            {
                if !told {
                    print::note(&format!(
                        "effigy: waiting for another effigy ({tracer}) that is dumping process {pid}"
                    ));
                    told = true;
                }
                std::thread::sleep(TICK);
                cancel.check()?;
            }
            Err(Failure::Live(LiveError::Excluded(_))) if !careful => {
                careful = true;
                // Facts about regions cannot be read in the moment that a live snapshot takes.
                if mode == Mode::Live {
                    let why = "the program has just excluded memory from dumps (MADV_DONTDUMP)".to_owned();
                    declined.push(Declined { mode, why });
                    mode = modes.next().unwrap_or(Mode::Stop);
                }
            }
            Err(Failure::Live(error)) if replaced < MOST_REPLACEMENTS && is_passing(&error, pid) => {
                replaced += 1;
                std::thread::sleep(TICK);
                cancel.check()?;
            }
            outcome => return outcome,
        }
    }
}

/// Why the ways before were not taken.
fn sentence(declined: &[Declined]) -> String {
    declined.iter().map(Declined::to_string).collect::<Vec<_>>().join("; ")
}

/// How a target was frozen, for the report.
struct Manner {
    mode: Mode,
    declined: Vec<Declined>,
    held: Held,
    began: Instant,
}

/// Whether an error may be gone the next time: an execve changes which threads there are, and for a moment there is no
/// memory, in a process that lives on.
fn is_passing(error: &LiveError, pid: ProcessId) -> bool {
    let passing = match error {
        LiveError::Replaced(_) => return true,
        LiveError::Ended(_) | LiveError::NoSuchProcess(_) | LiveError::Zombie(_) => true,
        LiveError::Proc { source, .. } => source.kind() != std::io::ErrorKind::PermissionDenied,
        _ => false,
    };
    let stat = || ProcDir::open(pid).ok().and_then(|dir| Stat::parse(&dir.read("stat").ok()?));
    passing && stat().is_some_and(|stat| !ThreadState(stat.state).is_exited() || stat.threads > 1)
}

/// One attempt.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    mode: Mode,
    /// Whether all facts about regions are read while the target stands still.
    careful: bool,
    /// Ways that were tried or ruled out before.
    declined: &'a [Declined],
    /// The moment that is wanted.
    moment: Option<&'a Moment>,
}

fn capture_once(
    pid: ProcessId,
    request: &Request,
    cancel: &Cancel,
    began: Instant,
    attempt: Attempt<'_>,
) -> Result<Vec<Report>, Failure> {
    let Attempt { mode, careful, declined, moment } = attempt;
    // A stream cannot be taken back, and a moment does not come again, when it turns out that memory was excluded at the
    // last instant.
    let once = matches!(request.output, OutputPlace::Stream) || moment.is_some_and(Moment::is_event);
    let careful = mode != Mode::Live && (careful || once);
    let options = PreludeOptions {
        kernel_facts: request.kernel_stacks,
        careful,
        calls: matches!(mode, Mode::Live | Mode::Clone),
        allow_traced: !request.registers || moment.is_some(),
    };
    let clones = request.clones;
    // Files of the target may lie on a dead network: nothing of it is looked at by the thread that minds signals.
    let patience = moment.filter(|moment| moment.is_event()).map(Patience::begin);
    let looked = in_thread("prelude", move || {
        let prelude = Prelude::read(pid, options)?;
        if mode == Mode::Clone {
            headroom::for_twin(&prelude, clones)?;
        }
        Ok::<_, LiveError>(prelude)
    })
    .map_err(|_| Failure::OwnThread)?;
    let prelude = wait_for(&looked, cancel)??;
    let goals = plan(request, &prelude, moment)?;
    let removers: Vec<Remover> = goals.iter().filter_map(|goal| goal.file.as_ref()).map(PartialFile::remover).collect();
    let progress = Arc::new(Progress::default());
    drop(patience);
    if moment.is_some_and(Moment::is_over) {
        return Err(Failure::Stalled { seconds: LONGEST_STALL.as_secs() });
    }

    let job_control = NoJobControl::hold();
    let mut view = ProgressView::new(request.show_progress, &progress);
    let mut drive = Drive::new(pid, cancel, &progress, moment);
    let outcome = drive.run(prelude, goals, request, mode);
    let (held, results) = drive.let_go();
    view.clear();
    let manner = Manner { mode, declined: declined.to_vec(), held, began };
    let outcome = match outcome {
        Ok(finished) => {
            drop(drive);
            drop(job_control);
            complete(finished, request, careful, manner, cancel, &progress)
        }
        Err(failure) => {
            // What the worker has read of a twin so far may be wanted.
            progress.stop();
            let kept = results.and_then(|results| abandon(&results, request, &manner, &failure, &progress));
            drop(drive);
            drop(job_control);
            kept.ok_or(failure)
        }
    };
    if outcome.is_err() {
        removers.iter().for_each(Remover::remove);
    }
    outcome
}

/// Finishes the dumps on another thread, as disks may be slow or dead, and waits for that.
fn complete(
    finished: Finished,
    request: &Request,
    careful: bool,
    manner: Manner,
    cancel: &Cancel,
    progress: &Arc<Progress>,
) -> Result<Vec<Report>, Failure> {
    let (request, with, shown) = (request.clone(), cancel.clone(), Arc::clone(progress));
    let results = in_thread("finish", move || finish::finish(finished, &request, careful, &manner, &with, &shown))
        .map_err(|_| Failure::OwnThread)?;
    wait_for(&results, cancel).unwrap_or_else(|failure| {
        progress.stop();
        // It may have been about to give the file its name: then there is a dump after all.
        results.recv_timeout(PATIENCE).unwrap_or(Err(failure))
    })
}

/// Waits for a thread's result, or for a reason not to.
fn wait_for<T>(results: &Receiver<T>, cancel: &Cancel) -> Result<T, Failure> {
    loop {
        match results.recv_timeout(TICK) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::OwnThread),
            Err(RecvTimeoutError::Timeout) => cancel.check()?,
        }
    }
}

/// Ends a worker that is no longer wanted. With `--keep-partial`, what it wrote becomes the dump.
fn abandon(
    results: &Receiver<WorkResult>,
    request: &Request,
    manner: &Manner,
    failure: &Failure,
    progress: &Progress,
) -> Option<Vec<Report>> {
    let keep = request.keep_partial && !matches!(failure, Failure::OwnThread | Failure::Live(LiveError::OwnThread(_)));
    let result = results.recv_timeout(if keep { PATIENCE_TO_KEEP } else { PATIENCE }).ok()?;
    if !keep {
        return None;
    }
    finish::keep(result.ok()?, request, manner, progress)
}

/// Decides formats and names, creates the files, and checks that there is room, before anything is stopped.
fn plan(request: &Request, prelude: &Prelude, moment: Option<&Moment>) -> Result<Vec<Goal>, Failure> {
    let mut kinds = request.kinds.clone();
    kinds.sort_by_key(|kind| kind.size_order());
    let needed = kinds.iter().map(|kind| room_for(*kind, request, prelude)).sum();
    let mut goals = Vec::new();
    for kind in kinds {
        let goal = match &request.output {
            OutputPlace::Stream => {
                Goal { kind, format: request.format.unwrap_or(Format::Minidump), destination: None, file: None }
            }
            OutputPlace::Path(path) => file_goal(kind, path.as_deref(), request, name_parts(prelude, moment))?,
        };
        goals.push(goal);
    }
    if let Some(file) = goals.iter().find_map(|goal| goal.file.as_ref()) {
        file.require_room(needed)?;
    }
    Ok(goals)
}

/// What names of files can be made of.
fn name_parts(prelude: &Prelude, moment: Option<&Moment>) -> NameParts {
    let exception = moment.and_then(Moment::fault).map_or(0, |fault| fault.kind.numbers().0);
    NameParts { process: prelude.name().to_vec(), pid: prelude.pid().0, exception, time: Zoned::now() }
}

fn file_goal(kind: Kind, path: Option<&std::path::Path>, request: &Request, parts: NameParts) -> Result<Goal, Failure> {
    let by_name = || path.filter(|path| !path.is_dir()).map_or(Format::Minidump, format_of);
    let format = request.format.unwrap_or_else(by_name);
    let mut destination = destination(path, format, request.compress, &parts);
    if request.split {
        let paths = PairPaths::of(&destination);
        // A name that the configuration cannot express is refused before anything is stopped.
        paths.render()?;
        destination = if kind == Kind::Mini { paths.default } else { paths.memory };
    }
    let file = PartialFile::create(&destination, request.overwrite)?;
    Ok(Goal { kind, format, destination: Some(destination), file: Some(file) })
}

/// An estimate of a dump's size in bytes. Absent pages take no room; what is swapped out is read in and does.
fn room_for(kind: Kind, request: &Request, prelude: &Prelude) -> u64 {
    let memory = match kind {
        Kind::Mini | Kind::Triage => SMALL_DUMP.min(prelude.resident() + HEADROOM),
        Kind::MiniPlus | Kind::Full | Kind::Custom(_) => prelude.resident() + HEADROOM,
    };
    request.size_limit.map_or(memory, |limit| memory.min(limit + HEADROOM))
}

/// Starts a thread and gives a channel on which its one result comes.
fn in_thread<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> std::io::Result<Receiver<T>> {
    let (sender, receiver) = bounded(1);
    std::thread::Builder::new().name(name.into()).spawn(move || {
        // Nobody may be waiting any more; then the result is dropped, and its partial files with it.
        let _ = sender.send(body());
    })?;
    Ok(receiver)
}
