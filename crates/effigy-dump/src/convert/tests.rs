//! Conversions of the shared collection's dumps, there and back.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effigy_formats::source::{FileSource, SharedSource};
use effigy_formats::{Surroundings, open};
use effigy_process::{Architecture, ByteOrder, Memory, Module, Thread, note};

use super::*;
use crate::sink::PartialFile;

struct Alone;

impl Surroundings for Alone {
    fn open(&mut self, _path: &Path) -> io::Result<SharedSource> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn scratch(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }
}

/// The shared collection of dumps, which lies beside the checkout where it is there at all.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or(beside, PathBuf::from);
    if !path.is_dir() {
        println!("SKIPPED corpus not found");
        return None;
    }
    Some(path)
}

/// The well-formed dumps of the index whose descriptions begin so.
fn dumps(start: &str) -> Vec<(String, OpenedDump)> {
    let Some(corpus) = corpus() else { return Vec::new() };
    let index = std::fs::read_to_string(corpus.join("INDEX.tsv")).unwrap();
    let rows = index.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let dumps = rows.filter(|row| row[4].starts_with(start) && !row[4].contains("malformed"));
    dumps.map(|row| (row[0].to_owned(), opened(&corpus.join(row[0])))).collect()
}

fn opened(path: &Path) -> OpenedDump {
    open(Arc::new(FileSource::new(File::open(path).unwrap()).unwrap()), &mut Alone).unwrap()
}

fn convert(dump: &OpenedDump, format: Format, kind: Option<Kind>) -> Result<(OpenedDump, Converted), ConvertError> {
    let folder = tempfile::tempdir().unwrap();
    let file = PartialFile::create(&folder.path().join("out"), true).unwrap();
    let conversion = Conversion::plan(dump, Wanted { format, kind, triage_comment: "triage".into() })?;
    let converted = conversion.write(&mut file.writer().unwrap(), &Progress::default())?;
    Ok((opened(&file.publish().unwrap().path), converted))
}

/// Whether minidump and core of effigy have registers of an architecture.
fn is_known(dump: &OpenedDump) -> bool {
    use Architecture as A;
    dump.process.byte_order == ByteOrder::Little
        && matches!(dump.process.architecture, A::X86 | A::X86_64 | A::Arm | A::Aarch64)
}

/// All of one's memory is in another.
fn assert_memory(path: &str, old: &OpenedDump, new: &OpenedDump) {
    for captured in old.memory.captured() {
        let size = usize::try_from(captured.range.size()).unwrap();
        let (mut before, mut after) = (vec![0; size], vec![1; size]);
        old.memory.read_exact(captured.range.start(), &mut before).unwrap();
        let read = new.memory.read_exact(captured.range.start(), &mut after);
        assert_eq!(read, Ok(()), "{path}: memory at {}", captured.range);
        assert!(before == after, "{path}: memory at {}", captured.range);
    }
}

/// All register sets of a thread are in another, byte for byte.
fn assert_registers(path: &str, old: &Thread, new: &Thread) {
    let (Ok(before), Ok(after)) = (&old.registers, &new.registers) else {
        assert_eq!(old.registers.is_ok(), new.registers.is_ok(), "{path}: thread {}", old.id);
        return;
    };
    assert_eq!(before.general().map(|set| set.words), after.general().map(|set| set.words), "{path}: {}", old.id);
    for set in before.sets.iter().filter(|set| set.note != note::PRSTATUS) {
        assert_eq!(after.set(set.note), Some(set.bytes.to_vec()), "{path}: {} set {:#x}", old.id, set.note);
    }
}

fn assert_modules(path: &str, old: &[Module], new: &[Module]) {
    assert_eq!(old, new, "{path}: modules");
}

fn assert_same(path: &str, old: &OpenedDump, new: &OpenedDump) {
    assert_memory(path, old, new);
    assert_eq!(old.memory.captured_bytes(), new.memory.captured_bytes(), "{path}");
    assert_modules(path, &old.process.modules, &new.process.modules);
    assert_eq!(old.process.threads.len(), new.process.threads.len(), "{path}");
    for thread in &old.process.threads {
        assert_registers(path, thread, new.process.thread(thread.id).unwrap());
    }
    assert_eq!(old.process.selected, new.process.selected, "{path}");
    assert!(new.warnings.is_empty(), "{path}: {:?}", new.warnings);
}

