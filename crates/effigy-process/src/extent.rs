//! Which memory a dump holds: page runs as they are found, and the list of extents that is written.

use crate::{Address, AddressRange};

/// What the pages of a run are, as far as a dump's kind cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageClass {
    /// Private to the process: anonymous memory, or a page of a private file mapping that was written to (its
    /// copy-on-write was broken).
    Private,
    /// An unmodified page of a private file mapping; the file holds the same bytes.
    File,
    /// A page of a shared mapping that holds data, whoever put it there.
    Shared,
    /// Known to read as zeros without being present: a hole of anonymous memory between present pages, or the kernel's
    /// zero page. Never read from the target.
    Zero,
    /// A guard page inside a region (`MADV_GUARD_INSTALL`): it holds nothing and must not be touched.
    Guard,
}

/// A run of neighbouring pages of one class, within one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// The pages' addresses; page aligned.
    pub range: AddressRange,
    /// What they are.
    pub class: PageClass,
}

/// Where an extent's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Read from the target.
    Bytes,
    /// Zeros that need not be read.
    Zeros,
}

/// A piece of memory that a dump holds. Never spans two regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its addresses; page aligned.
    pub range: AddressRange,
    /// Where its bytes come from.
    pub content: Content,
}

/// The memory that a dump holds: extents in rising order that do not overlap.
///
/// Kept as variable-length differences, about two to four bytes an extent, so that even a target whose every other
/// page is present costs effigy a thousandth of the target's size or less.
#[derive(Clone, Debug)]
pub struct ExtentList {
    page_size: u64,
    encoded: Vec<u8>,
    last: Option<Extent>,
    end: u64,
    bytes: u64,
    content_bytes: u64,
}

impl ExtentList {
    /// An empty list for a target with pages of `page_size` bytes, a power of two.
    ///
    /// # Panics
    /// When `page_size` is not a power of two.
    #[must_use]
    pub fn new(page_size: u64) -> Self {
        assert!(page_size.is_power_of_two(), "a page size is a power of two");
        Self { page_size, encoded: Vec::new(), last: None, end: 0, bytes: 0, content_bytes: 0 }
    }

    /// Adds an extent behind all others. Empty ones are ignored; one that continues the last with the same content and
    /// without a `boundary` (the start of a region) between the two is joined to it.
    ///
    /// # Panics
    /// When the extent is not page aligned or does not lie behind all others.
    pub fn push(&mut self, extent: Extent, boundary: bool) {
        if extent.range.is_empty() {
            return;
        }
        let mask = self.page_size - 1;
        let (start, end) = (extent.range.start().0, extent.range.end().0);
        assert!(start & mask == 0 && end & mask == 0, "extent {} is not page aligned", extent.range);
        match self.last {
            Some(last) if last.range.end().0 == start && last.content == extent.content && !boundary => {
                self.last = Some(Extent {
                    range: AddressRange::new(last.range.start(), extent.range.end()),
                    content: last.content,
                });
            }
            last => {
                if let Some(last) = last {
                    assert!(last.range.end().0 <= start, "extent {} is out of order", extent.range);
                    self.encode(last);
                }
                self.last = Some(extent);
            }
        }
        self.bytes += extent.range.size();
        if extent.content == Content::Bytes {
            self.content_bytes += extent.range.size();
        }
    }

    /// Bytes of memory that the dump holds, zeros included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are read from the target.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Page size of the target in bytes.
    #[must_use]
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Whether no memory is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The extents in order.
    #[must_use]
    pub fn iter(&self) -> Extents<'_> {
        Extents { page_size: self.page_size, encoded: &self.encoded, end: 0, last: self.last }
    }

    /// Neighbouring extents joined, whatever their content and region: the memory ranges of a minidump.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> + '_ {
        let mut extents = self.iter().peekable();
        std::iter::from_fn(move || {
            let mut range = extents.next()?.range;
            while let Some(next) = extents.next_if(|next| next.range.start() == range.end()) {
                range = AddressRange::new(range.start(), next.range.end());
            }
            Some(range)
        })
    }

    /// A copy without the pages of `holes`, which are in rising order and do not overlap.
    #[must_use]
    pub fn without(&self, holes: &[AddressRange]) -> Self {
        let mut rest = Self::new(self.page_size);
        let mut holes = holes.iter().copied().peekable();
        for extent in self.iter() {
            // Extents are only split here, never joined: a boundary between two of them stays one.
            let mut start = extent.range.start();
            let mut boundary = true;
            while holes.next_if(|hole| hole.end() <= start).is_some() {}
            while let Some(hole) = holes.peek().filter(|hole| hole.start() < extent.range.end()).copied() {
                rest.push(Extent { range: AddressRange::new(start, hole.start()), content: extent.content }, boundary);
                start = hole.end().min(extent.range.end());
                boundary = true;
                if hole.end() > extent.range.end() {
                    break;
                }
                holes.next();
            }
            rest.push(
                Extent { range: AddressRange::new(start, extent.range.end()), content: extent.content },
                boundary,
            );
        }
        rest
    }

    fn encode(&mut self, extent: Extent) {
        let gap = (extent.range.start().0 - self.end) / self.page_size;
        let pages = extent.range.size() / self.page_size;
        put_varint(&mut self.encoded, gap);
        put_varint(&mut self.encoded, pages << 1 | u64::from(extent.content == Content::Zeros));
        self.end = extent.range.end().0;
    }
}

