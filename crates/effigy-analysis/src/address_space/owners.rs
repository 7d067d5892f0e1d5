//! Which regions belong to a thread, and which are heaps: what regions do not say themselves.

mod glibc;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use bstr::ByteSlice;
use effigy_process::{
    Address, AddressRange, Memory, PageKind, Process, Region, RegionUsage, Sharing, Thread, ThreadId,
};

pub(super) use self::windows::Block;
use super::{ThreadStack, windows_pages};

/// Most bytes of a guard below a stack: what `pthread_attr_setguardsize(3)` is asked for in practice. A larger region
/// without rights may as well be something else's.
const LARGEST_GUARD: u64 = 1 << 20;

/// What is known of the regions of a process, which are meant by their place in the list.
#[derive(Debug, Default)]
pub(super) struct Owners {
    stacks: Vec<ThreadStack>,
    /// Regions that are stacks or parts of one, with the threads whose stack pointers are there.
    stack_regions: BTreeMap<usize, Vec<ThreadId>>,
    heap_regions: BTreeSet<usize>,
    /// Environment blocks of Windows by rising address.
    blocks: Vec<Block>,
}

impl Owners {
    pub(super) fn find(process: &Process, regions: &[Region], memory: Option<&dyn Memory>) -> Self {
        let mut owners = Self::default();
        for thread in &process.threads {
            if let Some(address) = stack_pointer(thread) {
                owners.add_stack(regions, thread.id, address);
            }
        }
        let known: BTreeSet<_> = process.threads.iter().map(|thread| thread.id).collect();
        for (index, thread) in
            regions.iter().enumerate().filter_map(|(index, region)| Some((index, stack_by_name(region)?)))
        {
            owners.stack_regions.entry(index).or_default().extend(thread.filter(|thread| known.contains(thread)));
        }
        owners.heap_regions = glibc::arenas(process, regions);
        owners.add_windows(process, regions, memory);
        owners.add_guards(regions);
        for threads in owners.stack_regions.values_mut() {
            threads.sort_unstable();
            threads.dedup();
        }
        owners
    }

    fn add_stack(&mut self, regions: &[Region], thread: ThreadId, address: Address) {
        let Some(index) = region_of_stack(regions, address) else { return };
        let region = &regions[index];
        self.stacks.push(ThreadStack { thread, stack_pointer: address, region: region.range });
        if can_be_stack(region) {
            self.stack_regions.entry(index).or_default().push(thread);
        }
    }

    fn add_windows(&mut self, process: &Process, regions: &[Region], memory: Option<&dyn Memory>) {
        let found = windows::Blocks::find(process, memory);
        for (thread, limit) in &found.stack_limits {
            if let Some(index) = region_at(regions, *limit).filter(|index| can_be_stack(&regions[*index])) {
                self.stack_regions.entry(index).or_default().push(*thread);
            }
        }
        let heaps = found.heaps.iter().filter_map(|heap| region_at(regions, *heap));
        self.heap_regions.extend(heaps.filter(|index| windows_pages(&regions[*index]).is_some()));
        self.blocks = found.blocks;
        self.spread_over_allocations(regions);
    }

    /// What is true of a region is true of all regions of its allocation: a stack's guard and reserve, a heap's reserve.
    /// They are said to be a thread's when the allocation is no other thread's as well.
    fn spread_over_allocations(&mut self, regions: &[Region]) {
        let base_of = |index: usize| windows_pages(&regions[index]).map(|pages| pages.allocation_base);
        let mut stacks: BTreeMap<Address, BTreeSet<ThreadId>> = BTreeMap::new();
        for (index, threads) in &self.stack_regions {
            if let Some(base) = base_of(*index) {
                stacks.entry(base).or_default().extend(threads);
            }
        }
        let heaps: BTreeSet<Address> = self.heap_regions.iter().filter_map(|index| base_of(*index)).collect();
        for index in 0..regions.len() {
            let Some(base) = base_of(index) else { continue };
            if let Some(threads) = stacks.get(&base) {
                let only = threads.first().filter(|_| threads.len() == 1);
                self.stack_regions.entry(index).or_insert_with(|| only.into_iter().copied().collect());
            }
            if heaps.contains(&base) {
                self.heap_regions.insert(index);
            }
        }
    }

