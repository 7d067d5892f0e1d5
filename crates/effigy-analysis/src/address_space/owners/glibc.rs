//! Heaps of glibc's threads other than the main one ("arenas"), by their form.

use std::collections::BTreeSet;

use effigy_process::{Address, Process, Protection, Region, Sharing};

/// Regions that are arenas. glibc maps each at a multiple of its greatest size (`HEAP_MAX_SIZE` of malloc/arena.c: 64 MiB
/// with 64-bit pointers, 1 MiB with others), makes the beginning readable and writable and leaves the rest without rights.
/// Nothing else in common use has that form; one that has grown to its greatest size is not told from other memory.
pub(super) fn arenas(process: &Process, regions: &[Region]) -> BTreeSet<usize> {
    let size: u64 = if process.architecture.pointer_size() == 8 { 64 << 20 } else { 1 << 20 };
    let mut found = BTreeSet::new();
    for (index, pair) in regions.windows(2).enumerate() {
        let [used, rest] = pair else { continue };
        let start = used.range.start();
        let end = Address(start.0.saturating_add(size));
        let form = start.0 != 0
            && start.0 % size == 0
            && is_nameless(process, used)
            && is_nameless(process, rest)
            && used.protection == Protection::READ | Protection::WRITE
            && rest.protection.is_empty()
            && used.range.end() == rest.range.start()
            && used.range.end() < end
            && rest.range.end() >= end;
        if form {
            found.insert(index);
            // The kernel joins the rest with what lies behind it without rights: another arena's, or a guard.
            if rest.range.end() == end {
                found.insert(index + 1);
            }
        }
    }
    found
}

fn is_nameless(process: &Process, region: &Region) -> bool {
    process.system.platform.is_linux()
        && region.inode == 0
        && region.name.is_empty()
        && region.windows.is_none()
        && region.sharing == Sharing::Private
}
