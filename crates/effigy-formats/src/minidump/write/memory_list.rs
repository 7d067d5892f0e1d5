//! MemoryList and Memory64List: which memory the dump holds. Both list it in file order, which need not be that of the
//! addresses: the entries of a Memory64List have no offsets of their own, so their order says where the bytes lie.

use super::location;
use super::output::{Output, narrow};
use crate::minidump::layout::{Memory64Header, MemoryDescriptor, MemoryDescriptor64, flag};
use crate::{Contents, WriteError};

/// Dumps with 32-bit offsets have less memory than this. It leaves the headers as much room again.
const NARROW_LIMIT: u64 = 1 << 31;

/// Whether the list is a MemoryList, whose offsets have 32 bits: for small dumps many readers know no other. The answer
/// must not depend on where the memory will lie, which is decided when the length of the list is known.
pub(in crate::minidump) fn is_narrow(contents: &Contents<'_>) -> bool {
    let full = contents.minidump_type & (flag::FULL_MEMORY | flag::PRIVATE_READ_WRITE_MEMORY) != 0;
    !full && contents.extents.bytes() < NARROW_LIMIT
}

/// Writes a MemoryList of `count` ranges whose bytes begin at `data_offset`.
pub(in crate::minidump) fn write_narrow(
    contents: &Contents<'_>,
    count: u64,
    data_offset: u64,
    out: &mut Output<'_>,
) -> Result<Option<u64>, WriteError> {
    let end = data_offset.saturating_add(contents.extents.bytes());
    if end > u64::from(u32::MAX) {
        return Err(WriteError::BeyondMinidump { size: data_offset });
    }
    let start = out.position();
    out.record(&narrow(count).to_le_bytes())?;
    let mut at = data_offset;
    for range in contents.extents.ranges() {
        out.record(&MemoryDescriptor { start: range.start().0.into(), location: location(at, range.size()) })?;
        at += range.size();
    }
    Ok(Some(out.position() - start))
}

/// Writes a Memory64List, likewise.
pub(in crate::minidump) fn write_wide(
    contents: &Contents<'_>,
    count: u64,
    data_offset: u64,
    out: &mut Output<'_>,
) -> Result<Option<u64>, WriteError> {
    let start = out.position();
    out.record(&Memory64Header { count: count.into(), base: data_offset.into() })?;
    for range in contents.extents.ranges() {
        out.record(&MemoryDescriptor64 { start: range.start().0.into(), size: range.size().into() })?;
    }
    Ok(Some(out.position() - start))
}
