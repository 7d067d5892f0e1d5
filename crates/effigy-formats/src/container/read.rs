//! Reading the container by offset. Its bytes are not trusted.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use effigy_process::NotRead;
use zerocopy::FromBytes;
use zstd::bulk::Decompressor;

use crate::source::{Source, Unreadable};

use super::layout::{
    CHECKSUM_SIZE, Entry, FOOTER_MAGIC, FRAME_MAGIC, Footer, HAS_CHECKSUMS, RESERVED, SkippableHeader, TABLE_MAGIC,
};

/// The longest frame that is read, in bytes of contents. Those that effigy writes have 4 MiB; a frame of a few bytes may
/// claim, and give, very many.
const MAX_CONTENTS: u32 = 64 << 20;

/// Most bytes of contents for each byte of a frame: a block of up to 128 KiB takes four bytes at least (RFC 8878, section
/// 3.1.1.2). What a table says beyond that, for all frames together, is made up.
const MOST_RATIO: u64 = (128 << 10) / 4;
/// What a table may be wrong by, in bytes: the lengths of a few frames.
const MADE_UP: u64 = 16 << 30;

/// Frames that are kept: a stack, the heap and two modules' headers are read in turn, and each processor searches another
/// part. As many as have so many bytes together, but not fewer, and not more, than these.
const CACHED_BYTES: usize = 64 << 20;
const CACHED_FRAMES: std::ops::RangeInclusive<usize> = 2..=16;

/// What decompressing may cost as long as a file is open: so many bytes of contents, and so many times the file's length.
/// Real dumps are compressed to a tenth or a hundredth, and read once or twice; 10 MB of zeros are 300 GB.
const LEAST_COST: u64 = 1 << 30;
const COST_TIMES: u64 = 200;
/// What a frame costs however short it is.
const FRAME_COST: u64 = 16 << 10;
/// Locks that keep threads from decompressing the same frame; frames share them.
const TURNS: usize = 64;

/// Why a container, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// It cannot be read.
    #[error("reading the compressed file")]
    Read(#[source] io::Error),
    /// It does not begin as zstd does.
    #[error("not compressed with zstd")]
    NotZstd,
    /// Ordinary zstd, of which parts cannot be read without all that is before them.
    #[error("compressed with zstd, but without the table that lets parts be read; decompress it first (zstd -d)")]
    NoSeekTable,
    /// The table makes no sense.
    #[error("the table of the compressed file is damaged: {field} at offset {offset:#x}: {what}")]
    BadSeekTable {
        /// The field that makes none, by the name that the format's description has for it.
        field: &'static str,
        /// Where it stands, from the start of the file, in bytes.
        offset: u64,
        /// In which way.
        what: &'static str,
    },
    /// A frame claims to hold more than is reasonable.
    #[error(
        "frame {frame} of the compressed file, at offset {offset:#x}, claims to hold {size} bytes, more than is accepted"
    )]
    FrameTooLarge {
        /// Its number, from 0.
        frame: usize,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Bytes that it claims to hold.
        size: u32,
    },
    /// A frame cannot be decompressed, or its checksum is wrong.
    #[error("decompressing frame {frame} of the compressed file, at offset {offset:#x}")]
    Corrupt {
        /// Its number, from 0.
        frame: usize,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// What zstd says.
        source: io::Error,
    },
    /// A frame cannot be decompressed, as was found before.
    #[error("frame {frame} of the compressed file, at offset {offset:#x}, is damaged")]
    Damaged {
        /// Its number, from 0.
        frame: usize,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
    },
    /// More was asked for than is accepted.
    #[error(
        "more than {limit} bytes would have to be unpacked of the compressed file, which is too much for one so short: \
         decompress it first (zstd -d)"
    )]
    TooCostly {
        /// Bytes that are unpacked.
        limit: u64,
    },
    /// A frame does not hold as much as the table says.
    #[error(
        "frame {frame} of the compressed file, at offset {offset:#x}, holds {actual} bytes where its table says {expected}"
    )]
    WrongLength {
        /// Its number, from 0.
        frame: usize,
        /// Where it begins, from the start of the file, in bytes.
        offset: u64,
        /// Bytes that the table says.
        expected: u32,
        /// Bytes that it holds.
        actual: usize,
    },
}

