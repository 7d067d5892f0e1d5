//! Moves a snapshot's memory to an output: one read into a buffer, one write out of it, the two on threads of their own.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bstr::ByteSlice;
use crossbeam_channel::{Receiver, Sender, bounded};
use effigy_formats::{Attachment, Contents, Prologue, WriteError};
use effigy_process::{
    Address, AddressRange, Content, Extent, ExtentList, Gap, GapReason, GapSubject, Module, NotRead, Process, Region,
    Snapshot,
};

use crate::redact::StackFilter;
use crate::select::Selected;
use crate::sink::Output;

/// Bytes of one buffer.
const BUFFER: usize = 1 << 20;
/// Buffers on their way; with [`BUFFER`] the bound of effigy's own memory here.
const BUFFERS: usize = 8;
/// Room in the prologue that one more hole takes at most: two program headers, and a line in the list of gaps.
const BYTES_PER_HOLE: u64 = 512;
/// Holes that can be recorded while memory is read.
const MOST_HOLES: u64 = 1024;

/// How far a dump has come, for a progress bar and for whoever wants to end it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of memory that will be read; 0 until that is known.
    pub total: AtomicU64,
    /// Bytes of memory that have been written.
    pub done: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Asks for an end. What has been written so far stays with the output.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether an end was asked for.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Why memory could not be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The headers could not be made or written.
    #[error(transparent)]
    Prologue(#[from] WriteError),
    /// The output failed.
    #[error("writing the dump")]
    Output(#[from] io::Error),
    /// The process ended before all of its memory was read.
    #[error("the process ended before its memory was read")]
    Ended,
    /// The dump that the memory comes from cannot be read, and what was written of the new one cannot be mended.
    #[error("reading memory at {0} from the dump")]
    Input(AddressRange),
    /// The thread that writes has failed.
    #[error("effigy's own writer thread failed")]
    OwnThread,
}

/// What one dump is made of.
pub struct Job<'a> {
    /// Everything but the memory; for a triage dump, redacted.
    pub process: &'a Process,
    /// The memory, and what is left out of it.
    pub selected: Selected,
    /// MINIDUMP_TYPE bits that say what the dump holds.
    pub minidump_type: u64,
    /// Whether words on stacks that are no pointers are defaced, as for a triage dump.
    pub deface: bool,
    /// What writes the headers.
    pub format: &'a dyn Prologue,
    /// Files that will follow the memory.
    pub attachments: Vec<Attachment>,
}

/// What was moved.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Bytes of memory that the dump holds, zeros included.
    pub memory_bytes: u64,
    /// What it does not hold.
    pub gaps: Vec<Gap>,
    /// Whether it was ended before all memory was moved.
    pub cut_short: bool,
}

