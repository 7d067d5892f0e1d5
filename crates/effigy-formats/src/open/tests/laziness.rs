//! Opening reads what it needs and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::source::{FileSource, Source};

/// A source that counts what is read of it.
struct Counting<S> {
    inner: S,
    read: AtomicU64,
}

impl<S: Source> Counting<S> {
    fn new(inner: S) -> Arc<Self> {
        Arc::new(Self { inner, read: AtomicU64::new(0) })
    }
}

impl<S: Source> Source for Counting<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.inner.read_at(offset, buffer)
    }
}

/// A core of one segment of 100 GB, which is a hole.
#[test]
fn a_huge_core_is_not_read() {
    let mut bytes = written(Format::ElfCore);
    // The last program header is that of the stack: its lengths in the file and in memory.
    let count = u64::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    let last = 64 + 56 * (usize::try_from(count).unwrap() - 1);
    let size: u64 = 100 << 30;
    bytes[last + 32..last + 40].copy_from_slice(&size.to_le_bytes());
    bytes[last + 40..last + 48].copy_from_slice(&size.to_le_bytes());
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_len(bytes.len() as u64 + size).unwrap();
    let source = Counting::new(FileSource::new(file).unwrap());
    let opened = open(Arc::clone(&source) as SharedSource, &mut Folder(Vec::new())).unwrap();
    assert_eq!(opened.warnings, []);
    let end = Address(sample::stack().start().0 + size - 1);
    assert_eq!(opened.memory.read(end, &mut [1]), Ok(1));
    assert!(source.read.load(Ordering::Relaxed) < 2 << 20, "{source:?}", source = source.read);
}

/// A minidump with 60,000 ranges of memory of a page each, none of which is there.
#[test]
fn many_ranges_are_found_by_their_list_alone() {
    let ranges: u64 = 60_000;
    let mut bytes = b"MDMP\x93\xa7\0\0".to_vec();
    for word in [1u32, 32, 0, 0, 2, 0, 9] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let list = 16 + 16 * ranges;
    bytes.extend_from_slice(&u32::try_from(list).unwrap().to_le_bytes());
    bytes.extend_from_slice(&44u32.to_le_bytes());
    bytes.extend_from_slice(&ranges.to_le_bytes());
    bytes.extend_from_slice(&(44 + list).to_le_bytes());
    for index in 0..ranges {
        bytes.extend_from_slice(&(index * 0x2000).to_le_bytes());
        bytes.extend_from_slice(&0x1000u64.to_le_bytes());
    }
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_len(44 + list + ranges * 0x1000).unwrap();
    let source = Counting::new(FileSource::new(file).unwrap());
    let opened = open(Arc::clone(&source) as SharedSource, &mut Folder(Vec::new())).unwrap();
    assert_eq!(effigy_process::CapturedMemory::captured(&opened.memory).len(), 60_000);
    assert_eq!(opened.memory.read(Address(0x2000 * 59_999), &mut [0; 0x2000]), Ok(0x1000));
    assert_eq!(opened.memory.read(Address(0x1000), &mut [0]), Err(NotRead::NotCaptured));
    assert!(source.read.load(Ordering::Relaxed) < 4 << 20);
}
