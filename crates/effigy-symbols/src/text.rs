//! Text that ends with a zero byte, out of a section of which nothing else is to be read: tables of strings are the
//! largest sections there are.

use bstr::BString;

use crate::image::Image;

/// Longest name that is read, in bytes. Compilers write names of some ten thousand.
const LONGEST: usize = 1 << 18;

/// The text at `offset` of a section, or `None` where it does not end there.
pub(crate) fn read(image: &Image, section: &str, offset: u64) -> Option<BString> {
    image.section(section).filter(|section| offset < section.size)?;
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    while text.len() < LONGEST {
        let at = offset.checked_add(text.len() as u64)?;
        let Some(count) = image.read_section(section, at, &mut buffer) else {
            // Compressed: then there is no way but to have all of it.
            return if text.is_empty() { terminated(image.data(section)?, offset) } else { None };
        };
        let piece = buffer.get(..count)?;
        match memchr::memchr(0, piece) {
            Some(end) => {
                text.extend_from_slice(&piece[..end]);
                return Some(text.into());
            }
            None => text.extend_from_slice(piece),
        }
    }
    None
}

/// The text at `offset` of bytes.
pub(crate) fn terminated(bytes: &[u8], offset: u64) -> Option<BString> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let end = memchr::memchr(0, rest.get(..LONGEST).unwrap_or(rest))?;
    Some(rest[..end].into())
}