    /// Guard pages right below stacks.
    fn add_guards(&mut self, regions: &[Region]) {
        let guards: Vec<_> = self
            .stack_regions
            .iter()
            .filter_map(|(index, threads)| Some((index.checked_sub(1)?, *index, threads)))
            .filter(|(below, index, _)| regions[*below].range.end() == regions[*index].range.start())
            .filter(|(below, ..)| !self.stack_regions.contains_key(below) && !self.heap_regions.contains(below))
            .filter(|(below, ..)| is_inaccessible(&regions[*below]) && regions[*below].range.size() <= LARGEST_GUARD)
            .map(|(below, _, threads)| (below, threads.clone()))
            .collect();
        self.stack_regions.extend(guards);
    }

    /// The threads whose stack a region is; `None` when it is no stack.
    pub(super) fn stack_of(&self, index: usize) -> Option<&[ThreadId]> {
        self.stack_regions.get(&index).map(Vec::as_slice)
    }

    /// Whether a region is a heap.
    pub(super) fn is_heap(&self, index: usize) -> bool {
        self.heap_regions.contains(&index)
    }

    /// The environment blocks that lie in `range`, wholly or in part, by rising address.
    pub(super) fn blocks_in(&self, range: AddressRange) -> impl Iterator<Item = Block> + '_ {
        let first = self.blocks.partition_point(|block| block.range.end() <= range.start());
        self.blocks[first..].iter().take_while(move |block| block.range.start() < range.end()).copied()
    }

    pub(super) fn into_stacks(self) -> Vec<ThreadStack> {
        self.stacks
    }
}

/// Where a thread's stack is: its stack pointer, or what else tells of it.
fn stack_pointer(thread: &Thread) -> Option<Address> {
    let register = thread.registers.as_ref().ok().and_then(|registers| registers.general()?.stack_pointer());
    let kernel = || thread.kernel.as_ref().and_then(|kernel| kernel.stack_pointer).map(Address);
    register.filter(|address| address.0 != 0).or_else(kernel).or_else(|| thread.stack.map(|stack| stack.start()))
}

fn region_at(regions: &[Region], address: Address) -> Option<usize> {
    let index = regions.partition_point(|region| region.range.end() <= address);
    regions.get(index).filter(|region| region.range.contains(address)).map(|_| index)
}

/// The region whose stack a stack pointer belongs to. An empty stack's points behind it, and one that has overflowed
/// into the guard below it.
fn region_of_stack(regions: &[Region], address: Address) -> Option<usize> {
    let below = || region_at(regions, address.saturating_sub(1));
    let index = match region_at(regions, address) {
        Some(index) if is_inaccessible(&regions[index]) => {
            below().filter(|below| *below != index && !is_inaccessible(&regions[*below])).unwrap_or(index)
        }
        Some(index) => index,
        None => below()?,
    };
    let above = regions.get(index + 1).filter(|above| above.range.start() == regions[index].range.end());
    let overflowed = is_inaccessible(&regions[index]) && above.is_some_and(|above| !is_inaccessible(above));
    Some(if overflowed { index + 1 } else { index })
}

/// Whether a region may be a stack if a stack pointer points there: a stack pointer may be anything in a crash.
fn can_be_stack(region: &Region) -> bool {
    match region.usage() {
        RegionUsage::Stack => true,
        RegionUsage::Anonymous if region.sharing == Sharing::Private => {
            windows_pages(region).is_none_or(|pages| matches!(pages.kind, Some(PageKind::Private) | None))
        }
        _ => false,
    }
}

/// Private memory that nobody may touch.
fn is_inaccessible(region: &Region) -> bool {
    region.protection.is_empty() && region.inode == 0 && region.sharing == Sharing::Private
}

/// Whether a region's name says that it is a stack, and whose: `[stack]`, `[stack:TID]` of Linux 3.4 to 4.4,
/// `[anon:stack_and_tls:TID]` of Android, `[anon: glibc: pthread stack: TID]` of glibc with `glibc.mem.decorate_maps`.
fn stack_by_name(region: &Region) -> Option<Option<ThreadId>> {
    let name = region.name.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let is_stack = name == b"stack"
        || name.starts_with(b"stack:")
        || name.starts_with(b"anon:stack_and_tls:")
        || name.starts_with(b"anon: glibc: pthread ") && name.contains_str("stack");
    let digits = name.rsplit_once_str(":").map_or(&b""[..], |(_, digits)| digits.trim());
    let thread = || digits.to_str().ok().and_then(|digits| digits.parse().ok()).map(ThreadId);
    is_stack.then(thread)
}
