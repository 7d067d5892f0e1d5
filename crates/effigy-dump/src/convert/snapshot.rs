//! An opened dump as a snapshot: what was captured is what there is.

use std::io::{self, Read};

use bstr::ByteSlice;
use effigy_formats::OpenedDump;
use effigy_process::{
    Address, AddressRange, CapturedMemory, Gap, Memory, Module, NotRead, PageClass, PageRun, Process, Protection,
    Region, RegionUsage, Sharing, Snapshot, WindowsPages, stack,
};

/// Page sizes that are believed, in bytes: what a dump says of itself may be nonsense.
const PAGE_SIZES: std::ops::RangeInclusive<u64> = 512..=1 << 24;

/// An opened dump as a snapshot.
///
/// Its process is that of the dump, completed so that memory can be selected as from a live one: regions do not overlap,
/// memory that lies in none has one, and threads of cores have stacks. [`described`](Self::described) is without made-up
/// regions.
#[derive(Debug)]
pub struct DumpSnapshot<'a> {
    dump: &'a OpenedDump,
    process: Process,
    /// First addresses of the regions that the dump does not list, in rising order.
    made_up: Vec<Address>,
    grain: u64,
}

impl<'a> DumpSnapshot<'a> {
    /// A snapshot of what a dump holds.
    #[must_use]
    pub fn new(dump: &'a OpenedDump) -> Self {
        let mut process = dump.process.clone();
        let page = process.system.page_size;
        if !page.is_power_of_two() || !PAGE_SIZES.contains(&page) {
            process.system.page_size = process.architecture.usual_page_size();
        }
        process.regions = disjoint(process.regions);
        let made_up = cover(&mut process.regions, dump.memory.captured().iter().map(|captured| captured.range));
        for region in &mut process.regions {
            let may_hold = !region.protection.is_empty() || region.windows.is_some_and(may_be_used);
            // What was resident then says nothing of what the dump holds; see `described`.
            (region.resident, region.swapped) = (may_hold.then_some(region.range.size()), None);
        }
        complete_stacks(&mut process);
        let grain = grain(&process, dump.memory.captured().iter().map(|captured| captured.range));
        Self { dump, process, made_up, grain }
    }

    /// The same snapshot with further images, of which a small dump is to hold as much as of modules.
    #[must_use]
    pub fn with_images(mut self, images: &[AddressRange]) -> Self {
        self.process.modules.extend(images.iter().map(|range| Module { range: *range, ..Module::default() }));
        self.process.modules.sort_by_key(|module| module.range.start());
        self
    }

    /// A process as it is to be described in a dump: without the regions that the dump does not list, and with what the dump
    /// tells of their memory. `process` is the snapshot's, or made from it.
    #[must_use]
    pub fn described(&self, process: &Process) -> Process {
        let mut described = process.clone();
        described.regions.retain(|region| self.made_up.binary_search(&region.range.start()).is_err());
        let before = &self.dump.process.regions;
        for region in &mut described.regions {
            let same = before.binary_search_by_key(&region.range.start(), |before| before.range.start());
            let same = same.ok().and_then(|index| before.get(index)).filter(|before| before.range == region.range);
            (region.resident, region.swapped) = same.map_or((None, None), |same| (same.resident, same.swapped));
        }
        described
    }

    /// The class that pages of a region have. A dump does not tell what was written to; what may have been counts.
    fn class(&self, region: &Region) -> PageClass {
        if region.is_shared() || region.usage() == RegionUsage::SharedMemory {
            return PageClass::Shared;
        }
        let unwritten = region.usage() == RegionUsage::File
            && !region.protection.contains(Protection::WRITE)
            && !self.was_writable(region);
        if unwritten { PageClass::File } else { PageClass::Private }
    }

    /// Whether a region may have been written to before it was protected: the dynamic linker does so with tables of
    /// addresses (RELRO), which lie just before an image's data.
    fn was_writable(&self, region: &Region) -> bool {
        let next = self.process.region_at(region.range.end());
        !region.protection.contains(Protection::EXECUTE)
            && next.is_some_and(|next| {
                next.range.start() == region.range.end()
                    && next.name == region.name
                    && next.sharing == Sharing::Private
                    && next.protection.contains(Protection::WRITE)
            })
    }
}

/// Whether Windows may have something behind a region.
fn may_be_used(windows: WindowsPages) -> bool {
    windows.state == effigy_process::PageState::Commit
}

