//! The pages of a small dump: stacks, what their words point at, images' headers, the dynamic linker's list.
//!
//! Everything is by pages: a page costs 4 KiB in the dump and shows more of what surrounds a pointer than the 256
//! bytes that other writers keep.

use std::collections::{BTreeSet, VecDeque};

use effigy_formats::minidump::read::layer_state;
use effigy_process::{
    Address, AddressRange, Architecture, Memory, NotRead, PageClass, Platform, Process, Protection, Region,
    RegionFlags, RegionUsage, Sharing, Snapshot, Thread,
};

use crate::kind::{Kind, MinidumpType};

/// Pages of stacks, all threads together, at most: 16 MiB. Threads beyond get their innermost page.
const MOST_STACK_PAGES: usize = 4096;
/// Pages of one thread's stack, at most, once many threads share the above.
const FEWEST_STACK_PAGES: usize = 2;
/// Pages that pointers lead to, all threads together, at most: 2 MiB.
const MOST_REFERENCED: usize = 512;
/// Words that are looked at for them, all threads together, at most: all of the stacks of 16,000 threads. A dump may have
/// 200,000 with the same stack, in which all words point to one page, and say that a page has 16 MiB.
const MOST_WORDS: usize = 16 << 20;
/// Bytes of a thread environment block of Windows: the 64-bit one is the longer.
const ENVIRONMENT_BLOCK: u64 = 0x2000;
/// Entries of the dynamic linker's list, at most.
const MOST_LINKS: usize = 4096;

/// The pages, by their first address, that a dump of `kind` holds besides what its kind takes by class.
pub(crate) fn pages(snapshot: &dyn Snapshot, kind: Kind) -> BTreeSet<Address> {
    let mask = kind.mask();
    let mut pages = BTreeSet::new();
    if mask.contains(MinidumpType::FULL_MEMORY) {
        return pages;
    }
    let triage = kind.is_triage();
    let stacks = stacks(snapshot.process(), triage);
    for stack in &stacks {
        add_range(&mut pages, *stack, snapshot.process());
    }
    if triage {
        return pages;
    }
    add_headers(snapshot, &mut pages);
    add_thread_blocks(snapshot.process(), &mut pages);
    add_environment_blocks(snapshot, &mut pages);
    add_link_map(snapshot, &mut pages);
    if mask.contains(MinidumpType::INDIRECTLY_REFERENCED) {
        add_referenced(snapshot, &stacks, &mut pages);
    }
    pages
}

/// The pages of stacks alone.
pub(crate) fn stack_pages(process: &Process) -> BTreeSet<Address> {
    let mut pages = BTreeSet::new();
    for stack in stacks(process, false) {
        add_range(&mut pages, stack, process);
    }
    pages
}

/// The part of each thread's stack that the dump holds, bounded so that thousands of threads stay small.
fn stacks(process: &Process, triage: bool) -> Vec<AddressRange> {
    let page = process.system.page_size;
    let used: Vec<AddressRange> =
        process.threads.iter().filter_map(|thread| used_stack(process, thread, triage)).collect();
    let share = (MOST_STACK_PAGES / used.len().max(1)).max(FEWEST_STACK_PAGES) as u64 * page;
    let total: u64 = used.iter().map(AddressRange::size).sum();
    if total <= MOST_STACK_PAGES as u64 * page {
        return used;
    }
    used.into_iter().map(|stack| AddressRange::sized(stack.start(), stack.size().min(share))).collect()
}

/// A thread's stack; for triage without the part above the first frame, where arguments and environment lie.
fn used_stack(process: &Process, thread: &Thread, triage: bool) -> Option<AddressRange> {
    let stack = thread.stack?;
    let bottom = process.identity.start_stack;
    if triage && stack.contains(bottom) {
        return Some(AddressRange::new(stack.start(), bottom.page_ceil(process.system.page_size)));
    }
    Some(stack)
}

fn add_range(pages: &mut BTreeSet<Address>, range: AddressRange, process: &Process) {
    let page = process.system.page_size;
    let mut at = range.start().page_floor(page);
    while at < range.end() {
        pages.insert(at);
        match at.checked_add(page) {
            Some(next) => at = next,
            None => break,
        }
    }
}

/// The first page of every module: debuggers find the build id there.
fn add_headers(snapshot: &dyn Snapshot, pages: &mut BTreeSet<Address>) {
    let process = snapshot.process();
    pages.extend(process.modules.iter().map(|module| module.range.start().page_floor(process.system.page_size)));
}

