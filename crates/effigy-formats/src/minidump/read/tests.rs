use std::path::{Path, PathBuf};

use ::minidump::{Minidump, MinidumpModuleList, MinidumpThreadList};
use effigy_process::{BuildId, Memory, NotRead, Process, note};
use proptest::prelude::*;

use super::*;
use crate::minidump::sample::{self, byte_at};

const FULL: u64 = 0x2;

fn dump(minidump_type: u64) -> Vec<u8> {
    sample::dump(&sample::crashed(), &sample::extents(), minidump_type, &[])
}

/// Reads all that there is to read.
fn exhaust(bytes: &[u8]) {
    let Ok(dump) = Dump::parse(bytes) else { return };
    let _ = (dump.threads(), dump.modules(), dump.exception(), dump.register_notes());
    let _ = (dump.comment(), dump.soft_errors(), dump.facts(), dump.attachments());
    let _ = (dump.process_key(), dump.is_full(), dump.is_windows());
    let _ = (dump.unloaded_modules(), dump.memory_info());
    dump.streams().for_each(|kind| drop(dump.stream(kind)));
    let Ok(memory) = dump.memory() else { return };
    let mut buffer = [0; 64];
    let mut last = Address(0);
    for range in memory.ranges() {
        assert!(range.start() >= last && !range.is_empty());
        last = range.end();
        for address in [range.start(), range.start().saturating_sub(1), range.end()] {
            let _ = memory.read(address, &mut buffer);
        }
        assert_eq!(memory.read(range.start(), &mut [0]), Ok(1));
    }
    let _ = memory.read(Address(u64::MAX), &mut buffer);
}

#[test]
fn threads_come_back() {
    let file = dump(0);
    let process = sample::crashed();
    let threads = Dump::parse(&file).unwrap().threads().unwrap();
    assert_eq!(threads.len(), 3);
    for (read, written) in threads.iter().zip(&process.threads) {
        assert_eq!(read.id, written.id);
        assert_eq!(read.name.as_deref().unwrap(), *written.name.as_ref().unwrap());
        let general = written.registers.as_ref().ok().and_then(|registers| registers.general());
        let context = read.context.clone().unwrap();
        assert_eq!(
            context.as_ref().and_then(|context| context.instruction_pointer),
            general.as_ref().and_then(|general| general.instruction_pointer())
        );
        assert_eq!(
            context.and_then(|context| context.stack_pointer),
            general.as_ref().and_then(|general| general.stack_pointer())
        );
        assert_eq!(read.stack, written.stack.unwrap_or_default());
    }
}

#[test]
fn registers_come_back_whole() {
    let file = dump(0);
    let threads = Dump::parse(&file).unwrap().register_notes().unwrap();
    assert_eq!(threads.iter().map(|thread| thread.thread.0).collect::<Vec<_>>(), [100, 101]);
    assert_eq!(threads[0].machine, 62);
    let written = sample::crashed().threads[0].registers.clone().unwrap();
    for (read, written) in threads[0].notes.iter().zip(&written.sets) {
        assert_eq!(read, written);
    }
    let xsave = threads[1].notes.iter().find(|set| set.note == note::X86_XSTATE).unwrap();
    assert_eq!(xsave.bytes.to_vec()[576..580], *b"AVX!");
}

#[test]
fn modules_come_back() {
    let file = dump(0);
    let modules = Dump::parse(&file).unwrap().modules().unwrap();
    let process = sample::crashed();
    assert_eq!(modules.len(), 2);
    for (read, written) in modules.iter().zip(&process.modules) {
        assert_eq!(read.name.as_ref().unwrap().to_string(), written.path);
        assert_eq!(read.range, written.range);
        let id: BuildId = written.build_id.clone().unwrap();
        assert_eq!(read.identity, Ok(Some(ModuleIdentity::BuildId(id))));
    }
}

#[test]
fn memory_comes_back() {
    for minidump_type in [0, FULL] {
        let file = dump(minidump_type);
        let memory = Dump::parse(&file).unwrap().memory().unwrap();
        assert_eq!(memory.missing(), 0);
        let ranges: Vec<_> = memory.ranges().collect();
        assert_eq!(ranges, sample::extents().ranges().collect::<Vec<_>>());
        for range in ranges {
            let mut buffer = vec![0; usize::try_from(range.size()).unwrap()];
            memory.read_exact(range.start(), &mut buffer).unwrap();
            assert!(buffer.iter().copied().eq((range.start().0..range.end().0).map(byte_at)));
        }
        let mut byte = [0];
        let code = Address(sample::MAIN_BASE.0 + 0x1010);
        assert_eq!(memory.read(code, &mut byte), Err(NotRead::NotCaptured));
        assert_eq!(memory.read(Address(0x10), &mut byte), Err(NotRead::Unmapped));
        assert_eq!(memory.read(sample::stack().end(), &mut byte), Err(NotRead::Unmapped));
    }
}

#[test]
fn without_regions_nothing_is_known_to_be_unmapped() {
    let process = Process { regions: vec![], ..sample::process() };
    let mut file = sample::dump(&process, &sample::extents(), 0, &[]);
    let kind = file[32..].chunks(12).position(|entry| entry[0] == 16 && entry[1..4] == [0; 3]).unwrap();
    file[32 + 12 * kind] = 0;
    let memory = Dump::parse(&file).unwrap().memory().unwrap();
    assert_eq!(memory.read(Address(0x10), &mut [0]), Err(NotRead::NotCaptured));
}

