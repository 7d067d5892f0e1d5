//! A live dump: memory goes into the file while the target runs, and what has changed meanwhile, while it stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use effigy_dump::attachments::open_attachments;
use effigy_dump::direct::AlignedBuffer;
use effigy_dump::live::{About, LiveFile, LiveFileError};
use effigy_dump::output::FileWriter;
use effigy_dump::select::{SelectError, Selected, Wish, select};
use effigy_dump::write::{Moved, Progress};
use effigy_formats::Contents;
use effigy_live::remote::Refused;
use effigy_live::snapshot::{CopyError, LiveSnapshot, Moment, Precopy, Prelude, PreludeOptions};
use effigy_live::{LiveError, inject, step_back};
use effigy_process::{Address, AddressRange, Content, ExtentList, Gap, GapReason, GapSubject, ProcessId, Snapshot};

use super::work::{Destination, Finished, Goal, Hands, Stage, WorkResult, Written, longest_hole};
use super::{Failure, Request};
use crate::kernel_text;

/// `ESRCH`.
const NO_SUCH_PROCESS: i32 = nix::errno::Errno::ESRCH as i32;
/// Rounds, at most.
const MOST_ROUNDS: u32 = 12;
/// So many pages written between two rounds are few enough for the stop: copying them takes a millisecond or two.
const FEW_PAGES: u64 = 1000;
/// So many pages are many for the stop: copying them takes some five milliseconds.
const MANY_PAGES: u64 = 4000;
/// So many pages are too many for the stop: copying them would take longer than making a clone of most targets.
const MOST_PAGES: u64 = 40_000;
/// Times that memory is set aside.
const MOST_ASIDE: u32 = 4;
/// Ranges that appear while memory is copied, at most; each costs 64 bytes here and a line in the dump's tables.
const MOST_EXTRA: usize = 200_000;
/// How long the file is waited for before the target is stopped.
const LONGEST_SETTLING: Duration = Duration::from_millis(100);
/// Bytes of one buffer on its way to the file: as many as come at a time.
const BUFFER: usize = 2 << 20;
/// Buffers on their way.
const BUFFERS: usize = 5;
/// Room in the headers for what appears while memory is copied, in bytes. It is a hole in the file until it is used.
const ROOM: u64 = 1 << 20;
/// The same for each thread: its registers are not known yet.
const ROOM_PER_THREAD: u64 = 24 << 10;

/// Pages on their way to the file.
struct Parcel {
    pages: Vec<(Address, usize, bool)>,
    bytes: AlignedBuffer,
}

/// Writes one dump of a target that runs.
pub(super) fn run(
    prelude: Prelude,
    goals: Vec<Goal>,
    request: &Request,
    progress: &Progress,
    hands: Hands,
) -> WorkResult {
    let Hands { userfault, stages, still, stopped, release } = hands;
    let mut goals = goals.into_iter();
    let (Some(goal), None) = (goals.next(), goals.next()) else { return Err(Failure::OwnThread) };
    let Some(file) = &goal.file else { return Err(Failure::OwnThread) };
    let writer = file.writer().map_err(Failure::Output)?;
    let with_files = goal.kind == effigy_dump::kind::Kind::Full;
    let pid = prelude.pid();
    let mut precopy = Precopy::new(&prelude, userfault, with_files).map_err(LiveError::from)?;
    let threads = prelude.thread_count() as u64;
    let preview = LiveSnapshot::of_unstopped(prelude)?;
    let wish = Wish {
        kind: goal.kind,
        include_dontdump: request.include_dontdump,
        longest_hole: longest_hole(&goal, request),
        most_bytes: None,
    };
    let expected = select(&preview, &wish).map_err(|error| vanished(pid, error))?;
    precopy.exclude(expected.gaps.iter().filter_map(left_alone));
    let data_offset = room_for_headers(&preview, &goal, &expected, threads)?;
    progress.total.store(expected.extents.bytes(), Ordering::Relaxed);
    let live = LiveFile::new(writer, &expected.extents, data_offset);

    let (parcels, to_write) = bounded::<Parcel>(BUFFERS);
    let (give_back, empty) = bounded::<Parcel>(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = give_back.send(Parcel { pages: Vec::new(), bytes: AlignedBuffer::with_room(BUFFER) });
    }
    let options =
        PreludeOptions { kernel_facts: request.kernel_stacks, careful: false, calls: false, allow_traced: false };
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn_scoped(scope, move || {
                step_back();
                drain(live, &to_write, &give_back, progress)
            })
            .map_err(Failure::Output)?;
        let mut post = Post { parcels: &parcels, empty: &empty, parcel: None };
        let copied = standing_back(|| copy(&mut precopy, &preview, &expected.extents, &mut post, progress))
            .and_then(|()| {
                // What is read now is what the dump says: the target stands still soon.
                let prelude = Prelude::read(pid, options)?;
                precopy.look_again().map_err(LiveError::from)?;
                let pages = precopy
                    .round(&mut |address, bytes, first| post.add(address, bytes, first))
                    .map_err(|error| failure(error, pid))?;
                if pages > MANY_PAGES {
                    set_aside(&mut precopy, pages)?;
                }
                // While the target stands still, nobody of ours is to be busy with something else.
                post.settle();
                let stop = || stages.send(Stage::ReadyToStop).map_err(|_| LiveError::OwnThread("drive"));
                precopy.freeze(prelude, Moment { stop: &stop, still: &still, stopped: &stopped }).map_err(|error| {
                    // Whatever it is, it is no reason for the target to stand still.
                    let _ = release.release();
                    let _ = stages.send(Stage::Frozen);
                    error.into()
                })
            })
            .and_then(|frozen| {
                let mut go_on = || {
                    let released = release.release();
                    let _ = stages.send(Stage::Frozen);
                    released
                };
                precopy
                    .settle(frozen, &mut go_on, &mut |address, bytes, first| post.add(address, bytes, first))
                    .map_err(|error| failure(error, pid))
            });
        let longest_wait = precopy.release();
        post.send();
        drop(parcels);
        let written = writer.join().map_err(|_| Failure::OwnThread)?;
        // A failed output also ends the copying; it is the cause to name.
        let live = written?;
        let mut snapshot = copied?;
        request.describe(&mut snapshot);
        finish(live, snapshot, goal, request, &wish, longest_wait)
    })
}