/// The page of each thread's control block, by which thread-local storage is found.
fn add_thread_blocks(process: &Process, pages: &mut BTreeSet<Address>) {
    for thread in &process.threads {
        let pointer = thread.registers.as_ref().ok().and_then(|set| set.general()).and_then(|set| set.thread_pointer());
        if let Some(pointer) = pointer.filter(|pointer| pointer.0 != 0) {
            pages.insert(pointer.page_floor(process.system.page_size));
        }
    }
}

/// What Windows keeps of each thread: its environment block (TEB), which for a 32-bit process of 64-bit Windows leads to its
/// registers.
fn add_environment_blocks(snapshot: &dyn Snapshot, pages: &mut BTreeSet<Address>) {
    let process = snapshot.process();
    if process.system.platform != Platform::Windows {
        return;
    }
    let blocks = process.threads.iter().filter_map(|thread| thread.windows.as_ref()?.environment_block);
    for block in blocks {
        add_range(pages, AddressRange::sized(block, ENVIRONMENT_BLOCK), process);
        if process.architecture == Architecture::X86 {
            let state = layer_state(&SnapshotMemory(snapshot), block);
            state.into_iter().flatten().for_each(|range| add_range(pages, range, process));
        }
    }
}

/// Pages that words of the stacks and general registers point at. Every thread gets its turn before any gets more, and
/// registers and the newest frames come first.
fn add_referenced(snapshot: &dyn Snapshot, stacks: &[AddressRange], pages: &mut BTreeSet<Address>) {
    let process = snapshot.process();
    let page = process.system.page_size;
    let registers = process
        .threads
        .iter()
        .filter_map(|thread| Some(thread.registers.as_ref().ok()?.general()?.words))
        .map(|words| Words { found: words.into_iter().map(Address).collect(), rest: AddressRange::default() });
    let stacks = stacks.iter().map(|stack| Words { found: VecDeque::new(), rest: *stack });
    let mut turns: Vec<Words> = registers.chain(stacks).collect();
    let (mut added, mut looked_at) = (0, 0);
    while added < MOST_REFERENCED && !turns.is_empty() {
        turns.retain_mut(|words| {
            if added >= MOST_REFERENCED {
                return false;
            }
            // The next word of this thread that is a pointer to something new.
            while looked_at < MOST_WORDS
                && let Some(word) = words.next(snapshot)
            {
                looked_at += 1;
                let target = word.page_floor(page);
                if !pages.contains(&target) && process.region_at(word).is_some_and(holds_data) {
                    pages.insert(target);
                    added += 1;
                    return true;
                }
            }
            false
        });
    }
}

/// The words of a thread: some at hand, the rest still on its stack. Read a page at a time, as with many threads there
/// is no room for all of their stacks and no use for most.
struct Words {
    found: VecDeque<Address>,
    rest: AddressRange,
}

impl Words {
    fn next(&mut self, snapshot: &dyn Snapshot) -> Option<Address> {
        let process = snapshot.process();
        while self.found.is_empty() && !self.rest.is_empty() {
            let mut page = vec![0; usize::try_from(process.system.page_size).unwrap_or(4096)];
            if SnapshotMemory(snapshot).read_exact(self.rest.start(), &mut page).is_ok() {
                let words = page.chunks_exact(process.architecture.pointer_size());
                self.found.extend(words.map(|word| Address(number(word))));
            }
            let next = self.rest.start().saturating_add(process.system.page_size);
            self.rest = AddressRange::new(next, self.rest.end());
        }
        self.found.pop_front()
    }
}

/// Whether a pointer into the region leads to data that an image file does not hold.
fn holds_data(region: &Region) -> bool {
    region.protection.contains(Protection::READ)
        && !matches!(region.usage(), RegionUsage::KernelData | RegionUsage::Vdso)
        && (region.inode == 0 || region.protection.contains(Protection::WRITE))
        && !region
            .flags
            .intersects(RegionFlags::DONT_DUMP | RegionFlags::IO | RegionFlags::PFN_MAP | RegionFlags::SECRET)
}

fn number(word: &[u8]) -> u64 {
    word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A snapshot's memory by address alone.
struct SnapshotMemory<'a>(&'a dyn Snapshot);

