//! What was learned of a target's pages, and copied of them, while it stood still, for a snapshot that is read later.

use std::collections::BTreeMap;

use effigy_process::{
    Address, AddressRange, Gap, GapReason, GapSubject, PageClass, PageRun, Region, RegionFlags, Sharing,
};

use crate::LiveMemory;
use crate::remote::Refused;

/// Bytes that are copied while the target stands still, at most: the bound of effigy's own memory here.
const MOST_BYTES: u64 = 32 << 20;
/// Shared memory that is copied while the target stands still, at most: 16 MiB take some 5 ms.
pub(super) const MOST_SHARED: u64 = 16 << 20;

/// Pages that are known, by region, and bytes that belong over what is read.
#[derive(Debug, Default)]
pub(super) struct Known {
    regions: BTreeMap<u64, KnownRegion>,
    patches: Vec<(AddressRange, Vec<u8>)>,
}

#[derive(Debug)]
struct KnownRegion {
    range: AddressRange,
    runs: Vec<PageRun>,
    /// The bytes of the runs, one behind the other; `None` when they are to be read from the twin.
    bytes: Option<Vec<u8>>,
    /// Pages of the runs that could not be read, and have zeros among the bytes.
    broken: Vec<Address>,
}

impl Known {
    /// Looks at what a fork does not copy faithfully. The target stands still. Also says which regions stay unfrozen.
    pub(super) fn for_twin(memory: &LiveMemory, regions: &[Region]) -> Result<(Self, Vec<Gap>), Refused> {
        let mut known = Self::default();
        let mut gaps = Vec::new();
        let mut left = MOST_BYTES;
        let mut shared_left = MOST_SHARED;
        for region in regions.iter().filter(|region| may_be_read(region)) {
            let shared = region.sharing == Sharing::Shared && region.inode != 0;
            // A fork copies page tables only where there are pages of its own (`vma_needs_copy`, mm/memory.c).
            if !shared && region.inode == 0 && !is_forgotten(region) {
                continue;
            }
            let mut runs = Vec::new();
            let scan = memory.scan(region, &mut |run| runs.push(run));
            match scan {
                Ok(None) => {}
                // Out of reach for this memory is out of reach for the twin's, which says so itself.
                Ok(Some(_)) => continue,
                Err(error) => return Err(Refused::new(format!("looking at pages: {error}"))),
            }
            let size: u64 = runs.iter().filter(|run| has_bytes(run)).map(|run| run.range.size()).sum();
            let mut broken = Vec::new();
            let bytes = if is_forgotten(region) {
                left = left.checked_sub(size).ok_or_else(|| {
                    Refused::new(format!("{} MiB of its memory are not copied by a fork", size >> 20))
                })?;
                Some(copy(memory, region, &runs, &mut broken))
            } else if shared && size <= shared_left && size <= left {
                left -= size;
                shared_left -= size;
                Some(copy(memory, region, &runs, &mut broken))
            } else {
                if shared && size > 0 {
                    gaps.push(not_frozen(region));
                }
                None
            };
            known.regions.insert(region.range.start().0, KnownRegion { range: region.range, runs, bytes, broken });
        }
        Ok((known, gaps))
    }

    /// Notes the runs of a region whose bytes lie elsewhere.
    pub(super) fn insert(&mut self, range: AddressRange, runs: Vec<PageRun>) {
        self.regions.insert(range.start().0, KnownRegion { range, runs, bytes: None, broken: Vec::new() });
    }

    /// Whether a region is known.
    pub(super) fn has(&self, range: AddressRange) -> bool {
        self.regions.contains_key(&range.start().0)
    }

    /// Takes a page out of its run; false when it was in none.
    pub(super) fn remove(&mut self, page: AddressRange) -> bool {
        let Some((_, known)) = self.regions.range_mut(..=page.start().0).next_back() else { return false };
        let Some(index) = known.runs.iter().position(|run| run.range.contains(page.start())) else { return false };
        let run = known.runs.remove(index);
        let rest = [AddressRange::new(run.range.start(), page.start()), AddressRange::new(page.end(), run.range.end())];
        let rest = rest.into_iter().filter(|range| !range.is_empty());
        known.runs.splice(index..index, rest.map(|range| PageRun { range, class: run.class }));
        true
    }

    /// Adds bytes that take the place of what is read at their addresses.
    pub(super) fn patch(&mut self, range: AddressRange, bytes: Vec<u8>) {
        self.patches.push((range, bytes));
    }

