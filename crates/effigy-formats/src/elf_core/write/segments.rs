//! From regions and extents to segments.

use std::iter::Peekable;
use std::slice;

use effigy_process::{Extent, Protection, Region, Sharing};

use crate::Contents;

/// A `PT_LOAD`: `captured` bytes that are in the file, then `size - captured` that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First address.
    pub(super) start: u64,
    /// Bytes in the file.
    pub(super) captured: u64,
    /// Bytes in the process.
    pub(super) size: u64,
    /// What may be done with them.
    pub(super) protection: Protection,
    /// Whether the first page is to be a segment of its own, see [`split`].
    image: bool,
}

/// All segments by rising address. The captured bytes of each follow those of the one before it, as the extents do.
pub(super) fn segments<'a>(contents: &Contents<'a>) -> impl Iterator<Item = Segment> + use<'a> {
    let page = contents.extents.page_size();
    Segments {
        regions: contents.process.regions.iter(),
        extents: contents.extents.iter().peekable(),
        region: None,
        end: 0,
    }
    .flat_map(move |segment| split(segment, page))
}

/// Gives the first page of a mapped file's unwritten segment a segment of its own. The Java tools (libsaproc) take the
/// length of the segment at a library's address for the length of the library's own segment, and refuse the core when
/// the two differ, unless it is a single page: so do the kernel's cores, which hold the first page only.
fn split(segment: Segment, page: u64) -> impl Iterator<Item = Segment> {
    let apart = segment.image && segment.captured > page;
    let first = Segment { captured: page, size: page, ..segment };
    let rest = Segment {
        start: segment.start + page,
        captured: segment.captured.saturating_sub(page),
        size: segment.size.saturating_sub(page),
        ..segment
    };
    if apart { [Some(first), Some(rest)] } else { [Some(segment), None] }.into_iter().flatten()
}

struct Segments<'a, E: Iterator<Item = Extent>> {
    regions: slice::Iter<'a, Region>,
    extents: Peekable<E>,
    /// What is left of the region at hand.
    region: Option<Rest>,
    /// Where the last segment ended.
    end: u64,
}

/// The part of a region that is not yet in a segment; never empty.
#[derive(Clone, Copy)]
struct Rest {
    start: u64,
    end: u64,
    protection: Protection,
    /// Whether it is the beginning of a file's mapping that is not written to.
    image: bool,
}

impl<E: Iterator<Item = Extent>> Iterator for Segments<'_, E> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let rest = match self.region.take() {
            Some(rest) => Some(rest),
            None => self.next_region(),
        };
        let segment = match (rest, self.next_start()) {
            (Some(rest), Some(extent)) if extent < rest.end => {
                if rest.start < extent {
                    self.uncaptured(rest, extent)
                } else {
                    self.captured(rest)
                }
            }
            (Some(rest), _) => self.uncaptured(rest, rest.end),
            // Memory outside every region. Plans are made from regions, so this does not happen; if it does, the bytes
            // are in the file all the same, and must have an address.
            (None, Some(start)) => {
                self.captured(Rest { start, end: start, protection: Protection::READ, image: false })
            }
            (None, None) => return None,
        };
        self.end = segment.start + segment.size;
        Some(segment)
    }
}

impl<E: Iterator<Item = Extent>> Segments<'_, E> {
    /// The next region that is not empty, unless there is an extent before it.
    fn next_region(&mut self) -> Option<Rest> {
        loop {
            let region = self.regions.as_slice().first()?;
            let rest = Rest {
                start: region.range.start().0.max(self.end),
                end: region.range.end().0,
                protection: region.protection,
                image: region.inode != 0
                    && region.sharing == Sharing::Private
                    && !region.protection.contains(Protection::WRITE),
            };
            if rest.start < rest.end && self.next_start().is_some_and(|start| start < rest.start) {
                return None;
            }
            self.regions.next();
            if rest.start < rest.end {
                return Some(rest);
            }
        }
    }

    fn next_start(&mut self) -> Option<u64> {
        self.extents.peek().map(|extent| extent.range.start().0)
    }

    /// The part of a region up to `end`, without bytes.
    fn uncaptured(&mut self, rest: Rest, end: u64) -> Segment {
        self.keep(rest, end);
        Segment { start: rest.start, captured: 0, size: end - rest.start, protection: rest.protection, image: false }
    }

    /// The next extent, those that continue it, and what is not captured behind them.
    fn captured(&mut self, rest: Rest) -> Segment {
        let start = self.next_start().unwrap_or(rest.start);
        let mut bytes_end = start;
        while let Some(extent) = self
            .extents
            .next_if(|extent| bytes_end == start || (extent.range.start().0 == bytes_end && bytes_end < rest.end))
        {
            bytes_end = extent.range.end().0;
        }
        let end = self.next_start().unwrap_or(rest.end).min(rest.end).max(bytes_end);
        self.keep(rest, end);
        Segment {
            start,
            captured: bytes_end - start,
            size: end - start,
            protection: rest.protection,
            image: rest.image && start == rest.start,
        }
    }

    /// Leaves what lies behind `end` for the next segment.
    fn keep(&mut self, rest: Rest, end: u64) {
        self.region = (end < rest.end).then_some(Rest { start: end, image: false, ..rest });
    }
}

