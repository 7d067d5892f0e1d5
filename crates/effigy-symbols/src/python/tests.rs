//! The walk in memory that is made up; `tests/python` walks in that of real interpreters.

use super::fake::{Fake, Made, told};
use super::layout::{Layout, Table, find, told_at};
use super::read::Reader;
use super::walk::Walk;
use super::*;

const VERSIONS: [u8; 5] = [9, 10, 11, 12, 13];

fn version(minor: u8) -> Version {
    Version { major: 3, minor }
}

/// The layout of a version; that of 3.13 as 3.13.0 tells it.
fn layout_of(minor: u8) -> Layout {
    let mut fake = Fake::default();
    let runtime = fake.block(1024);
    fake.put(runtime, 0, &told());
    find(&Reader::new(&fake), runtime, version(minor)).unwrap()
}

fn read(fake: &Fake, runtime: Address, minor: u8) -> Result<PythonStacks, PythonError> {
    threads(fake, Architecture::X86_64, runtime, version(minor))
}

/// A table by which the instructions at 0, 2 and 4 are on the lines 10, 11 and 12.
fn table(layout: &Layout) -> &'static [u8] {
    match layout.code.table {
        Table::Steps => &[2, 1, 2, 1],
        Table::Ranges => &[2, 0, 2, 1, 2, 1],
        Table::Locations => &[0x80, 0, 0xd8, 0, 0, 0xd8, 0, 0],
    }
}

/// A process of three threads, of which the first has frames.
struct Process {
    fake: Fake,
    layout: Layout,
    runtime: Address,
    /// Of the first thread.
    frames: Vec<Address>,
    threads: Vec<Address>,
}

fn made(minor: u8, frames: impl FnOnce(&mut Fake, &Layout) -> Vec<Made>) -> Process {
    let layout = layout_of(minor);
    let mut fake = Fake::default();
    let frames = frames(&mut fake, &layout);
    let frames = fake.frames(&layout, &frames);
    let threads = vec![fake.thread(&layout, 11, frames.first().copied()), fake.thread(&layout, 12, None)];
    let first = fake.interpreter(&layout, &threads);
    let idle = fake.thread(&layout, 13, None);
    let second = fake.interpreter(&layout, &[idle]);
    let runtime = fake.runtime(&layout, &[first, second]);
    if minor == 13 {
        fake.put(runtime, 0, &told());
    }
    Process { fake, layout, runtime, frames, threads }
}

/// A function that C called, and two that it led to.
fn three_frames(fake: &mut Fake, layout: &Layout) -> Vec<Made> {
    let inner = fake.code(layout, "Größe.łąka", table(layout));
    let outer = fake.code(layout, "snake_🐍", table(layout));
    vec![
        Made { code: inner, position: 4, is_entry: false },
        Made { code: outer, position: 2, is_entry: true },
        Made { code: outer, position: -2, is_entry: true },
    ]
}

#[test]
fn every_version_gives_its_threads_and_frames() {
    for minor in VERSIONS {
        let made = made(minor, three_frames);
        let stacks = read(&made.fake, made.runtime, minor).unwrap();
        assert_eq!(stacks.cut, None, "3.{minor}");
        let ids: Vec<_> = stacks.threads.iter().map(|thread| (thread.native_id, thread.thread_id)).collect();
        let native = |id| (minor >= 11).then_some(id);
        let expected = [11, 12, 13].map(|id| (native(id), 0x7fff_0000 + u64::from(id)));
        assert_eq!(ids, expected, "3.{minor}");
        let frame = |function: &str, line, is_entry| PythonFrame {
            function: function.into(),
            file: "/srv/app.py".into(),
            line: Some(line),
            is_entry,
        };
        let expected = [frame("Größe.łąka", 12, minor < 11), frame("snake_🐍", 11, true), frame("snake_🐍", 10, true)];
        assert_eq!(stacks.threads[0].frames, expected, "3.{minor}");
        assert!(stacks.threads.iter().all(|thread| thread.cut.is_none()), "3.{minor}");
    }
}

/// Before 3.11 Python notes no ids: glibc's control block of a thread has one, if it is such a block.
#[test]
fn ids_are_those_of_glibc_where_python_notes_none() {
    for minor in VERSIONS {
        let mut made = made(minor, three_frames);
        let block = made.fake.block(1024);
        for offset in [0, 16] {
            made.fake.number(block, offset, block.0);
        }
        made.fake.put(block, 720, &77_i32.to_le_bytes());
        made.fake.number(made.threads[0], made.layout.thread.thread_id, block.0);
        let id = |fake: &Fake| read(fake, made.runtime, minor).unwrap().threads[0].native_id;
        assert_eq!(id(&made.fake), Some(if minor >= 11 { 11 } else { 77 }), "3.{minor}");
        made.fake.number(block, 16, 0);
        assert_eq!(id(&made.fake), (minor >= 11).then_some(11), "3.{minor}");
    }
}

