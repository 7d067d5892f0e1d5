//! Regions: what `/proc/PID/maps` or Windows said of the address space.

use bstr::ByteSlice;
use effigy_process::{Address, AddressRange, PageKind, PageState, Region, Sharing, WindowsPages};

use super::{Dump, ReadError};
use crate::minidump::layout::{MemoryInfo, memory, stream};

impl Dump {
    /// The regions by rising address: those of `/proc/PID/maps` where the dump has it, as it knows names, else those of
    /// Windows.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn process_regions(&self) -> Result<Vec<Region>, ReadError> {
        let mut regions: Vec<Region> = match self.kernel_file(stream::LINUX_MAPS)? {
            Some(maps) => maps.lines().filter_map(Region::from_maps_line).collect(),
            None => Vec::new(),
        };
        if regions.is_empty() {
            regions = self.memory_info()?.unwrap_or_default().iter().filter_map(region).collect();
        }
        regions.sort_by_key(|region| region.range.start());
        Ok(regions)
    }
}

/// A region of Windows; `None` for a free one.
fn region(raw: &MemoryInfo) -> Option<Region> {
    let state = match raw.state.get() {
        memory::COMMIT => PageState::Commit,
        memory::FREE => return None,
        _ => PageState::Reserve,
    };
    let kind = match raw.kind.get() {
        memory::IMAGE => Some(PageKind::Image),
        memory::MAPPED => Some(PageKind::Mapped),
        memory::PRIVATE => Some(PageKind::Private),
        _ => None,
    };
    let protection = raw.protection.get();
    Some(Region {
        range: AddressRange::sized(Address(raw.base.get()), raw.size.get()),
        protection: WindowsPages::rights(protection),
        sharing: if kind == Some(PageKind::Mapped) { Sharing::Shared } else { Sharing::Private },
        windows: Some(WindowsPages {
            state,
            kind,
            protection,
            allocation_base: Address(raw.allocation_base.get()),
            allocation_protection: raw.allocation_protection.get(),
        }),
        ..Region::default()
    })
}