#[test]
fn a_dump_that_was_cut_off_is_worth_what_is_left() {
    let mut file = dump(FULL);
    file.truncate(file.len() - 0x1800);
    let memory = Dump::parse(&file).unwrap().memory().unwrap();
    assert_eq!(memory.missing(), 0x1800);
    assert_eq!(memory.read(sample::stack().start(), &mut [0; 0x4000]), Ok(0x2800));
}

#[test]
fn texts_and_exception_come_back() {
    let file = dump(FULL);
    let dump = Dump::parse(&file).unwrap();
    assert_eq!(dump.minidump_type(), FULL);
    assert_eq!(dump.captured(), 1_700_003_600);
    assert_eq!(dump.comment().unwrap().unwrap(), sample::crashed().comment);
    assert!(dump.soft_errors().unwrap().unwrap().contains("\"tid\":102"));
    assert!(dump.facts().unwrap().unwrap().starts_with("{\"version\":"));
    assert_eq!(dump.kernel_file(stream::LINUX_ENVIRON).unwrap().unwrap(), "HOME=/root\0");
    let exception = dump.exception().unwrap().unwrap();
    assert_eq!((exception.thread.0, exception.code, exception.flags), (101, 11, 1));
    assert_eq!(exception.address, Address(0xdead_0000));
    assert!(exception.context.unwrap().unwrap().instruction_pointer.is_some());
}

#[test]
fn the_process_is_known_from_others() {
    for (minidump_type, is_full) in [(0, false), (FULL, true)] {
        let file = dump(minidump_type);
        let dump = Dump::parse(&file).unwrap();
        assert_eq!(dump.process_key(), Ok(ProcessKey { id: Some(100), created: Some(1_700_000_000) }));
        assert_eq!((dump.is_full(), dump.is_windows()), (is_full, false));
    }
}

#[test]
fn what_is_no_minidump_is_said_to_be_none() {
    assert!(matches!(Dump::parse(b""), Err(ReadError::OutOfBounds { .. })));
    assert!(matches!(Dump::parse(&[0x7f; 64]), Err(ReadError::Signature { found: 0x7f7f_7f7f })));
}

/// The shared collection of dumps, which lies beside the checkout where it is there at all.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or(beside, PathBuf::from);
    path.is_dir().then_some(path)
}

fn minidumps_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            minidumps_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "dmp" || extension == "mdmp") {
            found.push(path);
        }
    }
}

/// Numbers of threads and of modules as the `minidump` crate counts them, of the dumps and streams that it takes.
fn oracle(bytes: &[u8]) -> (Option<usize>, Option<usize>) {
    let Ok(dump) = Minidump::read(bytes) else { return (None, None) };
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().ok().map(|list| list.threads.len());
    let modules = dump.get_stream::<MinidumpModuleList>().ok().map(|list| list.iter().count());
    (threads, modules)
}

#[test]
fn the_corpus_is_read_as_the_minidump_crate_reads_it() {
    let Some(folder) = corpus() else {
        println!("SKIPPED corpus not found");
        return;
    };
    let mut paths = Vec::new();
    minidumps_below(&folder, &mut paths);
    assert!(!paths.is_empty());
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        exhaust(&bytes);
        let (threads, modules) = oracle(&bytes);
        let Ok(dump) = Dump::parse(&bytes) else {
            assert_eq!((threads, modules), (None, None), "{}", path.display());
            continue;
        };
        if let Some(threads) = threads {
            assert_eq!(dump.threads().unwrap().len(), threads, "{}", path.display());
        }
        if let Some(modules) = modules {
            // The crate leaves modules out that have no size.
            let sized = dump.modules().unwrap().into_iter().filter(|module| !module.range.is_empty()).count();
            assert_eq!(sized, modules, "{}", path.display());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_never_panics(
        full in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut file = dump(if full { FULL } else { 0 });
        // The memory itself cannot do harm; the damage is for the prologue, and most of it for what comes first.
        let prologue = file.len() - usize::try_from(sample::extents().bytes()).unwrap();
        for (index, (place, value)) in damage.into_iter().enumerate() {
            let reach = if index % 2 == 0 { 1024 } else { prologue };
            file[place.index(reach)] = value;
        }
        if cut {
            file.truncate(length.index(prologue));
        }
        exhaust(&file);
    }

    #[test]
    fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 32..600)) {
        bytes[..8].copy_from_slice(b"MDMP\x93\xa7\0\0");
        bytes[8..16].copy_from_slice(&[3, 0, 0, 0, 32, 0, 0, 0]);
        for (index, kind) in [3u8, 4, 9].into_iter().enumerate() {
            if let Some(entry) = bytes.get_mut(32 + 12 * index..44 + 12 * index) {
                entry[..4].copy_from_slice(&[kind, 0, 0, 0]);
                entry[5..8].copy_from_slice(&[0; 3]);
                entry[9..12].copy_from_slice(&[0; 3]);
            }
        }
        exhaust(&bytes);
    }
}