/// Writes the headers and the memory. The target may go on when this returns. With `keep_partial`, a process that ends
/// midway leaves a dump of what was read until then, which says so.
///
/// # Errors
/// See [`MoveError`]. The output is of no use then.
pub fn move_memory(
    snapshot: &dyn Snapshot,
    job: Job<'_>,
    output: &mut dyn Output,
    progress: &Progress,
    keep_partial: bool,
) -> Result<Moved, MoveError> {
    let Job { process, selected, minidump_type, deface, format, attachments } = job;
    let Selected { mut extents, mut gaps } = selected;
    gaps.splice(0..0, process.gaps.iter().cloned());
    if !output.can_rewrite() && !snapshot.is_dump() {
        // What cannot be mended later has to be right from the start.
        let broken = probe(snapshot, &extents, progress);
        gaps.extend(broken.iter().map(|range| unreadable(process, *range)));
        extents = extents.without(&broken);
    }
    let headers = Headers { process, minidump_type, attachments: &attachments };
    let plain = format.prologue_size(&headers.with(&extents, &gaps))?;
    let page = process.system.page_size.max(1);
    let holes = if output.can_rewrite() { MOST_HOLES.min(extents.bytes().div_ceil(page)) } else { 0 };
    let data_offset = (plain + holes * BYTES_PER_HOLE).next_multiple_of(page);
    progress.total.store(extents.bytes(), Ordering::Relaxed);
    progress.done.store(0, Ordering::Relaxed);
    format.write_prologue(&headers.with(&extents, &gaps), data_offset, &mut Appender(output))?;

    let filter = deface.then(|| StackFilter::new(process));
    let most_holes = usize::try_from(holes).unwrap_or(usize::MAX);
    let keeps_holes = !output.can_rewrite();
    let mut reader = Reader { snapshot, filter, progress, most_holes, holes: Vec::new(), keeps_holes, ended: false };
    pump(&mut reader, &extents, output)?;

    let Reader { holes, ended, .. } = reader;
    if let Some(hole) = holes.first().filter(|_| keeps_holes && snapshot.is_dump() && !progress.is_stopped()) {
        return Err(MoveError::Input(*hole));
    }
    if ended && !keep_partial {
        return Err(MoveError::Ended);
    }
    let cut_short = ended || progress.is_stopped();
    if !holes.is_empty() {
        gaps.extend(holes.iter().map(|range| match cut_short {
            // A dump that was ended early has one hole more: everything from there on.
            true if range.end() == last_end(&extents) => Gap {
                subject: GapSubject::Memory(*range),
                reason: GapReason::Ended,
                detail: "the dump was ended before this memory was reached".into(),
            },
            _ => unreadable(process, *range),
        }));
        if output.can_rewrite() {
            extents = extents.without(&holes);
            let contents = headers.with(&extents, &gaps);
            let mut failure = None;
            output
                .rewrite_start(&mut |out| {
                    format.write_prologue(&contents, data_offset, out).map_err(|error| {
                        failure = Some(error);
                        io::ErrorKind::Other.into()
                    })
                })
                .map_err(|error| failure.take().map_or(MoveError::Output(error), MoveError::Prologue))?;
        }
    }
    Ok(Moved { memory_bytes: extents.bytes(), gaps, cut_short })
}

/// What of a dump's headers does not change while its memory is read.
struct Headers<'a> {
    process: &'a Process,
    minidump_type: u64,
    attachments: &'a [Attachment],
}

impl<'a> Headers<'a> {
    fn with(&self, extents: &'a ExtentList, gaps: &'a [Gap]) -> Contents<'a> {
        let Self { process, minidump_type, attachments } = *self;
        Contents { process, extents, gaps, minidump_type, attachments }
    }
}

fn last_end(extents: &ExtentList) -> Address {
    extents.iter().last().map_or(Address(0), |extent| extent.range.end())
}

fn unreadable(process: &Process, range: AddressRange) -> Gap {
    let name = process.region_at(range.start()).map(|region| region.name.to_str_lossy().into_owned());
    Gap { subject: GapSubject::Memory(range), reason: GapReason::Unreadable, detail: name.unwrap_or_default() }
}

/// Reads a byte of each page that might not be readable: pages of files, and pages in swap.
fn probe(snapshot: &dyn Snapshot, extents: &ExtentList, progress: &Progress) -> Vec<AddressRange> {
    let page = snapshot.process().system.page_size;
    let mut broken: Vec<AddressRange> = Vec::new();
    let mut cursor = RegionCursor::new(&snapshot.process().regions);
    for extent in extents.iter().filter(|extent| extent.content == Content::Bytes) {
        let Some(region) = cursor.at(extent.range.start()) else { continue };
        if region.inode == 0 && region.swapped.unwrap_or(0) == 0 || progress.is_stopped() {
            continue;
        }
        let mut at = extent.range.start();
        while at < extent.range.end() {
            let end = at.saturating_add(page).page_floor(page).min(extent.range.end());
            if snapshot.read(region, at, &mut [0]).is_err() {
                join(&mut broken, AddressRange::new(at, end));
            }
            at = end;
        }
    }
    broken
}

/// Adds a range behind the others, joined to the last where they meet.
fn join(ranges: &mut Vec<AddressRange>, range: AddressRange) {
    match ranges.last_mut().filter(|last| last.end() == range.start()) {
        Some(last) => *last = AddressRange::new(last.start(), range.end()),
        None => ranges.push(range),
    }
}

/// Finds the regions of rising addresses.
struct RegionCursor<'a> {
    regions: &'a [Region],
}

impl<'a> RegionCursor<'a> {
    fn new(regions: &'a [Region]) -> Self {
        Self { regions }
    }

