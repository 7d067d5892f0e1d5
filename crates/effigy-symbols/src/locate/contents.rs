//! Images without an identity, told by what the process had of them in memory.
//!
//! Linkers need not give a program an identity: Go's before 1.24 and those of Alpine Linux do not, unless they are asked to. Where
//! a dump holds some of such a module's code, or Go's own build id, a file is the module's when it has the same at the
//! same place. A dump that holds every page, as effigy's full ones do, holds code; the kernel's cores hold the page with
//! Go's id as a rule.

use effigy_process::{Address, AddressRange, CapturedMemory, Module, Protection};

use crate::image::{Image, ImageKind, Segment};

/// Where linkers put Go's build id (`go tool buildid`): a note of type 4 whose owner is `Go`.
const GO: &str = ".note.go.buildid";
/// Bytes of such a note's header, owner included.
const GO_HEADER: usize = 16;
/// Bytes of the shortest id that tells anything: four hashes make 83. Builds may have it say `redacted`.
const SHORTEST_GO: usize = 40;
const LONGEST_GO: u64 = 1024;

/// Bytes that are compared at a time.
const PIECE: u64 = 4096;
/// Pieces that are compared, evenly over all that is there. What was changed in a program moves what lies behind it.
const MOST_PIECES: u64 = 256;
/// Bytes of code that have to be the same; all of it where there is less.
const ENOUGH: u64 = 16 << 10;

/// Whether an image file is the one of a module, by what was in memory; `None` where too little of that is known.
pub(super) fn is_same(image: &Image, module: &Module, memory: &dyn CapturedMemory) -> Option<bool> {
    // Others have an identity.
    if image.kind() != ImageKind::Elf || image.is_debug_only() {
        return None;
    }
    same_go(image, module, memory).or_else(|| same_code(image, module, memory))
}

/// Where an image address was in memory.
fn loaded(image: &Image, module: &Module, address: u64) -> Option<Address> {
    module.range.start().checked_add(address.checked_sub(image.base())?)
}

fn same_go(image: &Image, module: &Module, memory: &dyn CapturedMemory) -> Option<bool> {
    let section = image.section(GO).filter(|section| section.loaded && section.size <= LONGEST_GO)?;
    let mut own = vec![0; usize::try_from(section.size).ok()?];
    let count = image.read_section(GO, 0, &mut own)?;
    if count < own.len() || own.len() < GO_HEADER + SHORTEST_GO {
        return None;
    }
    let mut held = vec![0; own.len()];
    memory.read_exact(loaded(image, module, section.address)?, &mut held).ok()?;
    Some(own == held)
}

fn same_code(image: &Image, module: &Module, memory: &dyn CapturedMemory) -> Option<bool> {
    let code = |segment: &&Segment| {
        segment.protection.contains(Protection::EXECUTE) && !segment.protection.contains(Protection::WRITE)
    };
    let (mut all, mut held, mut free) = (0, Vec::new(), 0);
    for segment in image.segments().iter().filter(code) {
        let size = segment.file.end.saturating_sub(segment.file.start);
        // Segments that lie over each other are nonsense, and would have each captured range looked at again.
        if segment.address < std::mem::replace(&mut free, segment.address.checked_add(size)?) {
            return None;
        }
        let range = AddressRange::sized(loaded(image, module, segment.address)?, size).intersection(&module.range)?;
        all += range.size();
        let captured = memory.captured_from(range.start()).iter().map(|captured| captured.range);
        let inside = captured.take_while(|captured| captured.start() < range.end());
        held.extend(inside.filter_map(|captured| captured.intersection(&range)));
    }
    let pieces: u64 = held.iter().map(|range| range.size().div_ceil(PIECE)).sum();
    let step = pieces.div_ceil(MOST_PIECES).max(1);
    let (mut same, mut number) = (0, 0);
    for range in held {
        let mut at = range.start();
        while at < range.end() {
            let piece = AddressRange::new(at, at.saturating_add(PIECE).min(range.end()));
            if number % step == 0 {
                match same_piece(image, module, memory, piece) {
                    Some(true) => same += piece.size(),
                    Some(false) => return Some(false),
                    None => {}
                }
            }
            number += 1;
            at = piece.end();
        }
    }
    (same > 0 && same >= all.min(ENOUGH)).then_some(true)
}

/// Whether a piece of memory is as in the file; `None` where one of the two cannot be read.
fn same_piece(image: &Image, module: &Module, memory: &dyn CapturedMemory, piece: AddressRange) -> Option<bool> {
    let mut held = vec![0; usize::try_from(piece.size()).ok()?];
    memory.read_exact(piece.start(), &mut held).ok()?;
    let mut own = vec![0; held.len()];
    let mut done = 0;
    while done < own.len() {
        let at = piece.start().0 - module.range.start().0 + image.base() + done as u64;
        done += image.read(at, &mut own[done..])?;
    }
    Some(own == held)
}