#[cfg(test)]
mod tests {
    use effigy_process::{Address, AddressRange, Content};
    use proptest::prelude::*;

    use super::*;
    use crate::elf_core::write::tests::region;

    fn list(regions: &[(u64, u64)], extents: &[(u64, u64)]) -> Vec<(u64, u64, u64)> {
        let regions: Vec<_> = regions.iter().map(|(start, end)| region(*start, *end)).collect();
        let extents = extents.iter().map(|(start, end)| Extent {
            range: AddressRange::new(Address(*start), Address(*end)),
            content: Content::Bytes,
        });
        Segments { regions: regions.iter(), extents: extents.peekable(), region: None, end: 0 }
            .map(|segment| (segment.start, segment.captured, segment.size))
            .collect()
    }

    #[test]
    fn a_segment_is_bytes_and_what_is_missing_behind_them() {
        assert_eq!(list(&[(10, 20)], &[]), [(10, 0, 10)]);
        assert_eq!(list(&[(10, 20)], &[(10, 20)]), [(10, 10, 10)]);
        assert_eq!(list(&[(10, 20)], &[(10, 12)]), [(10, 2, 10)]);
        assert_eq!(list(&[(10, 20)], &[(13, 15)]), [(10, 0, 3), (13, 2, 7)]);
        assert_eq!(list(&[(10, 20)], &[(10, 12), (12, 13), (18, 20)]), [(10, 3, 8), (18, 2, 2)]);
    }

    #[test]
    fn regions_do_not_join() {
        assert_eq!(list(&[(10, 20), (20, 30), (30, 30)], &[(10, 20), (20, 30)]), [(10, 10, 10), (20, 10, 10)]);
    }

    #[test]
    fn memory_outside_regions_has_segments() {
        assert_eq!(list(&[], &[(1, 2), (2, 3)]), [(1, 1, 1), (2, 1, 1)]);
        assert_eq!(list(&[(10, 20)], &[(5, 7), (15, 25)]), [(5, 2, 2), (10, 0, 5), (15, 10, 10)]);
        assert_eq!(list(&[(10, 20), (20, 22), (24, 30)], &[(15, 25)]), [(10, 0, 5), (15, 10, 10), (25, 0, 5)]);
        assert_eq!(list(&[(10, 20)], &[(5, 12), (30, 31)]), [(5, 7, 7), (12, 0, 8), (30, 1, 1)]);
    }

    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0u64..9, 1u64..9), 0..20).prop_map(|parts| {
            let mut at = 0;
            parts
                .into_iter()
                .map(|(gap, size)| {
                    let start = at + gap;
                    at = start + size;
                    (start, at)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_byte_has_its_place(regions in ranges(), extents in ranges()) {
            let segments = list(&regions, &extents);
            let captured: Vec<u64> = extents.iter().flat_map(|(start, end)| *start..*end).collect();
            let placed: Vec<u64> = segments.iter().flat_map(|(start, bytes, _)| *start..start + bytes).collect();
            prop_assert_eq!(&placed, &captured);
            let mut all: Vec<u64> = regions.iter().flat_map(|(start, end)| *start..*end).chain(captured).collect();
            all.sort_unstable();
            all.dedup();
            let covered: Vec<u64> = segments.iter().flat_map(|(start, _, size)| *start..start + size).collect();
            prop_assert_eq!(covered, all);
        }
    }
}
