//! A dump file that is filled before it is known what it will hold.
//!
//! A live snapshot copies pages while the target runs, some of them more than once, and learns only at the end which
//! pages there are. So every page gets its place in the file when it is first seen, and at the end the file is brought
//! into the form of a dump: places of pages that are no more are filled with what lies at the end of the file. The order
//! of memory in the file is therefore not always that of the addresses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use effigy_formats::{Attachment, Contents, Format, WriteError};
use effigy_process::{Address, AddressRange, Content, Extent, ExtentList, Gap, Process};

use crate::direct::DirectWriter;
use crate::output::{FileWriter, Output};

/// Bytes that are moved at a time.
const BUFFER: usize = 1 << 20;
/// Blocks of zeros of this length are left out when a page is written for the first time.
const BLOCK: usize = 4096;

/// A place in the file for a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    range: AddressRange,
    /// Relative to where the memory begins.
    position: u64,
}

/// A dump file that pages are put into in any order, again and again.
#[derive(Debug)]
pub struct LiveFile {
    writer: FileWriter,
    direct: DirectWriter,
    data_offset: u64,
    page_size: u64,
    /// What was planned, by rising address and position.
    planned: Vec<Place>,
    /// What came later, by address.
    extra: BTreeMap<u64, Place>,
    end: u64,
}

/// Everything but the memory of a dump.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The process.
    pub process: &'a Process,
    /// The format.
    pub format: Format,
    /// MINIDUMP_TYPE bits.
    pub minidump_type: u64,
    /// What is missing.
    pub gaps: &'a [Gap],
    /// Files that will follow the memory.
    pub attachments: &'a [Attachment],
}