#[test]
fn text_of_one_byte_a_character_is_latin_where_it_is_not_ascii() {
    let layout = layout_of(11);
    let mut fake = Fake::default();
    for text in ["café", "plain", ""] {
        let at = fake.text(&layout, text);
        assert_eq!(Reader::new(&fake).text(at, &layout.text).unwrap(), text);
    }
}

#[test]
fn long_text_is_cut_and_impossible_text_refused() {
    let layout = layout_of(12);
    let mut fake = Fake::default();
    let long = fake.text(&layout, &"x".repeat(5000));
    let shown = Reader::new(&fake).text(long, &layout.text).unwrap();
    assert_eq!((shown.chars().count(), shown.ends_with('…')), (4097, true));
    fake.number(long, layout.text.length, u64::MAX);
    assert!(Reader::new(&fake).text(long, &layout.text).is_err());
    let legacy = fake.text(&layout, "x");
    fake.put(legacy, layout.text.state, &[0x44]);
    assert!(Reader::new(&fake).text(legacy, &layout.text).is_err());
}

#[test]
fn a_frame_whose_texts_are_missing_says_why() {
    let mut gone = Address(0);
    let made = made(11, |fake, layout| {
        let code = fake.code(layout, "f", table(layout));
        gone = fake.text(layout, "gone");
        fake.number(code, layout.code.name, gone.0);
        fake.number(code, layout.code.lines, 0);
        vec![Made { code, position: 2, is_entry: true }]
    });
    let mut fake = made.fake;
    fake.forget(gone);
    let stacks = read(&fake, made.runtime, 11).unwrap();
    let frame = &stacks.threads[0].frames[0];
    assert_eq!(frame.function, "<unreadable: not in this dump>");
    assert_eq!((frame.file.as_str(), frame.line), ("/srv/app.py", None));
}

#[test]
fn frames_end_where_memory_does() {
    for minor in VERSIONS {
        let mut made = made(minor, three_frames);
        let last = *made.frames.iter().rev().nth(usize::from(minor >= 12)).unwrap();
        made.fake.forget(last);
        let stacks = read(&made.fake, made.runtime, minor).unwrap();
        assert_eq!(stacks.threads[0].frames.len(), 2, "3.{minor}");
        assert_eq!(stacks.threads[0].cut.as_deref(), Some(&*format!("reading a frame at {last}: not in this dump")));
    }
}

#[test]
fn circles_end() {
    for minor in VERSIONS {
        let mut made = made(minor, three_frames);
        let (first, last) = (made.frames[0], *made.frames.last().unwrap());
        made.fake.number(last, made.layout.frame.back, first.0);
        let (first, last) = (made.threads[0], *made.threads.last().unwrap());
        made.fake.number(last, made.layout.thread.next, first.0);
        let stacks = read(&made.fake, made.runtime, minor).unwrap();
        assert_eq!(stacks.threads.len(), 2);
        assert_eq!(stacks.threads[0].frames.len(), 3);
        assert!(stacks.threads[0].cut.as_ref().unwrap().contains("circle"), "{stacks:?}");
        assert!(stacks.cut.as_ref().unwrap().contains("circle"), "{stacks:?}");
    }
}

#[test]
fn frames_and_threads_are_bounded() {
    let mut made = made(10, |fake, layout| {
        let code = fake.code(layout, "deep", table(layout));
        vec![Made { code, position: 2, is_entry: true }; 5000]
    });
    let stacks = read(&made.fake, made.runtime, 10).unwrap();
    assert_eq!(stacks.threads[0].frames.len(), 4096);
    assert_eq!(stacks.threads[0].cut.as_deref(), Some("more than 4096 frames"));
    let threads: Vec<_> = (0..5000).map(|id| made.fake.thread(&made.layout, id, None)).collect();
    let interpreter = made.fake.interpreter(&made.layout, &threads);
    let runtime = made.fake.runtime(&made.layout, &[interpreter]);
    let stacks = read(&made.fake, runtime, 10).unwrap();
    assert_eq!((stacks.threads.len(), stacks.cut.as_deref()), (4096, Some("more than 4096 threads")));
}

