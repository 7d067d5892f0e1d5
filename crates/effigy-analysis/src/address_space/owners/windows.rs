//! Environment blocks of Windows, and what they tell of stacks and heaps.

use effigy_process::{Address, AddressRange, ByteOrder, Memory, Platform, Process, Thread, ThreadId};

/// Heaps of a process that are looked at.
const MOST_HEAPS: u64 = 4096;

/// An environment block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Block {
    pub(in super::super) range: AddressRange,
    /// Whose it is; `None` for that of the process.
    pub(in super::super) thread: Option<ThreadId>,
}

/// What environment blocks tell.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The blocks by rising address, none overlapping another.
    pub(super) blocks: Vec<Block>,
    /// An address in the stack of each thread.
    pub(super) stack_limits: Vec<(ThreadId, Address)>,
    /// The beginnings of the heaps.
    pub(super) heaps: Vec<Address>,
}

/// Where the parts of environment blocks lie, in bytes: `TEB` and `PEB` of ntdll's public symbols, the same in all
/// versions since Windows Vista.
#[derive(Clone, Copy, Debug)]
struct Layout {
    pointer: u64,
    teb_size: u64,
    stack_limit: u64,
    itself: u64,
    peb: u64,
    peb_size: u64,
    heap_count: u64,
    heaps: u64,
}

const LAYOUT_64: Layout = Layout {
    pointer: 8,
    teb_size: 0x2000,
    stack_limit: 0x10,
    itself: 0x30,
    peb: 0x60,
    peb_size: 0x1000,
    heap_count: 0xe8,
    heaps: 0xf0,
};

const LAYOUT_32: Layout = Layout {
    pointer: 4,
    teb_size: 0x1000,
    stack_limit: 8,
    itself: 0x18,
    peb: 0x30,
    peb_size: 0x1000,
    heap_count: 0x88,
    heaps: 0x90,
};

impl Blocks {
    pub(super) fn find(process: &Process, memory: Option<&dyn Memory>) -> Self {
        let mut found = Self::default();
        if process.system.platform != Platform::Windows {
            return found;
        }
        let mut processes = Vec::new();
        for thread in &process.threads {
            for (address, layout, known) in blocks_of(process, thread, memory) {
                let range = AddressRange::sized(address, layout.teb_size);
                found.blocks.push(Block { range, thread: Some(thread.id) });
                let Some(memory) = memory.filter(|_| known) else { continue };
                let limit = layout.read(memory, address, layout.stack_limit);
                found.stack_limits.extend(limit.map(|limit| (thread.id, limit)));
                let peb = layout.read(memory, address, layout.peb);
                processes.extend(peb.filter(|peb| peb.0 != 0).map(|peb| (peb, layout.pointer)));
            }
        }
        processes.sort_unstable();
        processes.dedup();
        for (peb, pointer) in processes {
            let layout = if pointer == 8 { LAYOUT_64 } else { LAYOUT_32 };
            found.blocks.push(Block { range: AddressRange::sized(peb, layout.peb_size), thread: None });
            found.heaps.extend(memory.into_iter().flat_map(|memory| layout.heaps(memory, peb)));
        }
        found.disjoin();
        found
    }

    fn disjoin(&mut self) {
        self.blocks.sort_by_key(|block| (block.range, block.thread));
        let mut done = Address(0);
        for block in &mut self.blocks {
            block.range = AddressRange::new(block.range.start().max(done), block.range.end());
            done = done.max(block.range.end());
        }
        self.blocks.retain(|block| !block.range.is_empty());
    }
}

impl Layout {
    fn read(self, memory: &dyn Memory, base: Address, offset: u64) -> Option<Address> {
        let mut bytes = [0; 8];
        let bytes = if self.pointer == 8 { &mut bytes[..] } else { &mut bytes[..4] };
        memory.read_exact(base.checked_add(offset)?, bytes).ok()?;
        Some(Address(ByteOrder::Little.number(bytes)))
    }

    /// Whether a thread's block of this layout is at `address`: it has its own address in it.
    fn is_at(self, memory: &dyn Memory, address: Address) -> bool {
        self.read(memory, address, self.itself) == Some(address)
    }

    fn heaps(self, memory: &dyn Memory, peb: Address) -> Vec<Address> {
        let count = LAYOUT_32.read(memory, peb, self.heap_count).map_or(0, |count| count.0.min(MOST_HEAPS));
        let Some(list) = self.read(memory, peb, self.heaps).filter(|list| list.0 != 0) else { return Vec::new() };
        (0..count).map_while(|index| self.read(memory, list, index * self.pointer)).collect()
    }
}

/// The blocks of a thread with their layouts, and whether memory says that they are there. A 32-bit program on 64-bit
/// Windows has two, one behind the other.
fn blocks_of(process: &Process, thread: &Thread, memory: Option<&dyn Memory>) -> Vec<(Address, Layout, bool)> {
    let Some(address) = thread.windows.as_ref().and_then(|windows| windows.environment_block) else {
        return Vec::new();
    };
    let Some(memory) = memory else {
        let layout = if process.architecture.pointer_size() == 8 { LAYOUT_64 } else { LAYOUT_32 };
        return vec![(address, layout, false)];
    };
    let mut blocks = Vec::new();
    if LAYOUT_64.is_at(memory, address) {
        blocks.push((address, LAYOUT_64, true));
        let second = address.saturating_add(LAYOUT_64.teb_size);
        if LAYOUT_32.is_at(memory, second) {
            blocks.push((second, LAYOUT_32, true));
        }
    } else if LAYOUT_32.is_at(memory, address) {
        blocks.push((address, LAYOUT_32, true));
    } else {
        let layout = if process.architecture.pointer_size() == 8 { LAYOUT_64 } else { LAYOUT_32 };
        blocks.push((address, layout, false));
    }
    blocks
}
