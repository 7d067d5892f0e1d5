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

/// An extent and where a dump's file holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedExtent {
    /// The extent.
    pub extent: Extent,
    /// Bytes of memory that lie before it in the file.
    pub offset: u64,
}

/// The memory that a dump holds: extents that do not overlap, in *file order*, which is that of their bytes in the
/// file.
///
/// Whoever copies a process that stands still goes by rising address, and then file order is address order
/// ([`is_rising`](Self::is_rising)). Whoever copies one that goes on meanwhile does not know all pages when the first
/// are written, and adds what comes up later behind them, wherever its addresses are.
///
/// Kept as variable-length differences, about two to four bytes an extent, so that even a target whose every other
/// page is present costs effigy a thousandth of the target's size or less.
#[derive(Clone, Debug)]
pub struct ExtentList {
    page_size: u64,
    encoded: Vec<u8>,
    last: Option<Extent>,
    /// Where the last encoded extent ends.
    end: u64,
    bytes: u64,
    content_bytes: u64,
    rising: bool,
}

impl ExtentList {
    /// An empty list for a target with pages of `page_size` bytes, a power of two.
    ///
    /// # Panics
    /// When `page_size` is not a power of two.
    #[must_use]
    pub fn new(page_size: u64) -> Self {
        assert!(page_size.is_power_of_two(), "a page size is a power of two");
        Self { page_size, encoded: Vec::new(), last: None, end: 0, bytes: 0, content_bytes: 0, rising: true }
    }

    /// Adds an extent whose addresses are behind those of the one that was added last. Empty ones are ignored; one that
    /// continues the last with the same content and without a `boundary` (the start of a region) between the two is
    /// joined to it.
    ///
    /// # Panics
    /// When the extent is not page aligned or its addresses are not behind those of the last.
    pub fn push(&mut self, extent: Extent, boundary: bool) {
        let behind = self.last.is_none_or(|last| last.range.end() <= extent.range.start());
        assert!(behind || extent.range.is_empty(), "extent {} is out of order", extent.range);
        self.push_anywhere(extent, boundary);
    }

    /// Adds an extent whose bytes lie behind all others in the file and whose addresses may be anywhere, as long as no
    /// other has any of them: that is the caller's duty, and not checked. Otherwise as [`push`](Self::push).
    ///
    /// # Panics
    /// When the extent is not page aligned.
    pub fn push_anywhere(&mut self, extent: Extent, boundary: bool) {
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
                    self.rising &= last.range.end().0 <= start;
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

    /// Whether the extents are in address order as well.
    #[must_use]
    pub fn is_rising(&self) -> bool {
        self.rising
    }

    /// The extents in file order.
    #[must_use]
    pub fn iter(&self) -> Extents<'_> {
        Extents { page_size: self.page_size, encoded: &self.encoded, end: 0, last: self.last }
    }

    /// The extents by rising address. Where that is not file order they are collected and sorted, which takes 32 bytes
    /// of effigy's own memory for each.
    pub fn by_address(&self) -> impl Iterator<Item = PlacedExtent> + '_ {
        let placed = self.iter().scan(0, |next, extent| {
            let offset = *next;
            *next += extent.range.size();
            Some(PlacedExtent { extent, offset })
        });
        let (streamed, sorted) = if self.rising {
            (Some(placed), None)
        } else {
            let mut sorted: Vec<_> = placed.collect();
            // The stable sort makes use of the runs in which such a list comes.
            sorted.sort_by_key(|placed| placed.extent.range.start());
            (None, Some(sorted))
        };
        streamed.into_iter().flatten().chain(sorted.into_iter().flatten())
    }

    /// Extents joined that are neighbours both in the file and in address, whatever their content and region, in file
    /// order: the memory ranges of a minidump.
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
    ///
    /// # Panics
    /// When the extents are not in address order.
    #[must_use]
    pub fn without(&self, holes: &[AddressRange]) -> Self {
        assert!(self.rising, "holes are only taken out of extents in address order");
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
        // Modulo 2^64, so that a difference of more than half the address space comes back right too.
        let gap = extent.range.start().0.wrapping_sub(self.end).cast_signed() >> self.page_size.trailing_zeros();
        let pages = extent.range.size() / self.page_size;
        put_varint(&mut self.encoded, zigzag(gap));
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
        let gap = unzigzag(take_varint(&mut self.encoded));
        let pages = take_varint(&mut self.encoded);
        let content = if pages & 1 == 0 { Content::Bytes } else { Content::Zeros };
        let start = self.end.wrapping_add((gap << self.page_size.trailing_zeros()).cast_unsigned());
        self.end = start + (pages >> 1) * self.page_size;
        Some(Extent { range: AddressRange::new(Address(start), Address(self.end)), content })
    }
}

