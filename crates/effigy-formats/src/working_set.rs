//! What of each region was in memory: a table with a version, the same in both formats, as a stream of a minidump and as a
//! note of a core. All numbers are little-endian.
//!
//! The kernel walks all page tables to count, so a capture does it before it stops the process; the table says when.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use effigy_process::{Address, AddressRange, CountMoment, Process, Region, RegionFlags};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::opened::{Warning, warn};

/// Version of the table; it rises when a field changes its meaning. New fields go to the end of header and entry, whose
/// lengths are told.
const VERSION: u32 = 1;

/// What comes first.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    version: U32,
    /// Bytes of this header.
    header_size: U32,
    /// Bytes of each entry.
    entry_size: U32,
    /// 1: the process stood still while its memory was counted. 0: it did not.
    stood_still: U32,
    /// When it was counted, in nanoseconds since 1970; 0 when not known.
    time: U64,
    /// Number of entries.
    count: U64,
}

/// A region. Those of which nothing is known have none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    start: U64,
    end: U64,
    /// Bytes, as the four that follow.
    resident: U64,
    swapped: U64,
    /// Resident, and mapped more than once.
    shared: U64,
    /// The process's alone and no file's.
    anonymous: U64,
    /// Bits of [`RegionFlags`].
    flags: U32,
    /// Which of the four numbers are known: bit 0 is that of `resident`, and so on.
    known: U32,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WorkingSetError {
    /// It is of a version that this one does not know.
    #[error("the table of working sets has version {0}, and this program knows {VERSION}")]
    Version(u32),
    /// It ends in its header.
    #[error("the table of working sets is cut off in its header, at byte {0}")]
    Header(usize),
    /// Header or entries are said to be shorter than they can be.
    #[error("the table of working sets says that its {what} has {size} bytes, and it has {least} at least")]
    Size {
        /// The header or each entry.
        what: &'static str,
        /// What the table says.
        size: u32,
        /// What there must be.
        least: usize,
    },
    /// There are fewer entries than it says.
    #[error("the table of working sets has {count} entries by its header (byte 24), and room for {room}")]
    Count {
        /// What the table says.
        count: u64,
        /// How many fit into it.
        room: usize,
    },
}

/// Whether there is anything to be written of a process.
pub(crate) fn is_known(process: &Process) -> bool {
    process.regions.iter().any(|region| entry(region).is_some_and(|entry| entry.known.get() != 0))
}

/// Writes the table.
pub(crate) fn write(process: &Process, out: &mut dyn Write) -> io::Result<()> {
    let moment = process.regions_counted;
    let header = Header {
        version: VERSION.into(),
        header_size: size_of_u32::<Header>().into(),
        entry_size: size_of_u32::<Entry>().into(),
        stood_still: u32::from(moment.is_some_and(|moment| moment.while_stopped)).into(),
        time: moment.and_then(|moment| moment.time).map_or(0, nanoseconds).into(),
        count: (process.regions.iter().filter_map(entry).count() as u64).into(),
    };
    out.write_all(header.as_bytes())?;
    process.regions.iter().filter_map(entry).try_for_each(|entry| out.write_all(entry.as_bytes()))
}

/// What is known of a region; `None` for nothing.
fn entry(region: &Region) -> Option<Entry> {
    let counters = [region.resident, region.swapped, region.mapped_elsewhere, region.anonymous];
    let counters = counters.map(|counter| region.counted(counter));
    let known = counters.iter().rev().fold(0, |bits, counter| bits << 1 | u32::from(counter.is_some()));
    let flags = region.flags.difference(RegionFlags::CUT);
    let [resident, swapped, shared, anonymous] = counters.map(|counter| U64::new(counter.unwrap_or(0)));
    (known != 0 || !flags.is_empty()).then(|| Entry {
        start: region.range.start().0.into(),
        end: region.range.end().0.into(),
        resident,
        swapped,
        shared,
        anonymous,
        flags: u32::from(flags.bits()).into(),
        known: known.into(),
    })
}

