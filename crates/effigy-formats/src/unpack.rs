//! Files that are compressed as a whole: they are unpacked into a scratch file, which is read in their place.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::sync::Arc;

use crate::Compression;
use crate::container::{ContainerError, SeekableReader};
use crate::source::{FileSource, SharedSource, Source};

/// First bytes of a gzip file.
const GZIP: &[u8] = b"\x1f\x8b";
/// First bytes of an xz file.
const XZ: &[u8] = b"\xfd7zXZ\0";
/// First bytes of a zstd frame.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Most memory that unpacking may take for its window: 1 GiB would be 30, and what zstd itself accepts by default is 27.
const ZSTD_WINDOW: u32 = 27;
/// The same for xz, in KiB. `xz -9` has a window of 64 MiB.
const XZ_MEMORY: u32 = 132 << 10;
/// Bytes that are unpacked at a time. Those that are all zero become a hole of the scratch file.
const CHUNK: usize = 64 << 10;

/// What unpacking may cost, in bytes that come out: so many, and so many times the file's length. Real dumps are packed to a
/// tenth or a hundredth, those with little in much memory to less. It is a bound on work, so zeros cost
/// something too: 10 MB of gzip or zstd, which make 2 GB a second of them, may be 10 or 300 GB. Other bytes are written.
const MOST: Budget = Budget { least: 1 << 30, times: 300, others: 3 };
/// The same for xz, which makes 350 MB a second of either; 10 MB may be 70 GB.
const MOST_OF_XZ: Budget = Budget { least: 256 << 20, times: 100, others: 1 };

/// What unpacking may cost.
#[derive(Clone, Copy)]
struct Budget {
    /// Bytes of zeros that may come out of any file.
    least: u64,
    /// Bytes of zeros that may come out for each byte of the file.
    times: u64,
    /// Zeros that cost as much as one other byte.
    others: u64,
}

/// Why a compressed file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// There is no room for what is inside, or nowhere to put it.
    #[error("writing what is unpacked into a temporary file")]
    Scratch(#[source] io::Error),
    /// It is damaged or cannot be read.
    #[error(
        "unpacking the {compression} file of {size} bytes, after {done} bytes of what is in it",
        compression = compression.as_str()
    )]
    Damaged {
        /// How it is compressed.
        compression: Compression,
        /// Length of the file in bytes.
        size: u64,
        /// Bytes that were unpacked before.
        done: u64,
        /// What is wrong.
        source: io::Error,
    },
    /// It holds more than is accepted.
    #[error(
        "the {compression} file holds more than the {limit} bytes that are unpacked of one so short; unpack it yourself if that \
         is right",
        compression = compression.as_str()
    )]
    TooLarge {
        /// How it is compressed.
        compression: Compression,
        /// Bytes that are accepted, and were unpacked.
        limit: u64,
    },
    /// It is the seekable container, and damaged.
    #[error("reading the compressed file")]
    Container(#[from] ContainerError),
}

/// A file without its compression.
pub(crate) struct Unpacked {
    pub(crate) source: SharedSource,
    pub(crate) compression: Option<Compression>,
    /// Whether it was unpacked as a whole, into a scratch file.
    pub(crate) copied: bool,
    /// Why that ended before the file's end: what came out before is worth as much as that of a file that was cut.
    pub(crate) cut: Option<UnpackError>,
}

/// Takes the compression off a file, if it has one. `scratch` makes an empty file; `limit` is the most bytes that may
/// come out.
pub(crate) fn unpack(
    source: SharedSource,
    limit: u64,
    scratch: &mut dyn FnMut() -> io::Result<File>,
) -> Result<Unpacked, UnpackError> {
    let mut start = [0; 8];
    let count = source.read_at(0, &mut start).unwrap_or(0);
    let compression = match &start[..count] {
        start if start.starts_with(GZIP) => Compression::Gzip,
        start if start.starts_with(XZ) => Compression::Xz,
        start if start.starts_with(ZSTD) => match SeekableReader::new(Arc::clone(&source)) {
            Ok(reader) => {
                let compression = Some(Compression::SeekableZstd);
                return Ok(Unpacked { source: Arc::new(reader), compression, copied: false, cut: None });
            }
            Err(ContainerError::NoSeekTable) => Compression::Zstd,
            Err(error) => return Err(error.into()),
        },
        _ => return Ok(Unpacked { source, compression: None, copied: false, cut: None }),
    };
    let input = BufReader::with_capacity(1 << 18, Sequential { source: &*source, at: 0 });
    let file = scratch().map_err(UnpackError::Scratch)?;
    let size = source.size();
    let damaged = |source| UnpackError::Damaged { compression, size, done: 0, source };
    let mut reader: Box<dyn Read + '_> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
        Compression::Zstd | Compression::SeekableZstd => {
            let mut decoder = zstd::Decoder::with_buffer(input).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(damaged)?;
            Box::new(decoder)
        }
    };
    let Budget { least, times, others } = if compression == Compression::Xz { MOST_OF_XZ } else { MOST };
    let left = least.saturating_add(size.saturating_mul(times));
    let (file, cut) = copy(&mut *reader, file, (compression, size), Bounds { limit, left, others })?;
    let file = FileSource::new(file).map_err(UnpackError::Scratch)?;
    let scratch = Arc::new(Scratch { file, stored: source.size() });
    Ok(Unpacked { source: scratch, compression: Some(compression), copied: true, cut })
}

/// How much may be unpacked.
struct Bounds {
    /// Bytes in all.
    limit: u64,
    /// What it may cost.
    left: u64,
    /// See [`Budget::others`].
    others: u64,
}

