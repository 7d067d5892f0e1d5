//! Tests of the reader: on what is written here, on damaged files, on other people's cores.

use std::path::{Path, PathBuf};

use effigy_process::{Content, Extent, ExtentList, note};
use proptest::prelude::*;

use super::*;
use crate::elf_core::layout::{OWNER_EFFIGY, effigy};
use crate::elf_core::sample;

fn written() -> Vec<u8> {
    sample::core(&sample::process(), &sample::extents())
}

/// Everything that can be asked of a core.
fn exercise(bytes: &[u8]) {
    let Ok(core) = Core::parse(bytes) else { return };
    let mut buffer = [0; 64];
    for segment in core.segments() {
        for address in [segment.range.start(), segment.range.end(), Address(segment.range.end().0 - 1)] {
            let _ = core.read(address, &mut buffer);
            let _ = core.read_exact(address, &mut buffer);
        }
    }
    assert!(core.notes().count() <= bytes.len());
    let _ = core.architecture();
}

#[test]
fn memory_is_bytes_or_a_reason() {
    let bytes = written();
    let core = Core::parse(&bytes).unwrap();
    assert_eq!(core.architecture(), Architecture::X86_64);
    let mut buffer = [0xee; 8192];
    assert_eq!(core.read(Address(0x60_0ffc), &mut buffer), Ok(4));
    assert_eq!(buffer[..5], [0, 0, 0, 0, 0xee]);
    assert_eq!(core.read(Address(0x60_2000), &mut buffer), Ok(8192));
    assert_eq!((buffer[0], buffer[4096]), (2, 0));
    assert_eq!(core.read(Address(0x60_1000), &mut buffer), Err(NotRead::NotCaptured));
    assert_eq!(core.read(Address(0x70_0000), &mut buffer), Err(NotRead::NotCaptured));
    assert_eq!(core.read(Address(0x60_4000), &mut buffer), Err(NotRead::Unmapped));
    assert_eq!(core.read(Address(u64::MAX), &mut buffer), Err(NotRead::Unmapped));
    assert_eq!(core.read_exact(Address(0x60_0ffc), &mut buffer[..8]), Err(NotRead::NotCaptured));
}

#[test]
fn notes_are_those_that_were_written() {
    let bytes = written();
    let core = Core::parse(&bytes).unwrap();
    let notes: Vec<_> = core.notes().collect::<Result<_, _>>().unwrap();
    let first: Vec<_> = notes.iter().take(7).map(|note| note.kind).collect();
    let file = crate::elf_core::layout::note::FILE;
    assert_eq!(first, [note::PRSTATUS, 3, 0x5349_4749, 6, file, note::PRFPREG, note::X86_XSTATE]);
    assert_eq!(notes[0].size, 336);
    let gaps = notes.iter().find(|note| note.owner == OWNER_EFFIGY && note.kind == effigy::GAPS).unwrap();
    let gaps: serde_json::Value = serde_json::from_slice(&gaps.description().unwrap()).unwrap();
    assert_eq!(gaps[0]["start"], "0x601000");
    let maps = notes.iter().find(|note| note.kind == effigy::MAPS).unwrap();
    assert!(maps.description().unwrap().starts_with(b"00400000-00401000 r-xp 00000000 00:00 7"));
}

#[test]
fn more_segments_than_the_header_can_count() {
    let mut process = sample::process();
    process.regions.clear();
    let mut extents = ExtentList::new(sample::PAGE);
    for index in 0..70_000u64 {
        let region = sample::region(index * 0x2000, index * 0x2000 + 0x1000);
        if index == 69_999 {
            extents.push(Extent { range: region.range, content: Content::Bytes }, true);
        }
        process.regions.push(region);
    }
    let bytes = sample::core(&process, &extents);
    let core = Core::parse(&bytes).unwrap();
    assert_eq!(core.segments().len(), 70_000);
    let mut byte = [0xee];
    assert_eq!(core.read(Address(69_999 * 0x2000), &mut byte), Ok(1));
    assert_eq!(byte[0], (69_999u64 * 0x2000).to_le_bytes()[1] >> 4);
    assert_eq!(core.read(Address(0x2000), &mut byte), Err(NotRead::NotCaptured));
    assert!(core.notes().all(|note| note.is_ok()));
}

#[test]
fn a_core_that_was_cut_short_says_so() {
    let mut bytes = written();
    bytes.truncate(bytes.len() - 0x1800);
    let core = Core::parse(&bytes).unwrap();
    assert_eq!(core.segments().iter().map(|segment| segment.cut).sum::<u64>(), 0x1800);
    let mut byte = [0];
    assert_eq!(core.read(Address(0x60_27ff), &mut byte), Ok(1));
    assert_eq!(core.read(Address(0x60_2800), &mut byte), Err(NotRead::NotCaptured));
}

#[test]
fn what_is_no_core_is_named() {
    assert_eq!(Core::parse(b"MDMP").unwrap_err(), CoreError::NotElf);
    let cut = CoreError::Truncated { what: "ELF header", offset: 0, size: 52, end: 4 };
    assert_eq!(Core::parse(b"\x7fELF").unwrap_err(), cut);
    let mut bytes = written();
    bytes[16] = 2;
    assert_eq!(Core::parse(&bytes).unwrap_err(), CoreError::NotCore { kind: 2 });
    bytes[5] = 3;
    assert!(matches!(Core::parse(&bytes).unwrap_err(), CoreError::Unsupported { .. }));
}

#[test]
fn overlapping_segments_are_taken_apart() {
    let segment = |start, end, offset, captured| Segment {
        range: AddressRange::new(Address(start), Address(end)),
        protection: Protection::READ,
        offset,
        captured,
        cut: 0,
    };
    let parts = apart(vec![segment(15, 30, 100, 10), segment(10, 20, 0, 10), segment(11, 12, 0, 1)]);
    assert_eq!(parts, [segment(10, 20, 0, 10), segment(20, 30, 105, 5)]);
}

proptest! {
    #[test]
    fn damage_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = written();
        for (place, value, in_headers) in changes {
            let end = if in_headers { 400 } else { bytes.len() };
            bytes[place.index(end)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        exercise(&bytes);
    }
}

/// Where the shared collection of dumps lies, when it is there.
fn corpus(test: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or_else(beside, PathBuf::from);
    if !path.is_dir() {
        println!("SKIPPED {test}: no corpus of dumps");
        return None;
    }
    Some(path)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn other_peoples_cores() {
    let Some(corpus) = corpus("other_peoples_cores") else { return };
    let mut found = Vec::new();
    files(&corpus, &mut found);
    let mut cores = 0;
    for path in found {
        let bytes = std::fs::read(&path).unwrap();
        exercise(&bytes);
        let Ok(core) = Core::parse(&bytes) else { continue };
        cores += 1;
        let statuses = core.notes().filter_map(Result::ok).filter(|note| note.kind == note::PRSTATUS).count();
        let cut: u64 = core.segments().iter().map(|segment| segment.cut).sum();
        println!(
            "{}: machine {}, {} segments, {statuses} threads, {cut} bytes cut, notes {}",
            path.strip_prefix(&corpus).unwrap().display(),
            core.machine(),
            core.segments().len(),
            if core.notes().all(|note| note.is_ok()) { "whole" } else { "damaged" },
        );
    }
    assert!(cores > 0, "a corpus without cores");
}