impl Snapshot for DumpSnapshot<'_> {
    fn process(&self) -> &Process {
        &self.process
    }

    fn grain(&self) -> u64 {
        self.grain
    }

    fn is_dump(&self) -> bool {
        true
    }

    fn scan(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> io::Result<Vec<Gap>> {
        let class = self.class(region);
        let captured = self.dump.memory.captured_from(region.range.start()).iter().map(|captured| captured.range);
        let mut parts = captured.map_while(|captured| captured.intersection(&region.range)).peekable();
        while let Some(mut range) = parts.next() {
            while let Some(next) = parts.next_if(|next| next.start() == range.end()) {
                range = AddressRange::new(range.start(), next.end());
            }
            visit(PageRun { range, class });
        }
        Ok(Vec::new())
    }

    fn read(&self, _region: &Region, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        self.dump.memory.read(address, buffer)
    }

    fn try_again_at(&self, address: Address) -> Option<Address> {
        self.dump.memory.try_again_at(address)
    }

    fn open_image(&self, module: &Module) -> io::Result<Box<dyn Read + Send>> {
        let name = module.path.as_bstr();
        Err(io::Error::new(io::ErrorKind::NotFound, format!("a dump does not hold the image file of {name}")))
    }
}

/// Regions by rising address of which none covers what another does: the one that begins first keeps it.
fn disjoint(mut regions: Vec<Region>) -> Vec<Region> {
    regions.sort_by_key(|region| region.range.start());
    let mut end = Address(0);
    regions.retain_mut(|region| {
        let start = region.range.start().max(end);
        region.offset = region.offset.saturating_add(start.0 - region.range.start().0);
        region.range = AddressRange::new(start, region.range.end());
        end = end.max(region.range.end());
        !region.range.is_empty()
    });
    regions
}

/// Adds regions for what of `captured`, which is by rising address, lies in none, and gives their first addresses.
fn cover(regions: &mut Vec<Region>, captured: impl Iterator<Item = AddressRange>) -> Vec<Address> {
    let mut bare = Vec::new();
    let mut known = regions.iter().peekable();
    for range in captured {
        let mut start = range.start();
        while start < range.end() {
            while known.next_if(|region| region.range.end() <= start).is_some() {}
            let next = known.peek().map_or(range.end(), |region| region.range.start()).min(range.end());
            if start < next {
                bare.push(AddressRange::new(start, next));
            }
            start = known.peek().map_or(range.end(), |region| region.range.end().max(next));
        }
    }
    let made = |range: &AddressRange| Region { range: *range, protection: Protection::READ, ..Region::default() };
    regions.extend(bare.iter().map(made));
    regions.sort_by_key(|region| region.range.start());
    bare.iter().map(AddressRange::start).collect()
}

/// Cores do not say where stacks are, and minidumps only of those that they hold.
fn complete_stacks(process: &mut Process) {
    let (regions, page) = (&process.regions, process.system.page_size);
    for thread in &mut process.threads {
        if let (None, Ok(registers)) = (thread.stack, &thread.registers) {
            thread.stack = stack::used_part(registers, regions, page);
        }
    }
}

/// The greatest power of two, up to a page, of which all bounds are multiples.
fn grain(process: &Process, captured: impl Iterator<Item = AddressRange>) -> u64 {
    let regions = process.regions.iter().map(|region| region.range);
    let bits = captured.chain(regions).fold(0, |bits, range| bits | range.start().0 | range.end().0);
    process.system.page_size.min(1 << bits.trailing_zeros().min(63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> AddressRange {
        AddressRange::new(Address(start), Address(end))
    }

    fn region(start: u64, end: u64) -> Region {
        Region { range: range(start, end), ..Region::default() }
    }

    fn bounds(regions: &[Region]) -> Vec<(u64, u64)> {
        regions.iter().map(|region| (region.range.start().0, region.range.end().0)).collect()
    }

    #[test]
    fn regions_are_taken_apart() {
        let regions = disjoint(vec![region(20, 30), region(10, 25), region(12, 14)]);
        assert_eq!(bounds(&regions), [(10, 25), (25, 30)]);
        assert_eq!(regions[1].offset, 5);
    }

    #[test]
    fn memory_outside_regions_gets_one() {
        let mut regions = vec![region(10, 20), region(30, 40), region(50, 60)];
        let captured = [range(5, 12), range(15, 35), range(38, 52), range(60, 61)];
        let made_up = cover(&mut regions, captured.into_iter());
        assert_eq!(made_up, [5, 20, 40, 60].map(Address));
        assert_eq!(bounds(&regions), [(5, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60), (60, 61)]);
        let mut none = Vec::new();
        assert_eq!(cover(&mut none, captured.into_iter()).len(), 4);
    }

    #[test]
    fn the_grain_divides_every_bound() {
        let mut process = Process::default();
        process.system.page_size = 4096;
        assert_eq!(grain(&process, [range(0x1000, 0x3000)].into_iter()), 4096);
        assert_eq!(grain(&process, [range(0x1000, 0x3010)].into_iter()), 16);
        assert_eq!(grain(&process, [range(1, u64::MAX)].into_iter()), 1);
        assert_eq!(grain(&process, std::iter::empty()), 4096);
    }
}
