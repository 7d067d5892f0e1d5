//! Which memory of a snapshot belongs to a dump.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bstr::ByteSlice;
use effigy_process::{
    Address, AddressRange, Content, Extent, ExtentList, Gap, GapReason, GapSubject, PageClass, Process, Protection,
    Region, RegionFlags, RegionUsage, Snapshot,
};

use crate::kind::{Kind, MinidumpType};
use crate::reference;

/// A group of same-sized private areas that is larger than this many bytes may be left out of a miniplus dump; the
/// figure is ProcDump's.
const LARGE_AREA: u64 = 512 << 20;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The kind.
    pub kind: Kind,
    /// Take memory too that the program excludes with MADV_DONTDUMP.
    pub include_dontdump: bool,
    /// Absent pages of anonymous memory up to this many bytes between present ones are written as zeros (which they
    /// are), so that memory is in fewer pieces. Costs nothing where the file can have holes.
    pub longest_hole: u64,
    /// Bytes of memory that the dump may hold, at most.
    pub most_bytes: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The memory, in address order.
    pub extents: ExtentList,
    /// What is left out, and why.
    pub gaps: Vec<Gap>,
}

/// Why no memory could be selected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A region could not be looked at.
    #[error("looking at the pages of region {region}")]
    Scan {
        /// Its addresses.
        region: AddressRange,
        /// Why.
        source: io::Error,
    },
    /// Even the stacks are more than the limit allows.
    #[error("the stacks alone take {needed} bytes, and the size limit leaves {allowed} for memory")]
    LimitTooSmall {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are allowed.
        allowed: u64,
    },
}

/// Selects memory.
///
/// # Errors
/// See [`SelectError`].
pub fn select(snapshot: &dyn Snapshot, wish: &Wish) -> Result<Selected, SelectError> {
    let process = snapshot.process();
    let mut pages = reference::pages(snapshot, wish.kind);
    let mut left_out = BTreeMap::new();
    if wish.kind == Kind::MiniPlus {
        let sizes = sizes(snapshot, wish, &pages)?;
        left_out.extend(largest_area(process, &sizes, &pages).into_iter().map(|index| (index, GapReason::LargestArea)));
    }
    let mut selected = pass(snapshot, wish, &pages, &left_out)?;
    if let Some(most) = wish.most_bytes
        && selected.extents.content_bytes() > most
    {
        let sizes = sizes(snapshot, wish, &pages)?;
        let mut over = selected.extents.content_bytes() - most;
        // Where a stack's mapping has grown together with others, or is large, the stack itself stays.
        pages.extend(reference::stack_pages(process));
        for (index, size) in by_falling_size(process, &sizes, &left_out) {
            if over == 0 {
                break;
            }
            left_out.insert(index, GapReason::SizeLimit);
            over = over.saturating_sub(size.saturating_sub(staying(process, index, &pages)));
        }
        selected = pass(snapshot, wish, &pages, &left_out)?;
        if selected.extents.content_bytes() > most {
            return Err(SelectError::LimitTooSmall { needed: selected.extents.content_bytes(), allowed: most });
        }
    }
    Ok(selected)
}

/// Bytes of content of each region that belong to the dump.
fn sizes(snapshot: &dyn Snapshot, wish: &Wish, pages: &BTreeSet<Address>) -> Result<BTreeMap<usize, u64>, SelectError> {
    let mut sizes = BTreeMap::new();
    for (index, region) in snapshot.process().regions.iter().enumerate() {
        let mut list = ExtentList::new(snapshot.grain());
        let mut gaps = Vec::new();
        add_region(snapshot, region, wish, pages, &mut list, &mut gaps)?;
        if list.content_bytes() > 0 {
            sizes.insert(index, list.content_bytes());
        }
    }
    Ok(sizes)
}