#[test]
fn another_version_is_not_taken_for_this_one() {
    let made = made(11, three_frames);
    let as_other = |minor| read(&made.fake, made.runtime, minor);
    assert!(matches!(as_other(13), Err(PythonError::Unlike { .. })));
    assert_eq!(as_other(14), Err(PythonError::Version(version(14))));
    assert_eq!(as_other(8), Err(PythonError::Version(version(8))));
    // The list of threads begins elsewhere, where there is nothing.
    assert_eq!(as_other(12).unwrap().threads.len(), 0);
}

#[test]
fn a_thread_that_is_not_its_interpreters_is_none() {
    let mut made = made(12, three_frames);
    made.fake.number(made.threads[0], made.layout.thread.interpreter, 0x1234);
    assert!(matches!(read(&made.fake, made.runtime, 12), Err(PythonError::Unlike { what: "a thread", .. })));
}

#[test]
fn what_the_runtime_tells_is_checked() {
    let made = made(13, three_frames);
    let mut fake = made.fake;
    for (at, number) in [(told_at::VERSION, 0x030e_00f0), (told_at::FRAME_BACK, u64::MAX), (told_at::VERSION, 0)] {
        let mut table = told();
        table[at..at + 8].copy_from_slice(&number.to_le_bytes());
        fake.put(made.runtime, 0, &table);
        assert!(matches!(read(&fake, made.runtime, 13), Err(PythonError::Unlike { .. })), "{at}");
    }
    fake.forget(made.runtime);
    assert!(matches!(read(&fake, made.runtime, 13), Err(PythonError::Unreadable { .. })));
}

#[test]
fn other_machines_are_refused() {
    let fake = Fake::default();
    for architecture in [Architecture::X86, Architecture::X32, Architecture::Arm, Architecture::S390x] {
        let result = threads(&fake, architecture, Address(0x1000), version(11));
        assert_eq!(result, Err(PythonError::Architecture(architecture)));
    }
}

/// Memory that is full of small numbers and of pointers into itself.
struct Noise {
    seed: u64,
    /// A mask of how far pointers lead. The fewer places there are, the more often lists fit together.
    reach: u64,
}

impl Memory for Noise {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        const START: u64 = 0x1000;
        if address.0 < START {
            return Err(NotRead::Unmapped);
        }
        for (at, byte) in (address.0..).zip(buffer.iter_mut()) {
            let word = ((at / 8) ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
            let value = if word % 16 < 13 { START + (word >> 16 & self.reach) } else { word >> 40 & 0x7f };
            *byte = value.to_le_bytes()[usize::try_from(at % 8).unwrap()];
        }
        Ok(buffer.len())
    }
}

#[test]
fn noise_does_no_harm() {
    let mut frames = 0;
    for minor in VERSIONS.into_iter().filter(|minor| *minor != 13) {
        for seed in 0..40 {
            for reach in [0x38, 0x1f8, 0x1ff8] {
                let found = threads(&Noise { seed, reach }, Architecture::X86_64, Address(0x1000), version(minor));
                frames +=
                    found.iter().flat_map(|stacks| &stacks.threads).map(|thread| thread.frames.len()).sum::<usize>();
            }
        }
    }
    assert!(frames > 0, "noise that is never taken for anything tests nothing");
}

/// An interpreter whose threads all share one chain of frames, each frame at another place of a code object with a table
/// of lines that has no end to speak of.
#[test]
fn a_hostile_process_is_not_read_for_ever() {
    let layout = layout_of(11);
    let mut fake = Fake::default();
    let code = fake.code(&layout, &"n".repeat(4096), &vec![0; 15 << 20]);
    let frames: Vec<_> = (0..4000).map(|at| Made { code, position: 1 << 40 | at, is_entry: false }).collect();
    let frames = fake.frames(&layout, &frames);
    let threads: Vec<_> = (0..4000).map(|id| fake.thread(&layout, id, Some(frames[0]))).collect();
    let interpreter = fake.interpreter(&layout, &threads);
    let runtime = fake.runtime(&layout, &[interpreter]);
    let stacks = Walk::new(Reader::bounded(&fake, 1 << 20), &layout, version(11)).stacks(runtime).unwrap();
    assert_eq!(stacks.threads.len(), 4000);
    let spent = |thread: &PythonThread| thread.cut.as_deref() == Some("there is too much to read");
    assert!(stacks.threads.iter().all(spent), "{:?}", stacks.threads[0].cut);
}
