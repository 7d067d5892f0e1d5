//! Tests of pairs made by code.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effigy_process::{Address, Content, Extent, ExtentList, Memory, NotRead, Process, ProcessId};
use proptest::prelude::*;

use super::*;
use crate::minidump::sample::{self, byte_at};
use crate::source::SharedSource;

const FULL: u64 = 0x2;

/// The two dumps and what they are called.
#[derive(Clone)]
struct Dumps {
    default: Vec<u8>,
    memory: Vec<u8>,
}

/// The stack in one dump and all memory in the other; the other's threads are nobody's business.
fn dumps(process: &Process) -> Dumps {
    let mut stack = ExtentList::new(sample::PAGE);
    stack.push(Extent { range: sample::stack(), content: Content::Bytes }, true);
    let reflected = Process { threads: Vec::new(), ..process.clone() };
    Dumps {
        default: sample::dump(process, &stack, 0, &[]),
        memory: sample::dump(&reflected, &sample::extents(), FULL, &[]),
    }
}

fn shared(bytes: &[u8]) -> SharedSource {
    Arc::new(bytes.to_vec())
}

fn opened(dumps: &Dumps) -> Opened<SharedSource> {
    let configuration =
        Configuration::parse(b"[UserModeDump]\ndefault=x-1.dmp\nmemory=x-reflected.dmp\nmodule=x-1.dmp\n").unwrap();
    let files = configuration.files(Path::new("f"));
    files
        .open(|path| match path.to_str() {
            Some("f/x-1.dmp") => Ok(shared(&dumps.default)),
            Some("f/x-reflected.dmp") => Ok(shared(&dumps.memory)),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
        .unwrap()
}

fn refused(dumps: &Dumps) -> PairError {
    Pair::new(&opened(dumps)).err().unwrap()
}

/// The sample with something changed.
fn changed(change: impl FnOnce(&mut Process)) -> Process {
    let mut process = sample::process();
    change(&mut process);
    process
}

/// The field of a dump's SystemInfo that says which system wrote it.
fn set_platform(dump: &mut [u8], platform: u32) {
    let entry = dump[32..].chunks(12).find(|entry| entry[..4] == 7u32.to_le_bytes()).unwrap();
    let at = usize::try_from(u32::from_le_bytes(entry[8..12].try_into().unwrap())).unwrap() + 20;
    dump[at..at + 4].copy_from_slice(&platform.to_le_bytes());
}

fn later_by(process: &mut Process, seconds: u64) {
    let started = process.identity.started.as_mut().unwrap();
    *started += std::time::Duration::from_secs(seconds);
}

#[test]
fn a_pair_is_one_process() {
    let opened = opened(&dumps(&sample::process()));
    let pair = Pair::new(&opened).unwrap();
    assert_eq!(pair.threads().unwrap().len(), 3);
    assert_eq!(pair.register_notes().unwrap().len(), 2);
    assert_eq!(pair.modules().unwrap().len(), 2);
    assert_eq!(pair.exception().unwrap().unwrap().thread.0, 100);
    assert_eq!(pair.minidump_type(), FULL);
    assert_eq!(pair.captured(), 1_700_003_600);
    assert_eq!(pair.processor_architecture(), Some(9));
    assert_eq!(pair.comment().unwrap().unwrap(), sample::process().comment);
    assert_eq!(pair.soft_errors().unwrap().len(), 2);
    assert!(pair.facts().unwrap().unwrap().starts_with('{'));
    assert_eq!(pair.regions().unwrap().unwrap().len(), sample::process().regions.len());
    assert_eq!(pair.streams().count(), pair.default_dump().streams().count());

    let memory = pair.memory().unwrap();
    assert_eq!(memory.ranges().collect::<Vec<_>>(), sample::extents().ranges().collect::<Vec<_>>());
    let mut byte = [0];
    assert_eq!(memory.read(sample::heap().start(), &mut byte), Ok(1));
    assert_eq!(byte[0], byte_at(sample::heap().start().0));
    assert_eq!(memory.read(Address(sample::MAIN_BASE.0 + 0x1010), &mut byte), Err(NotRead::NotCaptured));
    assert_eq!(memory.read(Address(0x10), &mut byte), Err(NotRead::Unmapped));
}

#[test]
fn what_the_memory_dump_lacks_comes_from_the_default_dump() {
    let mut heap = ExtentList::new(sample::PAGE);
    heap.push(Extent { range: sample::heap(), content: Content::Bytes }, true);
    let both = Dumps { memory: sample::dump(&sample::process(), &heap, FULL, &[]), ..dumps(&sample::process()) };
    let opened = opened(&both);
    let memory = Pair::new(&opened).unwrap().memory().unwrap();
    assert_eq!(memory.ranges().collect::<Vec<_>>(), [sample::heap(), sample::stack()]);
}

#[test]
fn one_dump_may_be_all_of_them() {
    let whole = dumps(&sample::process()).memory;
    let threads = sample::dump(&sample::process(), &sample::extents(), FULL, &[]);
    for both in [Dumps { default: threads.clone(), memory: threads.clone() }, Dumps { default: threads, memory: whole }]
    {
        assert!(Pair::new(&opened(&both)).is_ok());
    }
}

#[test]
fn modules_may_be_in_a_dump_of_their_own() {
    let configuration = Configuration::parse(b"[UserModeDump]\ndefault=1\nmemory=2\nmodule=3").unwrap();
    let without_modules = |process: Process| Process { modules: Vec::new(), ..process };
    let both = dumps(&without_modules(sample::process()));
    let open = |module: Vec<u8>| {
        let all = [both.default.clone(), both.memory.clone(), module];
        let number = |path: &Path| path.to_str().unwrap().parse::<usize>().unwrap();
        configuration.files(Path::new("")).open(|path| Ok(shared(&all[number(path) - 1]))).unwrap()
    };
    let opened = open(dumps(&sample::process()).default);
    let pair = Pair::new(&opened).unwrap();
    assert_eq!(pair.modules().unwrap().len(), 2);
    assert!(pair.default_dump().modules().unwrap().is_empty());
    let stranger = open(dumps(&changed(|process| process.identity.pid = Some(ProcessId(7)))).default);
    let error = Pair::new(&stranger).err().unwrap();
    assert_eq!(error.to_string(), "1 and 3 are of different processes: their process id is 100 and 7");
}

#[test]
fn swapped_files_are_noticed() {
    let Dumps { default, memory } = dumps(&sample::process());
    let error = refused(&Dumps { default: memory.clone(), memory: default.clone() });
    assert!(matches!(error, PairError::Swapped { .. }));
    assert_eq!(
        error.to_string(),
        "default= and memory= of the configuration file are swapped: f/x-1.dmp has the memory, not f/x-reflected.dmp"
    );
    // Also where neither says that it is full.
    let process = sample::process();
    let reflected = Process { threads: Vec::new(), ..process.clone() };
    let narrow = sample::dump(&reflected, &sample::extents(), 0, &[]);
    assert!(matches!(refused(&Dumps { default: narrow, memory: default }), PairError::Swapped { .. }));
}

#[test]
fn missing_parts_are_named() {
    let Dumps { default, memory } = dumps(&sample::process());
    let empty = ExtentList::new(sample::PAGE);
    let nothing = Process { threads: Vec::new(), ..sample::process() };
    for minidump_type in [0, FULL] {
        let hollow = sample::dump(&nothing, &empty, minidump_type, &[]);
        assert!(matches!(
            refused(&Dumps { default: default.clone(), memory: hollow }),
            PairError::NoMemory { path } if path == Path::new("f/x-reflected.dmp")
        ));
    }
    assert!(matches!(
        refused(&Dumps { default: memory.clone(), memory: memory.clone() }),
        PairError::NoThreads { path } if path == Path::new("f/x-1.dmp")
    ));
    let text = b"[UserModeDump]".to_vec();
    assert!(matches!(refused(&Dumps { default: text.clone(), memory }), PairError::NotDump { key: Key::Default, .. }));
    assert!(matches!(refused(&Dumps { default, memory: text }), PairError::NotDump { key: Key::Memory, .. }));
}

#[test]
fn files_of_different_processes_are_refused() {
    let default = dumps(&sample::process()).default;
    let with = |change: fn(&mut Process)| {
        let error = refused(&Dumps { default: default.clone(), memory: dumps(&changed(change)).memory });
        error.to_string().replace("f/x-1.dmp and f/x-reflected.dmp are of different ", "")
    };
    assert_eq!(with(|process| process.identity.pid = Some(ProcessId(9))), "processes: their process id is 100 and 9");
    assert_eq!(
        with(|process| later_by(process, 3)),
        "processes: their time of start, in seconds since 1970, is 1700000000 and 1700000003"
    );
    assert_eq!(
        with(|process| process.modules.remove(0).is_main = true),
        "programs: the one at 0x555555554000 is not the one at 0x7ffff7c00000"
    );
    assert!(
        with(|process| process.modules[0].build_id.as_mut().unwrap().0[0] ^= 1).starts_with("programs: "),
        "the program was built anew"
    );
}

#[test]
fn a_clock_that_was_set_does_not_part_a_pair() {
    let later = changed(|process| later_by(process, 2));
    let both = Dumps { memory: dumps(&later).memory, ..dumps(&sample::process()) };
    assert!(Pair::new(&opened(&both)).is_ok());
}

#[test]
fn a_reflection_on_windows_is_another_process() {
    let other = changed(|process| process.identity.pid = Some(ProcessId(9)));
    let mut both = Dumps { memory: dumps(&other).memory, ..dumps(&sample::process()) };
    set_platform(&mut both.default, 2);
    set_platform(&mut both.memory, 2);
    assert!(Pair::new(&opened(&both)).is_ok());
    let stranger = changed(|process| process.modules[0].range = process.modules[1].range);
    both.memory = dumps(&stranger).memory;
    assert!(matches!(refused(&both), PairError::DifferentProgram { .. }));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let files = Files { default: PathBuf::from("a"), memory: PathBuf::from("b"), module: PathBuf::from("a") };
    let error = files.open(|_| Err::<Vec<u8>, _>(io::ErrorKind::NotFound.into())).unwrap_err();
    assert!(matches!(error, PairError::Open { key: Key::Default, .. }));
}

/// Reads all that there is to read.
fn exhaust(pair: &Pair) {
    let _ = (pair.threads(), pair.modules(), pair.exception(), pair.register_notes(), pair.regions());
    let _ = (pair.comment(), pair.soft_errors(), pair.facts());
    pair.streams().for_each(|kind| drop((pair.stream(kind), pair.kernel_file(kind))));
    let Ok(memory) = pair.memory() else { return };
    let mut last = Address(0);
    for range in memory.ranges() {
        assert!(range.start() >= last && !range.is_empty());
        last = range.end();
        assert_eq!(memory.read(range.start(), &mut [0]), Ok(1));
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        damage in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..30),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut both = dumps(&sample::process());
        for (index, (first, place, value)) in damage.into_iter().enumerate() {
            let file = if first { &mut both.default } else { &mut both.memory };
            // Most of the damage is for what comes first.
            let reach = if index % 3 == 0 { file.len() } else { 1024 };
            file[place.index(reach)] = value;
        }
        if let Some(cut) = cut {
            both.memory.truncate(cut.index(both.memory.len()));
        }
        if let Ok(pair) = Pair::new(&opened(&both)) {
            exhaust(&pair);
        }
    }
}
