//! From regions and extents to segments.

use std::iter::Peekable;
use std::slice;

use effigy_process::{PlacedExtent, Protection, Region, Sharing};

use crate::Contents;

/// A `PT_LOAD`: `captured` bytes that are in the file, then `size - captured` that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First address.
    pub(super) start: u64,
    /// Bytes of memory that lie before it in the file.
    pub(super) offset: u64,
    /// Bytes in the file.
    pub(super) captured: u64,
    /// Bytes in the process.
    pub(super) size: u64,
    /// What may be done with them.
    pub(super) protection: Protection,
    /// Whether the first page is to be a segment of its own, see [`split`].
    image: bool,
}

/// All segments by rising address, as the ELF specification demands of `PT_LOAD`s, wherever in the file their bytes lie.
pub(super) fn segments<'a>(contents: &Contents<'a>) -> impl Iterator<Item = Segment> + use<'a> {
    let page = contents.extents.page_size();
    Segments {
        regions: contents.process.regions.iter(),
        extents: contents.extents.by_address().peekable(),
        region: None,
        end: 0,
        offset: 0,
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
        offset: segment.offset + page,
        captured: segment.captured.saturating_sub(page),
        size: segment.size.saturating_sub(page),
        ..segment
    };
    if apart { [Some(first), Some(rest)] } else { [Some(segment), None] }.into_iter().flatten()
}

struct Segments<'a, E: Iterator<Item = PlacedExtent>> {
    regions: slice::Iter<'a, Region>,
    extents: Peekable<E>,
    /// What is left of the region at hand.
    region: Option<Rest>,
    /// Where the last segment ended.
    end: u64,
    /// Bytes of memory in the file up to the end of the last segment that had some.
    offset: u64,
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

impl<E: Iterator<Item = PlacedExtent>> Iterator for Segments<'_, E> {
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
        self.offset = segment.offset + segment.captured;
        Some(segment)
    }
}

impl<E: Iterator<Item = PlacedExtent>> Segments<'_, E> {
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
        self.extents.peek().map(|placed| placed.extent.range.start().0)
    }

    /// The part of a region up to `end`, without bytes.
    fn uncaptured(&mut self, rest: Rest, end: u64) -> Segment {
        self.keep(rest, end);
        Segment {
            start: rest.start,
            offset: self.offset,
            captured: 0,
            size: end - rest.start,
            protection: rest.protection,
            image: false,
        }
    }

    /// The next extent, those that continue it both in address and in the file, and what is not captured behind them.
    fn captured(&mut self, rest: Rest) -> Segment {
        let first = self.extents.peek();
        let (start, offset) =
            first.map_or((rest.start, self.offset), |first| (first.extent.range.start().0, first.offset));
        let mut bytes_end = start;
        while let Some(next) = self.extents.next_if(|next| {
            let continues = next.extent.range.start().0 == bytes_end && next.offset == offset + (bytes_end - start);
            bytes_end == start || (continues && bytes_end < rest.end)
        }) {
            bytes_end = next.extent.range.end().0;
        }
        let end = self.next_start().unwrap_or(rest.end).min(rest.end).max(bytes_end);
        self.keep(rest, end);
        Segment {
            start,
            offset,
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
    use effigy_process::{Address, AddressRange, Content, Extent, ExtentList};
    use proptest::prelude::*;

    use super::*;
    use crate::elf_core::write::tests::region;

    /// The segments of `extents`, which are in file order.
    fn placed(regions: &[(u64, u64)], extents: &[(u64, u64)]) -> Vec<Segment> {
        let regions: Vec<_> = regions.iter().map(|(start, end)| region(*start, *end)).collect();
        let mut list = ExtentList::new(1);
        for (start, end) in extents {
            let range = AddressRange::new(Address(*start), Address(*end));
            list.push_anywhere(Extent { range, content: Content::Bytes }, true);
        }
        let extents = list.by_address().peekable();
        Segments { regions: regions.iter(), extents, region: None, end: 0, offset: 0 }.collect()
    }

    fn list(regions: &[(u64, u64)], extents: &[(u64, u64)]) -> Vec<(u64, u64, u64)> {
        placed(regions, extents).iter().map(|segment| (segment.start, segment.captured, segment.size)).collect()
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

    #[test]
    fn pieces_that_lie_apart_in_the_file_do_not_join() {
        let offsets = |extents: &[(u64, u64)]| -> Vec<_> {
            placed(&[(10, 20), (20, 30)], extents)
                .iter()
                .map(|segment| (segment.start, segment.offset, segment.captured, segment.size))
                .collect()
        };
        assert_eq!(offsets(&[(12, 14), (10, 12)]), [(10, 2, 2, 2), (12, 0, 2, 8), (20, 2, 0, 10)]);
        assert_eq!(offsets(&[(20, 22), (12, 20)]), [(10, 0, 0, 2), (12, 2, 8, 8), (20, 0, 2, 10)]);
        assert_eq!(offsets(&[(22, 23), (10, 11), (11, 12)]), [(10, 1, 2, 10), (20, 3, 0, 2), (22, 0, 1, 8)]);
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
        fn every_byte_has_its_place_in_the_file(regions in ranges(), extents in ranges().prop_shuffle()) {
            let segments = placed(&regions, &extents);
            let file: Vec<u64> = extents.iter().flat_map(|(start, end)| *start..*end).collect();
            let mut found = vec![None; file.len()];
            for segment in &segments {
                for index in 0..segment.captured {
                    found[usize::try_from(segment.offset + index).unwrap()] = Some(segment.start + index);
                }
            }
            prop_assert_eq!(found.into_iter().collect::<Option<Vec<_>>>(), Some(file.clone()));
            let mut all: Vec<u64> = regions.iter().flat_map(|(start, end)| *start..*end).chain(file).collect();
            all.sort_unstable();
            all.dedup();
            let covered: Vec<u64> =
                segments.iter().flat_map(|segment| segment.start..segment.start + segment.size).collect();
            prop_assert_eq!(covered, all);
        }

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