#[test]
fn cores_come_back_whole_by_way_of_a_minidump() {
    for (path, core) in dumps("ELF core") {
        if !is_known(&core) || core.process.threads.is_empty() {
            let refused = convert(&core, Format::Minidump, None);
            println!("{path}: {:?}", refused.map(drop));
            continue;
        }
        let (minidump, _) = convert(&core, Format::Minidump, None).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_same(&path, &core, &minidump);
        let (back, _) = convert(&minidump, Format::ElfCore, None).unwrap();
        assert_same(&path, &core, &back);
        assert_eq!(core.process.fault, back.process.fault, "{path}");
        // What is not known of the core is not known of what was made of it, whatever kind its header names.
        let held = core.held();
        if held.has_all_listed() || core.memory.missing() > 0 && core.coverage.has_all_listed() {
            assert_eq!([&*minidump.held(), &*back.held()], [&*held; 2], "{path}");
        }
        assert!(minidump.held().is_full() != Some(true) || held.is_full() == Some(true), "{path}");
        let regions =
            |dump: &OpenedDump| dump.process.regions.iter().map(|region| region.maps_line()).collect::<Vec<_>>();
        assert_eq!(regions(&core), regions(&back), "{path}");
    }
}

#[test]
fn minidumps_become_cores() {
    for (path, minidump) in dumps("minidump") {
        let (core, _) = match convert(&minidump, Format::ElfCore, None) {
            Ok(converted) => converted,
            Err(error) => {
                assert!(!is_known(&minidump), "{path}: {error:?}");
                continue;
            }
        };
        assert_memory(&path, &minidump, &core);
        assert_eq!(minidump.memory.captured_bytes(), core.memory.captured_bytes(), "{path}");
        assert_eq!(core.process.modules, minidump.process.modules, "{path}");
        assert_eq!(core.process.threads.len(), minidump.process.threads.len(), "{path}");
        assert_eq!(core.process.system, minidump.process.system, "{path}");
        for module in &minidump.process.modules {
            let region = core.process.region_at(module.range.start()).unwrap();
            assert!(region.inode != 0 || minidump.process.system.platform.is_linux(), "{path}: {module:?}");
        }
    }
}

/// What is carried over is the same bytes, stream for stream.
#[test]
fn a_smaller_minidump_has_all_other_streams() {
    for (path, minidump) in dumps("minidump") {
        let (mini, converted) = match convert(&minidump, Format::Minidump, Some(Kind::Mini)) {
            Ok(converted) => converted,
            Err(error) => panic!("{path}: {error:?}"),
        };
        let bytes = |dump: &OpenedDump, part: &effigy_formats::Part| {
            let mut bytes = vec![0; usize::try_from(part.size).unwrap()];
            dump.source.read_exact_at(part.offset, &mut bytes).unwrap();
            bytes
        };
        for part in &minidump.parts {
            let name = part.name.unwrap_or("?");
            if matches!(name, "UnusedStream" | "MemoryListStream" | "Memory64ListStream") {
                continue;
            }
            let again = mini.parts.iter().find(|new| new.number == part.number && new.offset == part.offset);
            let again = again.unwrap_or_else(|| panic!("{path}: {name} is lost"));
            // Stacks lie elsewhere.
            if name != "ThreadListStream" {
                assert!(bytes(&minidump, part) == bytes(&mini, again), "{path}: {name}");
            }
        }
        assert_eq!(mini.process.threads.len(), minidump.process.threads.len(), "{path}");
        for (new, old) in mini.process.threads.iter().zip(&minidump.process.threads) {
            assert_eq!((new.id, &new.registers), (old.id, &old.registers), "{path}");
        }
        assert_eq!(mini.process.modules, minidump.process.modules, "{path}");
        assert_eq!(mini.process.fault, minidump.process.fault, "{path}");
        assert_eq!(mini.memory.captured_bytes(), converted.memory_bytes, "{path}");
        assert!(mini.memory.captured_bytes() <= minidump.memory.captured_bytes(), "{path}");
        assert_memory(&path, &mini, &minidump);
        assert_eq!(mini.minidump_type & 0x2, 0, "{path}: says it is full");
    }
}