/// Why a live dump could not be brought into form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveFileError {
    /// The file could not be read or written.
    #[error("writing the dump")]
    Output(#[from] io::Error),
    /// The headers could not be made or written.
    #[error(transparent)]
    Prologue(#[from] WriteError),
    /// Memory is to be in the dump that was never copied.
    #[error("memory at {0} was not copied")]
    NotCopied(AddressRange),
}

impl LiveFile {
    /// Prepares a file for the memory that is expected; `data_offset` bytes are kept for the headers.
    #[must_use]
    pub fn new(writer: FileWriter, expected: &ExtentList, data_offset: u64) -> Self {
        let mut position = 0;
        let mut planned = Vec::new();
        for extent in expected.iter() {
            planned.push(Place { range: extent.range, position });
            position += extent.range.size();
        }
        let direct = DirectWriter::of(writer.file());
        let page_size = expected.page_size();
        Self { writer, direct, data_offset, page_size, planned, extra: BTreeMap::new(), end: position }
    }

    /// Number of ranges that came after the plan was made. Each costs memory: who watches over that can stop at some
    /// number.
    #[must_use]
    pub fn extra_ranges(&self) -> usize {
        self.extra.len()
    }

    /// Puts whole pages into the file. `first` when nothing was put there before: zeros then need not be written.
    ///
    /// # Errors
    /// As `pwrite(2)`.
    pub fn put(&mut self, address: Address, bytes: &[u8], first: bool) -> io::Result<()> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let place = self.place_for(AddressRange::sized(at, rest.len() as u64));
            let count = usize::try_from(place.range.size()).unwrap_or(rest.len()).min(rest.len());
            let (now, later) = rest.split_at(count);
            self.write(place.position, now, first)?;
            at = at.saturating_add(count as u64);
            rest = later;
        }
        Ok(())
    }

    /// The place of the first pages of `range`, made if there is none.
    fn place_for(&mut self, range: AddressRange) -> Place {
        let mut limit = range.end();
        let index = self.planned.partition_point(|place| place.range.end() <= range.start());
        if let Some(place) = self.planned.get(index) {
            if let Some(found) = part(*place, range) {
                return found;
            }
            limit = limit.min(place.range.start());
        }
        if let Some(found) = self.extra.range(..=range.start().0).next_back().and_then(|(_, place)| part(*place, range))
        {
            return found;
        }
        if let Some((start, _)) = self.extra.range(range.start().0..).next() {
            limit = limit.min(Address(*start));
        }
        let place = Place { range: AddressRange::new(range.start(), limit), position: self.end };
        self.end += place.range.size();
        self.extra.insert(range.start().0, place);
        place
    }

    fn write(&mut self, position: u64, bytes: &[u8], first: bool) -> io::Result<()> {
        let file = self.writer.file();
        let offset = self.data_offset + position;
        if !first {
            // These are to be out of our hands quickly: the target may stand still meanwhile, and writes on.
            return file.write_all_at(bytes, offset);
        }
        // Runs of blocks that hold something are written in one call each.
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + BLOCK).min(bytes.len());
            if end - at == BLOCK && crate::output::is_zero(&bytes[at..end]) {
                self.direct.write_all_at(file, &bytes[start..at], offset + start as u64)?;
                start = end;
            }
            at = end;
        }
        self.direct.write_all_at(file, &bytes[start..], offset + start as u64)
    }

    /// Brings the file into form, now that it is known what belongs into it, and writes its headers. Gives the writer,
    /// which stands behind the memory, and what the file holds.
    ///
    /// # Errors
    /// See [`LiveFileError`].
    pub fn finish(mut self, wanted: &ExtentList, about: About<'_>) -> Result<(FileWriter, ExtentList), LiveFileError> {
        let mut order = self.kept(wanted);
        self.add_zeros(wanted, &order)?.into_iter().for_each(|piece| order.push(piece));
        order.sort_unstable_by_key(|piece| piece.position);
        let order = self.close_up(order)?;
        let mut extents = ExtentList::new(self.page_size);
        let mut end = 0;
        let starts = Starts::new(wanted);
        for piece in &order {
            debug_assert_eq!(piece.position, end, "memory lies without gaps");
            end = piece.position + piece.range.size();
            let boundary = starts.contains(piece.range.start());
            extents.push_anywhere(Extent { range: piece.range, content: piece.content }, boundary);
        }
        let Self { mut writer, data_offset, .. } = self;
        writer.set_end(data_offset + end)?;
        let contents = Contents {
            process: about.process,
            extents: &extents,
            gaps: about.gaps,
            minidump_type: about.minidump_type,
            attachments: about.attachments,
        };
        let mut failure = None;
        writer
            .rewrite_start(&mut |out: &mut dyn Write| {
                about.format.write_prologue(&contents, data_offset, out).map_err(|error| {
                    failure = Some(error);
                    io::ErrorKind::Other.into()
                })
            })
            .map_err(|error| failure.take().map_or(LiveFileError::Output(error), LiveFileError::Prologue))?;
        Ok((writer, extents))
    }

    /// The parts of places that hold what is wanted, split where what is wanted is.
    fn kept(&self, wanted: &ExtentList) -> Vec<Piece> {
        let mut kept = Vec::new();
        let mut planned = self.planned.iter().peekable();
        for extent in wanted.iter() {
            while planned.next_if(|place| place.range.end() <= extent.range.start()).is_some() {}
            let mut ahead = planned.clone();
            while let Some(place) = ahead.next_if(|place| place.range.start() < extent.range.end()) {
                kept.extend(Piece::of(*place, extent));
            }
            let before = self.extra.range(..=extent.range.start().0).next_back();
            let within = self.extra.range(extent.range.start().0..extent.range.end().0);
            for (start, place) in before.into_iter().chain(within) {
                let twice = *start == extent.range.start().0 && before.is_some_and(|(first, _)| first == start);
                let already = twice && kept.last().is_some_and(|last: &Piece| last.position == place.position);
                if !already {
                    kept.extend(Piece::of(*place, extent));
                }
            }
        }
        kept
    }

    /// Gives places to wanted zeros that have none, and clears those that have. What else has no place was not copied.
    fn add_zeros(&mut self, wanted: &ExtentList, kept: &[Piece]) -> Result<Vec<Piece>, LiveFileError> {
        for piece in kept.iter().filter(|piece| piece.content == Content::Zeros) {
            self.clear(piece.position, piece.range.size())?;
        }
        let mut by_address: Vec<AddressRange> = kept.iter().map(|piece| piece.range).collect();
        by_address.sort_unstable_by_key(AddressRange::start);
        let mut covered = by_address.into_iter().peekable();
        let mut added = Vec::new();
        for extent in wanted.iter() {
            let mut at = extent.range.start();
            while at < extent.range.end() {
                let next = covered.next_if(|range| range.start() < extent.range.end());
                let until = next.map_or(extent.range.end(), |range| range.start());
                if at < until {
                    let range = AddressRange::new(at, until);
                    if extent.content == Content::Bytes {
                        return Err(LiveFileError::NotCopied(range));
                    }
                    added.push(Piece { range, position: self.end, content: Content::Zeros });
                    self.end += range.size();
                }
                at = next.map_or(extent.range.end(), |range| range.end());
            }
        }
        Ok(added)
    }

    /// Moves pieces from the end of the file into unused places, until there are none.
    fn close_up(&self, order: Vec<Piece>) -> io::Result<Vec<Piece>> {
        let mut rest: std::collections::VecDeque<Piece> = order.into();
        let mut closed: Vec<Piece> = Vec::with_capacity(rest.len());
        let mut end = 0;
        while let Some(next) = rest.front().copied() {
            if next.position == end {
                end += next.range.size();
                closed.push(next);
                rest.pop_front();
                continue;
            }
            // The last piece, or as much of its end as fits, comes here.
            let room = next.position - end;
            let Some(last) = rest.back_mut() else { break };
            let count = last.range.size().min(room);
            let split = Address(last.range.end().0 - count);
            let from = last.position + (last.range.size() - count);
            let piece =
                Piece { range: AddressRange::new(split, last.range.end()), position: end, content: last.content };
            if last.content == Content::Zeros {
                self.clear(end, count)?;
            } else {
                self.shift(from, end, count)?;
            }
            last.range = AddressRange::new(last.range.start(), split);
            if last.range.is_empty() {
                rest.pop_back();
            }
            end += count;
            closed.push(piece);
        }
        Ok(closed)
    }

    /// Makes a part of the file read as zeros.
    fn clear(&self, position: u64, length: u64) -> io::Result<()> {
        let file = self.writer.file();
        let offset = self.data_offset + position;
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(file, flags, offset, length).is_ok() {
            return Ok(());
        }
        let zeros = vec![0; BUFFER];
        let mut done = 0;
        // Beyond the end of the file there is nothing to clear.
        let length = length.min(file.metadata()?.len().saturating_sub(offset));
        while done < length {
            let count = usize::try_from(length - done).unwrap_or(BUFFER).min(BUFFER);
            file.write_all_at(&zeros[..count], offset + done)?;
            done += count as u64;
        }
        Ok(())
    }

    fn shift(&self, from: u64, to: u64, length: u64) -> io::Result<()> {
        let file = self.writer.file();
        let mut buffer = vec![0; BUFFER];
        let mut done = 0;
        while done < length {
            let count = usize::try_from(length - done).unwrap_or(BUFFER).min(BUFFER);
            read_or_zeros(file, &mut buffer[..count], self.data_offset + from + done)?;
            file.write_all_at(&buffer[..count], self.data_offset + to + done)?;
            done += count as u64;
        }
        Ok(())
    }
}

