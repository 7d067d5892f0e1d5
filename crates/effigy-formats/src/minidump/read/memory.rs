//! Memory by address.

use effigy_process::{Address, AddressRange, Memory, NotRead};

use super::source::Block;
use super::{Dump, ReadError};
use crate::minidump::layout::{
    Memory64Header, MemoryDescriptor, MemoryDescriptor64, MemoryInfo, MemoryInfoHeader, memory, stream,
};

/// The memory that a dump holds, and what is known of the rest.
#[derive(Clone)]
pub struct MemoryMap<'a> {
    /// By rising address, without overlaps.
    parts: Vec<Part<'a>>,
    /// Regions of the process, by rising address; `None` when the dump does not list them.
    regions: Option<Vec<AddressRange>>,
    missing: u64,
}

/// Memory that is in the dump.
#[derive(Clone, Copy)]
struct Part<'a> {
    start: Address,
    bytes: &'a [u8],
}

impl Part<'_> {
    fn range(&self) -> AddressRange {
        AddressRange::sized(self.start, self.bytes.len() as u64)
    }

    /// What lies before an address.
    fn before(self, end: Address) -> Self {
        Self { bytes: &self.bytes[..self.distance(end)], ..self }
    }

    /// What lies at an address or behind it.
    fn from(self, start: Address) -> Self {
        Self { start: self.start.max(start), bytes: &self.bytes[self.distance(start)..] }
    }

    /// Its bytes before an address.
    fn distance(&self, to: Address) -> usize {
        usize::try_from(to.0.saturating_sub(self.start.0)).unwrap_or(usize::MAX).min(self.bytes.len())
    }
}

impl<'a> Dump<'a> {
    /// The memory. It is found, not read.
    ///
    /// # Errors
    /// When a list of memory is cut off. Memory that the file is too short for is no error; see
    /// [`MemoryMap::missing`].
    pub fn memory(&self) -> Result<MemoryMap<'a>, ReadError> {
        let mut found = Found { file: self.file, parts: Vec::new(), missing: 0 };
        self.collect_wide(&mut found)?;
        if let Some(block) = self.block(stream::MEMORY_LIST)? {
            found.add_all(block.counted("the list of memory")?.iter());
        }
        let missing = found.missing;
        // Some dumps hold stacks nowhere else. What is wrong with the list of threads, or of regions, is told when those
        // are asked for; the memory can be read all the same.
        found.add_all(self.raw_threads().unwrap_or_default().iter().map(|thread| &thread.stack));
        Ok(MemoryMap { parts: disjoint(found.parts), regions: self.regions().unwrap_or_default(), missing })
    }

    fn collect_wide(&self, found: &mut Found<'a>) -> Result<(), ReadError> {
        let what = "the list of memory";
        let Some(block) = self.block(stream::MEMORY64_LIST)? else { return Ok(()) };
        let header: &Memory64Header = block.record(0, what)?;
        let entries: &[MemoryDescriptor64] =
            block.records(size_of::<Memory64Header>() as u64, header.count.get(), what)?;
        let mut at = header.base.get();
        for entry in entries {
            found.add(entry.start.get(), at, entry.size.get());
            at = at.saturating_add(entry.size.get());
        }
        Ok(())
    }

    /// Where the process has something mapped, by rising address; `None` when the dump does not tell.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn regions(&self) -> Result<Option<Vec<AddressRange>>, ReadError> {
        let what = "the list of regions";
        let Some(block) = self.block(stream::MEMORY_INFO_LIST)? else { return Ok(None) };
        let header: &MemoryInfoHeader = block.record(0, what)?;
        let (header_size, entry_size) = (header.header_size.get(), header.entry_size.get());
        let count = header.count.get();
        if (entry_size as usize) < size_of::<MemoryInfo>() {
            return Err(ReadError::Value { what, offset: block.offset(), value: entry_size.into() });
        }
        let size = count.saturating_mul(entry_size.into());
        let too_many = |_| ReadError::Count {
            what,
            offset: block.offset(),
            count,
            entry_size: entry_size.into(),
            size: block.len(),
        };
        let entries = block.part(header_size.into(), size, what).map_err(too_many)?;
        let mut regions = Vec::new();
        for index in 0..count {
            let entry: &MemoryInfo = entries.record(index * u64::from(entry_size), what)?;
            if entry.state.get() != memory::FREE {
                regions.push(AddressRange::sized(Address(entry.base.get()), entry.size.get()));
            }
        }
        regions.sort_unstable_by_key(AddressRange::start);
        Ok(Some(regions))
    }
}

/// Memory as it is found, in any order.
struct Found<'a> {
    file: Block<'a>,
    parts: Vec<Part<'a>>,
    missing: u64,
}

