//! Checking what is written here, what was damaged, and other people's dumps.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::minidump::sample;
use crate::open::tests::{Folder, corpus};
use crate::source::FileSource;
use crate::{Format, OpenError, open};

fn checked(bytes: Vec<u8>) -> Result<Verdict, OpenError> {
    verify(open(Arc::new(bytes), &mut Folder::empty())?, true)
}

fn written(format: Format) -> Vec<u8> {
    sample::written(format, &sample::crashed(), &sample::extents())
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut writer = crate::container::SeekableWriter::new(Vec::new(), std::num::NonZero::<usize>::MIN).unwrap();
    std::io::Write::write_all(&mut writer, bytes).unwrap();
    writer.finish().unwrap().0
}

/// The sample's process has a thread without a stack in the dump, and lost memory: that is odd, and no more.
#[test]
fn our_own_dumps_are_whole() {
    for format in [Format::Minidump, Format::ElfCore] {
        for bytes in [written(format), packed(&written(format))] {
            let verdict = checked(bytes).unwrap();
            assert!(verdict.is_whole(), "{format:?}: {:#?}", verdict.defects);
        }
    }
}

#[test]
fn what_is_cut_off_is_found_with_its_place() {
    for format in [Format::Minidump, Format::ElfCore] {
        let mut bytes = written(format);
        let end = bytes.len() - 0x1800;
        bytes.truncate(end);
        let verdict = checked(bytes).unwrap();
        assert!(!verdict.is_whole());
        let beyond = format!("beyond the file's end at {end:#x}");
        let placed = |defect: &&Defect| defect.offset.is_some() && !defect.field.is_empty();
        assert!(
            verdict.defects.iter().filter(placed).any(|defect| defect.text.contains(&beyond)),
            "{format:?}: {:#?}",
            verdict.defects
        );
    }
}

#[test]
fn a_flipped_bit_in_a_frame_is_found() {
    let mut bytes = packed(&written(Format::Minidump));
    let before = checked(bytes.clone()).unwrap();
    assert!(before.is_whole());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    // The headers may be what is damaged.
    match checked(bytes) {
        Ok(verdict) => assert!(verdict.defects.iter().any(|defect| defect.field == "compressed frame")),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn streams_that_lie_over_each_other_are_found() {
    let mut bytes = written(Format::Minidump);
    // The second entry of the directory gets the place of the first.
    let (first, second) = (bytes[36..44].to_vec(), 48..56);
    bytes[second].copy_from_slice(&first);
    let verdict = checked(bytes).unwrap();
    assert!(verdict.defects.iter().any(|defect| defect.text.contains("lies over")), "{:#?}", verdict.defects);
}

/// Threads in one dump, memory in another, as `pair.ini` names them.
fn checked_pair(damage: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Verdict {
    use effigy_process::{Content, Extent, ExtentList, Process};
    let process = sample::process();
    let mut stack = ExtentList::new(sample::PAGE);
    stack.push(Extent { range: sample::stack(), content: Content::Bytes }, true);
    let reflected = Process { threads: Vec::new(), ..process.clone() };
    let mut default = sample::dump(&process, &stack, 0, &[]);
    let mut memory = sample::dump(&reflected, &sample::extents(), 2, &[]);
    damage(&mut default, &mut memory);
    let text = b"[UserModeDump]\ndefault=x-1.dmp\nmemory=x-reflected.dmp\nmodule=x-1.dmp\n".to_vec();
    let mut folder = Folder::of([("x-1.dmp", default), ("x-reflected.dmp", memory)]);
    verify(open(Arc::new(text), &mut folder).unwrap(), true).unwrap()
}

#[test]
fn each_file_of_a_pair_is_checked() {
    let whole = checked_pair(|_, _| {});
    assert!(whole.is_whole(), "{:#?}", whole.defects);
    let in_file = |verdict: &Verdict, name: &str, text: &str| {
        let broken = verdict.defects.iter().filter(|defect| defect.severity == Severity::Broken);
        broken.clone().any(|defect| defect.file.as_deref() == Some(name) && defect.text.contains(text))
    };
    let cut = checked_pair(|_, memory| memory.truncate(memory.len() - 0x800));
    assert!(in_file(&cut, "x-reflected.dmp", "beyond the file's end"), "{:#?}", cut.defects);
    assert!(!in_file(&cut, "x-1.dmp", ""), "{:#?}", cut.defects);
    let cut = checked_pair(|default, _| default.truncate(default.len() - 0x800));
    assert!(in_file(&cut, "x-1.dmp", "beyond the file's end"), "{:#?}", cut.defects);
    // The second entry of the memory dump's directory leads out of the file.
    let lost = checked_pair(|_, memory| memory[32 + 12 + 8..32 + 24].fill(0xff));
    assert!(in_file(&lost, "x-reflected.dmp", "reaches beyond"), "{:#?}", lost.defects);
    let compressed = checked_pair(|_, memory| *memory = packed(memory));
    assert!(compressed.is_whole(), "{:#?}", compressed.defects);
}

/// Well-formed dumps that are broken all the same, or that look like it: a part of the path, and why.
const KNOWN: [(&str, &str); 0] = [];

#[test]
fn other_peoples_dumps_are_whole_or_known() {
    let Some(corpus) = corpus::corpus() else { return };
    let mut wrong = Vec::new();
    for (path, description) in corpus::index(&corpus) {
        let outcome = open_at(&corpus.join(&path));
        let verdict = match outcome {
            Ok(verdict) => verdict,
            Err(error) => {
                println!("{path}: {error:?}");
                assert!(description.contains("malformed"), "{path}: {error:?}");
                continue;
            }
        };
        let truncated = description.contains("truncated=True") || description.contains("malformed");
        let expected = truncated || KNOWN.iter().any(|(known, _)| path.contains(known));
        if verdict.is_whole() == expected {
            wrong.push(path.clone());
        }
        for defect in verdict.defects.iter().take(5) {
            println!("{path}: {defect:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn open_at(path: &Path) -> Result<Verdict, OpenError> {
    let source = FileSource::new(std::fs::File::open(path).unwrap()).unwrap();
    verify(open(Arc::new(source), &mut Folder::empty())?, true)
}
