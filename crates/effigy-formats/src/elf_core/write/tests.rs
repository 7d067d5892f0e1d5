//! Tests of the writer against its own promises. Other tools' opinions: `elf_core::oracle_tests`.

use effigy_process::{Address, Extent, ExtentList, Process};

use crate::elf_core::sample;
pub(super) use crate::elf_core::sample::region;
use crate::{Attachment, Contents, Format, WriteError};

fn contents<'a>(process: &'a Process, extents: &'a ExtentList, attachments: &'a [Attachment]) -> Contents<'a> {
    Contents { process, extents, minidump_type: 2, attachments }
}

#[test]
fn the_size_is_what_is_written_wherever_the_memory_begins() {
    let process = sample::process();
    let extents = sample::extents();
    let attachments = [Attachment { name: "/bin/sample".into(), build_id: None, length: 3 }];
    let contents = contents(&process, &extents, &attachments);
    let size = Format::ElfCore.prologue_size(&contents).unwrap();
    for offset in [size.next_multiple_of(4096), 1 << 20] {
        let mut out = Vec::new();
        Format::ElfCore.write_prologue(&contents, offset, &mut out).unwrap();
        assert_eq!(out.len() as u64, offset);
        assert!(out[usize::try_from(size).unwrap()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_place_that_is_too_small_is_refused() {
    let process = sample::process();
    let extents = sample::extents();
    let contents = contents(&process, &extents, &[]);
    let error = Format::ElfCore.write_prologue(&contents, 4096, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, WriteError::PrologueTooLarge { reserved: 4096, .. }));
}

#[test]
fn an_address_beyond_a_32_bit_core_is_refused() {
    let mut process = sample::process();
    process.architecture = effigy_process::Architecture::X86;
    let mut extents = ExtentList::new(4096);
    let range = effigy_process::AddressRange::sized(Address(0), 1 << 32);
    extents.push(Extent { range, content: effigy_process::Content::Zeros }, true);
    let contents = contents(&process, &extents, &[]);
    assert!(Format::ElfCore.prologue_size(&contents).is_err());
}