/// Does something on a thread that lets others come first: the target does not wait for it, and is to have the processors.
fn standing_back(action: impl FnOnce() -> Result<(), Failure> + Send) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let copier = std::thread::Builder::new().name("copier".into()).spawn_scoped(scope, || {
            step_back();
            action()
        });
        copier.map_err(Failure::Output)?.join().unwrap_or(Err(Failure::OwnThread))
    })
}

/// Memory that the dump leaves out as a whole region.
fn left_alone(gap: &Gap) -> Option<AddressRange> {
    use GapReason as R;
    let whole = matches!(gap.reason, R::DontDump | R::LargestArea | R::SecretMemory | R::DeviceMemory | R::KernelData);
    match gap.subject {
        GapSubject::Memory(range) if whole => Some(range),
        _ => None,
    }
}

fn room_for_headers(preview: &LiveSnapshot, goal: &Goal, expected: &Selected, threads: u64) -> Result<u64, Failure> {
    let process = preview.process();
    let contents = Contents {
        process,
        extents: &expected.extents,
        gaps: &expected.gaps,
        minidump_type: goal.kind.mask().bits(),
        attachments: &[],
    };
    let now = goal.format.prologue_size(&contents).map_err(effigy_dump::write::MoveError::from)?;
    Ok((now + now / 4 + ROOM + threads * ROOM_PER_THREAD).next_multiple_of(process.system.page_size))
}

