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

/// What unpacking may cost, in bytes that are written: so many, and so many times the file's length. Real dumps are packed to
/// a tenth or a hundredth, but for their zeros, which cost less.
const LEAST_COST: u64 = 1 << 30;
const COST_TIMES: u64 = 100;
/// Zeros that cost as much as one byte that is written.
const ZEROS: u64 = 8;

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
    #[error("the {compression} file holds more than {limit} bytes; unpack it yourself if that is right", compression = compression.as_str())]
    TooLarge {
        /// How it is compressed.
        compression: Compression,
        /// Bytes that are accepted.
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
    let allowance = LEAST_COST.saturating_add(source.size().saturating_mul(COST_TIMES));
    let (file, cut) = copy(&mut *reader, file, (compression, size), &mut Bounds { limit, allowance })?;
    let source = Arc::new(FileSource::new(file).map_err(UnpackError::Scratch)?);
    Ok(Unpacked { source, compression: Some(compression), copied: true, cut })
}

/// How much may be unpacked.
struct Bounds {
    /// Bytes in all.
    limit: u64,
    /// What it may cost, see [`LEAST_COST`].
    allowance: u64,
}

impl Bounds {
    /// Accounts for `count` bytes up to `done`; what is too much is an error.
    fn spend(&mut self, compression: Compression, done: u64, count: u64, zero: bool) -> Result<(), UnpackError> {
        if done > self.limit {
            return Err(UnpackError::TooLarge { compression, limit: self.limit });
        }
        let left = self.allowance.checked_sub(if zero { count.div_ceil(ZEROS) } else { count });
        self.allowance = left.ok_or(UnpackError::TooLarge { compression, limit: done - count })?;
        Ok(())
    }
}

/// Copies all of `reader` into `file`, or as much as can be read, with the reason why that is not all. `packed` is how what
/// is read is compressed, and its length.
fn copy(
    reader: &mut dyn Read,
    mut file: File,
    packed: (Compression, u64),
    bounds: &mut Bounds,
) -> Result<(File, Option<UnpackError>), UnpackError> {
    let (compression, size) = packed;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0u64;
    loop {
        let (count, error) = fill(reader, &mut buffer);
        done = done.saturating_add(count as u64);
        let damaged = error.map(|source| UnpackError::Damaged { compression, size, done, source });
        let is_zero = buffer[..count].iter().all(|byte| *byte == 0);
        bounds.spend(compression, done, count as u64, is_zero)?;
        if is_zero {
            let skip = i64::try_from(count).unwrap_or(i64::MAX);
            file.seek_relative(skip).map_err(UnpackError::Scratch)?;
        } else {
            file.write_all(&buffer[..count]).map_err(UnpackError::Scratch)?;
        }
        match damaged {
            Some(error) if done == 0 => return Err(error),
            None if count > 0 => {}
            cut => {
                // A hole at the end does not make a file longer by itself.
                file.set_len(done).map_err(UnpackError::Scratch)?;
                return Ok((file, cut));
            }
        }
    }
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
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![0; 4 << 20]);
        assert!(matches!(unpacked(bomb, 1 << 20), Err(UnpackError::TooLarge { limit: 0x10_0000, .. })));
    }

    #[test]
    fn what_fills_a_disk_costs_more_than_zeros() {
        let unpacked = |bytes: &[u8], allowance| {
            let bounds = &mut Bounds { limit: 1 << 30, allowance };
            copy(&mut &bytes[..], tempfile::tempfile().unwrap(), (Compression::Xz, 0), bounds)
                .map(|(file, _)| file.metadata())
        };
        let (zeros, others) = (vec![0; 8 * CHUNK], vec![1; 8 * CHUNK]);
        assert_eq!(unpacked(&zeros, CHUNK as u64).unwrap().unwrap().len(), zeros.len() as u64);
        let outcome = unpacked(&others, CHUNK as u64).unwrap_err();
        assert!(matches!(outcome, UnpackError::TooLarge { limit: 0x1_0000, .. }), "{outcome}");
        assert!(unpacked(&zeros, CHUNK as u64 - 1).is_err());
        assert!(unpacked(&others, 8 * CHUNK as u64).is_ok());
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