/// Numbers of small magnitude as small numbers, whatever their sign: 0, -1, 1, -2, … become 0, 1, 2, 3, …
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// The opposite of [`zigzag`].
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
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

    fn shuffled_extents() -> impl Strategy<Value = Vec<Extent>> {
        arbitrary_extents().prop_shuffle()
    }

    fn list_of(extents: &[Extent]) -> ExtentList {
        let mut list = ExtentList::new(4096);
        for extent in extents {
            list.push(*extent, true);
        }
        list
    }

    fn list_anywhere(extents: &[Extent]) -> ExtentList {
        let mut list = ExtentList::new(4096);
        for extent in extents {
            list.push_anywhere(*extent, true);
        }
        list
    }

    proptest! {
        #[test]
        fn gives_back_what_was_pushed_anywhere(extents in shuffled_extents()) {
            let list = list_anywhere(&extents);
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), extents.clone());
            prop_assert_eq!(list.bytes(), extents.iter().map(|e| e.range.size()).sum::<u64>());
            prop_assert_eq!(list.ranges().map(|r| r.size()).sum::<u64>(), list.bytes());
            prop_assert_eq!(list.is_rising(), extents.is_sorted_by_key(|extent| extent.range));
        }

        #[test]
        fn by_address_is_each_extent_with_its_place(extents in shuffled_extents()) {
            let list = list_anywhere(&extents);
            let placed: Vec<_> = list.by_address().collect();
            prop_assert!(placed.is_sorted_by_key(|placed| placed.extent.range));
            let mut again = placed;
            again.sort_by_key(|placed| placed.offset);
            prop_assert_eq!(again.iter().map(|placed| placed.extent).collect::<Vec<_>>(), extents);
            let mut end = 0;
            for placed in again {
                prop_assert_eq!(placed.offset, end);
                end += placed.extent.range.size();
            }
            prop_assert_eq!(end, list.bytes());
        }

        #[test]
        fn zigzag_loses_nothing(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

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
    fn neighbours_join_only_where_the_file_has_them_one_behind_the_other() {
        let mut list = ExtentList::new(4096);
        for page in [5, 6, 4, 7, 8] {
            list.push_anywhere(extent(page, 1, Content::Bytes), false);
        }
        assert_eq!(list.iter().map(|extent| extent.range.start().0 >> 12).collect::<Vec<_>>(), [5, 4, 7]);
        assert_eq!(list.ranges().count(), 3);
        assert!(!list.is_rising());
        assert_eq!(list.by_address().map(|placed| placed.offset >> 12).collect::<Vec<_>>(), [2, 0, 3]);
    }

    #[test]
    fn the_ends_of_the_address_space_are_as_good_as_its_middle() {
        let top = Extent {
            range: AddressRange::new(Address(u64::MAX - 0x1fff), Address(u64::MAX - 0xfff)),
            content: Content::Bytes,
        };
        let pushed =
            [top, extent(0, 1, Content::Zeros), extent(1 << 51, 1, Content::Bytes), extent(1, 1, Content::Zeros)];
        assert_eq!(list_anywhere(&pushed).iter().collect::<Vec<_>>(), pushed);
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn push_goes_up_only() {
        let mut list = ExtentList::new(4096);
        list.push(extent(2, 2, Content::Bytes), true);
        list.push(extent(3, 2, Content::Bytes), true);
    }

    #[test]
    #[should_panic(expected = "address order")]
    fn holes_need_address_order() {
        let _ = list_anywhere(&[extent(2, 1, Content::Bytes), extent(0, 1, Content::Bytes)]).without(&[]);
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