    fn at(&mut self, address: Address) -> Option<&'a Region> {
        while self.regions.first().is_some_and(|region| region.range.end() <= address) {
            self.regions = &self.regions[1..];
        }
        self.regions.first().filter(|region| region.range.contains(address))
    }
}

/// What goes from the reader to the writer.
enum Piece {
    Bytes(Buffer),
    Zeros(u64),
}

/// A buffer that keeps its length, so that it is not cleared each time before it is read into.
#[derive(Default)]
struct Buffer {
    bytes: Box<[u8]>,
    used: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER].into_boxed_slice(), used: 0 }
    }
}

/// Reads on this thread and writes on another.
fn pump(reader: &mut Reader<'_>, extents: &ExtentList, output: &mut dyn Output) -> Result<(), MoveError> {
    let progress = reader.progress;
    let (full, to_write) = bounded::<Piece>(BUFFERS);
    let (give_back, empty) = bounded::<Buffer>(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = give_back.send(Buffer::new());
    }
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn_scoped(scope, move || drain(output, &to_write, &give_back, progress))
            .map_err(MoveError::Output)?;
        let read = reader.read_all(extents, &full, &empty);
        drop(full);
        let written = writer.join().map_err(|_| MoveError::OwnThread)?;
        // A failed output also ends the reading; it is the cause to name.
        written?;
        read
    })
}