/// The largest group of same-sized private areas, if it is above the bar. Stacks in use and images' data never count; an
/// area that has grown together with a stack does, and the stack stays.
fn largest_area(process: &Process, sizes: &BTreeMap<usize, u64>, pages: &BTreeSet<Address>) -> Vec<usize> {
    let needed = needed(process);
    let is_stack = |index: usize, bytes: u64| {
        needed.contains(&process.regions[index].range.start()) && staying(process, index, pages) >= bytes / 2
    };
    let mut groups: BTreeMap<u64, (u64, Vec<usize>)> = BTreeMap::new();
    for (&index, &bytes) in sizes {
        let region = &process.regions[index];
        if region.usage() == RegionUsage::Anonymous && !is_stack(index, bytes) {
            let group = groups.entry(region.range.size()).or_default();
            group.0 += bytes;
            group.1.push(index);
        }
    }
    groups
        .into_values()
        .filter(|(bytes, _)| *bytes > LARGE_AREA)
        .max_by_key(|(bytes, _)| *bytes)
        .map(|(_, regions)| regions)
        .unwrap_or_default()
}

/// Bytes of a region that stay when it is left out.
fn staying(process: &Process, index: usize, pages: &BTreeSet<Address>) -> u64 {
    let range = process.regions[index].range;
    pages.range(range.start()..range.end()).count() as u64 * process.system.page_size
}

/// Regions that may be left out to make a dump smaller, largest first; those with stacks in them last.
fn by_falling_size(
    process: &Process,
    sizes: &BTreeMap<usize, u64>,
    left_out: &BTreeMap<usize, GapReason>,
) -> Vec<(usize, u64)> {
    let needed = needed(process);
    let is_needed = |index: usize| needed.contains(&process.regions[index].range.start());
    let mut all: Vec<(usize, u64)> =
        sizes.iter().filter(|(index, _)| !left_out.contains_key(index)).map(|(index, size)| (*index, *size)).collect();
    all.sort_by_key(|(index, size)| (is_needed(*index), std::cmp::Reverse(*size), *index));
    all
}

/// Regions without which a dump would show no stacks, by their first address.
fn needed(process: &Process) -> BTreeSet<Address> {
    let stacks = process.threads.iter().filter_map(|thread| process.region_at(thread.stack?.start()));
    let vdso = process.regions.iter().filter(|region| region.usage() == RegionUsage::Vdso);
    stacks.chain(vdso).map(|region| region.range.start()).collect()
}

/// One pass over all regions.
fn pass(
    snapshot: &dyn Snapshot,
    wish: &Wish,
    pages: &BTreeSet<Address>,
    left_out: &BTreeMap<usize, GapReason>,
) -> Result<Selected, SelectError> {
    let process = snapshot.process();
    let mut selected = Selected { extents: ExtentList::new(snapshot.grain()), gaps: Vec::new() };
    for (index, region) in process.regions.iter().enumerate() {
        if let Some(reason) = left_out.get(&index) {
            selected.gaps.push(gap(region, *reason));
            // A mini dump's part of the region stays: what the stacks point at is worth its few pages.
            let small = Wish { kind: Kind::Mini, ..*wish };
            add_region(snapshot, region, &small, pages, &mut selected.extents, &mut Vec::new())?;
        } else {
            add_region(snapshot, region, wish, pages, &mut selected.extents, &mut selected.gaps)?;
        }
    }
    Ok(selected)
}

fn gap(region: &Region, reason: GapReason) -> Gap {
    Gap { subject: GapSubject::Memory(region.range), reason, detail: region.name.to_str_lossy().into_owned() }
}

/// Why a region is never read, whatever the kind.
fn forbidden(region: &Region, wish: &Wish) -> Option<GapReason> {
    if region.usage() == RegionUsage::KernelData {
        Some(GapReason::KernelData)
    } else if region.flags.contains(RegionFlags::SECRET) {
        Some(GapReason::SecretMemory)
    } else if region.flags.intersects(RegionFlags::IO | RegionFlags::PFN_MAP) {
        Some(GapReason::DeviceMemory)
    } else if region.flags.contains(RegionFlags::DONT_DUMP) && !wish.include_dontdump {
        Some(GapReason::DontDump)
    } else {
        None
    }
}