/// Reads from a file that may end in a hole that its length does not tell of yet.
fn read_or_zeros(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    buffer[done..].fill(0);
    Ok(())
}

/// The part of a place that holds the beginning of `range`.
fn part(place: Place, range: AddressRange) -> Option<Place> {
    place.range.contains(range.start()).then(|| Place {
        range: AddressRange::new(range.start(), place.range.end().min(range.end())),
        position: place.position + (range.start().0 - place.range.start().0),
    })
}

/// Memory in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    range: AddressRange,
    position: u64,
    content: Content,
}

impl Piece {
    /// What a place holds of an extent.
    fn of(place: Place, extent: Extent) -> Option<Self> {
        let range = place.range.intersection(&extent.range)?;
        let position = place.position + (range.start().0 - place.range.start().0);
        Some(Self { range, position, content: extent.content })
    }
}

/// Where wanted extents begin: a region may begin there.
struct Starts(Vec<Address>);

impl Starts {
    fn new(wanted: &ExtentList) -> Self {
        Self(wanted.iter().map(|extent| extent.range.start()).collect())
    }

    fn contains(&self, address: Address) -> bool {
        self.0.binary_search(&address).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::FakeSnapshot;
    use crate::sink::PartialFile;

    const PAGE: u64 = 4096;

    fn list(pages: &[(u64, u64, Content)]) -> ExtentList {
        let mut list = ExtentList::new(PAGE);
        for (start, count, content) in pages {
            let range = AddressRange::sized(Address(start * PAGE), count * PAGE);
            list.push(Extent { range, content: *content }, true);
        }
        list
    }

    /// The pages of a finished file by address, in file order.
    fn finished(file: LiveFile, wanted: &ExtentList, folder: &std::path::Path) -> BTreeMap<u64, u8> {
        let snapshot = FakeSnapshot::new();
        let data_offset = file.data_offset;
        let about = About {
            process: &snapshot.process,
            format: Format::ElfCore,
            minidump_type: 2,
            gaps: &[],
            attachments: &[],
        };
        let (mut writer, extents) = file.finish(wanted, about).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(folder.join("live")).unwrap();
        assert_eq!(bytes.len() as u64, data_offset + extents.bytes());
        let mut pages = BTreeMap::new();
        let mut at = usize::try_from(data_offset).unwrap();
        for extent in extents.iter() {
            for page in 0..extent.range.size() / PAGE {
                let content = &bytes[at..at + 4096];
                assert!(content.iter().all(|byte| *byte == content[0]), "a page is whole");
                pages.insert(extent.range.start().0 / PAGE + page, content[0]);
                at += 4096;
            }
        }
        pages
    }

    fn pages() -> impl Strategy<Value = Vec<Option<Content>>> {
        proptest::collection::vec(prop_oneof![Just(None), Just(Some(Content::Bytes)), Just(Some(Content::Zeros))], 24)
    }

    fn extents(pages: &[Option<Content>]) -> ExtentList {
        let mut list = ExtentList::new(PAGE);
        for (number, content) in pages.iter().enumerate().filter_map(|(number, content)| Some((number, (*content)?))) {
            let range = AddressRange::sized(Address((number as u64 + 1) * PAGE), PAGE);
            list.push(Extent { range, content }, false);
        }
        list
    }

    fn live_file(folder: &std::path::Path, expected: &ExtentList) -> LiveFile {
        // The file gets its name at once here, so that it can be read by it.
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(folder.join("live")).unwrap();
        LiveFile::new(FileWriter::at_start_of(file), expected, 1 << 20)
    }

    #[test]
    fn what_is_gone_leaves_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = live_file(folder.path(), &list(&[(1, 6, Content::Bytes)]));
        for page in 1..=6u8 {
            file.put(Address(u64::from(page) * PAGE), &[page; 4096], true).unwrap();
        }
        file.put(Address(9 * PAGE), &[9; 4096], true).unwrap();
        file.put(Address(2 * PAGE), &[22; 4096], false).unwrap();
        let wanted = list(&[(2, 1, Content::Bytes), (5, 2, Content::Bytes), (9, 1, Content::Bytes)]);
        let pages = finished(file, &wanted, folder.path());
        assert_eq!(pages, BTreeMap::from([(2, 22), (5, 5), (6, 6), (9, 9)]));
    }

