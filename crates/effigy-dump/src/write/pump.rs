//! One thread reads, another writes, and buffers go round between them.

use std::io;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use effigy_process::{Address, AddressRange, Content, Extent, ExtentList, NotRead, Region, Snapshot};

use super::{MoveError, Progress, RegionCursor, join, last_end};
use crate::output::Output;
use crate::redact::StackFilter;

/// Bytes of one buffer.
const BUFFER: usize = 1 << 20;
/// Buffers on their way; with [`BUFFER`] the bound of effigy's own memory here.
const BUFFERS: usize = 8;

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
pub(super) fn pump(reader: &mut Reader<'_>, extents: &ExtentList, output: &mut dyn Output) -> Result<(), MoveError> {
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
pub(super) struct Reader<'a> {
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) filter: Option<StackFilter>,
    pub(super) progress: &'a Progress,
    pub(super) most_holes: usize,
    /// What could not be read, in rising order.
    pub(super) holes: Vec<AddressRange>,
    /// Whether zeros take the place of what cannot be read, because the headers promise something there.
    pub(super) keeps_holes: bool,
    /// Whether the process ended before all was read.
    pub(super) ended: bool,
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