/// Adds a region's part of the dump.
fn add_region(
    snapshot: &dyn Snapshot,
    region: &Region,
    wish: &Wish,
    pages: &BTreeSet<Address>,
    extents: &mut ExtentList,
    gaps: &mut Vec<Gap>,
) -> Result<(), SelectError> {
    if let Some(reason) = forbidden(region, wish).filter(|_| !snapshot.is_dump()) {
        gaps.push(gap(region, reason));
        return Ok(());
    }
    let mut builder = Builder { region, extents, boundary: true, end: None, longest_hole: wish.longest_hole };
    if region.usage() == RegionUsage::Vdso && !snapshot.is_dump() {
        // The kernel's code for fast calls is part of every dump; reading it adds no page to the target's count.
        builder.add(region.range, Content::Bytes);
        return Ok(());
    }
    let rule = match region.usage() {
        RegionUsage::Vdso => Rule::EVERYTHING,
        _ => Rule::new(snapshot.process(), region, wish.kind),
    };
    let page_size = snapshot.process().system.page_size;
    // Regions of dumps may begin within a page.
    let first = region.range.start().page_floor(page_size);
    let mut wanted = pages.range(first..region.range.end()).copied().peekable();
    if rule == Rule::NOTHING && wanted.peek().is_none() {
        return Ok(());
    }
    let mut guards = Vec::new();
    if rule == Rule::NOTHING {
        return add_pages(snapshot, region, wanted, &mut builder);
    }
    let found = snapshot.scan(region, &mut |run| {
        let content = if run.class == PageClass::Zero { Content::Zeros } else { Content::Bytes };
        if run.class == PageClass::Guard {
            guards.push(run.range);
            builder.end = None;
        } else if rule.takes(run.class) {
            builder.add(run.range, content);
        } else {
            while wanted.next_if(|page| page.saturating_add(page_size) <= run.range.start()).is_some() {}
            // The last of the pages may go on in the next run.
            for page in wanted.clone().take_while(|page| *page < run.range.end()) {
                let part = AddressRange::sized(page, page_size).intersection(&run.range);
                part.into_iter().for_each(|part| builder.add_apart(part, content));
            }
            if builder.end != Some(run.range.end()) {
                builder.end = None;
            }
        }
    });
    let found = found.map_err(|source| SelectError::Scan { region: region.range, source })?;
    gaps.extend(found);
    gaps.extend(guard_gaps(&guards));
    Ok(())
}

/// Adds single pages of a region, as far as they are there. Only they are looked at: the region may be large.
fn add_pages(
    snapshot: &dyn Snapshot,
    region: &Region,
    wanted: impl Iterator<Item = Address>,
    builder: &mut Builder<'_>,
) -> Result<(), SelectError> {
    let page_size = snapshot.process().system.page_size;
    for page in wanted {
        let Some(range) = AddressRange::sized(page, page_size).intersection(&region.range) else { continue };
        let offset = region.offset.saturating_add(range.start().0 - region.range.start().0);
        let only = Region { range, offset, ..region.clone() };
        let scan = snapshot.scan(&only, &mut |run| match run.class {
            PageClass::Guard => builder.end = None,
            PageClass::Zero => builder.add_apart(run.range, Content::Zeros),
            PageClass::Private | PageClass::File | PageClass::Shared => builder.add_apart(run.range, Content::Bytes),
        });
        scan.map_err(|source| SelectError::Scan { region: range, source })?;
    }
    Ok(())
}

/// Guard pages that are listed one by one in a region; a program can have millions of them.
const MOST_GUARDS: usize = 16;

fn guard_gaps(guards: &[AddressRange]) -> Vec<Gap> {
    let gap = |range, detail| Gap { subject: GapSubject::Memory(range), reason: GapReason::GuardPage, detail };
    match guards {
        [first, .., last] if guards.len() > MOST_GUARDS => {
            let whole = AddressRange::new(first.start(), last.end());
            vec![gap(whole, format!("{} guard pages or runs of them, between pages that are held", guards.len()))]
        }
        few => few.iter().map(|range| gap(*range, String::new())).collect(),
    }
}

/// Which classes of a region's pages a kind takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    private: bool,
    file: bool,
    shared: bool,
}

impl Rule {
    const NOTHING: Self = Self { private: false, file: false, shared: false };
    const EVERYTHING: Self = Self { private: true, file: true, shared: true };

