//! Call frame information of an image of which there is no file: `.eh_frame` is loaded, and the program headers tell
//! where (`PT_GNU_EH_FRAME`).

use std::sync::OnceLock;

use effigy_process::{AddressRange, Memory, Process};

use super::super::loaded::{PT_LOAD, read, segments};
use super::section::{CfiSection, Kind, SectionBytes};

const PT_GNU_EH_FRAME: u32 = 0x6474_e550;

/// `DW_EH_PE_pcrel` with `DW_EH_PE_sdata4`, as linkers write the pointer to `.eh_frame`.
const POINTER: u8 = 0x1b;

impl CfiSection {
    /// The `.eh_frame` of the image that is loaded at `range`. Its addresses are those of the process.
    pub(in crate::unwind) fn in_memory(range: AddressRange, process: &Process, memory: &dyn Memory) -> Option<Self> {
        let order = process.byte_order;
        let segments = segments(range, order, memory)?;
        let header = segments.iter().find(|segment| segment.kind == PT_GNU_EH_FRAME)?;
        let header_at = header.address;
        let header_bytes = read(memory, header_at, header.size);
        if header_bytes.get(1) != Some(&POINTER) {
            return None;
        }
        let relative = order.half(header_bytes.get(4..8)?)?.cast_signed();
        let address = header_at.checked_add(4)?.wrapping_add_signed(i64::from(relative));
        let loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
        let mut within = loaded.filter_map(|segment| {
            segment.size.checked_sub(address.checked_sub(segment.address)?).filter(|left| *left > 0)
        });
        let bytes = read(memory, address, within.next()?);
        Some(Self {
            kind: Kind::EhFrame,
            bytes: SectionBytes::Owned(bytes),
            address,
            base: range.start().0,
            text: None,
            got: None,
            header: Some((SectionBytes::Owned(header_bytes), header_at)),
            order,
            architecture: process.architecture,
            sorted: OnceLock::new(),
        })
    }
}
