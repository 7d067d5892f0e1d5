//! Writing the container, on several threads.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZero;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, never, unbounded};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::layout::{Entry, FOOTER_MAGIC, FRAME_SIZE, Footer, SkippableHeader, TABLE_MAGIC};

/// Level of compression: zstd's fastest of the ordinary ones. A dump is written while someone waits, and most of what is
/// to be gained lies in zeros, which every level finds.
const LEVEL: i32 = 1;

/// Frames in flight for each worker: one that is being compressed and one that waits.
const FRAMES_PER_WORKER: usize = 2;

/// A writer that compresses what is written to it and passes it on, in frames of [`FRAME_SIZE`].
///
/// Compression happens on threads of its own; the output is written, in order, on the caller's. What waits in between is
/// bounded: two frames a worker, before and after compression. The container is complete only after
/// [`finish`](Self::finish); a writer that is dropped before stops its threads and leaves an output without a table.
#[derive(Debug)]
pub struct SeekableWriter<W> {
    output: W,
    frame_size: usize,
    pool: Pool,
    /// The frame at hand, not yet full.
    contents: Vec<u8>,
    /// Frames that were handed to the workers.
    submitted: u64,
    /// Frames that were compressed before one that comes before them.
    early: BTreeMap<u64, Frame>,
    /// What was written, in order.
    table: Vec<Entry>,
    counts: Compressed,
    /// Buffers to use again.
    spare: Vec<Frame>,
    failed: bool,
}

/// How much went into a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// Bytes that were written to it.
    pub contents: u64,
    /// Bytes that it has in the output, table included.
    pub compressed: u64,
    /// Number of frames, the table's not included.
    pub frames: u64,
}

impl<W: Write> SeekableWriter<W> {
    /// A container in `output`, compressed by `workers` threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(output: W, workers: NonZero<usize>) -> io::Result<Self> {
        Self::with_frame_size(output, workers, FRAME_SIZE)
    }

    /// The same with frames of another size, in bytes before compression.
    pub(super) fn with_frame_size(output: W, workers: NonZero<usize>, frame_size: usize) -> io::Result<Self> {
        Ok(Self {
            output,
            frame_size,
            pool: Pool::new(workers)?,
            contents: Vec::new(),
            submitted: 0,
            early: BTreeMap::new(),
            table: Vec::new(),
            counts: Compressed::default(),
            spare: Vec::new(),
            failed: false,
        })
    }

    /// Writes what is left and the table, and gives the output back.
    ///
    /// # Errors
    /// When the output or the compression fails, now or before.
    pub fn finish(mut self) -> io::Result<(W, Compressed)> {
        self.check()?;
        if !self.contents.is_empty() {
            self.submit()?;
        }
        while self.in_flight() > 0 {
            self.write_one()?;
        }
        self.write_table()?;
        self.output.flush()?;
        Ok((self.output, self.counts))
    }

    /// Frames that were handed to the workers and are not yet in the output.
    fn in_flight(&self) -> u64 {
        self.submitted - self.counts.frames
    }

    fn check(&self) -> io::Result<()> {
        if self.failed { Err(io::Error::other("an earlier part of the output could not be written")) } else { Ok(()) }
    }

    /// Hands the frame at hand to the workers; waits for one of theirs if they have enough to do.
    fn submit(&mut self) -> io::Result<()> {
        if self.in_flight() >= self.pool.capacity {
            self.write_one()?;
        }
        let mut frame = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut frame.contents, &mut self.contents);
        frame.number = self.submitted;
        self.contents.clear();
        self.submitted += 1;
        self.pool.send(frame)
    }

    /// Waits for the frame that is next in order, and writes it.
    fn write_one(&mut self) -> io::Result<()> {
        let next = self.counts.frames;
        let frame = loop {
            if let Some(frame) = self.early.remove(&next) {
                break frame;
            }
            let frame = self.pool.receive()?;
            self.early.insert(frame.number, frame);
        };
        self.output.write_all(&frame.compressed)?;
        let entry = Entry { compressed: field(frame.compressed.len())?, contents: field(frame.contents.len())? };
        self.table.push(entry);
        self.counts.frames += 1;
        self.counts.compressed += frame.compressed.len() as u64;
        self.spare.push(frame);
        Ok(())
    }

    fn write_table(&mut self) -> io::Result<()> {
        let footer = Footer { frames: field(self.table.len())?, descriptor: 0, magic: U32::new(FOOTER_MAGIC) };
        let size = self.table.as_bytes().len() + size_of::<Footer>();
        let header = SkippableHeader { magic: U32::new(TABLE_MAGIC), size: field(size)? };
        self.output.write_all(header.as_bytes())?;
        self.output.write_all(self.table.as_bytes())?;
        self.output.write_all(footer.as_bytes())?;
        self.counts.compressed += (size_of::<SkippableHeader>() + size) as u64;
        Ok(())
    }
}

