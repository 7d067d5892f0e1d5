//! MemoryList and Memory64List: which memory the dump holds. Both list it in file order, which need not be that of the
//! addresses: the entries of a Memory64List have no offsets of their own, so their order says where the bytes lie.

use super::output::{Output, narrow};
use super::{Scene, location};
use crate::minidump::layout::{Memory64Header, MemoryDescriptor, MemoryDescriptor64, flag};
use crate::{Contents, WriteError};

/// Dumps with 32-bit offsets have less memory than this. It leaves the headers as much room again.
const NARROW_LIMIT: u64 = 1 << 31;

/// Whether the list is a MemoryList, whose offsets have 32 bits: for small dumps many readers know no other. The answer
/// must not depend on where the memory will lie, which is decided when the length of the list is known.
pub(super) fn is_narrow(contents: &Contents<'_>) -> bool {
    let full = contents.minidump_type & (flag::FULL_MEMORY | flag::PRIVATE_READ_WRITE_MEMORY) != 0;
    !full && contents.extents.bytes() < NARROW_LIMIT
}

/// Writes a MemoryList.
pub(super) fn write_narrow(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let end = scene.data_offset.saturating_add(scene.contents.extents.bytes());
    if end > u64::from(u32::MAX) {
        return Err(WriteError::BeyondMinidump { size: scene.data_offset });
    }
    let start = out.position();
    out.record(&narrow(scene.stacks.range_count()).to_le_bytes())?;
    let mut at = scene.data_offset;
    for range in scene.contents.extents.ranges() {
        out.record(&MemoryDescriptor { start: range.start().0.into(), location: location(at, range.size()) })?;
        at += range.size();
    }
    Ok(Some(out.position() - start))
}

/// Writes a Memory64List.
pub(super) fn write_wide(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let start = out.position();
    out.record(&Memory64Header { count: scene.stacks.range_count().into(), base: scene.data_offset.into() })?;
    for range in scene.contents.extents.ranges() {
        out.record(&MemoryDescriptor64 { start: range.start().0.into(), size: range.size().into() })?;
    }
    Ok(Some(out.position() - start))
}