/// Completes a process that was read from a dump, whose regions are by rising address, with what a table says of it. It
/// begins at `offset` of the file. One that is damaged becomes a warning.
pub(crate) fn complete_from(bytes: &[u8], offset: u64, process: &mut Process, warnings: &mut Vec<Warning>) {
    if let Err(error) = complete(bytes, process) {
        warn(Warning::at(offset, error.to_string()), warnings);
    }
}

/// The same.
///
/// # Errors
/// When the table is damaged; the process is as it was then.
fn complete(bytes: &[u8], process: &mut Process) -> Result<(), WorkingSetError> {
    let Ok((header, _)) = Header::read_from_prefix(bytes) else { return Err(WorkingSetError::Header(bytes.len())) };
    if header.version.get() != VERSION {
        return Err(WorkingSetError::Version(header.version.get()));
    }
    let head = at_least("header", header.header_size.get(), size_of::<Header>())?;
    let each = at_least("entry", header.entry_size.get(), size_of::<Entry>())?;
    let entries = bytes.get(head..).ok_or(WorkingSetError::Header(bytes.len()))?;
    let (count, room) = (header.count.get(), entries.len() / each);
    let count =
        usize::try_from(count).ok().filter(|count| *count <= room).ok_or(WorkingSetError::Count { count, room })?;
    for entry in entries.chunks_exact(each).take(count) {
        if let Ok((entry, _)) = Entry::read_from_prefix(entry) {
            entry.apply(&mut process.regions);
        }
    }
    let time = Some(header.time.get()).filter(|time| *time != 0);
    process.regions_counted = Some(CountMoment {
        time: time.and_then(|time| UNIX_EPOCH.checked_add(Duration::from_nanos(time))),
        while_stopped: header.stood_still.get() & 1 != 0,
    });
    Ok(())
}

impl Entry {
    /// Gives the region of these addresses, if there is one, what is known of it.
    fn apply(&self, regions: &mut [Region]) {
        let range = AddressRange::new(Address(self.start.get()), Address(self.end.get()));
        let found = regions.binary_search_by_key(&range.start(), |region| region.range.start());
        let Some(region) = found.ok().and_then(|index| regions.get_mut(index)) else { return };
        if region.range != range {
            return;
        }
        let counter = |bit: u32, value: U64| (self.known.get() >> bit & 1 != 0).then(|| value.get());
        region.resident = counter(0, self.resident);
        region.swapped = counter(1, self.swapped);
        region.mapped_elsewhere = counter(2, self.shared);
        region.anonymous = counter(3, self.anonymous);
        let bits = u16::try_from(self.flags.get() & u32::from(u16::MAX)).unwrap_or(0);
        region.flags |= RegionFlags::from_bits_truncate(bits).difference(RegionFlags::CUT);
    }
}

fn at_least(what: &'static str, size: u32, least: usize) -> Result<usize, WorkingSetError> {
    let fits = usize::try_from(size).ok().filter(|size| *size >= least);
    fits.ok_or(WorkingSetError::Size { what, size, least })
}