    #[test]
    fn what_was_not_copied_is_no_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let file = live_file(folder.path(), &list(&[(1, 1, Content::Bytes)]));
        let snapshot = FakeSnapshot::new();
        let about = About {
            process: &snapshot.process,
            format: Format::ElfCore,
            minidump_type: 2,
            gaps: &[],
            attachments: &[],
        };
        let wanted = list(&[(1, 2, Content::Bytes)]);
        assert!(matches!(file.finish(&wanted, about), Err(LiveFileError::NotCopied(_))));
        drop(PartialFile::create(&folder.path().join("x"), false));
    }

    proptest! {
        #[test]
        fn every_page_is_in_its_place(
            expected in pages(),
            puts in proptest::collection::vec((0u64..24, 1u64..6, 1u8..255), 0..40),
            wanted in pages(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut file = live_file(folder.path(), &extents(&expected));
            let mut model: BTreeMap<u64, u8> = BTreeMap::new();
            for (start, count, value) in puts {
                let mut bytes = Vec::new();
                for page in start + 1..(start + 1 + count).min(25) {
                    let value = value.wrapping_add(u8::try_from(page).unwrap());
                    bytes.extend([value; 4096]);
                    model.insert(page, value);
                }
                file.put(Address((start + 1) * PAGE), &bytes, false).unwrap();
            }
            // What was never put cannot be wanted; zeros can.
            let wanted: Vec<_> = wanted
                .iter()
                .enumerate()
                .map(|(number, content)| match content {
                    Some(Content::Bytes) if !model.contains_key(&(number as u64 + 1)) => None,
                    content => *content,
                })
                .collect();
            let pages = finished(file, &extents(&wanted), folder.path());
            let expected: BTreeMap<u64, u8> = wanted
                .iter()
                .enumerate()
                .filter_map(|(number, content)| {
                    let page = number as u64 + 1;
                    Some((page, if (*content)? == Content::Bytes { model[&page] } else { 0 }))
                })
                .collect();
            prop_assert_eq!(pages, expected);
        }
    }
}
