//! The memory that a dump holds: which addresses lie where in the file. It is found, not read.

use std::fmt;
use std::sync::Arc;

use effigy_process::{Address, AddressRange, CapturedMemory, CapturedRange, Memory, NotRead};

use crate::source::{Buffered, SharedSource, Source};

/// The memory that a dump holds, and what is known of the rest.
#[derive(Clone, Debug, Default)]
pub struct MemoryMap {
    sources: Vec<SharedSource>,
    /// By rising address, without overlaps.
    parts: Vec<CapturedRange>,
    /// For each part the source that it is in; empty where there is but one.
    origins: Vec<u8>,
    /// What the parts without a place in a source are read from.
    elsewhere: Option<Elsewhere>,
    /// Where the process has something mapped, by rising address; `None` when the dump does not tell.
    mapped: Option<Vec<AddressRange>>,
    /// Why some of the rest is missing, by rising address.
    reasons: Vec<(AddressRange, NotRead)>,
    missing: u64,
    /// Memory that is listed and left out, by rising address: it lies in the file where other memory lies.
    repeated: Vec<AddressRange>,
}

/// Memory that lies in no dump.
#[derive(Clone)]
struct Elsewhere(Arc<dyn CapturedMemory>);

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ranges", self.0.captured().len())
    }
}

/// How much of the memory that a file lists may lie in it where other memory lies: so many bytes, and so many times the
/// file's length. Nobody needs to write such a file; one of 10 MB may list a TB in that way.
const LEAST_REPEATED: u64 = 1 << 30;
const REPEATED_TIMES: u64 = 16;

/// Memory as it is found in a file, in any order.
#[derive(Debug)]
pub(crate) struct Found {
    source: SharedSource,
    parts: Vec<CapturedRange>,
    /// Bytes that are listed and that the file does not hold.
    pub(crate) missing: u64,
}

impl Found {
    pub(crate) fn new(source: SharedSource) -> Self {
        Self { source, parts: Vec::new(), missing: 0 }
    }

    /// Adds `size` bytes of memory that lie at `offset` in the file, as far as they do: a dump that was cut off is
    /// worth what is left of it.
    pub(crate) fn add(&mut self, start: u64, offset: u64, size: u64) {
        let available = self.source.size().saturating_sub(offset).min(size).min(u64::MAX - start);
        self.missing = self.missing.saturating_add(size - available);
        if available > 0 {
            let range = AddressRange::sized(Address(start), available);
            self.parts.push(CapturedRange { range, offset: Some(offset) });
        }
    }

    /// The memory, with `mapped` where the process has something mapped.
    pub(crate) fn finish(self, mapped: Option<Vec<AddressRange>>) -> MemoryMap {
        let mut parts = disjoint(self.parts);
        let most = LEAST_REPEATED.saturating_add(self.source.stored_size().saturating_mul(REPEATED_TIMES));
        let repeated = leave_out_repeated(&mut parts, self.source.size(), most);
        let (sources, missing) = (vec![self.source], self.missing);
        MemoryMap { sources, parts, mapped, missing, repeated, ..MemoryMap::default() }
    }
}

/// Leaves out parts that lie in the file where others lie, beyond `most` bytes of them; gives those that are left out.
/// `size` is the length of the file.
fn leave_out_repeated(parts: &mut Vec<CapturedRange>, size: u64, most: u64) -> Vec<AddressRange> {
    let total = parts.iter().map(|part| part.range.size()).fold(0, u64::saturating_add);
    if total <= size.saturating_add(most) {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| parts[*index].offset);
    let mut is_kept = vec![true; parts.len()];
    let (mut end, mut left) = (0u64, most);
    for index in order {
        let (start, length) = (parts[index].offset.unwrap_or(0), parts[index].range.size());
        let part_end = start.saturating_add(length);
        let again = length - part_end.saturating_sub(end.max(start));
        end = end.max(part_end);
        match left.checked_sub(again) {
            Some(rest) => left = rest,
            None => is_kept[index] = false,
        }
    }
    let (mut is_kept, mut left_out) = (is_kept.into_iter(), Vec::new());
    parts.retain(|part| {
        let keeps = is_kept.next().unwrap_or(true);
        if !keeps {
            left_out.push(part.range);
        }
        keeps
    });
    left_out
}

/// Sorts parts and cuts off what an earlier one already holds, so that one search finds the one part.
fn disjoint(mut parts: Vec<CapturedRange>) -> Vec<CapturedRange> {
    parts.sort_by_key(|part| part.range.start());
    let mut end = Address(0);
    parts.retain_mut(|part| {
        *part = from(*part, end);
        end = part.range.end().max(end);
        !part.range.is_empty()
    });
    parts
}