    /// The runs of a region or of a part of one; `None` when it is not known.
    pub(super) fn scan(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> Option<()> {
        let known = self.region(region.range.start())?;
        for run in &known.runs {
            if let Some(range) = run.range.intersection(&region.range) {
                visit(PageRun { range, class: run.class });
            }
        }
        Some(())
    }

    /// Bytes that were copied; `None` when they have to be read elsewhere, 0 for none at that address.
    pub(super) fn read(&self, address: Address, buffer: &mut [u8]) -> Option<usize> {
        let known = self.region(address)?;
        let bytes = known.bytes.as_ref()?;
        let mut at = 0;
        for run in known.runs.iter().filter(|run| has_bytes(run)) {
            if run.range.contains(address) {
                let from = at + usize::try_from(address.0 - run.range.start().0).ok()?;
                let next = known.broken.partition_point(|page| page.0 + 4096 <= address.0);
                let end = known.broken.get(next).map_or(run.range.end(), |page| run.range.end().min(*page));
                if end <= address {
                    return Some(0);
                }
                let count = usize::try_from(end.0 - address.0).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..count].copy_from_slice(bytes.get(from..from + count)?);
                return Some(count);
            }
            at += usize::try_from(run.range.size()).ok()?;
        }
        Some(0)
    }

    /// Puts patches over what was read.
    pub(super) fn amend(&self, address: Address, buffer: &mut [u8]) {
        let read = AddressRange::sized(address, buffer.len() as u64);
        for (range, bytes) in &self.patches {
            if let Some(both) = range.intersection(&read) {
                let length = usize::try_from(both.size()).unwrap_or(0);
                let offset = |from: Address| usize::try_from(both.start().0 - from.0).unwrap_or(0);
                let (to, from) = (offset(read.start()), offset(range.start()));
                buffer[to..to + length].copy_from_slice(&bytes[from..from + length]);
            }
        }
    }

    fn region(&self, address: Address) -> Option<&KnownRegion> {
        let (_, known) = self.regions.range(..=address.0).next_back()?;
        known.range.contains(address).then_some(known)
    }
}

/// Whether a fork leaves the region out, empties it, or may break it.
fn is_forgotten(region: &Region) -> bool {
    // Private huge pages: when the pool runs dry, the kernel takes them from the child.
    let huge = region.flags.contains(RegionFlags::HUGETLB) && region.sharing == Sharing::Private;
    huge || region.flags.intersects(RegionFlags::DONT_FORK | RegionFlags::WIPE_ON_FORK)
}

/// Memory whose reading may have effects is never looked at, nor is what the program wants in no dump.
pub(super) fn may_be_read(region: &Region) -> bool {
    use effigy_process::RegionUsage;
    let never = RegionFlags::IO | RegionFlags::PFN_MAP | RegionFlags::SECRET;
    !region.flags.intersects(never) && !matches!(region.usage(), RegionUsage::KernelData | RegionUsage::Vdso)
}

pub(super) fn not_frozen(region: &Region) -> Gap {
    use bstr::ByteSlice;
    Gap {
        subject: GapSubject::Memory(region.range),
        reason: GapReason::NotFrozen,
        detail: region.name.to_str_lossy().into_owned(),
    }
}

fn has_bytes(run: &PageRun) -> bool {
    !matches!(run.class, PageClass::Guard | PageClass::Zero)
}

/// Copies the bytes of all runs, with zeros for a page that cannot be read.
fn copy(memory: &LiveMemory, region: &Region, runs: &[PageRun], broken: &mut Vec<Address>) -> Vec<u8> {
    let page = memory.page_size();
    let mut bytes = Vec::new();
    for run in runs.iter().filter(|run| has_bytes(run)) {
        let mut at = run.range.start();
        while at < run.range.end() {
            let from = bytes.len();
            let want = usize::try_from(run.range.end().0 - at.0).unwrap_or(usize::MAX).min(1 << 20);
            bytes.resize(from + want, 0);
            let mut count = memory.read_region(region, at, &mut bytes[from..]).unwrap_or(0) as u64 / page * page;
            if count == 0 {
                broken.push(at);
                count = page;
                bytes[from..from + usize::try_from(page).unwrap_or(want).min(want)].fill(0);
            }
            bytes.truncate(from + usize::try_from(count).unwrap_or(0));
            at = at.saturating_add(count);
        }
    }
    bytes
}