    fn new(process: &Process, region: &Region, kind: Kind) -> Self {
        use MinidumpType as T;
        let mask = kind.mask();
        if mask.contains(T::FULL_MEMORY) {
            return Self::EVERYTHING;
        }
        let backed = region.inode != 0;
        let mut rule = Self {
            private: mask.contains(if backed { T::PRIVATE_WRITE_COPY } else { T::PRIVATE_READ_WRITE }),
            file: false,
            // Memory that is shared and written belongs to a miniplus dump.
            shared: mask.contains(T::PRIVATE_READ_WRITE | T::PRIVATE_WRITE_COPY)
                && region.protection.contains(Protection::WRITE),
        };
        if mask.intersects(T::DATA_SEGS | T::CODE_SEGS) && process.module_at(region.range.start()).is_some() {
            if mask.contains(T::DATA_SEGS) && region.protection.contains(Protection::WRITE) {
                rule.private = true;
                rule.file = true;
            }
            if mask.contains(T::CODE_SEGS) && region.protection.contains(Protection::EXECUTE) {
                rule.private = true;
                rule.file = true;
            }
        }
        rule
    }

    fn takes(self, class: PageClass) -> bool {
        match class {
            // A page of zeros is private memory that was only ever read.
            PageClass::Private | PageClass::Zero => self.private,
            PageClass::File => self.file,
            PageClass::Shared => self.shared,
            PageClass::Guard => false,
        }
    }
}

/// Adds runs of one region to the list, closing small holes.
struct Builder<'a> {
    region: &'a Region,
    extents: &'a mut ExtentList,
    boundary: bool,
    /// End of what was added last, if what follows could be joined to it.
    end: Option<Address>,
    longest_hole: u64,
}

