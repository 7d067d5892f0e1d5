//! How much of its process's memory a core of another writer holds.
//!
//! A core does not say. The kernel lists every mapping, and writes those that its process had written to, as far as
//! `coredump_filter` and `MADV_DONTDUMP` allow (`vma_dump_size`, fs/coredump.c of Linux 6.18); debuggers list what they
//! write. What follows from that is said, and nothing else: memory that is listed and not there was excluded, or never
//! touched, and a core does not tell which; memory that is not listed may have been there.

use effigy_process::{Address, AddressRange, Process, Protection, note};

use super::process::Mapped;
use super::{Core, Segment};
use crate::opened::{Coverage, Part};

/// What is known besides the segments.
pub(super) struct Known<'a> {
    /// The mapped files by rising address.
    pub(super) mapped: &'a [Mapped],
    /// Where the kernel's shared object lies.
    pub(super) vdso: Option<Address>,
    pub(super) process: &'a Process,
    pub(super) parts: &'a [Part],
}

/// How much the core holds, by its segments.
pub(super) fn of(core: &Core, known: &Known<'_>) -> Coverage {
    let segments = core.segments();
    if !segments.iter().any(is_writable) {
        return Coverage::Partial("it lists no memory that may be written, and a process has a stack at least".into());
    }
    if let Some(thread) = without_stack(segments, known.process) {
        return Coverage::Partial(format!("the stack of thread {thread} is not in it"));
    }
    let (mut writable, mut other) = (Unexplained::default(), Unexplained::default());
    for segment in segments {
        let missing = segment.range.size().saturating_sub(promised(segment));
        if missing == 0 || !counts(segment, segments, known) {
            continue;
        }
        if promised(segment) > 0 && is_writable(segment) && file_of(segment, known.mapped).is_none() {
            let range = segment.range;
            return Coverage::Partial(format!("{missing} bytes of the memory at {range} are not in it"));
        }
        let unexplained = if is_writable(segment) { &mut writable } else { &mut other };
        unexplained.count += 1;
        unexplained.bytes = unexplained.bytes.saturating_add(missing);
    }
    if writable.count > 0 {
        return Coverage::Unknown(writable.why(""));
    }
    if other.count > 0 {
        return Coverage::Listed(other.why(" that may not be written to (now)"));
    }
    match unlisted(segments, known) {
        Some(why) => Coverage::Listed(why.into()),
        None => Coverage::Full,
    }
}

/// Memory that is listed and not there.
#[derive(Default)]
struct Unexplained {
    count: u64,
    bytes: u64,
}

impl Unexplained {
    fn why(&self, which: &str) -> String {
        let (bytes, count) = (self.bytes, self.count);
        let mappings = if count == 1 { "mapping" } else { "mappings" };
        format!(
            "{bytes} bytes in {count} {mappings}{which} are listed and not in it: never touched, or left out by coredump_filter \
             or MADV_DONTDUMP, and a core does not tell which"
        )
    }
}

fn is_writable(segment: &Segment) -> bool {
    segment.protection.contains(Protection::WRITE)
}

/// Bytes that the core holds of a segment, had it not been cut short.
fn promised(segment: &Segment) -> u64 {
    segment.captured.saturating_add(segment.cut)
}

/// The file that is mapped where a segment begins.
fn file_of<'a>(segment: &Segment, mapped: &'a [Mapped]) -> Option<&'a Mapped> {
    let start = segment.range.start();
    let index = mapped.partition_point(|file| file.range.end() <= start);
    mapped.get(index).filter(|file| file.holds(start))
}

/// The first thread whose stack is listed and not there. A stack that is in use has been written to; a stack pointer that
/// leads elsewhere may be what the process died of.
fn without_stack(segments: &[Segment], process: &Process) -> Option<effigy_process::ThreadId> {
    let stack = |thread: &effigy_process::Thread| {
        let registers = thread.registers.as_ref().ok()?;
        let pointer = registers.general()?.stack_pointer()?;
        let index = segments.partition_point(|segment| segment.range.end() <= pointer);
        segments.get(index).filter(|segment| segment.range.contains(pointer) && is_writable(segment))
    };
    process.threads.iter().find(|thread| stack(thread).is_some_and(|segment| promised(segment) == 0)).map(|one| one.id)
}

/// Whether bytes of a segment that are not there may be some that the process had written: not where it cannot read them
/// (guard pages), nor in files that it cannot write to, nor in the pages of the kernel below its shared object.
fn counts(segment: &Segment, segments: &[Segment], known: &Known<'_>) -> bool {
    if is_writable(segment) {
        return true;
    }
    let readable = segment.protection.intersects(Protection::READ | Protection::EXECUTE);
    readable && file_of(segment, known.mapped).is_none() && !is_kernels(segment, segments, known.vdso)
}

/// Whether a segment is one of those that end where the kernel's shared object begins (`[vvar]`, `[vvar_vclock]`).
fn is_kernels(segment: &Segment, segments: &[Segment], vdso: Option<Address>) -> bool {
    let Some(vdso) = vdso else { return false };
    let mut end = segment.range.end();
    // There are two of them at the most.
    for _ in 0..2 {
        if end == vdso {
            return true;
        }
        let Ok(next) = segments.binary_search_by_key(&end, |segment| segment.range.start()) else { return false };
        end = segments[next].range.end();
    }
    end == vdso
}

/// Why it is not known that all mappings are listed; `None` when they are. The kernel lists those that it writes nothing
/// of as well, and begins with a thread; gdb begins with the process, and leaves out what it does not write.
fn unlisted(segments: &[Segment], known: &Known<'_>) -> Option<&'static str> {
    let by_kernel = known.parts.first().is_some_and(|part| part.owner == "CORE" && part.number == note::PRSTATUS);
    if !by_kernel || known.mapped.is_empty() {
        return Some("all memory that it lists is in it; a debugger may have left out mappings without listing them");
    }
    if segments.iter().all(|segment| promised(segment) >= segment.range.size()) {
        return Some("all memory that it lists is in it; mappings that are not in it may not be listed");
    }
    let runs = runs(segments);
    let listed = |file: &Mapped| {
        let run = runs.get(runs.partition_point(|run| run.end() <= file.range.start()));
        run.is_some_and(|run| run.start() <= file.range.start() && run.end() >= file.range.end())
    };
    (!known.mapped.iter().all(listed)).then_some("all memory that it lists is in it; some mapped files are not listed")
}

/// Segments that adjoin, joined: files may be listed in any number and over each other.
fn runs(segments: &[Segment]) -> Vec<AddressRange> {
    let mut runs: Vec<AddressRange> = Vec::new();
    for segment in segments {
        match runs.last_mut().filter(|last| last.end() == segment.range.start()) {
            Some(last) => *last = AddressRange::new(last.start(), segment.range.end()),
            None => runs.push(segment.range),
        }
    }
    runs
}
