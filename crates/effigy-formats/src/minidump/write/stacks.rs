//! Which part of each thread's stack the dump holds, and where.

use effigy_process::{Address, AddressRange, Extent, ExtentList, PlacedExtent, Thread};

/// The stacks of a process's threads.
pub(super) struct Stacks {
    stacks: Vec<Option<Stack>>,
    range_count: u64,
}

/// A thread's stack in the dump.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    /// Addresses of the part that the dump holds; empty when it holds none.
    pub(super) range: AddressRange,
    /// Bytes of memory that lie in the dump before that part.
    pub(super) offset: u64,
}

impl Stacks {
    /// Finds all stacks in one walk along the memory, however many threads and ranges there are.
    pub(super) fn new(threads: &[Thread], extents: &ExtentList) -> Self {
        let mut stacks: Vec<Option<Stack>> = vec![None; threads.len()];
        let mut order: Vec<(Address, usize)> = threads
            .iter()
            .enumerate()
            .filter_map(|(index, thread)| Some((point_of_interest(thread)?, index)))
            .collect();
        order.sort_unstable();
        let mut order = order.into_iter().peekable();
        let mut range_count = 0;
        for (range, offset) in ranges_by_address(extents) {
            while let Some((at, index)) = order.next_if(|(at, _)| *at < range.end()) {
                stacks[index] = threads[index].stack.map(|stack| place(stack, at, range, offset));
            }
            range_count += 1;
        }
        for (at, index) in order {
            stacks[index] = Some(Stack { range: AddressRange::new(at, at), offset: extents.bytes() });
        }
        Self { stacks, range_count }
    }

    /// The stack of the thread with this place in the process's list.
    pub(super) fn get(&self, index: usize) -> Option<Stack> {
        self.stacks.get(index).copied().flatten()
    }

    /// Number of ranges of memory in the dump.
    pub(super) fn range_count(&self) -> u64 {
        self.range_count
    }
}

/// The ranges of [`ExtentList::ranges`] by rising address, each with the bytes of memory before it in the dump.
fn ranges_by_address(extents: &ExtentList) -> impl Iterator<Item = (AddressRange, u64)> + '_ {
    let mut placed = extents.by_address().peekable();
    std::iter::from_fn(move || {
        let PlacedExtent { extent: Extent { mut range, .. }, offset } = placed.next()?;
        while let Some(next) =
            placed.next_if(|next| next.extent.range.start() == range.end() && next.offset == offset + range.size())
        {
            range = AddressRange::new(range.start(), next.extent.range.end());
        }
        Some((range, offset))
    })
}

/// The address in a thread's stack that the dump's part of it should contain: where the stack pointer points, if it
/// points into the stack.
fn point_of_interest(thread: &Thread) -> Option<Address> {
    let stack = thread.stack?;
    let pointer = thread.registers.as_ref().ok().and_then(|registers| registers.general()?.stack_pointer());
    Some(pointer.filter(|pointer| stack.contains(*pointer)).unwrap_or(stack.start()))
}

/// The part of `stack` in `range`, which ends behind `at` and has `offset` bytes of memory before it in the dump.
fn place(stack: AddressRange, at: Address, range: AddressRange, offset: u64) -> Stack {
    match stack.intersection(&range) {
        Some(part) => Stack { range: part, offset: offset + (part.start().0 - range.start().0) },
        None => Stack { range: AddressRange::new(at, at), offset },
    }
}

#[cfg(test)]
mod tests {
    use effigy_process::Content;
    use proptest::prelude::*;

    use super::*;
    use crate::minidump::sample;

    fn stack_of(stack: AddressRange, ranges: &[(u64, u64)]) -> Stack {
        let mut extents = ExtentList::new(4096);
        for (start, end) in ranges {
            let range = AddressRange::new(Address(*start), Address(*end));
            extents.push_anywhere(Extent { range, content: Content::Bytes }, true);
        }
        let mut thread = sample::thread(1, 0x400_000, 0x7000);
        thread.stack = Some(stack);
        Stacks::new(&[thread], &extents).get(0).unwrap()
    }

    #[test]
    fn a_stack_is_cut_to_the_range_under_its_pointer() {
        let stack = AddressRange::new(Address(0x6f80), Address(0xa000));
        let found = stack_of(stack, &[(0x1000, 0x3000), (0x6000, 0x8000), (0x9000, 0xa000)]);
        assert_eq!(found.range, AddressRange::new(Address(0x6f80), Address(0x8000)));
        assert_eq!(found.offset, 0x2000 + 0xf80);
    }

    #[test]
    fn a_stack_ends_where_the_file_goes_on_with_something_else() {
        let stack = AddressRange::new(Address(0x6f80), Address(0xa000));
        let found = stack_of(stack, &[(0x8000, 0xa000), (0x7000, 0x8000), (0x1000, 0x3000), (0x6000, 0x7000)]);
        assert_eq!(found.range, AddressRange::new(Address(0x7000), Address(0x8000)));
        assert_eq!(found.offset, 0x2000);
        let found = stack_of(stack, &[(0x1000, 0x3000), (0x6000, 0x8000), (0x8000, 0xa000), (0x4000, 0x5000)]);
        assert_eq!(found.range, stack);
        assert_eq!(found.offset, 0x2000 + 0xf80);
    }

    proptest! {
        #[test]
        fn the_ranges_are_the_same_in_either_order(
            pages in proptest::sample::subsequence((0u64..40).collect::<Vec<_>>(), 1..40).prop_shuffle(),
        ) {
            let mut extents = ExtentList::new(4096);
            for page in pages {
                let range = AddressRange::sized(Address(page << 12), 4096);
                extents.push_anywhere(Extent { range, content: Content::Bytes }, page % 2 == 0);
            }
            let mut placed: Vec<_> = ranges_by_address(&extents).collect();
            prop_assert!(placed.is_sorted());
            placed.sort_by_key(|(_, offset)| *offset);
            prop_assert_eq!(placed.iter().map(|(range, _)| *range).collect::<Vec<_>>(), extents.ranges().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stack_that_is_not_in_the_dump_keeps_its_address() {
        let stack = AddressRange::new(Address(0x6f80), Address(0x8000));
        for ranges in [&[(0x1000, 0x3000)][..], &[(0x9000, 0xa000)], &[]] {
            let found = stack_of(stack, ranges);
            assert!(found.range.is_empty());
            assert_eq!(found.range.start(), Address(0x7000));
        }
    }
}
