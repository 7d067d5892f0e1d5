//! A minidump's own structure.

use effigy_process::AddressRange;

use super::Defects;
use super::ranges::overlaps;
use crate::minidump::read::{Dump, Listed, ReadError, Stream};
use crate::source::{SharedSource, Source};

/// Checks what is inside of the streams of a minidump that is a part of a pair. Of a dump of its own that is told when it
/// is opened, and so it is of the first of a pair.
pub(super) fn streams(source: &SharedSource, defects: &mut Defects) -> Result<(), ReadError> {
    let mut warnings = Vec::new();
    let dump = Dump::open(source.clone())?;
    dump.parts(&mut warnings);
    for warning in warnings.into_iter().filter(|warning| !warning.harmless) {
        defects.broken(warning.offset, "", warning.text);
    }
    Ok(())
}

/// Checks directory and memory. What is wrong inside of streams was told when the dump was opened.
pub(super) fn check(source: &SharedSource, defects: &mut Defects) -> Result<(), ReadError> {
    let raw = Dump::open(source.clone())?;
    let streams = raw.directory_entries();
    directory(&streams, raw.is_windows(), defects);
    let listed = raw.listed_memory();
    memory(&listed, source.size(), defects);
    if raw.says_full() && !streams.iter().any(|stream| stream.name == Some("Memory64ListStream")) && listed.is_empty() {
        defects.odd(None, "Header.Flags", "they say that the dump has all memory, and it has none");
    }
    // What is wrong with the list itself was told before.
    for region in raw.regions().ok().flatten().unwrap_or_default().windows(2) {
        if region[0].end() > region[1].start() {
            defects.odd(None, "MemoryInfoList", format!("{} lies over {}", region[1], region[0]));
        }
    }
    Ok(())
}

fn directory(streams: &[Stream], windows: bool, defects: &mut Defects) {
    if streams.is_empty() {
        defects.broken(None, "Header.NumberOfStreams", "there are no streams");
    }
    for stream in streams {
        // Text may lie anywhere; structures of numbers are read in place by some readers. Windows itself does not care.
        if !windows && stream.is_structured && stream.offset % 4 != 0 {
            defects.odd(stream.offset, stream.field(), "it does not begin at a multiple of 4");
        }
    }
    let ranges: Vec<_> = streams.iter().map(|each| (each.offset, each.offset.saturating_add(each.size))).collect();
    overlaps(&ranges, |one, two| {
        let text = format!("it lies over {} at {:#x}", streams[one].field(), streams[one].offset);
        defects.broken(streams[two].offset, streams[two].field(), text);
    });
}

/// Memory lies in the file, and no address twice.
fn memory(listed: &[Listed], size: u64, defects: &mut Defects) {
    for entry in listed {
        let Listed { range, offset, .. } = entry;
        if offset.checked_add(entry.size).is_none_or(|end| end > size) {
            let text =
                format!("{} bytes of memory at {} reach beyond the file's end at {size:#x}", entry.size, range.start());
            defects.broken(*offset, entry.field(), text);
        }
        if range.size() < entry.size {
            defects.broken(*offset, entry.field(), format!("{} bytes at {} wrap around", entry.size, range.start()));
        }
    }
    let address = |range: &AddressRange| (range.start().0, range.end().0);
    let ranges: Vec<_> = listed.iter().map(|entry| address(&entry.range)).collect();
    overlaps(&ranges, |one, two| {
        let (one, two) = (&listed[one], &listed[two]);
        if one.range == two.range && one.offset == two.offset {
            return;
        }
        // Writers add a few bytes around instruction pointers to a list that may have them.
        defects.odd(two.offset, two.field(), format!("{} is also in {} at {}", two.range, one.field(), one.range));
    });
}