/// What of a part lies at an address or behind it.
fn from(part: CapturedRange, start: Address) -> CapturedRange {
    let skip = start.0.saturating_sub(part.range.start().0).min(part.range.size());
    let range = AddressRange::new(part.range.start().saturating_add(skip), part.range.end());
    CapturedRange { range, offset: part.offset.map(|offset| offset.saturating_add(skip)) }
}

/// What of a part lies before an address.
fn before(part: CapturedRange, end: Address) -> CapturedRange {
    CapturedRange { range: AddressRange::new(part.range.start(), part.range.end().min(end)), ..part }
}

impl MemoryMap {
    /// The ranges of memory that the dump holds, by rising address and without overlaps.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.parts.iter().map(|part| part.range)
    }

    /// Bytes of memory that the dump lists and the file does not hold, as it ends too early.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Bytes of memory that the dump lists and that are not looked at, as they lie in the file where other memory lies, again
    /// and again.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated.iter().map(AddressRange::size).fold(0, u64::saturating_add)
    }

    /// Where the process has something mapped, by rising address; `None` when the dump does not tell.
    #[must_use]
    pub fn mapped(&self) -> Option<&[AddressRange]> {
        self.mapped.as_deref()
    }

    /// The same memory for those who look at a few bytes in many places.
    #[must_use]
    pub(crate) fn buffered(&self) -> Self {
        let buffered = |source: &SharedSource| -> SharedSource { Arc::new(Buffered::new(Arc::clone(source))) };
        Self { sources: self.sources.iter().map(buffered).collect(), ..self.clone() }
    }

    /// The same memory, of which it is known better where something is mapped: `mapped`, in any order.
    #[must_use]
    pub fn with_mapped(mut self, mut mapped: Vec<AddressRange>) -> Self {
        mapped.sort_unstable_by_key(AddressRange::start);
        self.mapped = Some(mapped);
        self
    }

    /// The same memory, of which it is known why some of it is missing.
    #[must_use]
    pub fn with_reasons(mut self, mut reasons: Vec<(AddressRange, NotRead)>) -> Self {
        reasons.sort_by_key(|(range, _)| range.start());
        self.reasons = reasons;
        self
    }

    /// This memory, and where it has none, that of `other`; what is mapped, though, is as `other` says, if it does.
    ///
    /// Of memory that is in no dump ([`filled_from`](Self::filled_from)), that of this one is kept.
    #[must_use]
    pub fn completed_by(self, other: Self) -> Self {
        let offset = self.sources.len();
        let mut all: Vec<(CapturedRange, u8)> = self.with_origins(0).collect();
        for (part, origin) in other.with_origins(offset) {
            let mut rest = part;
            let first = self.parts.partition_point(|own| own.range.end() <= part.range.start());
            for own in self.parts[first..].iter().take_while(|own| own.range.start() < part.range.end()) {
                all.push((before(rest, own.range.start()), origin));
                rest = from(rest, own.range.end());
            }
            all.push((rest, origin));
        }
        all.retain(|(part, _)| !part.range.is_empty());
        all.sort_by_key(|(part, _)| part.range.start());
        let (parts, origins) = all.into_iter().unzip();
        let mut repeated = [self.repeated, other.repeated].concat();
        repeated.sort_unstable_by_key(AddressRange::start);
        Self {
            sources: [self.sources, other.sources].concat(),
            parts,
            origins,
            elsewhere: self.elsewhere.or(other.elsewhere),
            mapped: other.mapped.or(self.mapped),
            reasons: [self.reasons, other.reasons].concat(),
            missing: self.missing.saturating_add(other.missing),
            repeated,
        }
    }

    /// This memory, and where it has none, that which `other` says is captured, but for what was redacted. The dump does
    /// not hold it, so it has no offset in [`captured`](CapturedMemory::captured).
    #[must_use]
    pub fn filled_from(self, other: Arc<dyn CapturedMemory>) -> Self {
        let redacted: Vec<AddressRange> = self.redacted().collect();
        let mut parts = Vec::new();
        for captured in other.captured() {
            let mut rest = CapturedRange { offset: None, ..*captured };
            let first = redacted.partition_point(|range| range.end() <= rest.range.start());
            for hidden in redacted[first..].iter().take_while(|hidden| hidden.start() < captured.range.end()) {
                parts.push(before(rest, hidden.start()));
                rest = from(rest, hidden.end());
            }
            parts.push(rest);
        }
        self.completed_by(Self { parts: disjoint(parts), elsewhere: Some(Elsewhere(other)), ..Self::default() })
    }

    /// What was redacted, by rising address, without overlaps.
    fn redacted(&self) -> impl Iterator<Item = AddressRange> + '_ {
        let mut end = Address(0);
        self.reasons.iter().filter(|(_, reason)| *reason == NotRead::Redacted).filter_map(move |(range, _)| {
            let rest = AddressRange::new(range.start().max(end), range.end());
            end = end.max(range.end());
            (!rest.is_empty()).then_some(rest)
        })
    }

    /// The parts, each with the number of its source; sources are counted from `first`.
    fn with_origins(&self, first: usize) -> impl Iterator<Item = (CapturedRange, u8)> + '_ {
        let origin = move |index| {
            let own = self.origins.get(index).copied().unwrap_or(0);
            // A pair has two sources, and a pair of pairs cannot be named.
            u8::try_from(first).unwrap_or(u8::MAX).saturating_add(own)
        };
        self.parts.iter().enumerate().map(move |(index, part)| (*part, origin(index)))
    }

    /// Reads what lies at `address` in one piece in a file.
    fn read_piece(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let index = self.parts.partition_point(|part| part.range.end() <= address);
        let part = self.parts.get(index).filter(|part| part.range.contains(address));
        let part = from(*part.ok_or_else(|| self.reason(address))?, address);
        let length = usize::try_from(part.range.size()).unwrap_or(usize::MAX).min(buffer.len());
        let Some(offset) = part.offset else {
            let elsewhere = self.elsewhere.as_ref().ok_or(NotRead::Unreadable)?;
            return elsewhere.0.read(address, &mut buffer[..length]);
        };
        let source = self.source_of(index).ok_or(NotRead::Unreadable)?;
        match source.read_at(offset, &mut buffer[..length]) {
            Ok(0) if length > 0 => Err(NotRead::Unreadable),
            Ok(count) => Ok(count),
            Err(_) => before_damage(&**source, offset, &mut buffer[..length]),
        }
    }

    /// The source that a part with this index lies in.
    fn source_of(&self, index: usize) -> Option<&SharedSource> {
        self.sources.get(usize::from(self.origins.get(index).copied().unwrap_or(0)))
    }

    /// Why there is no memory at an address. Without a list of regions all may have been mapped.
    fn reason(&self, address: Address) -> NotRead {
        if let Some(reason) = lookup(&self.reasons, address, |(range, _)| *range) {
            return reason.1;
        }
        if lookup(&self.repeated, address, |range| *range).is_some() {
            return NotRead::NotCaptured;
        }
        match &self.mapped {
            Some(mapped) if lookup(mapped, address, |range| *range).is_none() => NotRead::Unmapped,
            _ => NotRead::NotCaptured,
        }
    }
}

