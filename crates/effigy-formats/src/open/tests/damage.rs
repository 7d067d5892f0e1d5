//! Damaged files: no panic, no endless work.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::corpus::{corpus, exhaust, index};
use super::*;

/// Longest that opening a damaged file may take. All that are tried are far below 10 MB, for which ten seconds would
/// be allowed; tests are not optimised.
const LONGEST: Duration = Duration::from_secs(5);

/// The collection's dumps that are small enough to be damaged hundreds of times.
fn seeds() -> Vec<Vec<u8>> {
    let Some(corpus) = corpus() else { return vec![written(Format::Minidump), written(Format::ElfCore)] };
    let files = index(&corpus).into_iter().map(|(path, _)| std::fs::read(corpus.join(path)).unwrap());
    files.filter(|bytes| bytes.len() < 400 << 10).collect()
}

fn survive(bytes: Vec<u8>) {
    let began = Instant::now();
    if let Ok(opened) = opened(bytes) {
        exhaust(&opened);
        let placeless = opened.warnings.iter().find(|warning| !warning.harmless && warning.offset.is_none());
        assert!(placeless.is_none(), "{placeless:?}");
    }
    assert!(began.elapsed() < LONGEST, "took {:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damage_of_any_dump_never_panics(
        seed in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..30),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        thread_local!(static SEEDS: Vec<Vec<u8>> = seeds());
        let mut bytes = SEEDS.with(|seeds| seed.get(seeds).clone());
        // Numbers that tend to be wrong: nothing, all ones, just over a sign, a little more or less.
        let interesting = [0u32, u32::MAX, 0x8000_0000, 0x7fff_ffff, 1, 0xff, 0x1000, 0x1_0000, 0xffff_fff0];
        for (round, (place, value)) in damage.into_iter().enumerate() {
            let reach = if round % 2 == 0 { bytes.len().min(4096) } else { bytes.len() };
            let at = place.index(reach) & !3;
            if let Some(word) = bytes.get_mut(at..at + 4) {
                word.copy_from_slice(&value.get(&interesting).to_le_bytes());
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survive(bytes);
    }
}

/// Lists whose entries all lead to the same long text or the same CONTEXT must not cost more than the file's length.
#[test]
fn entries_that_all_lead_to_one_place_cost_no_more_than_the_file() {
    let entries: u32 = 60_000;
    for (kind, size) in [(3u32, 48u32), (4, 108)] {
        let mut bytes = b"MDMP\x93\xa7\0\0".to_vec();
        for word in [1u32, 32, 0, 0, 0, 0, kind, 4 + size * entries, 44, entries] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        // Every word leads to the file's end, where a string of 60,000 bytes begins.
        let place = u32::try_from(bytes.len()).unwrap() + size * entries;
        let entry: Vec<u8> = (0..size / 4).flat_map(|_| place.to_le_bytes()).collect();
        (0..entries).for_each(|_| bytes.extend_from_slice(&entry));
        bytes.extend_from_slice(&60_000u32.to_le_bytes());
        bytes.resize(bytes.len() + 60_000, b'x');
        survive(bytes);
    }
}

/// The beginning of a core whose program headers stand behind one section header, which counts them.
pub(super) fn core_of(headers: &[[u64; 7]]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    [4u16, 62].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
    bytes.extend(1u32.to_le_bytes());
    [0u64, 128, 64].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend(0u32.to_le_bytes());
    [64u16, 56, 0xffff, 64, 1, 0].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
    bytes.resize(64 + 44, 0);
    bytes.extend(u32::try_from(headers.len()).unwrap().to_le_bytes());
    bytes.resize(128, 0);
    headers.iter().flatten().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

pub(super) fn note(owner: &[u8; 8], kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    [8, u32::try_from(contents.len()).unwrap(), kind].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
    bytes.extend_from_slice(owner);
    bytes.extend_from_slice(contents);
    bytes
}

/// A million headers may name one large note, which would be read, and kept, a million times.
#[test]
fn segments_of_notes_that_lie_over_each_other_cost_no_more_than_the_file() {
    for (owner, kind) in [(b"EFFIGY\0\0", 0x4546_4601), (b"CORE\0\0\0\0", 0x202)] {
        let (count, note) = (20_000, note(owner, kind, &vec![b'x'; 1 << 20]));
        let place = 128 + 56 * count as u64;
        let mut bytes = core_of(&vec![[4, place, 0, 0, note.len() as u64, 0, 4]; count]);
        bytes.extend(note);
        let opened = opened(bytes).unwrap();
        assert!(opened.parts.len() <= 3, "{}", opened.parts.len());
        let told = opened.warnings.iter().any(|warning| warning.text.contains("lies over others"));
        assert!(told, "{:?}", opened.warnings);
    }
}

/// Lists of annotations may lead to lists that lead to lists, all of them to one text without a letter.
#[test]
fn annotations_that_lead_to_one_place_cost_no_more_than_the_file() {
    let entries = 4096u32;
    // The header, the directory's one entry, and an empty text.
    let (text, lists) = (44u32, 48u32);
    let size = 4 + 12 * entries;
    let (module, modules, stream) = (lists + size, lists + size + 28, lists + 2 * size + 28);
    let mut bytes = b"MDMP\x93\xa7\0\0".to_vec();
    let mut push = |words: &[u32]| words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    push(&[1, 32, 0, 0, 0, 0, 0x4350_0001, 52, stream, 0, entries]);
    (0..3 * entries).for_each(|_| push(&[text]));
    push(&[1, size, lists, size, lists, size, lists]);
    push(&[entries]);
    (0..entries).for_each(|_| push(&[0, 28, module]));
    push(&[1, 0, 0, 0, 0, 0, 0, 0, 0, size, lists, size, modules]);
    let opened = opened(bytes).unwrap();
    assert!(opened.warnings.iter().any(|warning| warning.text.contains("an annotation")), "{:?}", opened.warnings);
}

/// Segments of a core may all have the bytes of one image, which has hundreds of notes segments.
#[test]
fn images_with_many_segments_of_notes_cost_no_more_than_others() {
    let mut image = b"\x7fELF\x02\x01\x01".to_vec();
    image.resize(16, 0);
    [3u16, 62].iter().for_each(|half| image.extend(half.to_le_bytes()));
    image.extend(1u32.to_le_bytes());
    [0u64, 64, 0].iter().for_each(|word| image.extend(word.to_le_bytes()));
    image.extend(0u32.to_le_bytes());
    [64u16, 56, 256, 64, 0, 0].iter().for_each(|half| image.extend(half.to_le_bytes()));
    let notes = [4, 0x8000, 0x8000, 0, 0x4000, 0x4000, 4];
    [1, 0, 0, 0, 0x1000, 0x1000, 0].iter().for_each(|word: &u64| image.extend(word.to_le_bytes()));
    (0..255).flat_map(|_| notes).for_each(|word: u64| image.extend(word.to_le_bytes()));
    // Notes without owner or contents.
    image.resize(0x1_0000, 0);
    let place = 128 + 56 * 200;
    let mut bytes = core_of(&(1..201).map(|at| [1, place, at << 16, 0, 1 << 16, 1 << 16, 0]).collect::<Vec<_>>());
    bytes.extend(image);
    let began = Instant::now();
    assert_eq!(opened(bytes).unwrap().process.modules.len(), 200);
    assert!(began.elapsed() < LONGEST, "took {:?}", began.elapsed());
}

/// All segments of a core may have the same bytes: a TB of memory in 10 MB.
#[test]
fn memory_that_lies_over_itself_is_bounded() {
    let (count, size) = (2000u64, 1u64 << 20);
    let place = 128 + 56 * count;
    let segment = |at: u64| [1 | 6 << 32, place, at << 32, 0, size, size, 0];
    let mut bytes = core_of(&(1..=count).map(segment).collect::<Vec<_>>());
    bytes.resize(bytes.len() + usize::try_from(size).unwrap(), 7);
    let opened = opened(bytes).unwrap();
    let (kept, left_out) = (opened.memory.captured_bytes(), opened.memory.repeated());
    assert_eq!(kept + left_out, count * size);
    assert!((1024 * size..1050 * size).contains(&kept), "{kept}");
    let told = opened.warnings.iter().any(|warning| warning.text.contains("lies over itself"));
    assert!(told, "{:?}", opened.warnings);
    assert_eq!(opened.held().is_full(), Some(false));
    assert_eq!(opened.memory.read(Address(1 << 32), &mut [0; 8]), Ok(8));
    assert_eq!(opened.memory.read(Address(count << 32), &mut [0; 8]), Err(NotRead::NotCaptured));
}

/// What a reader asks for in one go may lie in a sound frame and in a damaged one.
#[test]
fn memory_before_and_behind_a_damaged_frame_is_there() {
    let (place, size, frame) = (4096u64, 11u64 << 20, crate::container::FRAME_SIZE as u64);
    let mut bytes = core_of(&[[1 | 6 << 32, place, 1 << 32, 0, size, size, 0]]);
    bytes.resize(usize::try_from(place).unwrap(), 0);
    bytes.extend((0..size).map(|at| (at / 7).to_le_bytes()[0]));
    let mut writer = crate::container::SeekableWriter::new(Vec::new(), std::num::NonZero::<usize>::MIN).unwrap();
    io::Write::write_all(&mut writer, &bytes).unwrap();
    let (mut packed, _) = writer.finish().unwrap();
    // The second of three frames: its checksum.
    let length_at = |at: usize| zstd::zstd_safe::find_frame_compressed_size(&packed[at..]).unwrap();
    let first = length_at(0);
    let last = first + length_at(first) - 1;
    packed[last] = !packed[last];
    let memory = opened(packed).unwrap().memory;
    let damaged = Address((1 << 32) + frame - place);
    let behind = Address(damaged.0 + frame);
    let mut buffer = [0; 1000];
    assert_eq!(memory.read(Address(damaged.0 - 100), &mut buffer), Ok(100));
    assert_eq!(memory.read(damaged, &mut buffer), Err(NotRead::Unreadable));
    assert_eq!(memory.try_again_at(Address(damaged.0 + 5)), Some(behind));
    assert_eq!(memory.read(behind, &mut buffer), Ok(1000));
    assert_eq!(memory.try_again_at(behind), None);
}

/// What is compressed may be notes without owner or contents for gigabytes, each of which takes more memory than it is long.
#[test]
fn notes_of_a_compressed_core_are_bounded_by_the_length_of_the_file() {
    let place = 128 + 56;
    let (count, size) = (1_200_000u64, 12u64);
    let mut bytes = core_of(&[[4, place, 0, 0, count * size, 0, 4]]);
    bytes.resize(bytes.len() + usize::try_from(count * size).unwrap(), 0);
    let opened = opened(zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
    // 64 MiB of them, and a little for the file's own bytes, each counted as 64.
    assert!((1 << 20..(1 << 20) + 2000).contains(&opened.parts.len()), "{}", opened.parts.len());
    let told = opened.warnings.iter().any(|warning| warning.text.contains("after so many others"));
    assert!(told, "{:?}", opened.warnings);
}
