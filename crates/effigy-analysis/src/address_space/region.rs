//! What each region is.

use std::fmt;

use bstr::{BString, ByteSlice};
use effigy_process::{
    Address, AddressRange, PageKind, PageState, Process, Protection, Region, RegionUsage, Sharing, WindowsPages,
};

use super::owners::{Block, Owners};
use super::{Kind, Rights, SpaceRegion, State, Usage, windows_pages};
use crate::ModuleIndex;

/// The regions of a process whose dump lists none: its modules and stacks.
pub(super) fn inferred(process: &Process) -> Vec<Region> {
    let modules = process.modules.iter().map(|module| (module.range, module.path.clone()));
    let stacks = process.threads.iter().filter_map(|thread| Some((thread.stack?, BString::from("[stack]"))));
    modules.chain(stacks).map(|(range, name)| Region { range, name, ..Region::default() }).collect()
}

/// Classifies regions, which do not overlap. Environment blocks of Windows are cut out of those that they lie in.
pub(super) fn classify(process: &Process, regions: &[Region], owners: &Owners) -> Vec<SpaceRegion> {
    let modules = ModuleIndex::new(&process.modules);
    let listed = !process.regions.is_empty();
    let mut classified = Vec::with_capacity(regions.len());
    for (index, region) in regions.iter().enumerate() {
        let module = modules.at(region.range.start());
        let usage = usage_of(region, module.is_some(), index, owners);
        let whole = SpaceRegion {
            range: region.range,
            usage,
            kind: Some(kind_of(region, usage)),
            state: state_of(region, listed),
            protection: listed.then(|| rights_of(region)).flatten(),
            module: module.filter(|_| usage == Usage::Image),
            name: region.name.clone(),
            threads: owners.stack_of(index).unwrap_or_default().to_vec(),
            resident: region.counted(region.resident),
            swapped: region.counted(region.swapped),
            shared: region.counted(region.mapped_elsewhere),
        };
        // Blocks lie in memory of which nothing else is known. Only that is cut, as each part gets a copy of what is.
        if usage == Usage::Private && region.name.is_empty() {
            cut_blocks(whole, owners.blocks_in(region.range), &mut classified);
        } else {
            classified.push(whole);
        }
    }
    classified
}

fn usage_of(region: &Region, in_module: bool, index: usize, owners: &Owners) -> Usage {
    match region.usage() {
        RegionUsage::Vdso | RegionUsage::KernelData => Usage::Kernel,
        RegionUsage::Heap => Usage::Heap,
        _ if is_shared_user_data(region) => Usage::Kernel,
        _ if windows_pages(region).is_some_and(|pages| pages.kind == Some(PageKind::Image)) => Usage::Image,
        RegionUsage::File | RegionUsage::Anonymous if in_module => Usage::Image,
        RegionUsage::File => Usage::MappedFile,
        RegionUsage::SharedMemory => Usage::Shared,
        _ if owners.stack_of(index).is_some() => Usage::Stack,
        _ if owners.is_heap(index) || is_heap_by_name(region) => Usage::Heap,
        _ if region.sharing == Sharing::Shared => Usage::Shared,
        _ => Usage::Private,
    }
}

/// The page in which Windows shows each process the time and other facts (`KUSER_SHARED_DATA`), and what is reserved
/// behind it: at the same address on all architectures.
fn is_shared_user_data(region: &Region) -> bool {
    windows_pages(region).is_some_and(|pages| pages.allocation_base == Address(0x7ffe_0000))
}

/// Names that allocators give to their memory with `prctl(PR_SET_VMA_ANON_NAME)`, and what Android calls its heaps.
fn is_heap_by_name(region: &Region) -> bool {
    const WORDS: [&str; 5] = ["malloc", "heap", "scudo", "partition_alloc", "dalvik-main space"];
    let Some(name) = region.name.strip_prefix(b"[anon:") else { return false };
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains_str(word))
}

fn kind_of(region: &Region, usage: Usage) -> Kind {
    let windows = windows_pages(region).and_then(|pages| pages.kind);
    match (windows, usage) {
        (Some(PageKind::Image), _) | (None, Usage::Image) => Kind::Image,
        (Some(PageKind::Mapped), _) | (None, Usage::MappedFile | Usage::Shared) => Kind::Mapped,
        (Some(PageKind::Private) | None, _) => Kind::Private,
    }
}