impl Builder<'_> {
    fn add(&mut self, range: AddressRange, content: Content) {
        if let Some(end) = self.end
            && end < range.start()
            && range.start().0 - end.0 <= self.longest_hole
            && self.absent_is_zero()
        {
            self.push(AddressRange::new(end, range.start()), Content::Zeros);
        }
        self.push(range, content);
        self.end = Some(range.end());
    }

    /// The same where nobody knows that what lies before it is absent: pages that are there and were not chosen are no
    /// zeros.
    fn add_apart(&mut self, range: AddressRange, content: Content) {
        self.end = self.end.filter(|end| *end == range.start());
        self.add(range, content);
    }

    fn push(&mut self, range: AddressRange, content: Content) {
        self.extents.push(Extent { range, content }, self.boundary);
        self.boundary = false;
    }

    /// Whether a page that is not there would read as zeros.
    fn absent_is_zero(&self) -> bool {
        self.region.inode == 0 && self.region.flags.intersection(RegionFlags::USERFAULTFD).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSnapshot;

    fn wish(kind: Kind) -> Wish {
        Wish { kind, include_dontdump: false, longest_hole: 64 << 10, most_bytes: None }
    }

    fn ranges(selected: &Selected) -> Vec<(u64, u64)> {
        selected.extents.ranges().map(|range| (range.start().0, range.end().0)).collect()
    }

    #[test]
    fn holes_are_closed_only_where_absence_means_zero() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x100_0000, &[(0x10000, 0x1000), (0x13000, 0x1000), (0x80_0000, 0x1000)]);
        snapshot.file(0x200_0000, 0x201_0000, &[(0x200_0000, 0x1000), (0x200_3000, 0x1000)]);
        let selected = select(&snapshot, &wish(Kind::Full)).unwrap();
        assert_eq!(
            ranges(&selected),
            [(0x10000, 0x14000), (0x80_0000, 0x80_1000), (0x200_0000, 0x200_1000), (0x200_3000, 0x200_4000),]
        );
        assert_eq!(selected.extents.content_bytes(), 5 * 0x1000);
    }

    /// Neighbouring mappings become one where their protections are the same.
    #[test]
    fn a_stack_that_has_grown_together_with_a_large_area_stays() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x12000, &[(0x10000, 0x2000)]);
        snapshot.anonymous(0x100000, 0x200000, &[(0x100000, 0x100000)]);
        let stack = AddressRange::new(Address(0x1f_c000), Address(0x1f_e000));
        snapshot
            .process
            .threads
            .push(effigy_process::Thread { stack: Some(stack), ..effigy_process::Thread::default() });
        let limited = Wish { most_bytes: Some(0x4000), ..wish(Kind::Full) };
        let selected = select(&snapshot, &limited).unwrap();
        assert_eq!(ranges(&selected), [(0x1f_c000, 0x1f_e000)]);
        assert_eq!(selected.gaps.iter().filter(|gap| gap.reason == GapReason::SizeLimit).count(), 2);
        let less = Wish { most_bytes: Some(0x1000), ..wish(Kind::Full) };
        assert!(matches!(
            select(&snapshot, &less),
            Err(SelectError::LimitTooSmall { needed: 0x2000, allowed: 0x1000 })
        ));
    }

    /// Not chosen is not zero.
    #[test]
    fn pages_that_were_not_chosen_are_no_holes() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x20000, &[(0x10000, 0x8000)]);
        let region = snapshot.process.regions[0].clone();
        let pages = [0x10000, 0x11000, 0x14000, 0x1a000].map(Address).into_iter().collect();
        let wish = Wish { longest_hole: 64 << 20, ..wish(Kind::Mini) };
        let mut selected = Selected { extents: ExtentList::new(4096), gaps: Vec::new() };
        add_region(&snapshot, &region, &wish, &pages, &mut selected.extents, &mut selected.gaps).unwrap();
        assert_eq!(ranges(&selected), [(0x10000, 0x12000), (0x14000, 0x15000)]);
        assert_eq!(selected.extents.content_bytes(), 3 * 0x1000);
    }

    #[test]
    fn dontdump_is_left_out_and_said() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x20000, &[(0x10000, 0x1000)]);
        snapshot.last_region().flags = RegionFlags::DONT_DUMP;
        let selected = select(&snapshot, &wish(Kind::Full)).unwrap();
        assert!(selected.extents.is_empty());
        assert_eq!(selected.gaps[0].reason, GapReason::DontDump);
        let asked = Wish { include_dontdump: true, ..wish(Kind::Full) };
        assert_eq!(select(&snapshot, &asked).unwrap().extents.bytes(), 0x1000);
    }

    #[test]
    fn miniplus_leaves_out_the_largest_group_of_same_sized_areas() {
        let mut snapshot = FakeSnapshot::new();
        let size = 300 << 20;
        for index in 0..2u64 {
            let start = 0x1_0000_0000 + index * 0x4000_0000;
            snapshot.anonymous(start, start + size, &[(start, size)]);
        }
        snapshot.anonymous(0x9_0000_0000, 0x9_0001_0000, &[(0x9_0000_0000, 0x1_0000)]);
        snapshot.file(0x10_0000_0000, 0x10_0001_0000, &[(0x10_0000_0000, 0x1_0000)]);
        let selected = select(&snapshot, &wish(Kind::MiniPlus)).unwrap();
        assert_eq!(ranges(&selected), [(0x9_0000_0000, 0x9_0001_0000)]);
        assert_eq!(selected.gaps.iter().filter(|gap| gap.reason == GapReason::LargestArea).count(), 2);
    }

    /// Neighbouring mappings become one where their protections are the same.
    #[test]
    fn a_large_area_with_a_stack_in_it_is_left_out_but_for_the_stack() {
        let mut snapshot = FakeSnapshot::new();
        let start = 0x1_0000_0000;
        snapshot.anonymous(start, start + (600 << 20), &[(start, 600 << 20)]);
        let stack = AddressRange::sized(Address(start + (500 << 20)), 0x4000);
        snapshot
            .process
            .threads
            .push(effigy_process::Thread { stack: Some(stack), ..effigy_process::Thread::default() });
        let selected = select(&snapshot, &wish(Kind::MiniPlus)).unwrap();
        assert_eq!(ranges(&selected), [(stack.start().0, stack.end().0)]);
        assert_eq!(selected.gaps[0].reason, GapReason::LargestArea);
    }

    #[test]
    fn a_size_limit_drops_the_largest_regions_first() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x12000, &[(0x10000, 0x2000)]);
        snapshot.anonymous(0x20000, 0x30000, &[(0x20000, 0x10000)]);
        let limited = Wish { most_bytes: Some(0x4000), ..wish(Kind::Full) };
        let selected = select(&snapshot, &limited).unwrap();
        assert_eq!(ranges(&selected), [(0x10000, 0x12000)]);
        assert_eq!(selected.gaps[0].reason, GapReason::SizeLimit);
    }
}
