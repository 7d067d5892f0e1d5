//! Which of the two encodings of 32-bit ARM code is in: symbols tell.

use effigy_process::Architecture;

use super::{FUNCTION, INDIRECT, Raw, UNDEFINED};
use crate::image::{Image, ImageKind};

/// Whether the code at an offset into an image is Thumb code; `None` where no symbol at or below it tells.
///
/// Local symbols `$a` and `$t` mark where each begins (ELF for the Arm Architecture, section 5.5.5). Where they were
/// stripped, the lowest bit of a function's address tells.
#[must_use]
pub fn is_thumb(image: &Image, offset: u64) -> Option<bool> {
    if image.kind() != ImageKind::Elf || image.architecture() != Architecture::Arm {
        return None;
    }
    let address = image.base().checked_add(offset)?;
    let names = image.data(".strtab").unwrap_or_default();
    let marks = nearest(image, ".symtab", address, |raw| mark(names, raw));
    let functions = |section| nearest(image, section, address, function);
    let found = marks.or_else(|| functions(".symtab")).or_else(|| functions(".dynsym"))?;
    Some(found.1)
}

/// Of the symbols that say where something begins and what, the last at or below an address.
fn nearest(
    image: &Image,
    section: &str,
    address: u64,
    told: impl Fn(&Raw) -> Option<(u64, bool)>,
) -> Option<(u64, bool)> {
    let raws = image.data(section)?.chunks_exact(Raw::length(image.architecture()));
    let raws = raws.filter_map(|raw| Raw::parse(raw, image.byte_order()));
    raws.filter_map(|raw| told(&raw)).filter(|(start, _)| *start <= address).max_by_key(|(start, _)| *start)
}

/// A symbol that is a mark: `$a` or `$t`, behind which a point and anything may follow.
fn mark(names: &[u8], raw: &Raw) -> Option<(u64, bool)> {
    if raw.info != 0 || raw.section == UNDEFINED {
        return None;
    }
    let name = names.get(usize::try_from(raw.name).ok()?..)?.first_chunk::<3>()?;
    let thumb = match name {
        [b'$', b'a', 0 | b'.'] => false,
        [b'$', b't', 0 | b'.'] => true,
        _ => return None,
    };
    Some((raw.value, thumb))
}

fn function(raw: &Raw) -> Option<(u64, bool)> {
    let is_code = matches!(raw.info & 0xf, FUNCTION | INDIRECT) && raw.section != UNDEFINED;
    is_code.then_some((raw.value & !1, raw.value & 1 == 1))
}