/// Iterator over an [`ExtentList`].
#[derive(Clone, Debug)]
pub struct Extents<'a> {
    page_size: u64,
    encoded: &'a [u8],
    end: u64,
    last: Option<Extent>,
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        if self.encoded.is_empty() {
            return self.last.take();
        }
        let gap = take_varint(&mut self.encoded);
        let pages = take_varint(&mut self.encoded);
        let content = if pages & 1 == 0 { Content::Bytes } else { Content::Zeros };
        let start = self.end + gap * self.page_size;
        self.end = start + (pages >> 1) * self.page_size;
        Some(Extent { range: AddressRange::new(Address(start), Address(self.end)), content })
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn take_varint(from: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = from.split_first() {
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(start_page: u64, pages: u64, content: Content) -> Extent {
        Extent { range: AddressRange::sized(Address(start_page * 4096), pages * 4096), content }
    }

    fn arbitrary_extents() -> impl Strategy<Value = Vec<Extent>> {
        proptest::collection::vec((0u64..1 << 20, 1u64..1 << 20, any::<bool>()), 0..60).prop_map(|parts| {
            let mut at = 0;
            let mut all = Vec::new();
            for (gap, pages, zeros) in parts {
                at += gap;
                all.push(extent(at, pages, if zeros { Content::Zeros } else { Content::Bytes }));
                at += pages;
            }
            all
        })
    }

    fn list_of(extents: &[Extent]) -> ExtentList {
        let mut list = ExtentList::new(4096);
        for extent in extents {
            list.push(*extent, true);
        }
        list
    }

    proptest! {
        #[test]
        fn gives_back_what_was_pushed(extents in arbitrary_extents()) {
            let list = list_of(&extents);
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), extents.clone());
            prop_assert_eq!(list.bytes(), extents.iter().map(|e| e.range.size()).sum::<u64>());
            prop_assert_eq!(list.ranges().map(|r| r.size()).sum::<u64>(), list.bytes());
        }

        #[test]
        fn without_takes_out_exactly_the_holes(extents in arbitrary_extents(), holes in arbitrary_extents()) {
            let list = list_of(&extents);
            let holes: Vec<_> = holes.iter().map(|e| e.range).collect();
            let rest = list.without(&holes);
            let overlap: u64 = extents.iter()
                .flat_map(|e| holes.iter().filter_map(|h| e.range.intersection(h)))
                .map(|r| r.size()).sum();
            prop_assert_eq!(rest.bytes(), list.bytes() - overlap);
            for extent in rest.iter() {
                prop_assert!(holes.iter().all(|h| h.intersection(&extent.range).is_none()));
            }
        }
    }

    #[test]
    fn neighbours_join_only_inside_a_region() {
        let mut list = ExtentList::new(4096);
        list.push(extent(0, 1, Content::Bytes), true);
        list.push(extent(1, 1, Content::Bytes), false);
        list.push(extent(2, 1, Content::Bytes), true);
        list.push(extent(3, 1, Content::Zeros), false);
        assert_eq!(list.iter().count(), 3);
        assert_eq!(list.ranges().count(), 1);
        assert_eq!(list.content_bytes(), 3 * 4096);
    }

    #[test]
    fn a_checkerboard_costs_two_bytes_an_extent() {
        let mut list = ExtentList::new(4096);
        for page in 0..100_000 {
            list.push(extent(page * 2, 1, Content::Bytes), false);
        }
        assert!(list.encoded.len() <= 2 * 100_000);
    }
}