#[test]
fn the_same_format_is_the_same_bytes() {
    for (path, dump) in dumps("ELF core").into_iter().chain(dumps("minidump")) {
        let format = if dump.kind == DumpKind::ElfCore { Format::ElfCore } else { Format::Minidump };
        let (again, _) = convert(&dump, format, None).unwrap();
        let bytes = |dump: &OpenedDump| {
            let mut bytes = vec![0; usize::try_from(dump.source.size()).unwrap()];
            dump.source.read_exact_at(0, &mut bytes).unwrap();
            bytes
        };
        assert!(bytes(&dump) == bytes(&again), "{path}");
    }
}

#[test]
fn what_is_not_there_cannot_be_made() {
    for (path, mini) in dumps("minidump mini Windows x86").into_iter().take(3) {
        assert_eq!(kind_of(&mini), Kind::Mini, "{path}");
        assert!(matches!(convert(&mini, Format::Minidump, Some(Kind::Full)), Err(ConvertError::NotEnough { .. })));
        assert!(matches!(convert(&mini, Format::Minidump, Some(Kind::Triage)), Err(ConvertError::Platform { .. })));
    }
}

/// What cannot be made is refused with the reason and with what can be made.
#[test]
fn each_refusal_says_why_and_what_to_do() {
    let Some(corpus) = corpus() else { return };
    let dump = |path: &str| opened(&corpus.join(path));
    let refused = |dump: &OpenedDump, format, kind, why: &str, what: &str| {
        let error = convert(dump, format, kind).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(what), "{error}");
    };
    let windows = dump("rust-minidump/test.dmp");
    let kept = "no kind to keep all that there is";
    refused(&windows, Format::Minidump, Some(Kind::Full), "a mini dump does not hold what a full dump must", kept);
    refused(
        &windows,
        Format::ElfCore,
        Some(Kind::MiniPlus),
        "does not hold what a miniplus dump must",
        "mini or triage",
    );
    refused(&windows, Format::Minidump, Some(Kind::Triage), "minidumps of Linux only", "in the form of a core");
    let (core, _) = convert(&windows, Format::ElfCore, None).unwrap();
    refused(&core, Format::Minidump, None, "minidumps of Linux only", "the minidump that the core was made of");
    let big = dump("lldb/elf-core_linux-s390x.core");
    refused(
        &big,
        Format::ElfCore,
        Some(Kind::Mini),
        "no cores of s390x processes (big-endian)",
        "leave format and kind",
    );
    for (path, name) in [("s390x", "s390x"), ("ppc64le", "ppc64le"), ("riscv64", "riscv64")] {
        let other = dump(&format!("lldb/elf-core_linux-{path}.core"));
        let why = format!("no register layout for {name}");
        refused(&other, Format::Minidump, None, &why, "write an ELF core instead");
    }
    let (triage, _) = convert(&dump("generated/kernel-6.18-crash.core"), Format::ElfCore, Some(Kind::Triage)).unwrap();
    refused(&triage, Format::ElfCore, Some(Kind::Mini), "a triage dump does not hold what a mini dump must", kept);
}

#[test]
fn a_triage_dump_of_a_full_one_has_no_secrets() {
    for (path, dump) in dumps("ELF core 64-bit LE x86_64").into_iter().filter(|(path, _)| path.contains("generated")) {
        for format in [Format::Minidump, Format::ElfCore] {
            let (triage, _) = convert(&dump, format, Some(Kind::Triage)).unwrap();
            assert_eq!(triage.process.comment, "triage", "{path}");
            assert!(triage.memory.captured_bytes() < dump.memory.captured_bytes() / 4, "{path}");
            assert!(triage.memory.captured_bytes() > 0, "{path}: no stacks");
            assert!(triage.process.modules.iter().all(|module| !module.path.contains(&b'/')), "{path}");
            assert!(triage.process.files.environment.is_empty());
            assert_eq!(triage.process.threads.len(), dump.process.threads.len());
        }
    }
}

