//! Compressed sections.

use std::io::Read;
use std::ops::Range;

use super::source::Source;

/// Bytes of the header of a section that is compressed as GNU tools once did it: `ZLIB` and the length of what is inside,
/// highest byte first.
pub(super) const GNU_HEADER: u64 = 12;
/// Longest section that is unpacked, in bytes.
const LONGEST: u64 = 16 << 30;
/// How many times longer than its compressed bytes a section may be: 1032 is the most that deflate can do, and sections
/// of debug files that zstd packs stay far below the other.
const ZLIB_RATIO: u64 = 1040;
const ZSTD_RATIO: u64 = 16 << 10;

/// How a section is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// `ELFCOMPRESS_ZLIB`.
    Zlib,
    /// `ELFCOMPRESS_ZSTD`.
    Zstd,
    /// In a way that nobody knows.
    Unknown,
}

impl Packing {
    /// What is in a section: exactly `size` bytes, else `None`. Memory grows with what is found, never with what is
    /// promised.
    pub(super) fn unpack(self, packed: Vec<u8>, size: u64) -> Option<Vec<u8>> {
        match self {
            Self::Plain => Some(packed),
            Self::Zlib => read(flate2::read::ZlibDecoder::new(&*packed), bounded(&packed, size, ZLIB_RATIO)?),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(&*packed).ok()?;
                read(decoder, bounded(&packed, size, ZSTD_RATIO)?)
            }
            Self::Unknown => None,
        }
    }
}

/// A promised length, where so many compressed bytes may keep it.
fn bounded(packed: &[u8], size: u64, ratio: u64) -> Option<u64> {
    (size <= LONGEST && size <= (packed.len() as u64).saturating_mul(ratio)).then_some(size)
}

fn read(decoder: impl Read, size: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder.take(size.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

/// The uncompressed length of a section of the old kind; `None` where it is none after all.
pub(super) fn gnu_header(source: &Source, file: &Range<u64>) -> Option<u64> {
    let mut header = [0; 12];
    let size = file.end.checked_sub(file.start)?;
    (size >= GNU_HEADER).then(|| source.read_exact_at(file.start, &mut header))??;
    let (magic, size) = header.split_first_chunk::<4>()?;
    (magic == b"ZLIB").then(|| size.first_chunk().map(|size| u64::from_be_bytes(*size)))?
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_packed_comes_out_only_when_its_length_is_right() {
        let bytes = vec![7; 10_000];
        let (zlib, zstd) = (deflate(&bytes), zstd::encode_all(&*bytes, 3).unwrap());
        assert_eq!(Packing::Zlib.unpack(zlib.clone(), 10_000), Some(bytes.clone()));
        assert_eq!(Packing::Zstd.unpack(zstd.clone(), 10_000), Some(bytes.clone()));
        for size in [0, 9_999, 10_001, u64::MAX] {
            assert_eq!(Packing::Zlib.unpack(zlib.clone(), size), None);
            assert_eq!(Packing::Zstd.unpack(zstd.clone(), size), None);
        }
        assert_eq!(Packing::Zlib.unpack(vec![1, 2, 3], 100), None);
        assert_eq!(Packing::Unknown.unpack(bytes, 10_000), None);
    }

    #[test]
    fn old_headers_are_told_by_their_magic() {
        let source = Source::of_bytes(b"..ZLIB\0\0\0\0\0\0\x10\0rest".to_vec().into());
        assert_eq!(gnu_header(&source, &(2..18)), Some(4096));
        assert_eq!(gnu_header(&source, &(1..18)), None);
        assert_eq!(gnu_header(&source, &(2..8)), None);
        assert_eq!(gnu_header(&source, &(10..40)), None);
    }
}
