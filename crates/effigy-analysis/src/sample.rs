//! Made-up memory for tests.

use effigy_process::{Address, AddressRange, Memory, NotRead};

/// A range of made-up memory: its bytes, or why there are none.
#[derive(Clone, Debug)]
pub(crate) struct SampleRange {
    pub(crate) range: AddressRange,
    pub(crate) bytes: Result<Vec<u8>, NotRead>,
}

/// Memory made of ranges by rising address, none overlapping.
#[derive(Clone, Debug, Default)]
pub(crate) struct SampleMemory {
    pub(crate) ranges: Vec<SampleRange>,
    /// Bytes that one read gives at most; 0 for no limit.
    pub(crate) most: usize,
}

impl SampleMemory {
    /// One range of bytes.
    pub(crate) fn of(start: u64, bytes: &[u8]) -> Self {
        Self::default().with(start, bytes)
    }

    /// With another range of bytes, above all others.
    pub(crate) fn with(mut self, start: u64, bytes: &[u8]) -> Self {
        let range = AddressRange::sized(Address(start), bytes.len() as u64);
        self.ranges.push(SampleRange { range, bytes: Ok(bytes.to_vec()) });
        self
    }

    /// With a range that cannot be read, above all others.
    pub(crate) fn without(mut self, start: u64, size: u64, reason: NotRead) -> Self {
        self.ranges.push(SampleRange { range: AddressRange::sized(Address(start), size), bytes: Err(reason) });
        self
    }

    /// From gaps and what follows each: bytes, or how many there are not.
    pub(crate) fn of_parts(
        start: u64,
        parts: impl IntoIterator<Item = (u64, Result<Vec<u8>, u64>)>,
        most: usize,
    ) -> Self {
        let mut memory = Self { ranges: Vec::new(), most };
        let mut next = start;
        for (gap, content) in parts {
            next += gap;
            memory = match content {
                Ok(bytes) => memory.with(next, &bytes),
                Err(size) => memory.without(next, size, NotRead::Unreadable),
            };
            next = memory.ranges.last().map_or(next, |last| last.range.end().0);
        }
        memory
    }

    /// All ranges.
    pub(crate) fn captured(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.ranges.iter().map(|range| range.range)
    }

    /// What can be read, with adjoining ranges joined.
    pub(crate) fn stretches(&self) -> Vec<(Address, Vec<u8>)> {
        let mut stretches: Vec<(Address, Vec<u8>)> = Vec::new();
        for SampleRange { range, bytes } in &self.ranges {
            let Ok(bytes) = bytes else { continue };
            match stretches.last_mut() {
                Some((start, joined)) if start.0 + joined.len() as u64 == range.start().0 => joined.extend(bytes),
                _ => stretches.push((range.start(), bytes.clone())),
            }
        }
        stretches
    }
}

impl Memory for SampleMemory {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let found = self.ranges.iter().find(|range| range.range.contains(address)).ok_or(NotRead::Unmapped)?;
        let bytes = found.bytes.as_ref().map_err(|reason| *reason)?;
        let offset = usize::try_from(address.0 - found.range.start().0).unwrap();
        let limit = if self.most == 0 { usize::MAX } else { self.most };
        let count = buffer.len().min(bytes.len() - offset).min(limit);
        buffer[..count].copy_from_slice(&bytes[offset..offset + count]);
        Ok(count)
    }
}
