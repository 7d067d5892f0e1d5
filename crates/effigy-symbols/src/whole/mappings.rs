//! What a process says of its mappings, as far as it bears on whether they are as in the file.

use bstr::ByteSlice;
use effigy_process::{AddressRange, CapturedMemory, Module, PageKind, Process, Protection, Region, Sharing};

use crate::image::ImageKind;

/// The mappings of a process.
pub(super) struct Mappings<'a> {
    process: &'a Process,
    dump: &'a dyn CapturedMemory,
    /// Whether the process's list has names at all: of those of some dumps nothing is known but what may be done with them.
    is_named: bool,
}

impl<'a> Mappings<'a> {
    pub(super) fn of(process: &'a Process, dump: &'a dyn CapturedMemory) -> Self {
        let is_named = process.regions.iter().any(|region| !region.name.is_empty());
        Self { process, dump, is_named }
    }

    /// The parts of a range in which a module's file is mapped as it is: `offset` is where the range's first byte should
    /// lie in the file. Where a dump lists no mappings, that is taken to be everywhere.
    pub(super) fn of_file(
        &self,
        module: &Module,
        kind: ImageKind,
        range: AddressRange,
        offset: u64,
    ) -> Vec<AddressRange> {
        let regions = &self.process.regions;
        if regions.is_empty() {
            return vec![range];
        }
        let first = regions.partition_point(|region| region.range.end() <= range.start());
        let overlapping =
            regions[first..].iter().map_while(|region| Some((region, region.range.intersection(&range)?)));
        let as_in_file = overlapping.filter(|(region, part)| {
            let offset = offset.wrapping_add(part.start().0 - range.start().0);
            self.is_of_file(region, module, kind, *part, offset) && self.is_unchanged(region)
        });
        as_in_file.map(|(_, part)| part).collect()
    }

    /// Whether a region maps a module's file so that `part` shows what lies at `offset`.
    fn is_of_file(&self, region: &Region, module: &Module, kind: ImageKind, part: AddressRange, offset: u64) -> bool {
        if region.protection.contains(Protection::WRITE) {
            return false;
        }
        if let Some(windows) = region.windows
            && region.name.is_empty()
        {
            return windows.kind == Some(PageKind::Image);
        }
        if !self.is_named {
            return true;
        }
        let is_module = region.path().0.as_bytes() == module.path.as_bytes();
        let is_there = kind != ImageKind::Elf
            || region.offset.checked_add(part.start().0 - region.range.start().0) == Some(offset);
        is_module && is_there && region.sharing == Sharing::Private
    }

    /// Whether a process has not written to a region, or the dump holds what it has written: as much, at least, as it has
    /// copies of. A debugger's breakpoints are such copies.
    fn is_unchanged(&self, region: &Region) -> bool {
        let copies = region.copied_on_write().unwrap_or(0);
        if copies == 0 {
            return true;
        }
        let held = self.dump.captured_from(region.range.start()).iter();
        let held = held.map_while(|captured| captured.range.intersection(&region.range)).map(|part| part.size());
        held.fold(0, u64::saturating_add) >= copies
    }
}
