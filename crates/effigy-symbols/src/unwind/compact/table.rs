//! The table of `__unwind_info`, of two levels: an index of pages, and in each page the functions by rising offset.

use std::sync::Arc;

use effigy_process::ByteOrder;

use crate::image::{Image, ImageKind};

const VERSION: u32 = 1;
/// Bytes of an entry of the index: offset of the first function, place of its page, place of its exception tables.
const INDEX_ENTRY: usize = 12;
/// `UNWIND_SECOND_LEVEL_REGULAR`: a function is its offset and its encoding.
const REGULAR: u32 = 2;
/// `UNWIND_SECOND_LEVEL_COMPRESSED`: a function is 24 bits of its offset into the page and the number of its encoding.
const COMPRESSED: u32 = 3;

/// The compact unwind information of an image.
pub(in crate::unwind) struct CompactTable {
    image: Arc<Image>,
    bytes: Vec<u8>,
}

/// What the table says of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Offset of its first byte into the image.
    pub(super) function: u64,
    pub(super) encoding: u32,
}

impl CompactTable {
    /// That of a Mach-O image.
    pub(in crate::unwind) fn of_image(image: &Arc<Image>) -> Option<Self> {
        let suits = image.kind() == ImageKind::MachO && image.byte_order() == ByteOrder::Little;
        let bytes = image.data(".unwind_info").filter(|bytes| suits && !bytes.is_empty())?.to_vec();
        Some(Self { image: Arc::clone(image), bytes })
    }

    /// The entry for an offset into the image; `None` where the table says nothing of it.
    pub(super) fn entry(&self, offset: u64) -> Option<Entry> {
        let offset = u32::try_from(offset).ok()?;
        let header: [u32; 7] = self.words(0)?;
        let [version, common_at, common, _, _, index_at, index] = header;
        if version != VERSION {
            return None;
        }
        let (common_at, common) = (index_of(common_at)?, index_of(common)?);
        let (index_at, count) = (index_of(index_at)?, index_of(index)?);
        // The last entry is but the end of the code.
        let at = |place: usize| self.words::<3>(index_at.checked_add(place.checked_mul(INDEX_ENTRY)?)?);
        let found = last_at_or_below(offset, count.checked_sub(1)?, |place| Some(at(place)?[0]))?;
        let [first, page, _] = at(found)?;
        let [end, ..] = at(found + 1)?;
        let page = index_of(page).filter(|page| *page != 0 && offset < end)?;
        let [kind] = self.words(page)?;
        match kind {
            REGULAR => self.regular(page, offset),
            COMPRESSED => self.compressed(page, first, offset, (common_at, common)),
            _ => None,
        }
        .filter(|entry| entry.encoding != 0)
    }

    fn regular(&self, page: usize, offset: u32) -> Option<Entry> {
        let list = page.checked_add(self.half(page.checked_add(4)?)?)?;
        let count = self.half(page.checked_add(6)?)?;
        let at = |place: usize| self.words::<2>(list.checked_add(place * 8)?);
        let found = last_at_or_below(offset, count, |place| Some(at(place)?[0]))?;
        let [function, encoding] = at(found)?;
        Some(Entry { function: function.into(), encoding })
    }

    /// `common` is the place of the encodings that all pages share, and how many these are.
    fn compressed(&self, page: usize, first: u32, offset: u32, common: (usize, usize)) -> Option<Entry> {
        let list = page.checked_add(self.half(page.checked_add(4)?)?)?;
        let count = self.half(page.checked_add(6)?)?;
        let own = page.checked_add(self.half(page.checked_add(8)?)?)?;
        let own_count = self.half(page.checked_add(10)?)?;
        let word = |place: usize| Some(self.words::<1>(list.checked_add(place * 4)?)?[0]);
        let into = offset.checked_sub(first)?;
        let found = last_at_or_below(into, count, |place| Some(word(place)? & 0x00ff_ffff))?;
        let word = word(found)?;
        let number = index_of(word >> 24)?;
        let at = match number.checked_sub(common.1) {
            None => common.0.checked_add(number * 4)?,
            Some(number) if number < own_count => own.checked_add(number * 4)?,
            Some(_) => return None,
        };
        let [encoding] = self.words(at)?;
        Some(Entry { function: u64::from(first) + u64::from(word & 0x00ff_ffff), encoding })
    }

    /// Four bytes of a function's code.
    pub(super) fn code_word(&self, function: u64, into: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        let at = self.image.base().checked_add(function)?.checked_add(into)?;
        (self.image.read(at, &mut bytes)? == bytes.len()).then(|| u32::from_le_bytes(bytes))
    }

    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        let bytes = self.bytes.get(at..at.checked_add(4 * N)?)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Some(words)
    }

    fn half(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_le_bytes(*bytes).into())
    }
}

fn index_of(word: u32) -> Option<usize> {
    usize::try_from(word).ok()
}

/// Of `count` numbers that rise, the place of the last that is not above `wanted`.
fn last_at_or_below(wanted: u32, count: usize, at: impl Fn(usize) -> Option<u32>) -> Option<usize> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if at(middle)? <= wanted { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1)
}