/// Reads what there is before the first byte of which it is known that it cannot be read.
fn before_damage(source: &dyn Source, offset: u64, buffer: &mut [u8]) -> Result<usize, NotRead> {
    let damage = source.unreadable(offset, buffer.len() as u64).ok_or(NotRead::Unreadable)?;
    let length = usize::try_from(damage.range.start.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
    match source.read_at(offset, &mut buffer[..length]) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(damage.reason),
    }
}

/// The entry that holds an address, in a list by rising address.
fn lookup<T>(list: &[T], address: Address, range: impl Fn(&T) -> AddressRange) -> Option<&T> {
    let after = list.partition_point(|entry| range(entry).start() <= address);
    list.get(after.checked_sub(1)?).filter(|entry| range(entry).contains(address))
}

impl Memory for MemoryMap {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let mut done = self.read_piece(address, buffer)?;
        // Memory that is whole may lie in pieces in the file.
        while let Some(next) = address.checked_add(done as u64).filter(|_| done < buffer.len()) {
            match self.read_piece(next, &mut buffer[done..]) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        Ok(done)
    }

    fn try_again_at(&self, address: Address) -> Option<Address> {
        let index = self.parts.partition_point(|part| part.range.end() <= address);
        let part = self.parts.get(index).filter(|part| part.range.contains(address))?;
        let skip = address.0 - part.range.start().0;
        let offset = part.offset?.checked_add(skip)?;
        let damage = self.source_of(index)?.unreadable(offset, 1)?;
        let end = address.saturating_add(damage.range.end.saturating_sub(offset));
        Some(end.min(part.range.end()))
    }
}