fn drain(
    output: &mut dyn Output,
    pieces: &Receiver<Piece>,
    give_back: &Sender<Buffer>,
    progress: &Progress,
) -> io::Result<()> {
    for piece in pieces {
        match piece {
            Piece::Bytes(mut buffer) => {
                output.append(&buffer.bytes[..buffer.used])?;
                progress.done.fetch_add(buffer.used as u64, Ordering::Relaxed);
                buffer.used = 0;
                let _ = give_back.try_send(buffer);
            }
            Piece::Zeros(count) => {
                output.append_zeros(count)?;
                progress.done.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Reads the extents one after the other.
struct Reader<'a> {
    snapshot: &'a dyn Snapshot,
    filter: Option<StackFilter>,
    progress: &'a Progress,
    most_holes: usize,
    /// What could not be read, in rising order.
    holes: Vec<AddressRange>,
    /// Whether zeros take the place of what cannot be read, because the headers promise something there.
    keeps_holes: bool,
    /// Whether the process ended before all was read.
    ended: bool,
}

impl Reader<'_> {
    fn read_all(
        &mut self,
        extents: &ExtentList,
        full: &Sender<Piece>,
        empty: &Receiver<Buffer>,
    ) -> Result<(), MoveError> {
        let mut cursor = RegionCursor::new(&self.snapshot.process().regions);
        let mut out = Pieces { full, empty, buffer: Buffer::default() };
        for extent in extents.iter() {
            if extent.content == Content::Zeros {
                if !out.zeros(extent.range.size()) {
                    return Ok(());
                }
                continue;
            }
            let Some(region) = cursor.at(extent.range.start()) else {
                self.hole(extent.range, &mut out);
                continue;
            };
            if self.read_extent(region, extent, &mut out)?.is_none() {
                // Ended early, or the writer has gone: whatever remains is not in the dump.
                self.rest_is_missing(extents);
                break;
            }
        }
        out.flush();
        Ok(())
    }

    /// Reads one extent; `None` when there is to be an end.
    fn read_extent(&mut self, region: &Region, extent: Extent, out: &mut Pieces<'_>) -> Result<Option<()>, MoveError> {
        let page = self.snapshot.process().system.page_size;
        let mut at = extent.range.start();
        while at < extent.range.end() {
            if self.progress.is_stopped() {
                join(&mut self.holes, AddressRange::new(at, extent.range.end()));
                return Ok(None);
            }
            let Some(buffer) = out.room() else { return Ok(None) };
            let room = &mut buffer.bytes[buffer.used..];
            let want = usize::try_from(extent.range.end().0 - at.0).unwrap_or(usize::MAX).min(room.len());
            match read_pages(self.snapshot, region, at, &mut room[..want], page) {
                Ok(count) => {
                    if let Some(filter) = &self.filter {
                        filter.apply(at, &mut room[..count]);
                    }
                    buffer.used += count;
                    at = at.saturating_add(count as u64);
                }
                Err(NotRead::Ended) => {
                    self.ended = true;
                    join(&mut self.holes, AddressRange::new(at, extent.range.end()));
                    return Ok(None);
                }
                Err(_) => {
                    // The rest of the page; extents of dumps may begin and end within one.
                    let page_end = at.saturating_add(page).page_floor(page);
                    let again = self.snapshot.try_again_at(at).filter(|again| *again > page_end);
                    let end = again.unwrap_or(page_end).min(extent.range.end());
                    self.hole(AddressRange::new(at, end), out);
                    // There is room to record so many holes. Storage that has more of them is dying: what follows counts
                    // as one.
                    if self.holes.len() >= self.most_holes && !self.keeps_holes {
                        return Ok(None);
                    }
                    at = end;
                }
            }
        }
        Ok(Some(()))
    }

    fn hole(&mut self, range: AddressRange, out: &mut Pieces<'_>) {
        join(&mut self.holes, range);
        if self.keeps_holes {
            out.zeros(range.size());
        }
    }

    /// Records everything behind the last hole as missing.
    fn rest_is_missing(&mut self, extents: &ExtentList) {
        let from = self.holes.last().map_or(Address(0), AddressRange::end);
        let end = last_end(extents);
        if from < end {
            join(&mut self.holes, AddressRange::new(from, end));
        }
    }
}

/// Reads whole pages: as many as there are up to the first that cannot be read.
fn read_pages(
    snapshot: &dyn Snapshot,
    region: &Region,
    address: Address,
    buffer: &mut [u8],
    page: u64,
) -> Result<usize, NotRead> {
    let page = usize::try_from(page).unwrap_or(4096);
    let mut done = 0;
    loop {
        match snapshot.read(region, address.saturating_add(done as u64), &mut buffer[done..]) {
            Ok(count) => {
                done += count;
                if done == buffer.len() || done.is_multiple_of(page) && done > 0 {
                    return Ok(done);
                }
            }
            Err(NotRead::Ended) => return Err(NotRead::Ended),
            // The page that fails is asked for alone the next time.
            Err(error) if done < page => return Err(error),
            Err(_) => return Ok(done - done % page),
        }
    }
}

/// Fills buffers and sends them off.
struct Pieces<'a> {
    full: &'a Sender<Piece>,
    empty: &'a Receiver<Buffer>,
    buffer: Buffer,
}

impl Pieces<'_> {
    /// A buffer with room behind what it holds; `None` when the writer is gone.
    fn room(&mut self) -> Option<&mut Buffer> {
        if self.buffer.used == self.buffer.bytes.len() {
            self.send_buffer()?;
            self.buffer = self.empty.recv().ok()?;
        }
        Some(&mut self.buffer)
    }

    /// Zeros behind what there is; whether the writer still takes something.
    fn zeros(&mut self, count: u64) -> bool {
        if self.send_buffer().is_none() {
            return false;
        }
        self.full.send(Piece::Zeros(count)).is_ok()
    }

    fn send_buffer(&mut self) -> Option<()> {
        if self.buffer.used == 0 {
            return Some(());
        }
        self.full.send(Piece::Bytes(std::mem::take(&mut self.buffer))).ok()
    }

    fn flush(&mut self) {
        let _ = self.send_buffer();
    }
}

/// An [`Output`] as a plain writer.
struct Appender<'a>(&'a mut dyn Output);

