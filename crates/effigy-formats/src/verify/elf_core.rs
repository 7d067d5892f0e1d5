//! A core's own structure.

use super::Defects;
use super::ranges::overlaps;
use crate::OpenedDump;
use crate::elf_core::read::{Core, CoreError, RawSegment};

/// Checks segments, and mapped files against them. What is wrong with notes was told when the core was opened.
pub(super) fn check(dump: &OpenedDump, defects: &mut Defects) -> Result<(), CoreError> {
    let core = Core::open(dump.source.clone())?;
    let raw = core.raw_segments()?;
    let size = dump.source.size();
    for (index, segment) in raw.iter().enumerate() {
        one(index, segment, size, defects);
    }
    let loads: Vec<(usize, &RawSegment)> = raw.iter().enumerate().filter(|(_, segment)| segment.is_load).collect();
    let addresses: Vec<_> =
        loads.iter().map(|(_, each)| (each.address, each.address.saturating_add(each.memory_size))).collect();
    overlaps(&addresses, |one, two| {
        let (index, segment) = loads[two];
        let text = format!("{:#x} is also in PT_LOAD[{}]", segment.address, loads[one].0);
        defects.broken(segment.offset, field(index), text);
    });
    if !loads.is_sorted_by_key(|(_, segment)| segment.address) {
        defects.odd(None, "PT_LOAD", "segments are not by rising address, as ELF demands");
    }
    let places: Vec<_> = raw.iter().map(|each| (each.offset, each.offset.saturating_add(each.file_size))).collect();
    overlaps(&places, |one, two| {
        let text = format!("its bytes lie over those of program header {one} at {:#x}", raw[one].offset);
        defects.broken(raw[two].offset, field(two), text);
    });
    files(dump, &core, defects)
}

fn field(index: usize) -> String {
    format!("program header {index}")
}

fn one(index: usize, segment: &RawSegment, size: u64, defects: &mut Defects) {
    let end = segment.offset.checked_add(segment.file_size);
    if end.is_none_or(|end| end > size) && segment.file_size > 0 {
        let text = format!("{} bytes reach beyond the file's end at {size:#x}", segment.file_size);
        defects.broken(segment.offset, field(index), text);
    }
    if !segment.is_load {
        return;
    }
    if segment.file_size > segment.memory_size && segment.memory_size > 0 {
        let text = format!("{} bytes in the file for {} in memory", segment.file_size, segment.memory_size);
        defects.broken(segment.offset, field(index), text);
    }
    let align = segment.align;
    if align > 1 && segment.file_size > 0 {
        if !align.is_power_of_two() {
            defects.odd(segment.offset, field(index), format!("p_align {align:#x} is no power of two"));
        } else if (segment.offset ^ segment.address) & (align - 1) != 0 {
            let text = format!("offset and address {:#x} differ in p_align {align:#x}", segment.address);
            defects.odd(segment.offset, field(index), text);
        }
    }
}

/// Mapped files have segments.
fn files(dump: &OpenedDump, core: &Core, defects: &mut Defects) -> Result<(), CoreError> {
    let Some((offset, files)) = core.mapped_files()? else { return Ok(()) };
    let segments = core.segments();
    // effigy's own list of regions has what effigy left out knowingly.
    let is_own = dump.parts.iter().any(|part| part.owner == "EFFIGY");
    let is_known = |address| is_own && dump.process.region_at(address).is_some();
    for (index, (range, path)) in files.iter().enumerate() {
        let name = format!("NT_FILE[{index}]");
        if range.is_empty() {
            defects.broken(offset, name, format!("{path} is mapped at {} without length", range.start()));
            continue;
        }
        let near = segments.partition_point(|segment| segment.range.end() <= range.start());
        if segments.get(near).is_none_or(|segment| segment.range.start() >= range.end()) && !is_known(range.start()) {
            defects.odd(offset, name, format!("{path} at {range} has no PT_LOAD"));
        }
    }
    let ranges: Vec<_> = files.iter().map(|(range, _)| (range.start().0, range.end().0)).collect();
    overlaps(&ranges, |one, two| {
        defects.broken(offset, format!("NT_FILE[{two}]"), format!("{} lies over {}", files[two].0, files[one].0));
    });
    Ok(())
}