impl Memory for SnapshotMemory<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let region = self.0.process().region_at(address).ok_or(NotRead::Unmapped)?;
        if self.0.is_dump() {
            return self.0.read(region, address, buffer);
        }
        // Memory that is never captured is not looked at either.
        if region
            .flags
            .intersects(RegionFlags::DONT_DUMP | RegionFlags::IO | RegionFlags::PFN_MAP | RegionFlags::SECRET)
        {
            return Err(NotRead::Unreadable);
        }
        // One page at a time, and only if it is there: looking must not make the target grow.
        let page_size = self.0.process().system.page_size;
        let page = AddressRange::sized(address.page_floor(page_size), page_size);
        if region.sharing == Sharing::Private {
            let only = Region { range: page, ..region.clone() };
            let mut class = None;
            let scan = self.0.scan(&only, &mut |run| class = Some(run.class));
            match class {
                None if region.inode == 0 && scan.is_ok() => class = Some(PageClass::Zero),
                None => return Err(NotRead::NotCaptured),
                Some(PageClass::Guard) => return Err(NotRead::Unreadable),
                Some(_) => {}
            }
            if class == Some(PageClass::Zero) {
                let count = usize::try_from(page.end().0 - address.0).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..count].fill(0);
                return Ok(count);
            }
        }
        let room = usize::try_from(page.end().0 - address.0).unwrap_or(usize::MAX).min(buffer.len());
        self.0.read(region, address, &mut buffer[..room])
    }
}

/// The dynamic linker's list of modules (`struct r_debug`, `struct link_map` of <link.h>): gdb and eu-stack find the
/// libraries of a core by it. Everything is the target's and may be nonsense.
fn add_link_map(snapshot: &dyn Snapshot, pages: &mut BTreeSet<Address>) {
    let process = snapshot.process();
    let Some(list) = LinkMap::find(snapshot, pages) else { return };
    let page = process.system.page_size;
    let mut node = list.first;
    for _ in 0..MOST_LINKS {
        if node.0 == 0 || process.region_at(node).is_none() {
            break;
        }
        pages.insert(node.page_floor(page));
        pages.insert(node.saturating_add(5 * list.word).page_floor(page));
        let Some(name) = list.word_at(snapshot, node.saturating_add(list.word)) else { break };
        if process.region_at(name).is_some() {
            pages.insert(name.page_floor(page));
        }
        let Some(dynamic) = list.word_at(snapshot, node.saturating_add(2 * list.word)) else { break };
        if process.region_at(dynamic).is_some() {
            pages.insert(dynamic.page_floor(page));
        }
        let Some(next) = list.word_at(snapshot, node.saturating_add(3 * list.word)) else { break };
        node = next;
    }
}

/// Where the list begins.
struct LinkMap {
    word: u64,
    first: Address,
}

impl LinkMap {
    fn find(snapshot: &dyn Snapshot, pages: &mut BTreeSet<Address>) -> Option<Self> {
        const PT_DYNAMIC: u64 = 2;
        const PT_PHDR: u64 = 6;
        const DT_DEBUG: u64 = 21;
        const AT_PHDR: u64 = 3;
        const AT_PHNUM: u64 = 5;
        let process = snapshot.process();
        let word = process.architecture.pointer_size();
        let auxiliary = |wanted: u64| {
            process
                .files
                .auxv
                .chunks_exact(2 * word)
                .find(|pair| number(&pair[..word]) == wanted)
                .map(|pair| number(&pair[word..]))
        };
        let (table, count) = (Address(auxiliary(AT_PHDR)?), auxiliary(AT_PHNUM)?.min(64));
        let memory = SnapshotMemory(snapshot);
        let entry = if word == 8 { 56 } else { 32 };
        let mut headers = vec![0; usize::try_from(count * entry).ok()?];
        memory.read_exact(table, &mut headers).ok()?;
        let address_at = if word == 8 { 16 } else { 8 };
        let find = |kind: u64| {
            headers
                .chunks_exact(usize::try_from(entry).ok()?)
                .find(|header| number(&header[..4]) == kind)
                .map(|header| number(&header[address_at..address_at + word]))
        };
        let bias = table.0.wrapping_sub(find(PT_PHDR).unwrap_or(table.0));
        let dynamic = Address(bias.wrapping_add(find(PT_DYNAMIC)?));
        let page = process.system.page_size;
        for index in 0..256u64 {
            let at = dynamic.checked_add(index * 2 * word as u64)?;
            let mut pair = vec![0; 2 * word];
            memory.read_exact(at, &mut pair).ok()?;
            pages.insert(at.page_floor(page));
            match (number(&pair[..word]), Address(number(&pair[word..]))) {
                (0, _) => return None,
                (DT_DEBUG, debug) => {
                    process.region_at(debug)?;
                    pages.insert(debug.page_floor(page));
                    let list = Self { word: word as u64, first: Address(0) };
                    let first = list.word_at(snapshot, debug.checked_add(word as u64)?)?;
                    return Some(Self { first, ..list });
                }
                _ => {}
            }
        }
        None
    }

    fn word_at(&self, snapshot: &dyn Snapshot, address: Address) -> Option<Address> {
        let mut bytes = vec![0; usize::try_from(self.word).ok()?];
        SnapshotMemory(snapshot).read_exact(address, &mut bytes).ok()?;
        Some(Address(number(&bytes)))
    }
}