/// A container whose contents are read by offset. It may be read from several threads at once.
#[derive(Debug)]
pub struct SeekableReader<S> {
    source: S,
    frames: Vec<Frame>,
    /// Bytes of all contents.
    contents: u64,
    /// What decompressing may cost in all.
    limit: u64,
    state: Mutex<State>,
    turns: Vec<Mutex<()>>,
}

/// What is known from decompressing.
#[derive(Debug)]
struct State {
    /// Contents of the frames used last, the latest first.
    cache: VecDeque<(usize, Arc<Vec<u8>>)>,
    /// Frames that cannot be decompressed.
    damaged: HashSet<usize>,
    /// What decompressing may still cost; `None` once something was asked for that would cost more. From then on nothing is
    /// given any more: where it ends must not depend on what was read last.
    left: Option<u64>,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// In the file.
    at: u64,
    compressed: u32,
    /// In the contents.
    start: u64,
    contents: u32,
}

impl<S: Source> SeekableReader<S> {
    /// Reads the table of a container, which is all of `source`.
    ///
    /// # Errors
    /// When it is no container, or its table is damaged.
    pub fn new(source: S) -> Result<Self, ContainerError> {
        let limit = LEAST_COST.saturating_add(source.size().saturating_mul(COST_TIMES));
        Self::with_limit(source, limit)
    }

    /// The same, with what decompressing may cost, in bytes.
    pub(super) fn with_limit(source: S, limit: u64) -> Result<Self, ContainerError> {
        let Table { bytes: table, at: table_at, entry_size } = table(&source)?;
        // As many entries as there are bytes for them, so this is bounded by the file's own length.
        let mut frames = Vec::with_capacity(table.len() / entry_size);
        let (mut at, mut start) = (0u64, 0u64);
        let entry_at = |index: usize| table_at + (index * entry_size) as u64;
        let wrong = |index: usize, what| bad("Compressed_Size", entry_at(index), what);
        for (index, entry) in table.chunks_exact(entry_size).enumerate() {
            let (entry, _) = Entry::read_from_prefix(entry).map_err(|_| wrong(index, "it is cut short"))?;
            let frame = Frame { at, compressed: entry.compressed.get(), start, contents: entry.contents.get() };
            let end = at.checked_add(frame.compressed.into()).filter(|end| *end <= table_at);
            at = end.ok_or_else(|| wrong(index, "the frame reaches beyond the table's beginning"))?;
            let too_long = || bad("Decompressed_Size", entry_at(index) + 4, "the contents are too long");
            start = start.checked_add(u64::from(frame.contents)).ok_or_else(too_long)?;
            frames.push(frame);
        }
        let head = size_of::<SkippableHeader>() as u64;
        if at.checked_add(head) != Some(table_at) {
            return Err(wrong(0, "the frames of all entries end before the table begins"));
        }
        if start > source.size().saturating_mul(MOST_RATIO).saturating_add(MADE_UP) {
            return Err(bad(
                "Decompressed_Size",
                table_at + 4,
                "the frames of all entries cannot hold as much as they say",
            ));
        }
        let state = State { cache: VecDeque::new(), damaged: HashSet::new(), left: Some(limit) };
        let turns = std::iter::repeat_with(Mutex::default).take(TURNS).collect();
        Ok(Self { source, frames, contents: start, limit, state: Mutex::new(state), turns })
    }