fn state_of(region: &Region, listed: bool) -> State {
    let without_rights = region.protection.is_empty() && region.inode == 0 && region.sharing == Sharing::Private;
    match windows_pages(region).map(|pages| pages.state) {
        Some(PageState::Commit) => State::Commit,
        Some(PageState::Reserve) => State::Reserve,
        Some(PageState::Free) => State::Free,
        None if listed && without_rights && region.resident.unwrap_or(0) == 0 => State::Reserve,
        None => State::Commit,
    }
}

fn rights_of(region: &Region) -> Option<Rights> {
    match windows_pages(region) {
        Some(pages) if pages.state == PageState::Commit => Some(Rights::Windows(pages.protection)),
        Some(_) => None,
        None => Some(Rights::of(region.protection, region.sharing)),
    }
}

/// Adds `whole`, cut where `blocks` lie in it.
fn cut_blocks(whole: SpaceRegion, blocks: impl Iterator<Item = Block>, classified: &mut Vec<SpaceRegion>) {
    let mut next = whole.range.start();
    let piece = |start, end| {
        let range = AddressRange::new(start, end);
        let all = range == whole.range;
        let counted = |bytes: Option<u64>| bytes.filter(|_| all);
        let (resident, swapped, shared) = (counted(whole.resident), counted(whole.swapped), counted(whole.shared));
        SpaceRegion { range, resident, swapped, shared, ..whole.clone() }
    };
    for block in blocks {
        let Some(inside) = block.range.intersection(&whole.range) else { continue };
        if next < inside.start() {
            classified.push(piece(next, inside.start()));
        }
        classified.push(SpaceRegion {
            usage: if block.thread.is_some() { Usage::Teb } else { Usage::Peb },
            threads: block.thread.into_iter().collect(),
            ..piece(inside.start(), inside.end())
        });
        next = inside.end();
    }
    if next < whole.range.end() {
        classified.push(piece(next, whole.range.end()));
    }
}

/// Puts a region of usage `hole` between regions, before the first and up to `limit` behind the last.
pub(super) fn with_holes(busy: Vec<SpaceRegion>, limit: Address, hole: Usage) -> Vec<SpaceRegion> {
    let mut regions = Vec::with_capacity(busy.len() * 2 + 1);
    let mut next = Address(0);
    for region in busy {
        regions.extend(hole_between(next, region.range.start().min(limit), hole));
        next = region.range.end();
        regions.push(region);
    }
    regions.extend(hole_between(next, limit, hole));
    regions
}

fn hole_between(start: Address, end: Address, usage: Usage) -> Option<SpaceRegion> {
    (start < end).then(|| SpaceRegion {
        range: AddressRange::new(start, end),
        usage,
        kind: None,
        state: if usage == Usage::Free { State::Free } else { State::NotListed },
        protection: None,
        module: None,
        name: BString::default(),
        threads: Vec::new(),
        resident: None,
        swapped: None,
        shared: None,
    })
}

/// Names of the `PAGE_*` bits of winnt.h.
const PAGE_BITS: [(u32, &str); 13] = [
    (0x01, "PAGE_NOACCESS"),
    (0x02, "PAGE_READONLY"),
    (0x04, "PAGE_READWRITE"),
    (0x08, "PAGE_WRITECOPY"),
    (0x10, "PAGE_EXECUTE"),
    (0x20, "PAGE_EXECUTE_READ"),
    (0x40, "PAGE_EXECUTE_READWRITE"),
    (0x80, "PAGE_EXECUTE_WRITECOPY"),
    (WindowsPages::GUARD, "PAGE_GUARD"),
    (0x200, "PAGE_NOCACHE"),
    (0x400, "PAGE_WRITECOMBINE"),
    (0x4000_0000, "PAGE_TARGETS_INVALID"),
    (0x8000_0000, "PAGE_REVERT_TO_FILE_MAP"),
];

pub(super) fn write_rights(rights: Rights, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match rights {
        Rights::Unix { bits, shared } => {
            let letter = |right: Protection, letter| if bits & right.bits() == 0 { '-' } else { letter };
            let (read, write) = (letter(Protection::READ, 'r'), letter(Protection::WRITE, 'w'));
            write!(f, "{read}{write}{}{}", letter(Protection::EXECUTE, 'x'), if shared { 's' } else { 'p' })
        }
        Rights::Windows(protection) => {
            let known = PAGE_BITS.iter().fold(0, |known, (bit, _)| known | bit);
            let mut separator = "";
            for (_, name) in PAGE_BITS.iter().filter(|(bit, _)| protection & bit != 0) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
            }
            match protection & !known {
                0 if separator.is_empty() => f.write_str("0"),
                0 => Ok(()),
                rest => write!(f, "{separator}{rest:#x}"),
            }
        }
    }
}
