//! A section of call frame information, and the way from an address to its row.

use std::sync::{Arc, OnceLock};

use effigy_process::{Architecture, ByteOrder};
use gimli::{BaseAddresses, DebugFrame, EhFrame, EndianSlice, RunTimeEndian, UnwindContext, UnwindSection, Vendor};

use super::index::{FdeRange, Header, sorted};
use super::row::Row;
use crate::image::Image;

pub(super) type Slice<'b> = EndianSlice<'b, RunTimeEndian>;

/// The longest entry that is interpreted, in bytes: it bounds the work for a frame.
const LONGEST_ENTRY: usize = 64 << 10;

/// Bytes of a section.
pub(super) enum SectionBytes {
    Image(Arc<Image>, &'static str),
    Owned(Vec<u8>),
}

impl SectionBytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Image(image, name) => image.data(name).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Which of the two kinds of section it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    EhFrame,
    DebugFrame,
}

/// The call frame information of a module, from one section.
pub(in crate::unwind) struct CfiSection {
    pub(super) kind: Kind,
    pub(super) bytes: SectionBytes,
    /// The image address of the section's first byte.
    pub(super) address: u64,
    /// The image address of the module's start.
    pub(super) base: u64,
    /// The image addresses of `.text` and `.got`, to which addresses in the section may be relative.
    pub(super) text: Option<u64>,
    pub(super) got: Option<u64>,
    /// `.eh_frame_hdr` and its image address: a table sorted by the linker.
    pub(super) header: Option<(SectionBytes, u64)>,
    pub(super) order: ByteOrder,
    pub(super) architecture: Architecture,
    /// Made where there is no header.
    pub(super) sorted: OnceLock<Vec<FdeRange>>,
}

impl CfiSection {
    /// The `.eh_frame` of an image.
    pub(in crate::unwind) fn eh_frame(image: &Arc<Image>) -> Option<Self> {
        let mut section = Self::of(image, ".eh_frame", Kind::EhFrame)?;
        let header = image.section(".eh_frame_hdr").filter(|header| header.size > 0);
        section.header = header.map(|header| (SectionBytes::Image(Arc::clone(image), ".eh_frame_hdr"), header.address));
        Some(section)
    }

    /// The `.debug_frame` of an image or of a file with debug information.
    pub(in crate::unwind) fn debug_frame(image: &Arc<Image>) -> Option<Self> {
        Self::of(image, ".debug_frame", Kind::DebugFrame)
    }

    fn of(image: &Arc<Image>, name: &'static str, kind: Kind) -> Option<Self> {
        let section = image.section(name)?;
        image.data(name).filter(|bytes| !bytes.is_empty())?;
        let address = |name| image.section(name).map(|section| section.address);
        Some(Self {
            kind,
            bytes: SectionBytes::Image(Arc::clone(image), name),
            address: section.address,
            base: image.base(),
            text: address(".text"),
            got: address(".got"),
            header: None,
            order: image.byte_order(),
            architecture: image.architecture(),
            sorted: OnceLock::new(),
        })
    }

    /// The row for an offset into the module; `None` where there is none, or it is damaged.
    pub(in crate::unwind) fn row(&self, offset: u64, context: &mut UnwindContext<usize>) -> Option<Row> {
        let address = self.base.checked_add(offset)?;
        let bytes = self.bytes.get();
        let entry = self.entry(address)?;
        match self.kind {
            Kind::EhFrame => row_of(&self.gimli_eh(bytes), &self.bases(), entry, address, context),
            Kind::DebugFrame => row_of(&self.gimli_debug(bytes), &self.bases(), entry, address, context),
        }
        .ok()
    }

    /// Where in the section the entry for an address may be.
    fn entry(&self, address: u64) -> Option<usize> {
        if let Some((bytes, at)) = &self.header
            && let Some(header) = Header::parse(bytes.get(), *at, self.order)
        {
            let entry = header.entry(address)?.checked_sub(self.address)?;
            return usize::try_from(entry).ok();
        }
        let list = self.sorted.get_or_init(|| match self.kind {
            Kind::EhFrame => sorted(&self.gimli_eh(self.bytes.get()), self.bytes.get(), self.order, &self.bases()),
            Kind::DebugFrame => {
                sorted(&self.gimli_debug(self.bytes.get()), self.bytes.get(), self.order, &self.bases())
            }
        });
        let after = list.partition_point(|range| range.start <= address);
        let found = list[..after].last().filter(|range| address < range.end)?;
        Some(found.entry)
    }

    fn endian(&self) -> RunTimeEndian {
        match self.order {
            ByteOrder::Little => RunTimeEndian::Little,
            ByteOrder::Big => RunTimeEndian::Big,
        }
    }

    fn address_size(&self) -> u8 {
        if self.architecture.pointer_size() == 4 { 4 } else { 8 }
    }

    fn vendor(&self) -> Vendor {
        if self.architecture == Architecture::Aarch64 { Vendor::AArch64 } else { Vendor::Default }
    }

    fn gimli_eh<'b>(&self, bytes: &'b [u8]) -> EhFrame<Slice<'b>> {
        let mut section = EhFrame::new(bytes, self.endian());
        section.set_address_size(self.address_size());
        section.set_vendor(self.vendor());
        section
    }

    fn gimli_debug<'b>(&self, bytes: &'b [u8]) -> DebugFrame<Slice<'b>> {
        let mut section = DebugFrame::new(bytes, self.endian());
        section.set_address_size(self.address_size());
        section.set_vendor(self.vendor());
        section
    }

    fn bases(&self) -> BaseAddresses {
        let mut bases = BaseAddresses::default().set_eh_frame(self.address);
        if let Some(text) = self.text {
            bases = bases.set_text(text);
        }
        if let Some(got) = self.got {
            bases = bases.set_got(got);
        }
        bases
    }
}

/// The row for an address from the entry at an offset.
fn row_of<'b, S: UnwindSection<Slice<'b>>>(
    section: &S,
    bases: &BaseAddresses,
    entry: usize,
    address: u64,
    context: &mut UnwindContext<usize>,
) -> gimli::Result<Row> {
    let fde = section.fde_from_offset(bases, <S::Offset as From<usize>>::from(entry), S::cie_from_offset)?;
    let too_long = fde.entry_len() > LONGEST_ENTRY || fde.cie().entry_len() > LONGEST_ENTRY;
    if too_long || !fde.contains(address) {
        return Err(gimli::Error::NoUnwindInfoForAddress);
    }
    let row = fde.unwind_info_for_address(section, bases, context, address)?;
    Row::new(row, fde.cie(), section)
}