impl Write for Appender<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.append(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is to be embedded, opened while the target stood still.
pub struct OpenAttachment {
    /// What the dump's headers say of it.
    pub about: Attachment,
    file: Box<dyn Read + Send>,
}

/// Opens the image files of all modules, as far as they can be reached; gaps for those that cannot.
#[must_use]
pub fn open_attachments(snapshot: &dyn Snapshot) -> (Vec<OpenAttachment>, Vec<Gap>) {
    let mut open = Vec::new();
    let mut gaps = Vec::new();
    for module in snapshot.process().modules.iter().filter(|module| module.path != "linux-gate.so") {
        match (snapshot.open_image(module), module.file_size) {
            (Ok(file), Some(length)) => {
                let about = Attachment { name: module.path.clone(), build_id: module.build_id.clone(), length };
                open.push(OpenAttachment { about, file });
            }
            (Err(error), _) => gaps.push(image_gap(module, error.to_string())),
            (Ok(_), None) => gaps.push(image_gap(module, "its length is not known".into())),
        }
    }
    (open, gaps)
}

fn image_gap(module: &Module, detail: String) -> Gap {
    let reason = GapReason::Unreadable;
    Gap { subject: GapSubject::Fact(format!("image {}", module.path)), reason, detail }
}

/// Appends the embedded files; the target may run. A file that has become shorter is filled up with zeros, one that
/// has grown is cut: the headers have said its length.
///
/// # Errors
/// When the output fails.
pub fn append_attachments(
    attachments: Vec<OpenAttachment>,
    output: &mut dyn Output,
    progress: &Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    for OpenAttachment { about, mut file } in attachments {
        let mut left = about.length;
        while left > 0 && !progress.is_stopped() {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match file.read(&mut buffer[..want]) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    output.append(&buffer[..count])?;
                    left -= count as u64;
                }
            }
        }
        output.append_zeros(left)?;
    }
    Ok(())
}

impl OpenAttachment {
    /// A file whose bytes come from `file`.
    #[must_use]
    pub fn new(about: Attachment, file: Box<dyn Read + Send>) -> Self {
        Self { about, file }
    }
}

impl std::fmt::Debug for OpenAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAttachment").field("about", &self.about).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use effigy_formats::Format;

    use super::*;
    use crate::fake::FakeSnapshot;
    use crate::kind::Kind;
    use crate::select::{Wish, select};
    use crate::sink::PartialFile;

    /// The bytes behind the headers.
    fn memory_of(snapshot: &FakeSnapshot, format: Format) -> (Vec<u8>, Moved) {
        let folder = tempfile::tempdir().unwrap();
        let partial = PartialFile::create(&folder.path().join("d"), false).unwrap();
        let kind = Kind::Full;
        let wish = Wish { kind, include_dontdump: false, longest_hole: 0, most_bytes: None };
        let selected = select(snapshot, &wish).unwrap();
        let minidump_type = kind.mask().bits();
        let job = Job {
            process: &snapshot.process,
            selected,
            minidump_type,
            deface: false,
            format: &format,
            attachments: Vec::new(),
        };
        let mut writer = partial.writer().unwrap();
        let moved = move_memory(snapshot, job, &mut writer, &Progress::default(), false).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(partial.publish().unwrap().path).unwrap();
        let memory = bytes[bytes.len() - usize::try_from(moved.memory_bytes).unwrap()..].to_vec();
        (memory, moved)
    }

    #[test]
    fn memory_follows_the_headers_in_order() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x40_0000, &[(0x10000, 0x3000), (0x20_0000, 0x18_0000)]);
        let (memory, moved) = memory_of(&snapshot, Format::ElfCore);
        assert_eq!(moved.memory_bytes, 0x18_3000);
        assert_eq!((memory[0], memory[0x2000], memory[0x3000], memory[0x4000]), (0x10, 0x12, 0x00, 0x01));
    }

    #[test]
    fn an_unreadable_page_becomes_a_gap_and_takes_no_room() {
        for format in [Format::Minidump, Format::ElfCore] {
            let mut snapshot = FakeSnapshot::new();
            snapshot.anonymous(0x10000, 0x20000, &[(0x10000, 0x5000)]);
            snapshot.broken = vec![Address(0x11000), Address(0x12000), Address(0x14000)];
            let (memory, moved) = memory_of(&snapshot, format);
            assert_eq!(memory.len(), 0x2000);
            assert_eq!((memory[0], memory[0x1000]), (0x10, 0x13));
            let ranges: Vec<_> = moved.gaps.iter().map(|gap| gap.subject.clone()).collect();
            assert_eq!(
                ranges,
                [(0x11000, 0x2000), (0x14000, 0x1000)]
                    .map(|(start, size)| GapSubject::Memory(AddressRange::sized(Address(start), size)))
            );
            assert!(moved.gaps.iter().all(|gap| gap.reason.is_loss()));
        }
    }
}
