//! Where the table is in an image.

use std::cell::Cell;
use std::sync::Arc;

use effigy_process::{Architecture, ByteOrder, Protection};

use super::bytes::Bytes;
use super::layout::{Layout, Version};
use super::search;
use crate::image::{Image, ImageKind, Section};

/// The sections that it is in. Linkers other than Go's own may join the second one with others.
const NAMES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

/// Sections that only programs of Go's have: in these it is searched for.
const OF_GO: [&str; 3] = [".go.buildinfo", ".note.go.buildid", ".go.module"];

/// Sections in which it may be in the middle.
const AROUND: [&str; 2] = [".data.rel.ro", ".rodata"];

/// Places that look like it and are looked at more closely.
const MOST_TRIED: usize = 64;

/// The table of an image; `None` where there is none, or none that can be read. In files with symbols alone it has no
/// bytes.
pub(super) fn table(image: &Arc<Image>) -> Option<(Bytes, Layout)> {
    if image.is_debug_only() || image.kind() == ImageKind::Pe {
        return None;
    }
    let data = || image.sections().iter().filter(|section| section.loaded && !section.executable && section.size > 0);
    let named = |section: &&Section| NAMES.contains(&section.name.as_str());
    let of_section = |section: &Section| parsed(image, section.address, section.size);
    // One whose name was taken away still begins with it.
    let found = data().filter(named).find_map(of_section).or_else(|| data().find_map(of_section));
    found.or_else(|| searched(image))
}

fn parsed(image: &Arc<Image>, start: u64, size: u64) -> Option<(Bytes, Layout)> {
    if !begins_like_it(image, start) {
        return None;
    }
    let bytes = Bytes::new(image, start, size);
    let layout = Layout::parse(&bytes)?;
    Some((bytes, layout))
}

/// Whether at an image address there is what all versions begin with, as far as eight bytes tell.
fn begins_like_it(image: &Image, start: u64) -> bool {
    let mut head = [0; 8];
    let is_read = image.read(start, &mut head).is_some_and(|count| count == head.len());
    let magic = image.byte_order().half(&head).unwrap_or(0);
    is_read && Version::of_magic(magic).is_some() && head[4..6] == [0, 0]
}

/// The table in the middle of a section, or of a segment where no section tells.
fn searched(image: &Arc<Image>) -> Option<(Bytes, Layout)> {
    let has_code = image.sections().iter().any(|section| section.executable);
    if has_code && !OF_GO.iter().any(|name| image.section(name).is_some()) {
        return None;
    }
    let ranges = search::ranges(image, &AROUND, |segment| !segment.protection.contains(Protection::EXECUTE));
    let word = image.architecture().pointer_size();
    let (needle, before) = look_of(image)?;
    let tried = Cell::new(0);
    let is_it = |at: u64| {
        let start = at.checked_sub(before).filter(|start| start.is_multiple_of(word as u64))?;
        let range = ranges.iter().find(|range| range.contains(&start))?;
        if tried.get() == MOST_TRIED || !begins_like_it(image, start) {
            return None;
        }
        tried.set(tried.get() + 1);
        parsed(image, start, range.end - start)
    };
    search::find(image, &ranges, &needle, &is_it)
}

/// The bytes of the header that are the same whatever the version, and how many of it come before them: the lowest byte
/// of the magic tells the version.
fn look_of(image: &Image) -> Option<(Vec<u8>, u64)> {
    // `sys.PCQuantum`, src/runtime/internal/sys of Go 1.19.
    let quantum = match image.architecture() {
        Architecture::X86 | Architecture::X86_64 => 1,
        Architecture::S390x => 2,
        _ => 4,
    };
    let rest = [0, 0, quantum, u8::try_from(image.architecture().pointer_size()).ok()?];
    Some(match image.byte_order() {
        ByteOrder::Little => ([&[0xff; 3], &rest[..]].concat(), 1),
        ByteOrder::Big => (rest.to_vec(), 4),
    })
}