impl<'a> Found<'a> {
    fn add_all<'b>(&mut self, descriptors: impl Iterator<Item = &'b MemoryDescriptor>) {
        for descriptor in descriptors {
            let location = descriptor.location;
            self.add(descriptor.start.get(), location.rva.get().into(), location.size.get().into());
        }
    }

    /// Adds `size` bytes of memory that lie at `offset` in the file, as far as they do: a dump that was cut off is
    /// worth what is left of it.
    fn add(&mut self, start: u64, offset: u64, size: u64) {
        let available = self.file.len().saturating_sub(offset).min(size).min(u64::MAX - start);
        self.missing = self.missing.saturating_add(size - available);
        if let Ok(part) = self.file.part(offset, available, "memory")
            && !part.bytes().is_empty()
        {
            self.parts.push(Part { start: Address(start), bytes: part.bytes() });
        }
    }
}

/// Sorts parts and cuts off what an earlier one already holds, so that one search finds the one part.
fn disjoint(mut parts: Vec<Part<'_>>) -> Vec<Part<'_>> {
    parts.sort_by_key(|part| part.start);
    let mut end = Address(0);
    parts.retain_mut(|part| {
        *part = part.from(end);
        end = part.range().end().max(end);
        !part.bytes.is_empty()
    });
    parts
}

impl<'a> MemoryMap<'a> {
    /// The ranges of memory that the dump holds, by rising address and without overlaps.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.parts.iter().map(Part::range)
    }

    /// Bytes of memory that the dump lists and the file does not hold, as it ends too early.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// This memory, and where it has none, that of `other`; what is mapped, though, is as `other` says, if it does.
    pub(crate) fn completed_by(mut self, other: Self) -> Self {
        let mut fillers = Vec::new();
        for part in &other.parts {
            let mut rest = *part;
            let first = self.parts.partition_point(|own| own.range().end() <= part.start);
            for own in self.parts[first..].iter().take_while(|own| own.start < part.range().end()) {
                fillers.push(rest.before(own.start));
                rest = rest.from(own.range().end());
            }
            fillers.push(rest);
        }
        self.parts.extend(fillers.into_iter().filter(|filler| !filler.bytes.is_empty()));
        self.parts.sort_by_key(|part| part.start);
        self.regions = other.regions.or(self.regions);
        self.missing = self.missing.saturating_add(other.missing);
        self
    }

    /// All bytes from `address` on that lie in one piece in the file. What follows in memory may lie elsewhere in it:
    /// [`Memory::read`] puts the pieces together.
    ///
    /// # Errors
    /// Why there is not one.
    pub fn slice(&self, address: Address) -> Result<&'a [u8], NotRead> {
        let after = self.parts.partition_point(|part| part.range().end() <= address);
        let part = self.parts.get(after).filter(|part| part.start <= address);
        let bytes = part.and_then(|part| part.bytes.get(usize::try_from(address.0 - part.start.0).ok()?..));
        bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| self.reason(address))
    }

    /// Why there is no memory at an address. Without a list of regions all may have been mapped.
    fn reason(&self, address: Address) -> NotRead {
        let Some(regions) = &self.regions else { return NotRead::NotCaptured };
        let after = regions.partition_point(|region| region.start() <= address);
        match after.checked_sub(1).and_then(|index| regions.get(index)) {
            Some(region) if region.contains(address) => NotRead::NotCaptured,
            _ => NotRead::Unmapped,
        }
    }
}

impl Memory for MemoryMap<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let mut bytes = self.slice(address)?;
        let mut done = 0;
        // Memory that is whole may lie in pieces in the file.
        loop {
            let count = bytes.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&bytes[..count]);
            done += count;
            let next = address.checked_add(done as u64).filter(|_| done < buffer.len());
            match next.and_then(|next| self.slice(next).ok()) {
                Some(more) => bytes = more,
                None => return Ok(done),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOISE: [u8; 256] = [7; 256];

    fn map(ranges: &[(u8, u8)]) -> MemoryMap<'static> {
        let parts = ranges
            .iter()
            .map(|(start, size)| Part { start: Address((*start).into()), bytes: &NOISE[..usize::from(*size)] });
        MemoryMap { parts: disjoint(parts.collect()), regions: None, missing: 1 }
    }

    fn addresses(map: &MemoryMap<'_>) -> Vec<u64> {
        map.ranges().flat_map(|range| range.start().0..range.end().0).collect()
    }

    proptest! {
        #[test]
        fn memory_is_completed_and_not_replaced(
            own in proptest::collection::vec((0u8..100, 0u8..20), 0..10),
            other in proptest::collection::vec((0u8..100, 0u8..20), 0..10),
        ) {
            let (own, other) = (map(&own), map(&other));
            let mut expected = [addresses(&own), addresses(&other)].concat();
            expected.sort_unstable();
            expected.dedup();
            let both = own.clone().completed_by(other);
            prop_assert_eq!(addresses(&both), expected);
            prop_assert_eq!(both.missing(), 2);
            for part in own.parts {
                prop_assert!(both.parts.iter().any(|kept| kept.start == part.start && kept.bytes.len() == part.bytes.len()));
            }
        }
    }
}
