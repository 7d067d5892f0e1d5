//! Where in an image some bytes are, when nothing tells.

use std::ops::Range;

use memchr::memmem::Finder;

use crate::image::{Image, Segment};

/// Most bytes that are searched.
const MOST: u64 = 256 << 20;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Most places with the bytes that are looked at.
const MOST_HITS: usize = 1 << 16;

/// The image addresses of sections, or of segments that suit where the image has no sections with code and so none that
/// would tell.
pub(super) fn ranges(image: &Image, sections: &[&str], suits: impl Fn(&Segment) -> bool) -> Vec<Range<u64>> {
    if image.sections().iter().any(|section| section.executable) {
        let sections = sections.iter().filter_map(|name| image.section(name)).filter(|section| section.loaded);
        return sections.map(|section| section.address..section.address.saturating_add(section.size)).collect();
    }
    let segments = image.segments().iter().filter(|segment| suits(segment));
    segments.map(|segment| segment.address..segment.end()).collect()
}

/// What `is_it` makes of the first place with these bytes of which it makes something.
pub(super) fn find<T>(
    image: &Image,
    ranges: &[Range<u64>],
    bytes: &[u8],
    is_it: &dyn Fn(u64) -> Option<T>,
) -> Option<T> {
    let finder = Finder::new(bytes);
    let mut piece = vec![0; PIECE];
    let (mut left, mut hits) = (MOST, 0);
    for range in ranges {
        let mut at = range.start;
        while at < range.end && left > 0 {
            let wanted = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let count = image.read(at, &mut piece[..wanted]).unwrap_or(0);
            if count == 0 {
                break;
            }
            for hit in finder.find_iter(&piece[..count]) {
                hits += 1;
                if hits > MOST_HITS {
                    return None;
                }
                if let Some(found) = is_it(at.saturating_add(hit as u64)) {
                    return Some(found);
                }
            }
            left = left.saturating_sub(count as u64);
            // What lies across the end of this piece is whole in the next.
            let again = if count == PIECE { bytes.len() - 1 } else { 0 };
            at = at.saturating_add((count - again) as u64);
        }
    }
    None
}