/// Since 1970; 0 for a time before.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64) -> Region {
        Region { range: AddressRange::new(Address(start), Address(end)), ..Region::default() }
    }

    /// Three regions of which something is known, and one of which nothing is.
    fn counted() -> Process {
        let mut regions = [(0x1000, 0x3000), (0x3000, 0x9000), (0x10000, 0x11000), (0x20000, 0x30000)]
            .map(|(start, end)| region(start, end));
        (regions[0].resident, regions[0].swapped) = (Some(0x2000), Some(0));
        (regions[1].mapped_elsewhere, regions[1].anonymous) = (Some(0x4000), Some(u64::MAX));
        regions[2].flags = RegionFlags::LOCKED | RegionFlags::GROWS_DOWN;
        let time = UNIX_EPOCH.checked_add(Duration::new(1_700_000_000, 123_456_789));
        Process {
            regions: regions.to_vec(),
            regions_counted: Some(CountMoment { time, while_stopped: true }),
            ..Process::default()
        }
    }

    fn written(process: &Process) -> Vec<u8> {
        let mut out = Vec::new();
        write(process, &mut out).unwrap();
        out
    }

    fn uncounted(process: &Process) -> Process {
        let regions = process.regions.iter().map(|each| region(each.range.start().0, each.range.end().0)).collect();
        Process { regions, ..Process::default() }
    }

    #[test]
    fn what_is_written_comes_back() {
        let process = counted();
        assert!(is_known(&process));
        let mut back = uncounted(&process);
        complete(&written(&process), &mut back).unwrap();
        assert_eq!(back.regions, process.regions);
        assert_eq!(back.regions_counted, process.regions_counted);
    }

    #[test]
    fn layout_is_that_of_the_documents() {
        let bytes = written(&counted());
        assert_eq!((size_of::<Header>(), size_of::<Entry>(), bytes.len()), (32, 56, 32 + 3 * 56));
        assert_eq!(bytes[..16], [1, 0, 0, 0, 32, 0, 0, 0, 56, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[24..32], 3u64.to_le_bytes());
        // Of the first region: its counters, no flag, the first two known.
        assert_eq!(bytes[32 + 16..32 + 24], 0x2000u64.to_le_bytes());
        assert_eq!(bytes[32 + 48..32 + 56], [0, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn a_part_of_what_was_counted_has_no_count() {
        let mut process = counted();
        process.regions[0].flags = RegionFlags::CUT;
        let mut back = uncounted(&process);
        complete(&written(&process), &mut back).unwrap();
        assert_eq!((back.regions[0].resident, back.regions[0].flags), (None, RegionFlags::empty()));
        assert_eq!(process.regions[1].part(process.regions[0].range).anonymous, None);
    }

    #[test]
    fn nothing_is_written_where_nothing_is_known() {
        let mut process = uncounted(&counted());
        assert!(!is_known(&process));
        process.regions[0].flags = RegionFlags::GROWS_DOWN;
        assert!(!is_known(&process));
    }

    #[test]
    fn regions_that_are_others_now_get_nothing() {
        let process = counted();
        let mut other = Process { regions: vec![region(0x1000, 0x2000), region(0x3000, 0x9000)], ..Process::default() };
        complete(&written(&process), &mut other).unwrap();
        assert_eq!(other.regions[0], region(0x1000, 0x2000));
        assert_eq!(other.regions[1].mapped_elsewhere, Some(0x4000));
    }

    #[test]
    fn longer_headers_and_entries_of_later_versions_are_read() {
        let process = counted();
        let bytes = written(&process);
        let (header, entries) = bytes.split_at(32);
        let mut longer = header.to_vec();
        longer[4] = 40;
        longer[8] = 64;
        longer.extend([7; 8]);
        entries.chunks(56).for_each(|entry| longer.extend([entry, &[9; 8]].concat()));
        let mut back = uncounted(&process);
        complete(&longer, &mut back).unwrap();
        assert_eq!(back.regions, process.regions);
    }

    #[test]
    fn damaged_tables_are_refused_by_what_is_wrong() {
        let bytes = written(&counted());
        let with = |at: usize, value: u8| {
            let mut changed = bytes.clone();
            changed[at] = value;
            complete(&changed, &mut counted())
        };
        assert_eq!(with(0, 2), Err(WorkingSetError::Version(2)));
        assert_eq!(with(4, 8), Err(WorkingSetError::Size { what: "header", size: 8, least: 32 }));
        assert_eq!(with(8, 0), Err(WorkingSetError::Size { what: "entry", size: 0, least: 56 }));
        assert_eq!(with(24, 4), Err(WorkingSetError::Count { count: 4, room: 3 }));
        assert_eq!(with(31, 0xff), Err(WorkingSetError::Count { count: 3 | 0xff << 56, room: 3 }));
        assert_eq!(with(5, 1), Err(WorkingSetError::Header(bytes.len())));
        assert_eq!(complete(&bytes[..31], &mut counted()), Err(WorkingSetError::Header(31)));
    }
}