    /// Length of the contents in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.contents
    }

    /// Whether there are no contents.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents == 0
    }

    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Fills `buffer` with the contents at `offset`, and says how many bytes there were: fewer than asked for only at the
    /// contents' end.
    ///
    /// # Errors
    /// When a frame that is needed is damaged.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ContainerError> {
        let mut done = 0;
        let mut number = self.frame_at(offset);
        while let Some(frame) = self.frames.get(number).filter(|_| done < buffer.len()) {
            if frame.contents == 0 {
                number += 1;
                continue;
            }
            let contents = self.contents_of(number)?;
            let skip = (offset + done as u64).saturating_sub(frame.start);
            let from = usize::try_from(skip).ok().and_then(|skip| contents.get(skip..)).unwrap_or_default();
            let count = from.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&from[..count]);
            done += count;
            number += 1;
        }
        Ok(done)
    }

    /// Length of the container itself in bytes.
    pub(crate) fn stored_size(&self) -> u64 {
        self.source.size()
    }

    /// See [`Source::unreadable`].
    pub(crate) fn unreadable(&self, offset: u64, length: u64) -> Option<Unreadable> {
        let state = self.state();
        if state.left.is_none() {
            return Some(Unreadable { range: offset..u64::MAX, reason: NotRead::NotUnpacked });
        }
        if state.damaged.is_empty() {
            return None;
        }
        let end = offset.saturating_add(length);
        let asked = self.frames.iter().enumerate().skip(self.frame_at(offset));
        let (_, frame) =
            asked.take_while(|(_, frame)| frame.start < end).find(|(number, _)| state.damaged.contains(number))?;
        let range = frame.start.max(offset)..frame.start + u64::from(frame.contents);
        Some(Unreadable { range, reason: NotRead::Unreadable })
    }

    /// The number of the frame that holds the byte at an offset, or of the first behind it.
    fn frame_at(&self, offset: u64) -> usize {
        self.frames.partition_point(|frame| frame.start + u64::from(frame.contents) <= offset)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents_of(&self, number: usize) -> Result<Arc<Vec<u8>>, ContainerError> {
        if let Some(known) = self.known(number) {
            return known;
        }
        // Whoever waits for another thread to decompress the same frame finds it then.
        let _turn = self.turns[number % TURNS].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known(number) {
            return known;
        }
        let frame = self.accepted(number).and_then(|frame| self.spend(frame));
        let result = frame.and_then(|frame| self.decompress(number, frame));
        let mut state = self.state();
        match result {
            Ok(contents) => Ok(state.keep(number, contents)),
            Err(error) => {
                if !matches!(error, ContainerError::Read(_) | ContainerError::TooCostly { .. }) {
                    state.damaged.insert(number);
                }
                Err(error)
            }
        }
    }

    /// What is known of a frame without decompressing it.
    fn known(&self, number: usize) -> Option<Result<Arc<Vec<u8>>, ContainerError>> {
        let mut state = self.state();
        if state.left.is_none() {
            return Some(Err(ContainerError::TooCostly { limit: self.limit }));
        }
        if state.damaged.contains(&number) {
            return Some(Err(ContainerError::Damaged { frame: number, offset: self.frames[number].at }));
        }
        state.cached(number).map(Ok)
    }

    /// The frame, unless it claims too much.
    fn accepted(&self, number: usize) -> Result<Frame, ContainerError> {
        let frame = self.frames[number];
        let size = frame.contents.max(frame.compressed / 2);
        let is_made_up = u64::from(frame.contents) > u64::from(frame.compressed).saturating_mul(MOST_RATIO);
        if size > MAX_CONTENTS || is_made_up {
            return Err(ContainerError::FrameTooLarge { frame: number, offset: frame.at, size });
        }
        Ok(frame)
    }

    /// Accounts for the decompressing of a frame.
    fn spend(&self, frame: Frame) -> Result<Frame, ContainerError> {
        let mut state = self.state();
        let cost = FRAME_COST + u64::from(frame.contents) + u64::from(frame.compressed);
        state.left = state.left.and_then(|left| left.checked_sub(cost));
        if state.left.is_none() {
            state.cache.clear();
            return Err(ContainerError::TooCostly { limit: self.limit });
        }
        Ok(frame)
    }

    fn decompress(&self, number: usize, frame: Frame) -> Result<Vec<u8>, ContainerError> {
        let corrupt = |source| ContainerError::Corrupt { frame: number, offset: frame.at, source };
        // Within the file: `new` added the lengths up.
        let mut compressed = vec![0; frame.compressed as usize];
        self.source.read_exact_at(frame.at, &mut compressed).map_err(ContainerError::Read)?;
        let contents = Decompressor::new()
            .and_then(|mut decompressor| decompressor.decompress(&compressed, frame.contents as usize))
            .map_err(corrupt)?;
        if contents.len() != frame.contents as usize {
            let (expected, actual) = (frame.contents, contents.len());
            return Err(ContainerError::WrongLength { frame: number, offset: frame.at, expected, actual });
        }
        Ok(contents)
    }
}

