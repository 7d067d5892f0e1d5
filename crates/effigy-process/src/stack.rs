//! Where the used part of a thread's stack lies.
//!
//! Not "from the stack pointer to the end of the mapping": the kernel merges a stack's mapping with its neighbours,
//! and a goroutine's stack lies in the middle of a heap.

use crate::{Address, AddressRange, Protection, Region, Registers, note};

/// Longest part of a stack that is taken, in bytes.
const LONGEST: u64 = 1 << 20;
/// What may lie above a thread's control block on its stack: glibc keeps its `struct pthread` (2.3 KiB) there.
const ABOVE_CONTROL_BLOCK: u64 = 4096;
/// How far below a stack's mapping an overflowed stack pointer may be, in bytes.
const OVERFLOW: u64 = 1 << 20;

/// The part of the stack that is in use, aligned to pages of `page` bytes, a power of two, as far as its region is; `None`
/// when the stack pointer leads nowhere. `regions` are by rising address.
#[must_use]
pub fn used_part(registers: &Registers, regions: &[Region], page: u64) -> Option<AddressRange> {
    let pointer = registers.general()?.stack_pointer()?;
    above(pointer.saturating_sub(registers.architecture.red_zone()), control_block(registers), regions, page)
}

/// The same from a stack pointer alone, for a thread whose registers cannot be had.
#[must_use]
pub fn above_pointer(pointer: Address, regions: &[Region], page: u64) -> Option<AddressRange> {
    above(pointer, None, regions, page)
}

/// The region that holds an address; `regions` are by rising address.
#[must_use]
pub fn region_at(regions: &[Region], address: Address) -> Option<&Region> {
    let after = regions.partition_point(|region| region.range.end() <= address);
    regions.get(after).filter(|region| region.range.contains(address))
}

fn above(pointer: Address, control_block: Option<Address>, regions: &[Region], page: u64) -> Option<AddressRange> {
    let region = stack_region(regions, pointer)?;
    let start = pointer.max(region.range.start());
    let mut end = region.range.end().min(start.saturating_add(LONGEST));
    if let Some(block) = control_block
        && block > start
        && region.range.contains(block)
    {
        // The C library puts the control block at the top of the stacks that it allocates.
        end = end.min(block.saturating_add(ABOVE_CONTROL_BLOCK));
    }
    Some(AddressRange::new(
        start.page_floor(page).max(region.range.start()),
        end.page_ceil(page).min(region.range.end()),
    ))
}

/// The mapping that holds the stack pointer, or when that has run off the stack's end, the one just above it.
fn stack_region(regions: &[Region], pointer: Address) -> Option<&Region> {
    let index = regions.partition_point(|region| region.range.end() <= pointer);
    let usable = |region: &&Region| region.protection.contains(Protection::READ | Protection::WRITE);
    let here = regions.get(index)?;
    if here.range.contains(pointer) && usable(&here) {
        return Some(here);
    }
    regions[index..]
        .iter()
        .take(2)
        .take_while(|region| region.range.start().0.saturating_sub(pointer.0) <= OVERFLOW)
        .find(usable)
}

fn control_block(registers: &Registers) -> Option<Address> {
    if let Some(block) = registers.general()?.thread_pointer() {
        return (block.0 != 0).then_some(block);
    }
    let bytes = registers.set(note::ARM_TLS)?;
    let word = bytes.get(..registers.architecture.pointer_size())?;
    let mut whole = [0; 8];
    whole[..word.len()].copy_from_slice(word);
    let block = u64::from_le_bytes(whole);
    (block != 0).then_some(Address(block))
}

#[cfg(test)]
mod tests {
    use crate::{Architecture, CompactBytes, Device, RegionFlags, RegisterSet, Sharing};

    use super::*;

    fn region(start: u64, end: u64, protection: Protection) -> Region {
        Region {
            range: AddressRange::new(Address(start), Address(end)),
            protection,
            sharing: Sharing::Private,
            offset: 0,
            device: Device::default(),
            inode: 0,
            name: "".into(),
            flags: RegionFlags::empty(),
            ..Region::default()
        }
    }

    fn registers(stack_pointer: u64, thread_pointer: u64) -> Registers {
        let mut words = [0u64; 27];
        words[19] = stack_pointer;
        words[21] = thread_pointer;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Registers {
            architecture: Architecture::X86_64,
            sets: vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&bytes) }],
            ..Registers::default()
        }
    }

    const RW: Protection = Protection::READ.union(Protection::WRITE);

    #[test]
    fn a_stack_merged_with_its_neighbour_ends_at_the_control_block() {
        let regions = [region(0x10_0000, 0x4000_0000, RW)];
        let part = used_part(&registers(0x20_0100, 0x20_3700), &regions, 4096).unwrap();
        assert_eq!(part, AddressRange::new(Address(0x20_0000), Address(0x20_5000)));
    }

    #[test]
    fn without_a_control_block_the_part_is_bounded() {
        let regions = [region(0x10_0000, 0x4000_0000, RW)];
        let part = used_part(&registers(0x20_0100, 0), &regions, 4096).unwrap();
        assert!(part.size() <= LONGEST + 0x2000);
    }

    #[test]
    fn an_overflowed_stack_is_found_above_its_guard() {
        let regions = [region(0x1000, 0x2000, Protection::empty()), region(0x2000, 0x4000, RW)];
        let part = used_part(&registers(0x1f00, 0), &regions, 4096).unwrap();
        assert_eq!(part, AddressRange::new(Address(0x2000), Address(0x4000)));
        assert_eq!(used_part(&registers(0x9000_0000, 0), &regions, 4096), None);
    }
}