impl CapturedMemory for MemoryMap {
    fn captured(&self) -> &[CapturedRange] {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(fill: u8, ranges: &[(u8, u8)]) -> MemoryMap {
        let mut found = Found::new(Arc::new(vec![fill; 256]));
        found.missing = 1;
        ranges.iter().for_each(|(start, size)| found.add((*start).into(), (*start).into(), (*size).into()));
        found.finish(None)
    }

    fn addresses(map: &MemoryMap) -> Vec<u64> {
        map.ranges().flat_map(|range| range.start().0..range.end().0).collect()
    }

    proptest! {
        #[test]
        fn memory_is_completed_and_not_replaced(
            own in proptest::collection::vec((0u8..100, 0u8..20), 0..10),
            other in proptest::collection::vec((0u8..100, 0u8..20), 0..10),
        ) {
            let (own, other) = (map(7, &own), map(9, &other));
            let (kept, mut expected) = (addresses(&own), [addresses(&own), addresses(&other)].concat());
            expected.sort_unstable();
            expected.dedup();
            let both = own.completed_by(other);
            prop_assert_eq!(addresses(&both), expected.clone());
            prop_assert_eq!(both.missing(), 2);
            for address in expected {
                let mut byte = [0];
                prop_assert_eq!(both.read(Address(address), &mut byte), Ok(1));
                prop_assert_eq!(byte[0], if kept.contains(&address) { 7 } else { 9 });
            }
        }
    }

    #[test]
    fn what_is_filled_is_read_from_elsewhere() {
        let range = |start, end| AddressRange::new(Address(start), Address(end));
        let memory = map(1, &[(10, 10), (30, 5)]).with_reasons(vec![(range(22, 25), NotRead::Redacted)]);
        let filled = memory.filled_from(Arc::new(map(2, &[(0, 40)])));
        let placed: Vec<_> = filled.captured().iter().map(|part| (part.range, part.offset)).collect();
        let held = |start, end| (range(start, end), Some(start));
        let other = |start, end| (range(start, end), None);
        let expected = [other(0, 10), held(10, 20), other(20, 22), other(25, 30), held(30, 35), other(35, 40)];
        assert_eq!(placed, expected);
        let mut bytes = [0; 22];
        assert_eq!(filled.read(Address(0), &mut bytes), Ok(22));
        assert_eq!(bytes, [[2; 10].as_slice(), &[1; 10], &[2; 2]].concat()[..]);
        assert_eq!(filled.read(Address(22), &mut bytes), Err(NotRead::Redacted));
        assert_eq!(filled.missing(), 1);
    }

    #[test]
    fn memory_that_lies_over_other_memory_is_looked_at_so_often() {
        let part = |start, offset, size| CapturedRange {
            range: AddressRange::sized(Address(start), size),
            offset: Some(offset),
        };
        let all = [part(0, 10, 10), part(10, 0, 20), part(30, 15, 10), part(50, 12, 4), part(60, 40, 5)];
        let kept = |most| {
            let mut parts = all.to_vec();
            let left_out = leave_out_repeated(&mut parts, 25, most);
            let start = |range: &AddressRange| range.start().0;
            let kept: Vec<_> = parts.iter().map(|part| start(&part.range)).collect();
            (kept, left_out.iter().map(start).collect::<Vec<_>>())
        };
        // In the file: 0 to 20, then 10 that are all in that, 4 as well, 5 of 10, and 5 that lie alone.
        assert_eq!(kept(24), (vec![0, 10, 30, 50, 60], vec![]));
        assert_eq!(kept(14), (vec![0, 10, 50, 60], vec![30]));
        assert_eq!(kept(10), (vec![0, 10, 60], vec![30, 50]));
        assert_eq!(kept(0), (vec![10, 60], vec![0, 30, 50]));
    }

    #[test]
    fn what_is_missing_has_its_reason() {
        let range = |start, end| AddressRange::new(Address(start), Address(end));
        let memory = map(1, &[(10, 10)])
            .with_mapped(vec![range(40, 50), range(10, 30)])
            .with_reasons(vec![(range(20, 25), NotRead::Redacted)]);
        let at = |address| memory.read(Address(address), &mut [0; 4]);
        assert_eq!(at(18), Ok(2));
        assert_eq!(at(20), Err(NotRead::Redacted));
        assert_eq!(at(26), Err(NotRead::NotCaptured));
        assert_eq!(at(35), Err(NotRead::Unmapped));
        assert_eq!(at(45), Err(NotRead::NotCaptured));
        assert_eq!(memory.captured_from(Address(15)).len(), 1);
        assert_eq!(memory.captured_bytes(), 10);
    }
}
