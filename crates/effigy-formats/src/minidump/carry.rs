//! A minidump's prologue from that of another: everything is carried over as it lies, and only the memory is another.
//!
//! Streams that effigy knows nothing of lead to strings and records by offsets that only their writers know. So nothing is
//! moved: the old file's bytes keep their places, with zeros where memory and its lists were, and behind them come a new
//! directory and new lists.

use std::io::{self, Write};
use std::mem::offset_of;

use effigy_process::{Address, AddressRange};
use zerocopy::IntoBytes;

use super::layout::{self, Directory, Header, Location, Memory64Header, MemoryDescriptor, MemoryDescriptor64, stream};
use super::read::{Dump, ReadError};
use super::write::output::{Output, narrow};
use super::write::{attachments, location, memory_list, soft_errors};
use crate::source::SharedSource;
use crate::{Contents, Prologue, WriteError};

/// Bytes that are copied at a time.
const CHUNK: u64 = 64 << 10;
/// `ThreadExListStream`, of Itanium: its entries lead to memory by offset.
const THREAD_EX_LIST: u32 = 8;

/// The prologue of an opened minidump, to be used again.
#[derive(Debug)]
pub struct Carried {
    dump: Dump,
    /// Parts of the old file that are memory, lists of it, or attached files: by rising offset, without overlaps.
    left_out: Vec<(u64, u64)>,
    /// Where what is carried over ends.
    end: u64,
    /// Where the list of threads has its entries.
    threads_at: u64,
    threads: Vec<layout::Thread>,
    /// Whether the dump is effigy's, whose list of gaps is to be that of the new dump.
    own: bool,
}

/// Streams of the old dump that do not stay as they are.
fn is_replaced(kind: u32, own: bool) -> bool {
    match kind {
        stream::UNUSED | stream::MEMORY_LIST | stream::MEMORY64_LIST | stream::EFFIGY_ATTACHMENTS | THREAD_EX_LIST => {
            true
        }
        stream::MOZ_SOFT_ERRORS => own,
        _ => false,
    }
}

impl Carried {
    /// Prepares a dump's prologue. `attached` is where in the file embedded files lie, in bytes: first and behind the last.
    ///
    /// # Errors
    /// When header, directory, or the list of threads cannot be read.
    pub fn new(source: SharedSource, attached: Option<(u64, u64)>) -> Result<Self, ReadError> {
        let size = source.size();
        let dump = Dump::open(source)?;
        let own = dump.directory.iter().any(|entry| entry.kind.get() == stream::EFFIGY_FACTS);
        let threads = dump.raw_threads()?;
        let entry = dump.directory.iter().find(|entry| entry.kind.get() == stream::THREAD_LIST);
        let threads_at = entry.map_or(0, |entry| {
            let (start, size) = span(entry.location);
            // Some writers have padding between the count and the entries.
            let entries = (threads.len() * size_of::<layout::Thread>()) as u64;
            start + if size == entries + 8 { 8 } else { 4 }
        });
        let kept: Vec<(u64, u64)> = dump
            .directory
            .iter()
            .filter(|entry| !is_replaced(entry.kind.get(), own))
            .map(|entry| span(entry.location))
            .chain([(0, size_of::<Header>() as u64)])
            .map(|(start, length)| (start, start + length))
            .collect();
        let left_out = without(joined(memory_places(&dump, &threads, attached)), joined(kept));
        let end = match left_out.last() {
            Some((start, end)) if *end >= size => *start,
            _ => size,
        };
        Ok(Self { dump, left_out, end: end.min(size), threads_at, threads, own })
    }

    /// Where all images of the old dump's list lie: those of the layer that runs a 32-bit process of 64-bit Windows, too,
    /// which are no modules of the process. By their headers they are known for what they are.
    #[must_use]
    pub fn image_ranges(&self) -> Vec<AddressRange> {
        self.dump.modules().unwrap_or_default().into_iter().map(|module| module.range).collect()
    }

    /// The bytes that stay where they were, with the header and the stacks' places as they are now.
    fn copy(&self, scene: &Places<'_>, entries: u64, directory: u64, out: &mut Output<'_>) -> io::Result<()> {
        let header = Header {
            stream_count: narrow(entries).into(),
            directory_rva: narrow(directory).into(),
            flags: scene.contents.minidump_type.into(),
            ..self.dump.header
        };
        out.write_all(header.as_bytes())?;
        let stack_at = offset_of!(layout::Thread, stack) as u64;
        let each = size_of::<layout::Thread>() as u64;
        for (index, thread) in self.threads.iter().enumerate() {
            let at = self.threads_at + index as u64 * each + stack_at;
            self.copy_to(at, out)?;
            // A list that lies across the header is nobody's.
            if out.position() == at {
                out.record(&scene.stack(thread.stack))?;
            }
        }
        self.copy_to(self.end, out)
    }

