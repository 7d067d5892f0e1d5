//! Tests of the writer against its own promises. Other tools' opinions: `elf_core::oracle_tests`.

use effigy_process::{
    Address, Architecture, Extent, ExtentList, GapReason, Memory, NoRegisters, Process, ThreadId, note,
};
use proptest::prelude::*;

use crate::elf_core::read::{Class, Core};
use crate::elf_core::sample;
pub(super) use crate::elf_core::sample::region;
use crate::{Attachment, Contents, Format, WriteError};

fn contents<'a>(process: &'a Process, extents: &'a ExtentList, attachments: &'a [Attachment]) -> Contents<'a> {
    Contents { process, extents, gaps: &process.gaps, minidump_type: 2, attachments }
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
    process.architecture = Architecture::X86;
    let mut extents = ExtentList::new(4096);
    let range = effigy_process::AddressRange::sized(Address(0), 1 << 32);
    extents.push(Extent { range, content: effigy_process::Content::Zeros }, true);
    let contents = contents(&process, &extents, &[]);
    assert!(Format::ElfCore.prologue_size(&contents).is_err());
}

/// Thread ids of the `NT_PRSTATUS` notes of a core, and the length of the first.
fn statuses(process: &Process) -> (Vec<u32>, usize) {
    let bytes = sample::core(process, &sample::extents());
    let core = Core::parse(&bytes).unwrap();
    let pid_at = if core.class() == Class::Elf64 { 32 } else { 24 };
    let notes: Vec<_> =
        core.notes().map(Result::unwrap).filter(|note| note.owner == "CORE" && note.kind == note::PRSTATUS).collect();
    let tid = |bytes: &[u8]| u32::from_le_bytes(bytes[pid_at..pid_at + 4].try_into().unwrap());
    (
        notes.iter().map(|note| tid(&note.description().unwrap())).collect(),
        notes.first().map_or(0, |note| usize::try_from(note.size).unwrap()),
    )
}

/// Sizes of `struct elf_prstatus` in Linux 6.18.
#[test]
fn a_thread_is_as_long_as_the_kernels() {
    for (architecture, size) in [
        (Architecture::X86, 144),
        (Architecture::X86_64, 336),
        (Architecture::Arm, 148),
        (Architecture::Aarch64, 392),
        (Architecture::Riscv64, 376),
    ] {
        let mut process = sample::process();
        process.architecture = architecture;
        for thread in &mut process.threads {
            thread.registers.as_mut().unwrap().architecture = architecture;
        }
        assert_eq!(statuses(&process), (vec![101, 100, 102], size), "{architecture:?}");
    }
}

#[test]
fn threads_without_registers_are_left_out() {
    let mut process = sample::process();
    let none = NoRegisters { reason: GapReason::UninterruptibleSleep, detail: String::new() };
    process.threads[1].registers = Err(none.clone());
    assert_eq!(statuses(&process).0, [100, 102], "the selected thread has none, so the first that has some is first");
    process.selected = Some(ThreadId(102));
    assert_eq!(statuses(&process).0, [102, 100]);
    for thread in &mut process.threads {
        thread.registers = Err(none.clone());
    }
    assert_eq!(statuses(&process).0, [] as [u32; 0]);
}

/// 65,534 program headers are the most that the ELF header can count: the number above means "look elsewhere".
#[test]
fn the_header_counts_as_far_as_it_can() {
    for (regions, in_header) in [(65_533u64, 65_534u16), (65_534, 0xffff)] {
        let mut process = sample::process();
        process.regions = (0..regions).map(|index| region(index * 0x2000, index * 0x2000 + 0x1000)).collect();
        let bytes = sample::core(&process, &ExtentList::new(sample::PAGE));
        assert_eq!(bytes[56..58], in_header.to_le_bytes());
        assert_eq!(Core::parse(&bytes).unwrap().segments().len() as u64, regions);
    }
}

/// Numbers of the pages of the sample's regions.
fn all_pages() -> Vec<u64> {
    sample::process()
        .regions
        .iter()
        .flat_map(|region| region.range.start().0 / sample::PAGE..region.range.end().0 / sample::PAGE)
        .collect()
}

proptest! {
    /// Memory whose order in the file is not that of its addresses.
    #[test]
    fn memory_in_any_order_is_read_where_it_is(
        pages in proptest::sample::subsequence(all_pages(), 0..=all_pages().len()).prop_shuffle(),
        wide in any::<bool>(),
    ) {
        let mut process = sample::process();
        if !wide {
            process.architecture = Architecture::X86;
            process.threads.clear();
        }
        let bytes = sample::core(&process, &sample::pages(&pages));
        let core = Core::parse(&bytes).unwrap();
        let whole: u64 = process.regions.iter().map(|region| region.range.size()).sum();
        prop_assert_eq!(core.segments().iter().map(|segment| segment.range.size()).sum::<u64>(), whole);
        prop_assert!(core.segments().iter().all(|segment| segment.cut == 0 && segment.offset % sample::PAGE == 0));
        for page in all_pages() {
            let mut found = [0xee; 4096];
            let read = core.read_exact(Address(page * sample::PAGE), &mut found);
            prop_assert_eq!(read.is_ok(), pages.contains(&page));
            let expected = if read.is_ok() { page.to_le_bytes()[0] } else { 0xee };
            prop_assert_eq!(found, [expected; 4096]);
        }
        // The order of the headers themselves; the reader sorts them.
        let (first, size, address) = if wide { (64, 56, 16) } else { (52, 32, 8) };
        let starts: Vec<&[u8]> = bytes[first + size..]
            .chunks(size)
            .take(core.segments().len())
            .map(|header| &header[address..address + 4])
            .collect();
        let starts: Vec<u32> = starts.iter().map(|start| u32::from_le_bytes((*start).try_into().unwrap())).collect();
        prop_assert!(starts.is_sorted() && starts.first() == Some(&0x40_0000));
    }
}

/// The Java tools want the first page of an image apart, see `segments`.
#[test]
fn the_first_page_of_an_image_stands_alone_in_any_order() {
    for (pages, expected) in [
        (&[0x700, 0x701, 0x702][..], &[(0x70_0000, 0, 1), (0x70_1000, 1, 2)][..]),
        (&[0x600, 0x700, 0x701, 0x702], &[(0x60_0000, 0, 1), (0x70_0000, 1, 1), (0x70_1000, 2, 2)]),
        (&[0x701, 0x702, 0x700], &[(0x70_0000, 2, 1), (0x70_1000, 0, 2)]),
        (&[0x702, 0x700, 0x701], &[(0x70_0000, 1, 1), (0x70_1000, 2, 1), (0x70_2000, 0, 1)]),
    ] {
        let bytes = sample::core(&sample::process(), &sample::pages(pages));
        let data = bytes.len() as u64 - pages.len() as u64 * sample::PAGE;
        let core = Core::parse(&bytes).unwrap();
        let found: Vec<_> = core
            .segments()
            .iter()
            .filter(|segment| segment.captured > 0)
            .map(|segment| {
                (segment.range.start().0, (segment.offset - data) / sample::PAGE, segment.captured / sample::PAGE)
            })
            .collect();
        assert_eq!(found, expected, "{pages:x?}");
    }
}
