//! Which entry of a section is for an address: the table that the linker sorted, or one of our own.

use std::collections::HashMap;

use effigy_process::ByteOrder;
use gimli::{BaseAddresses, CieOrFde, CommonInformationEntry, UnwindSection};

use super::section::Slice;

/// An entry, and the image addresses that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FdeRange {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) entry: usize,
}

/// The table in `.eh_frame_hdr` (LSB Core, chapter 10.6.2), in the one encoding that linkers write: the number of
/// entries as four bytes, and pairs of four bytes relative to the section, sorted.
pub(super) struct Header<'b> {
    table: &'b [u8],
    address: u64,
    order: ByteOrder,
}

impl<'b> Header<'b> {
    /// The version, the encoding of the count (`DW_EH_PE_udata4`) and that of the table (`DW_EH_PE_datarel` with
    /// `DW_EH_PE_sdata4`).
    const VERSION: u8 = 1;
    const COUNT: u8 = 0x03;
    const TABLE: u8 = 0x3b;
    /// Bytes before the table where the pointer to `.eh_frame` takes four.
    const BEFORE: usize = 12;
    const PAIR: usize = 8;

    /// `None` for other encodings and for a table without entries: then the section itself has to be read.
    pub(super) fn parse(bytes: &'b [u8], address: u64, order: ByteOrder) -> Option<Self> {
        let head = bytes.first_chunk::<4>()?;
        // The lower half of the pointer's encoding is its size: 3 and 11 are four bytes.
        let expected = head[0] == Self::VERSION
            && matches!(head[1] & 0x0f, 0x03 | 0x0b)
            && head[2] == Self::COUNT
            && head[3] == Self::TABLE;
        let count = usize::try_from(order.half(bytes.get(8..12)?)?).ok().filter(|count| expected && *count > 0)?;
        let table = bytes.get(Self::BEFORE..)?;
        let size = count.checked_mul(Self::PAIR)?.min(table.len() / Self::PAIR * Self::PAIR);
        Some(Self { table: &table[..size], address, order })
    }

    /// The image address of the entry whose code begins at or below an address.
    pub(super) fn entry(&self, address: u64) -> Option<u64> {
        let (mut low, mut high) = (0, self.table.len() / Self::PAIR);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.pair(middle)?.0 <= address { low = middle + 1 } else { high = middle }
        }
        Some(self.pair(low.checked_sub(1)?)?.1)
    }

    fn pair(&self, index: usize) -> Option<(u64, u64)> {
        let bytes = self.table.get(index * Self::PAIR..)?;
        let place = |bytes| self.order.half(bytes).map(|value| self.relative(value));
        Some((place(bytes)?, place(&bytes[4..])?))
    }

    fn relative(&self, value: u32) -> u64 {
        self.address.wrapping_add_signed(i64::from(value.cast_signed()))
    }
}

/// All entries of a section, by rising address. What follows a damaged entry cannot be found and is left out.
pub(super) fn sorted<'b, S: UnwindSection<Slice<'b>>>(
    section: &S,
    bytes: &[u8],
    order: ByteOrder,
    bases: &BaseAddresses,
) -> Vec<FdeRange> {
    let mut ranges = Vec::new();
    let mut heads = Heads { known: HashMap::new(), budget: bytes.len(), bytes, order };
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        match entry {
            CieOrFde::Cie(head) => {
                heads.known.insert(head.offset(), Ok(head));
            }
            CieOrFde::Fde(partial) => {
                let fde = partial.parse(|section, bases, offset| heads.get(section, bases, offset));
                if let Ok(fde) = fde
                    && fde.initial_address() < fde.end_address()
                {
                    let (start, end) = (fde.initial_address(), fde.end_address());
                    ranges.push(FdeRange { start, end, entry: fde.offset() });
                }
            }
        }
    }
    ranges.sort_unstable();
    ranges
}

/// The entries that others share, each parsed once. What lies elsewhere than in its turn costs of a budget: else
/// entries that overlap could be read again and again.
struct Heads<'a, 'b> {
    known: HashMap<usize, gimli::Result<CommonInformationEntry<Slice<'b>>>>,
    budget: usize,
    bytes: &'a [u8],
    order: ByteOrder,
}

impl<'b> Heads<'_, 'b> {
    fn get<S: UnwindSection<Slice<'b>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        offset: S::Offset,
    ) -> gimli::Result<CommonInformationEntry<Slice<'b>>> {
        let at: usize = gimli::UnwindOffset::into(offset);
        if let Some(head) = self.known.get(&at) {
            return head.clone();
        }
        let length = self.bytes.get(at..).and_then(|bytes| self.order.half(bytes)).unwrap_or(0);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.bytes.len());
        self.budget = self.budget.checked_sub(length).ok_or(gimli::Error::NoUnwindInfoForAddress)?;
        let head = section.cie_from_offset(bases, offset);
        self.known.insert(at, head.clone());
        head
    }
}