/// Copies all of `reader` into `file`, or as much as can be read and paid for, with the reason why that is not all. `packed` is
/// how what is read is compressed, and its length.
fn copy(
    reader: &mut dyn Read,
    mut file: File,
    packed: (Compression, u64),
    mut bounds: Bounds,
) -> Result<(File, Option<UnpackError>), UnpackError> {
    let (compression, size) = packed;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0u64;
    let cut = loop {
        let (mut count, error) = fill(reader, &mut buffer);
        let is_zero = buffer[..count].iter().all(|byte| *byte == 0);
        let cost = if is_zero { 1 } else { bounds.others };
        let most = usize::try_from((bounds.left / cost).min(bounds.limit - done)).unwrap_or(usize::MAX);
        let is_too_large = count > most;
        count = count.min(most);
        bounds.left -= count as u64 * cost;
        done += count as u64;
        if is_zero {
            let skip = i64::try_from(count).unwrap_or(i64::MAX);
            file.seek_relative(skip).map_err(UnpackError::Scratch)?;
        } else {
            file.write_all(&buffer[..count]).map_err(UnpackError::Scratch)?;
        }
        match error {
            _ if is_too_large => break Some(UnpackError::TooLarge { compression, limit: done }),
            Some(source) if done == 0 => return Err(UnpackError::Damaged { compression, size, done, source }),
            Some(source) => break Some(UnpackError::Damaged { compression, size, done, source }),
            None if count == 0 => break None,
            None => {}
        }
    };
    // A hole at the end does not make a file longer by itself.
    file.set_len(done).map_err(UnpackError::Scratch)?;
    Ok((file, cut))
}

/// Fills the buffer, or as much of it as there is before the end or an error.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut done = 0;
    while done < buffer.len() {
        match reader.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}

/// What was unpacked.
struct Scratch {
    file: FileSource,
    /// Bytes of the file that it was unpacked from.
    stored: u64,
}

impl Source for Scratch {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn stored_size(&self) -> u64 {
        self.stored
    }
}

/// The bytes of a source one after the other.
struct Sequential<'a> {
    source: &'a dyn Source,
    at: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_at(self.at, buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(bytes: Vec<u8>, limit: u64) -> Result<Unpacked, UnpackError> {
        unpack(Arc::new(bytes), limit, &mut tempfile::tempfile)
    }

    fn contents() -> Vec<u8> {
        let mut bytes = vec![7; 100_000];
        bytes.resize(400_000, 0);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_packed_comes_out() {
        let contents = contents();
        for (packed, compression) in
            [(gzip(&contents), Compression::Gzip), (zstd::encode_all(&contents[..], 1).unwrap(), Compression::Zstd)]
        {
            let unpacked = unpacked(packed, 1 << 20).unwrap();
            assert_eq!((unpacked.compression, unpacked.copied), (Some(compression), true));
            let mut bytes = vec![1; 400_000];
            unpacked.source.read_exact_at(0, &mut bytes).unwrap();
            assert_eq!(unpacked.source.size(), 400_000);
            assert!(bytes == contents);
        }
    }

    #[test]
    fn of_a_bomb_only_the_beginning_is_unpacked() {
        let bomb = gzip(&vec![0; 4 << 20]);
        let unpacked = unpacked(bomb.clone(), 1 << 20).unwrap();
        assert_eq!((unpacked.source.size(), unpacked.source.stored_size()), (1 << 20, bomb.len() as u64));
        let cut = unpacked.cut.unwrap();
        assert!(matches!(cut, UnpackError::TooLarge { limit: 0x10_0000, .. }), "{cut}");
    }

    #[test]
    fn the_bound_is_on_what_comes_out_and_lies_between_bytes() {
        let unpacked = |bytes: &[u8], most| {
            let (scratch, packed) = (tempfile::tempfile().unwrap(), (Compression::Gzip, 0));
            let (file, cut) =
                copy(&mut &bytes[..], scratch, packed, Bounds { limit: 1 << 30, left: most, others: 2 }).unwrap();
            (file.metadata().unwrap().len(), cut.is_some())
        };
        let (zeros, others) = (vec![0; 8 * CHUNK], vec![1; 8 * CHUNK]);
        let all = zeros.len() as u64;
        for (bytes, cost) in [(zeros, 1), (others, 2)] {
            assert_eq!(unpacked(&bytes, all * cost), (all, false));
            for most in [1, CHUNK as u64, all - 1] {
                assert_eq!(unpacked(&bytes, most * cost), (most, true));
            }
        }
    }

    #[test]
    fn what_comes_before_damage_is_kept() {
        // Half of it, which is none of the zeros at its end.
        let mut contents: Vec<u8> =
            (0..100_000u32).flat_map(|number| number.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        contents.resize(500_000, 0);
        for mut packed in [gzip(&contents), zstd::encode_all(&contents[..], 1).unwrap()] {
            packed.truncate(packed.len() / 2);
            let unpacked = unpacked(packed, 1 << 20).unwrap();
            let size = usize::try_from(unpacked.source.size()).unwrap();
            assert!((CHUNK..400_000).contains(&size), "{size}");
            let mut bytes = vec![1; size];
            unpacked.source.read_exact_at(0, &mut bytes).unwrap();
            assert!(bytes == contents[..size]);
            assert!(matches!(unpacked.cut, Some(UnpackError::Damaged { done, .. }) if done == size as u64));
        }
        let nothing = unpacked(b"\xfd7zXZ\0 nonsense".to_vec(), 9);
        assert!(matches!(nothing, Err(UnpackError::Damaged { done: 0, .. })));
    }
}
