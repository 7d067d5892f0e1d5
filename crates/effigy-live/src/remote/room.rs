//! Whether the memory below a thread's stack pointer is free.
//!
//! Not every stack pointer has free memory below it: a goroutine's stack, a coroutine's or an alternate signal stack may
//! lie in the middle of a heap. Only two kinds of stack are known from outside: the main thread's, and those that a C
//! library's pthread_create has made, which have the thread's control block above and a guard below.

use effigy_process::{Address, AddressRange, Protection, Region, RegionUsage};

use crate::LiveMemory;
use crate::pagemap::PageState;

/// Thread stacks are a few MiB; a guard farther away belongs to something else.
const LARGEST_STACK: u64 = 64 << 20;

/// Whether `length` bytes below `stack_pointer` are unused stack.
pub(super) fn is_free_below(
    regions: &[Region],
    memory: &LiveMemory,
    stack_pointer: u64,
    control_block: u64,
    length: u64,
) -> bool {
    let index = regions.partition_point(|region| region.range.end().0 <= stack_pointer);
    let Some(region) = regions.get(index).filter(|region| region.range.contains(Address(stack_pointer))) else {
        return false;
    };
    let Some(bottom) = stack_pointer.checked_sub(length).filter(|bottom| *bottom >= region.range.start().0) else {
        return false;
    };
    if !region.protection.contains(Protection::READ | Protection::WRITE) {
        return false;
    }
    if region.usage() == RegionUsage::Stack {
        return true;
    }
    // A guard between stack pointer and control block means another stack than the one that the thread began on.
    let own = control_block > stack_pointer
        && region.range.contains(Address(control_block))
        && !has_guard(memory, AddressRange::new(Address(stack_pointer), Address(control_block)));
    own && region.inode == 0 && (guard_region_below(regions, index) || guard_page_below(memory, region, bottom))
}

fn has_guard(memory: &LiveMemory, range: AddressRange) -> bool {
    let page = memory.page_size();
    let range = AddressRange::new(range.start().page_floor(page), range.end().page_ceil(page));
    let mut found = false;
    let scan = memory.scan_states(range, &mut |_, state| found |= state.contains(PageState::GUARD));
    scan.is_err() || found
}

fn guard_region_below(regions: &[Region], index: usize) -> bool {
    let here = &regions[index];
    let below = index.checked_sub(1).and_then(|below| regions.get(below));
    let guarded = below.is_some_and(|below| {
        below.range.end() == here.range.start() && below.protection.is_empty() && below.inode == 0
    });
    guarded && here.range.size() <= LARGEST_STACK
}

/// A guard as glibc 2.42 makes it: pages of the same mapping that nobody may touch (`MADV_GUARD_INSTALL`).
fn guard_page_below(memory: &LiveMemory, region: &Region, bottom: u64) -> bool {
    let mut nearest = None;
    let below = AddressRange::new(region.range.start(), Address(bottom).page_floor(memory.page_size()));
    let scan = memory.scan_states(below, &mut |run, state| {
        if state.contains(PageState::GUARD) {
            nearest = Some(run.end());
        }
    });
    scan.is_ok() && nearest.is_some_and(|end: Address| bottom - end.0 <= LARGEST_STACK)
}