impl State {
    fn cached(&mut self, number: usize) -> Option<Arc<Vec<u8>>> {
        let place = self.cache.iter().position(|(cached, _)| *cached == number)?;
        let entry = self.cache.remove(place)?;
        let contents = Arc::clone(&entry.1);
        self.cache.push_front(entry);
        Some(contents)
    }

    fn keep(&mut self, number: usize, contents: Vec<u8>) -> Arc<Vec<u8>> {
        let contents = Arc::new(contents);
        self.cache.push_front((number, Arc::clone(&contents)));
        let mut bytes: usize = self.cache.iter().map(|(_, contents)| contents.len()).sum();
        let (fewest, most) = (*CACHED_FRAMES.start(), *CACHED_FRAMES.end());
        while self.cache.len() > most || self.cache.len() > fewest && bytes > CACHED_BYTES {
            bytes -= self.cache.pop_back().map_or(0, |(_, contents)| contents.len());
        }
        contents
    }
}

/// The table of a container.
struct Table {
    /// Its entries.
    bytes: Vec<u8>,
    /// Where they begin in the file.
    at: u64,
    /// Length of one.
    entry_size: usize,
}

/// Finds the table by the file's end, where it says how long it is.
fn table(source: &impl Source) -> Result<Table, ContainerError> {
    let read = |from: u64, size: usize| {
        let mut bytes = vec![0; size];
        source.read_exact_at(from, &mut bytes).map_err(ContainerError::Read).map(|()| bytes)
    };
    let foot = source.size().checked_sub(size_of::<Footer>() as u64).ok_or_else(|| without_table(source))?;
    let footer = Footer::read_from_bytes(&read(foot, size_of::<Footer>())?).map_err(|_| without_table(source))?;
    if footer.magic.get() != FOOTER_MAGIC {
        return Err(without_table(source));
    }
    if footer.descriptor & RESERVED != 0 {
        let at = foot + offset_of!(Footer, descriptor) as u64;
        return Err(bad("Seek_Table_Descriptor", at, "reserved bits are set"));
    }
    let checksum = if footer.descriptor & HAS_CHECKSUMS != 0 { CHECKSUM_SIZE } else { 0 };
    let entry_size = size_of::<Entry>() + checksum;
    let too_many = |what| bad("Number_Of_Frames", foot, what);
    let size = usize::try_from(footer.frames.get()).ok().and_then(|frames| frames.checked_mul(entry_size));
    // Within the file, so that nothing is allocated that the file does not have.
    let (size, from) = size
        .and_then(|size| Some((size, foot.checked_sub(size as u64)?)))
        .ok_or_else(|| too_many("so many entries are longer than the file"))?;
    let beginning = "before so many entries there is no beginning of a table";
    let head = from.checked_sub(size_of::<SkippableHeader>() as u64).ok_or_else(|| too_many(beginning))?;
    let header = SkippableHeader::read_from_bytes(&read(head, size_of::<SkippableHeader>())?)
        .map_err(|_| too_many(beginning))?;
    if header.magic.get() != TABLE_MAGIC {
        return Err(too_many(beginning));
    }
    if u64::from(header.size.get()) != source.size() - from {
        let at = head + offset_of!(SkippableHeader, size) as u64;
        return Err(bad("Frame_Size", at, "the table does not end where the file does"));
    }
    Ok(Table { bytes: read(from, size)?, at: from, entry_size })
}

/// What a file without a table is.
fn without_table(source: &impl Source) -> ContainerError {
    let mut magic = [0; 4];
    match source.read_at(0, &mut magic) {
        Ok(4) if u32::from_le_bytes(magic) == FRAME_MAGIC => ContainerError::NoSeekTable,
        Ok(_) => ContainerError::NotZstd,
        Err(error) => ContainerError::Read(error),
    }
}

fn bad(field: &'static str, offset: u64, what: &'static str) -> ContainerError {
    ContainerError::BadSeekTable { field, offset, what }
}