/// Copies all of the memory, then again what is written meanwhile, until that is little.
fn copy(
    precopy: &mut Precopy,
    preview: &LiveSnapshot,
    expected: &ExtentList,
    post: &mut Post<'_>,
    progress: &Progress,
) -> Result<(), Failure> {
    let pid = preview.pid();
    let regions = &preview.process().regions;
    precopy.watch(regions).map_err(|error| failure(error, pid))?;
    let mut at = 0;
    for extent in expected.iter().filter(|extent| extent.content == Content::Bytes) {
        while regions.get(at).is_some_and(|region| region.range.end() <= extent.range.start()) {
            at += 1;
        }
        let Some(region) = regions.get(at).filter(|region| region.range.contains(extent.range.start())) else {
            continue;
        };
        if progress.is_stopped() {
            return Err(Failure::OwnThread);
        }
        precopy
            .copy_first(region, extent.range, &mut |address, bytes, first| post.add(address, bytes, first))
            .map_err(|error| failure(error, pid))?;
    }
    for _ in 0..MOST_ASIDE {
        match follow(precopy, post, progress, pid)? {
            Course::Converges => return Ok(()),
            Course::Stands(pages) if !set_aside(precopy, pages)? => return Ok(()),
            Course::Stands(_) => {}
        }
    }
    match follow(precopy, post, progress, pid)? {
        Course::Stands(pages) if pages > MOST_PAGES => Err(LiveError::from(Refused::because(
            "it writes to its memory faster than that can be copied, and ever elsewhere".to_owned(),
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Sets aside what is written to fast. Not when that is all over the place, and not too many pages for the stop.
fn set_aside(precopy: &mut Precopy, pages: u64) -> Result<bool, Failure> {
    match precopy.set_aside() {
        Ok(_) => Ok(true),
        Err(_) if pages <= MOST_PAGES => Ok(false),
        Err(refused) => Err(LiveError::from(refused).into()),
    }
}

/// How rounds of copying go.
enum Course {
    /// Little is left.
    Converges,
    /// So many pages are left however often they are copied.
    Stands(u64),
}

/// Copies what is written meanwhile, again and again.
fn follow(precopy: &mut Precopy, post: &mut Post<'_>, progress: &Progress, pid: ProcessId) -> Result<Course, Failure> {
    let mut before = u64::MAX;
    for round in 1..=MOST_ROUNDS {
        if progress.is_stopped() {
            return Err(Failure::OwnThread);
        }
        let pages = precopy
            .round(&mut |address, bytes, first| post.add(address, bytes, first))
            .map_err(|error| failure(error, pid))?;
        if inject::hit(inject::NO_CONVERGENCE) && !precopy.has_aside() {
            // With nothing written there is nothing to set aside.
            if pages > 0 || round == MOST_ROUNDS {
                return Ok(Course::Stands(pages));
            }
            continue;
        }
        if pages <= FEW_PAGES {
            return Ok(Course::Converges);
        }
        // No fewer than last time: more rounds do not help.
        let stands = pages >= before / 4 * 3;
        if stands && round > 2 || round == MOST_ROUNDS {
            return Ok(if pages <= MANY_PAGES { Course::Converges } else { Course::Stands(pages) });
        }
        before = pages;
    }
    Ok(Course::Stands(before))
}

fn failure(error: CopyError, pid: ProcessId) -> Failure {
    match error {
        CopyError::Refused(refused) => LiveError::NoSnapshot(refused).into(),
        CopyError::Output(error) => Failure::Output(error),
        // Ended, or become another program: who asks again will see.
        CopyError::Ended => LiveError::Ended(pid).into(),
        CopyError::Release(error) => error.into(),
    }
}

/// A page table that is no more: the process has ended, or has become another program.
fn vanished(pid: ProcessId, error: SelectError) -> Failure {
    match error {
        SelectError::Scan { source, .. } if source.raw_os_error() == Some(NO_SUCH_PROCESS) => {
            LiveError::Ended(pid).into()
        }
        error => error.into(),
    }
}

/// Collects pages into parcels.
struct Post<'a> {
    parcels: &'a Sender<Parcel>,
    empty: &'a Receiver<Parcel>,
    parcel: Option<Parcel>,
}

impl Post<'_> {
    fn add(&mut self, address: Address, bytes: &[u8], first: bool) -> std::io::Result<()> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        if self.parcel.as_ref().is_some_and(|parcel| !parcel.bytes.fits(bytes.len())) {
            self.send();
        }
        let mut parcel = match self.parcel.take() {
            Some(parcel) => parcel,
            None => self.empty.recv().map_err(gone)?,
        };
        parcel.pages.push((address, bytes.len(), first));
        parcel.bytes.extend(bytes);
        self.parcel = Some(parcel);
        Ok(())
    }

    /// Waits until everything is written, though not for ever: a slow disk is no reason to let the target write more.
    fn settle(&mut self) {
        self.send();
        let began = Instant::now();
        while self.empty.len() < BUFFERS && began.elapsed() < LONGEST_SETTLING {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn send(&mut self) {
        if let Some(parcel) = self.parcel.take() {
            // A writer that is gone has failed, and says so itself.
            let _ = self.parcels.send(parcel);
        }
    }
}

/// Writes parcels until there are no more.
fn drain(
    mut live: LiveFile,
    parcels: &Receiver<Parcel>,
    give_back: &Sender<Parcel>,
    progress: &Progress,
) -> Result<LiveFile, Failure> {
    for mut parcel in parcels {
        let mut at = 0;
        for (address, length, first) in parcel.pages.drain(..) {
            live.put(address, &parcel.bytes.filled()[at..at + length], first).map_err(Failure::Output)?;
            at += length;
        }
        progress.done.fetch_add(at as u64, Ordering::Relaxed);
        if live.extra_ranges() > MOST_EXTRA {
            let why = "its memory changes its shape too fast to be kept track of".to_owned();
            return Err(LiveError::NoSnapshot(Refused::because(why)).into());
        }
        parcel.bytes.clear();
        let _ = give_back.try_send(parcel);
    }
    Ok(live)
}

/// Chooses what belongs to the dump of what there was at the stop, and brings the file into form.
fn finish(
    live: LiveFile,
    snapshot: LiveSnapshot,
    goal: Goal,
    request: &Request,
    wish: &Wish,
    longest_wait: Duration,
) -> WorkResult {
    let Selected { extents, mut gaps } = select(&snapshot, wish)?;
    gaps.splice(0..0, snapshot.process().gaps.iter().cloned());
    let (attachments, image_gaps) = if request.embed_binaries { open_attachments(&snapshot) } else { <_>::default() };
    gaps.extend(image_gaps);
    let embedded: Vec<_> = attachments.iter().map(|attachment| attachment.about.clone()).collect();
    let about = About {
        process: snapshot.process(),
        format: goal.format,
        minidump_type: goal.kind.mask().bits(),
        gaps: &gaps,
        attachments: &embedded,
    };
    let (writer, extents): (FileWriter, ExtentList) = live.finish(&extents, about).map_err(|error| match error {
        LiveFileError::Output(error) => Failure::Output(error),
        other => LiveError::NoSnapshot(Refused::because(other.to_string())).into(),
    })?;
    let moved = Moved { memory_bytes: extents.bytes(), gaps, cut_short: false };
    let kernel_text = request.kernel_stacks.then(|| kernel_text::render(snapshot.process()));
    let written = Written { goal, output: Destination::File(writer), moved, attachments, kernel_text };
    Ok(Finished { dumps: vec![written], snapshot: Arc::new(snapshot), longest_wait })
}