    /// Copies from where the output is up to an offset, and leaves out what is to be left out.
    fn copy_to(&self, end: u64, out: &mut Output<'_>) -> io::Result<()> {
        if out.is_measuring() {
            return out.fill(end.saturating_sub(out.position()), 0);
        }
        let mut buffer = vec![0; usize::try_from(CHUNK).unwrap_or(1 << 16)];
        while out.position() < end {
            let at = out.position();
            let next = self.left_out.partition_point(|(_, end)| *end <= at);
            match self.left_out.get(next).copied() {
                Some((start, gap_end)) if start <= at => out.fill(gap_end.min(end) - at, 0)?,
                gap => {
                    let until = gap.map_or(end, |(start, _)| start).min(end).min(at + CHUNK);
                    let part = &mut buffer[..usize::try_from(until - at).unwrap_or(0)];
                    self.dump.source().read_exact_at(at, part)?;
                    out.write_all(part)?;
                }
            }
        }
        Ok(())
    }

    /// Writes everything, and gives the entries of the directory. `entries` is what is known of them: nothing at first.
    fn write(
        &self,
        scene: &Places<'_>,
        entries: &[Directory],
        out: &mut Output<'_>,
    ) -> Result<Vec<Directory>, WriteError> {
        let mut all: Vec<Directory> =
            self.dump.directory.iter().filter(|entry| !is_replaced(entry.kind.get(), self.own)).copied().collect();
        let directory = self.end.next_multiple_of(8);
        self.copy(scene, entries.len() as u64, directory, out)?;
        out.fill(directory.saturating_sub(out.position()), 0)?;
        // As many places as there can be entries: where things lie must not depend on how many there are.
        let room = (all.len() + NEW_STREAMS.len()) * size_of::<Directory>();
        let begin = out.position();
        entries.iter().try_for_each(|entry| out.record(entry))?;
        out.fill((begin + room as u64).saturating_sub(out.position()), 0)?;
        for (kind, write) in NEW_STREAMS {
            out.align(8)?;
            let start = out.position();
            if let Some(size) = write(self, scene, out)? {
                let kind = kind.unwrap_or(if scene.narrow { stream::MEMORY_LIST } else { stream::MEMORY64_LIST });
                all.push(Directory { kind: kind.into(), location: location(start, size) });
            }
        }
        Ok(all)
    }
}

/// Writes a stream; `None` when the dump is not to have it.
type WriteStream = fn(&Carried, &Places<'_>, &mut Output<'_>) -> Result<Option<u64>, WriteError>;

/// Streams that take the place of old ones; the list of memory has one of two types.
const NEW_STREAMS: [(Option<u32>, WriteStream); 3] = [
    (
        Some(stream::MOZ_SOFT_ERRORS),
        |carried, scene, out| {
            if carried.own { soft_errors::write(scene.contents, out) } else { Ok(None) }
        },
    ),
    (Some(stream::EFFIGY_ATTACHMENTS), |_, scene, out| attachments::write(scene.contents, scene.data_offset, out)),
    (None, |_, scene, out| {
        let write = if scene.narrow { memory_list::write_narrow } else { memory_list::write_wide };
        write(scene.contents, scene.ranges.len() as u64, scene.data_offset, out)
    }),
];

impl Prologue for Carried {
    fn prologue_size(&self, contents: &Contents<'_>) -> Result<u64, WriteError> {
        let mut out = Output::measuring();
        self.write(&Places::new(contents, 0), &[], &mut out)?;
        let size = out.position();
        if size > u64::from(u32::MAX) { Err(WriteError::BeyondMinidump { size }) } else { Ok(size) }
    }

    fn write_prologue(&self, contents: &Contents<'_>, data_offset: u64, out: &mut dyn Write) -> Result<(), WriteError> {
        let scene = Places::new(contents, data_offset);
        let mut measure = Output::measuring();
        let entries = self.write(&scene, &[], &mut measure)?;
        let needed = measure.position();
        if needed > data_offset {
            return Err(WriteError::PrologueTooLarge { needed, reserved: data_offset });
        }
        let mut out = Output::writing(out);
        self.write(&scene, &entries, &mut out)?;
        out.fill(data_offset.saturating_sub(out.position()), 0)?;
        out.flush()?;
        Ok(())
    }
}