impl<W: Write> Write for SeekableWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        let room = self.frame_size - self.contents.len();
        self.contents.reserve_exact(room);
        let taken = bytes.len().min(room);
        self.contents.extend_from_slice(&bytes[..taken]);
        self.counts.contents += taken as u64;
        if self.contents.len() == self.frame_size {
            self.submit().inspect_err(|_| self.failed = true)?;
        }
        Ok(taken)
    }

    /// Writes what is compressed, and flushes the output. The frame at hand stays: cutting it short would cost space.
    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        while self.in_flight() > 0 {
            self.write_one().inspect_err(|_| self.failed = true)?;
        }
        self.output.flush()
    }
}

fn field(length: usize) -> io::Result<U32> {
    u32::try_from(length).map(U32::new).map_err(|_| io::Error::other("the container's table is too long"))
}

/// A frame on its way.
#[derive(Debug, Default)]
struct Frame {
    number: u64,
    contents: Vec<u8>,
    compressed: Vec<u8>,
}

/// The threads that compress. Dropping it stops them.
#[derive(Debug)]
struct Pool {
    /// Gone when the threads are to stop.
    jobs: Option<Sender<Frame>>,
    /// Like the jobs, never more than are in flight, so neither channel needs a bound of its own.
    results: Receiver<io::Result<Frame>>,
    threads: Vec<JoinHandle<()>>,
    /// Frames that may be in flight.
    capacity: u64,
}

impl Pool {
    fn new(workers: NonZero<usize>) -> io::Result<Self> {
        let (jobs, waiting) = unbounded();
        let (done, results) = unbounded();
        let capacity = workers.get().saturating_mul(FRAMES_PER_WORKER) as u64;
        let mut pool = Self { jobs: Some(jobs), results, threads: Vec::new(), capacity };
        for _ in 0..workers.get() {
            let (waiting, done) = (waiting.clone(), done.clone());
            let thread = thread::Builder::new().name("compress".to_owned()).spawn(move || work(&waiting, &done))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    fn send(&self, frame: Frame) -> io::Result<()> {
        self.jobs.as_ref().and_then(|jobs| jobs.send(frame).ok()).ok_or_else(stopped)
    }

    fn receive(&self) -> io::Result<Frame> {
        self.results.recv().unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        // No one waits for results any more: each thread stops after the frame that it has at hand.
        self.results = never();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("a compressing thread stopped")
}

/// What a thread does until there are no more jobs, or no one waits for results.
fn work(jobs: &Receiver<Frame>, done: &Sender<io::Result<Frame>>) {
    let mut compressor = compressor();
    for mut frame in jobs {
        let result = match &mut compressor {
            Ok(compressor) => compress(compressor, &mut frame).map(|()| frame),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if done.send(result).is_err() {
            break;
        }
    }
}

fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

fn compress(compressor: &mut Compressor<'_>, frame: &mut Frame) -> io::Result<()> {
    frame.compressed.clear();
    frame.compressed.reserve_exact(compress_bound(frame.contents.len()));
    compressor.compress_to_buffer(&frame.contents, &mut frame.compressed)?;
    Ok(())
}