/// The thread at fault comes first, with the registers that it had then; minidump-stackwalk and gdb show the same.
#[test]
fn a_core_of_windows_shows_the_fault() {
    for (path, minidump) in
        dumps("minidump mini Windows x86").into_iter().filter(|(path, _)| path.ends_with("/test.dmp"))
    {
        let (core, _) = convert(&minidump, Format::ElfCore, None).unwrap();
        let first = &core.process.threads[0];
        let general = first.registers.as_ref().unwrap().general().unwrap();
        assert_eq!((first.id.0, core.process.selected), (3060, Some(first.id)), "{path}");
        assert_eq!((general.get("eip"), general.get("esp")), (Some(0x40_429e), Some(0x12_fe84)), "{path}");
        let losses = lost::by_writing(&minidump, Format::ElfCore, false);
        assert!(losses.iter().any(|loss| loss.what.contains("EXCEPTION_ACCESS_VIOLATION")), "{losses:?}");
        assert!(losses.iter().any(|loss| loss.what.contains("BreakpadInfo")), "{losses:?}");
    }
}

/// A frame that is damaged is a gap, from its first byte to its last, and all else comes over.
#[test]
fn a_damaged_frame_is_a_gap_as_long_as_it_is() {
    use effigy_formats::container::{FRAME_SIZE, SeekableWriter};
    let (start, size) = (1u64 << 32, 11u64 << 20);
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    [4u16, 62].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
    bytes.extend(1u32.to_le_bytes());
    [0u64, 64, 0].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend(0u32.to_le_bytes());
    [64u16, 56, 1, 64, 0, 0].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
    let header = [1 | 6 << 32, 4096, start, 0, size, size, 4096];
    header.iter().for_each(|word: &u64| bytes.extend(word.to_le_bytes()));
    bytes.resize(4096, 0);
    bytes.extend((0..size).map(|at| (at / 7).to_le_bytes()[0]));
    let mut writer = SeekableWriter::new(Vec::new(), std::num::NonZero::<usize>::MIN).unwrap();
    io::Write::write_all(&mut writer, &bytes).unwrap();
    let (mut packed, _) = writer.finish().unwrap();
    // The second of three frames: its checksum. The table with their lengths is at the end.
    let length = |frame: usize| {
        let at = packed.len() - 9 - (3 - frame) * 8;
        u32::from_le_bytes(*packed[at..].first_chunk().unwrap()) as usize
    };
    let last = length(0) + length(1) - 1;
    packed[last] = !packed[last];
    let damaged = open(Arc::new(packed), &mut Alone).unwrap();
    let (new, converted) = convert(&damaged, Format::Minidump, None).unwrap();
    let frame = FRAME_SIZE as u64;
    let gap = effigy_process::AddressRange::sized(effigy_process::Address(start + frame - 4096), frame);
    let is_it = |each: &&Gap| each.subject == effigy_process::GapSubject::Memory(gap);
    assert_eq!(converted.gaps.iter().filter(is_it).count(), 1, "{:?}", converted.gaps);
    assert_eq!(converted.memory_bytes, size - frame);
    let (mut old, mut copied) = ([0; 1000], [0; 1000]);
    for at in [start, gap.start().0 - 1000, gap.end().0, start + size - 1000].map(effigy_process::Address) {
        assert_eq!((damaged.memory.read(at, &mut old), new.memory.read(at, &mut copied)), (Ok(1000), Ok(1000)));
        assert_eq!(old, copied);
    }
    assert!(new.memory.read(gap.start(), &mut copied).is_err());
}

/// A number after another that look like chance.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Damaged dumps convert or do not; nothing panics, and what comes out can be opened.
#[test]
fn damage_never_panics() {
    let Some(corpus) = corpus() else { return };
    let mut random = 7;
    for name in [
        "breakpad/linux_null_read_av.dmp",
        "rust-minidump/test.dmp",
        "rust-minidump/simple-crashpad.dmp",
        "lldb/thread_crash_linux-x86_64.core",
        "lldb/thread_crash_linux-i386.core",
    ] {
        let whole = std::fs::read(corpus.join(name)).unwrap();
        for _ in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..=next(&mut random) % 8 {
                // Mostly in the headers and lists.
                let end = if next(&mut random).is_multiple_of(4) { bytes.len() } else { bytes.len().min(4096) };
                let at = usize::try_from(next(&mut random)).unwrap() % end;
                bytes[at] = u8::try_from(next(&mut random) & 0xff).unwrap();
            }
            let Ok(dump) = open(Arc::new(bytes), &mut Alone) else { continue };
            for format in [Format::Minidump, Format::ElfCore] {
                for kind in [None, Some(Kind::Mini), Some(Kind::Triage)] {
                    // Opening what comes out is part of it.
                    let _ = convert(&dump, format, kind);
                }
            }
        }
    }
}