/// Where in the new file its memory lies.
struct Places<'a> {
    contents: &'a Contents<'a>,
    data_offset: u64,
    narrow: bool,
    /// By rising address, each with the bytes of memory before it in the file.
    ranges: Vec<(AddressRange, u64)>,
}

impl<'a> Places<'a> {
    fn new(contents: &'a Contents<'a>, data_offset: u64) -> Self {
        let mut offset = 0;
        let mut ranges: Vec<(AddressRange, u64)> = contents
            .extents
            .ranges()
            .map(|range| {
                let before = offset;
                offset += range.size();
                (range, before)
            })
            .collect();
        ranges.sort_by_key(|(range, _)| range.start());
        Self { contents, data_offset, narrow: memory_list::is_narrow(contents), ranges }
    }

    /// Where the memory of a descriptor is now: as much of it as is in one piece; none when its beginning is not there, or
    /// lies where a descriptor cannot lead. Its address stays.
    fn stack(&self, old: MemoryDescriptor) -> MemoryDescriptor {
        let start = Address(old.start.get());
        let index = self.ranges.partition_point(|(range, _)| range.end() <= start);
        let found = self.ranges.get(index).filter(|(range, _)| range.contains(start));
        let place = found.and_then(|(range, before)| {
            let size = u64::from(old.location.size.get()).min(range.end().0 - start.0);
            let at = self.data_offset.saturating_add(*before).saturating_add(start.0 - range.start().0);
            (size > 0 && at.saturating_add(size) <= u64::from(u32::MAX)).then(|| location(at, size))
        });
        MemoryDescriptor { start: old.start, location: place.unwrap_or_default() }
    }
}

/// Beginning and length of a location.
fn span(location: Location) -> (u64, u64) {
    (location.rva.get().into(), location.size.get().into())
}

/// Where in an old file memory, its lists, and attached files lie: beginning and end of each, in any order.
fn memory_places(dump: &Dump, threads: &[layout::Thread], attached: Option<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut places: Vec<(u64, u64)> = attached.into_iter().collect();
    let mut add = |(start, length): (u64, u64)| places.push((start, start.saturating_add(length)));
    Dump::placed_stacks(threads).for_each(|stack| add(span(stack.location)));
    for entry in dump.directory.iter().filter(|entry| is_replaced(entry.kind.get(), true)) {
        let kind = entry.kind.get();
        if matches!(kind, stream::MEMORY_LIST | stream::MEMORY64_LIST | stream::EFFIGY_ATTACHMENTS) {
            add(span(entry.location));
        }
    }
    // A list that cannot be read has no memory: that was told when the dump was opened.
    let (narrow, wide) = dump.memory_lists();
    narrow.iter().for_each(|descriptor: &MemoryDescriptor| add(span(descriptor.location)));
    if let Some((header, entries)) = wide {
        let header: Memory64Header = header;
        let length = entries.iter().map(|entry: &MemoryDescriptor64| entry.size.get()).fold(0, u64::saturating_add);
        add((header.base.get(), length));
    }
    places
}

/// Ranges by rising start, joined where they overlap or touch.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|(start, end)| start < end);
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match joined.last_mut().filter(|(_, last)| *last >= start) {
            Some((_, last)) => *last = end.max(*last),
            None => joined.push((start, end)),
        }
    }
    joined
}

/// What of `ranges` is in none of `others`; both as [`joined`] gives them.
fn without(ranges: Vec<(u64, u64)>, others: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut rest = Vec::with_capacity(ranges.len());
    let mut others = others.into_iter().peekable();
    for (mut start, end) in ranges {
        while others.next_if(|(_, other_end)| *other_end <= start).is_some() {}
        while let Some((other_start, other_end)) = others.peek().copied().filter(|(other, _)| *other < end) {
            if start < other_start {
                rest.push((start, other_start));
            }
            start = other_end;
            if other_end >= end {
                break;
            }
            others.next();
        }
        if start < end {
            rest.push((start, end));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_taken_out() {
        assert_eq!(joined(vec![(5, 9), (1, 3), (3, 4), (8, 12), (7, 7)]), [(1, 4), (5, 12)]);
        assert_eq!(
            without(vec![(0, 10), (20, 30)], vec![(2, 4), (8, 22), (25, 26)]),
            [(0, 2), (4, 8), (22, 25), (26, 30)]
        );
        assert_eq!(without(vec![(5, 9)], vec![(0, 20)]), []);
    }
}
