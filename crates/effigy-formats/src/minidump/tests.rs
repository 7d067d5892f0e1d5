//! Dumps that we write, as the `minidump` crate reads them.

use ::minidump::format::{MINIDUMP_STREAM_TYPE as Kind, MemoryProtection};
use ::minidump::system_info::{Cpu, Os};
use ::minidump::{
    Minidump, MinidumpException, MinidumpHandleDataStream, MinidumpLinuxMaps, MinidumpMemory64List,
    MinidumpMemoryInfoList, MinidumpMemoryList, MinidumpMiscInfo, MinidumpModuleList, MinidumpSoftErrors,
    MinidumpSystemInfo, MinidumpThread, MinidumpThreadInfoList, MinidumpThreadList, MinidumpThreadNames, Module as _,
};
use effigy_process::{Address, AddressRange, Architecture, Content, Extent, ExtentList, Memory, Process, ThreadId};

use proptest::prelude::*;

use super::layout::stream;
use super::read;
use super::sample::{self, byte_at};
use crate::{Attachment, Contents, Format, WriteError};

/// `MiniDumpWithFullMemory` and what goes with it.
const FULL: u64 = 0x2 | 0x4 | 0x800 | 0x1000;

type Dump<'a> = Minidump<'a, &'a [u8]>;

fn mini(process: &Process) -> Vec<u8> {
    sample::dump(process, &sample::extents(), 0, &[])
}

fn open(file: &[u8]) -> Dump<'_> {
    let dump = Minidump::read(file).unwrap();
    let mut kinds: Vec<u32> = dump.all_streams().map(|entry| entry.stream_type).collect();
    kinds.sort_unstable();
    let count = kinds.len();
    kinds.dedup();
    assert_eq!(kinds.len(), count, "several streams of one kind");
    dump
}

fn register(dump: &Dump<'_>, thread: &MinidumpThread<'_>, name: &str) -> Option<u64> {
    let system = dump.get_stream::<MinidumpSystemInfo>().unwrap();
    let context = thread.context(&system, None)?;
    Some(context.get_register(name).unwrap())
}

#[test]
fn threads_have_registers_stacks_and_names() {
    let file = mini(&sample::process());
    let dump = open(&file);
    let threads = dump.get_stream::<MinidumpThreadList>().unwrap().threads;
    assert_eq!(threads.iter().map(|thread| thread.raw.thread_id).collect::<Vec<_>>(), [100, 101, 102]);
    assert_eq!(register(&dump, &threads[0], "rip"), Some(sample::MAIN_BASE.0 + 0x1010));
    assert_eq!(register(&dump, &threads[1], "rsp"), Some(sample::heap().start().0 + 0x2000));
    assert_eq!(register(&dump, &threads[2], "rip"), None);
    assert!(threads.iter().take(2).all(|thread| thread.raw.thread_context.rva % 16 == 0));

    let memory = dump.get_memory().unwrap();
    let stack = threads[0].stack_memory(&memory).unwrap();
    assert_eq!(stack.base_address(), sample::STACK_POINTER - 128);
    assert_eq!(stack.get_memory_at_address::<u8>(sample::STACK_POINTER), Some(byte_at(sample::STACK_POINTER)));
    assert_eq!(threads[2].raw.stack.memory.data_size, 0);

    let names = dump.get_stream::<MinidumpThreadNames>().unwrap();
    assert_eq!(names.get_name(101).as_deref(), Some("worker-101"));
}

#[test]
fn thread_times_are_those_of_windows() {
    let file = mini(&sample::process());
    let infos = open(&file).get_stream::<MinidumpThreadInfoList>().unwrap();
    let info = &infos.get_thread_info(101).unwrap().raw;
    assert_eq!((info.user_time, info.kernel_time, info.affinity), (15_000_000, 200_000, 0b1011));
    assert_eq!(info.create_time, (1_700_000_001 + 11_644_473_600) * 10_000_000);
}

#[test]
fn modules_begin_with_the_main_program() {
    let mut process = sample::process();
    process.modules[0].is_main = false;
    process.modules[1].is_main = true;
    let file = mini(&process);
    let modules = open(&file).get_stream::<MinidumpModuleList>().unwrap();
    let main = modules.main_module().unwrap();
    assert_eq!(main.code_file(), "/lib/x86_64-linux-gnu/libc.so.6");
    assert_eq!(main.base_address(), sample::LIBC_BASE.0);
    assert_eq!(main.size(), 0x3000);
    assert_eq!(main.code_identifier().unwrap().as_str(), "303132333435363738396162636465666768696a");
    assert_eq!(main.debug_identifier().unwrap().breakpad().to_string(), "333231303534373638396162636465660");
}

#[test]
fn a_module_without_a_build_id_has_no_record() {
    let mut process = sample::process();
    process.modules[1].build_id = None;
    let file = mini(&process);
    let modules = open(&file).get_stream::<MinidumpModuleList>().unwrap();
    assert_eq!(modules.iter().count(), 2);
    assert_eq!(modules.by_addr().nth(1).unwrap().code_identifier(), None);
}

#[test]
fn small_dumps_have_a_memory_list() {
    let file = mini(&sample::process());
    let dump = open(&file);
    assert!(dump.get_raw_stream(Kind::Memory64ListStream as u32).is_err());
    let list = dump.get_stream::<MinidumpMemoryList<'_>>().unwrap();
    assert_eq!(list.iter().count(), 4);
    for part in list.iter() {
        assert!(part.bytes.iter().copied().eq((part.base_address..).map(byte_at).take(part.bytes.len())));
    }
}

#[test]
fn full_dumps_have_a_memory64_list() {
    let file = sample::dump(&sample::process(), &sample::extents(), FULL, &[]);
    let dump = open(&file);
    assert_eq!(dump.header.flags, FULL);
    assert!(dump.get_raw_stream(Kind::MemoryListStream as u32).is_err());
    let list = dump.get_stream::<MinidumpMemory64List<'_>>().unwrap();
    assert_eq!(list.iter().count(), 4);
    for part in list.iter() {
        assert!(part.bytes.iter().copied().eq((part.base_address..).map(byte_at).take(part.bytes.len())));
    }
}

#[test]
fn regions_are_there_twice() {
    let file = mini(&sample::process());
    let dump = open(&file);
    let regions = dump.get_stream::<MinidumpMemoryInfoList<'_>>().unwrap();
    assert_eq!(regions.iter().count(), sample::process().regions.len());
    let code = regions.memory_info_at_address(sample::MAIN_BASE.0 + 0x1010).unwrap();
    assert_eq!(code.protection, MemoryProtection::PAGE_EXECUTE_READ);
    assert_eq!(code.raw.allocation_base, sample::MAIN_BASE.0);
    let maps = dump.get_stream::<MinidumpLinuxMaps<'_>>().unwrap();
    assert_eq!(maps.iter().count(), sample::process().regions.len());
}

#[test]
fn a_crash_is_told() {
    let file = mini(&sample::crashed());
    let dump = open(&file);
    let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
    assert_eq!(exception.thread_id, 101);
    assert_eq!(exception.get_crash_reason(Os::Linux, Cpu::X86_64).to_string(), "SIGSEGV / SEGV_MAPERR");
    assert_eq!(exception.get_crash_address(Os::Linux, Cpu::X86_64), 0xdead_0000);
    let system = dump.get_stream::<MinidumpSystemInfo>().unwrap();
    let context = exception.context(&system, None).unwrap();
    assert_eq!(context.get_instruction_pointer(), sample::LIBC_BASE.0 + 0x1500);
}

#[test]
fn a_dump_that_was_asked_for_names_the_selected_thread() {
    let file = mini(&sample::process());
    let dump = open(&file);
    let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
    assert_eq!((exception.thread_id, exception.raw.exception_record.exception_code), (100, 0xffff_ffff));

    let nobody = mini(&Process { selected: None, ..sample::process() });
    assert!(open(&nobody).get_stream::<MinidumpException<'_>>().is_err());
}

#[test]
fn the_system_and_the_process_are_told() {
    let file = mini(&sample::process());
    let dump = open(&file);
    let system = dump.get_stream::<MinidumpSystemInfo>().unwrap();
    assert_eq!((system.os, system.cpu), (Os::Linux, Cpu::X86_64));
    assert_eq!(system.os_parts().0, "6.18.44");
    assert_eq!(system.csd_version().as_deref(), Some("Linux 6.18.44-foo #1 SMP x86_64"));
    assert_eq!(system.cpu_info().as_deref(), Some("family 6 model 143 stepping 8"));
    let misc = dump.get_stream::<MinidumpMiscInfo>().unwrap();
    assert_eq!(misc.raw.process_id(), Some(&100));
    assert_eq!(misc.raw.process_user_time(), Some(&7));
    assert_eq!(misc.raw.processor_current_mhz(), Some(&2100));
    let errors = dump.get_stream::<MinidumpSoftErrors<'_>>().unwrap();
    assert!(errors.as_ref().contains("uninterruptible_sleep"));
}

#[test]
fn handles_are_told() {
    let file = mini(&sample::process());
    let handles = open(&file).get_stream::<MinidumpHandleDataStream>().unwrap();
    let named: Vec<_> =
        handles.iter().map(|handle| (handle.type_name.as_deref(), handle.object_name.as_deref())).collect();
    let socket = "socket:[1234] tcp 127.0.0.1:80 -> 10.0.0.1:5555 ESTABLISHED";
    assert_eq!(named[1], (Some("File"), Some("/var/log/grüße")));
    assert_eq!(named[2], (Some("Socket"), Some(socket)));
}

#[test]
fn what_is_not_there_has_no_stream() {
    let mut process = sample::process();
    process.files = effigy_process::TextFiles::default();
    process.comment.clear();
    process.handles.clear();
    process.gaps.clear();
    let file = mini(&process);
    let dump = open(&file);
    for kind in [stream::LINUX_ENVIRON, stream::COMMENT_W, stream::HANDLE_DATA, stream::EFFIGY_ATTACHMENTS] {
        assert!(dump.get_raw_stream(kind).is_err(), "{kind:#x}");
    }
    assert_eq!(dump.get_raw_stream(stream::MOZ_SOFT_ERRORS).unwrap(), b"[]");
}

#[test]
fn attachments_are_found_by_their_offsets() {
    let attached =
        ["/usr/bin/prog", "/lib/libc.so.6"].map(|name| Attachment { name: name.into(), build_id: None, length: 100 });
    let file = sample::dump(&sample::process(), &sample::extents(), FULL, &attached);
    let dump = open(&file);
    let json = dump.get_raw_stream(stream::EFFIGY_ATTACHMENTS).unwrap();
    let list: serde_json::Value = serde_json::from_slice(json).unwrap();
    let offset = usize::try_from(list[1]["offset"].as_u64().unwrap()).unwrap();
    assert_eq!(file[offset..], [b'@'; 100]);
    assert_eq!(list[0]["offset"].as_u64().unwrap() + 100, offset as u64);
}

/// An output that keeps only its length, for prologues that are too large to keep.
struct Length(u64);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_length_of_a_prologue_is_known_before_and_does_not_depend_on_the_offset() {
    let mut process = sample::process();
    process.threads = (1..5000).map(|id| sample::thread(id, 1, 2)).collect();
    process.comment = "a\u{1f600}b".into();
    let attachments = [Attachment { name: "a".into(), build_id: None, length: 7 }];
    for minidump_type in [0, FULL] {
        let extents = sample::extents();
        let contents =
            Contents { process: &process, extents: &extents, gaps: &[], minidump_type, attachments: &attachments };
        let size = Format::Minidump.prologue_size(&contents).unwrap();
        for offset in [size, size.next_multiple_of(4096), size + 123 * 4096] {
            let mut out = Length(0);
            Format::Minidump.write_prologue(&contents, offset, &mut out).unwrap();
            assert_eq!(out.0, offset);
        }
        let short = Format::Minidump.write_prologue(&contents, size - 1, &mut Length(0)).unwrap_err();
        assert!(matches!(short, WriteError::PrologueTooLarge { needed, .. } if needed == size));
    }
}

#[test]
fn stacks_beyond_four_gigabytes_are_given_by_address() {
    let mut extents = ExtentList::new(4096);
    let low = AddressRange::sized(Address(0x1_0000), 6 << 30);
    extents.push(Extent { range: low, content: Content::Zeros }, true);
    extents.push(Extent { range: sample::stack(), content: Content::Bytes }, true);
    let contents =
        Contents { process: &sample::process(), extents: &extents, gaps: &[], minidump_type: FULL, attachments: &[] };
    let offset = Format::Minidump.prologue_size(&contents).unwrap().next_multiple_of(4096);
    let mut file = Vec::new();
    Format::Minidump.write_prologue(&contents, offset, &mut file).unwrap();
    let dump = open(&file);
    let stack = dump.get_stream::<MinidumpThreadList<'_>>().unwrap().threads[0].raw.stack;
    assert_eq!(stack.start_of_memory_range, sample::STACK_POINTER - 128);
    assert_eq!((stack.memory.data_size, stack.memory.rva), (0, 0));
    let list = dump.get_raw_stream(stream::MEMORY64_LIST).unwrap();
    assert_eq!(list.len(), 16 + 2 * 16);
    assert_eq!(list[8..16], offset.to_le_bytes());
}

#[test]
fn an_architecture_without_a_context_is_refused() {
    let process = Process { architecture: Architecture::Riscv64, ..sample::process() };
    let contents =
        Contents { process: &process, extents: &sample::extents(), gaps: &[], minidump_type: 0, attachments: &[] };
    assert!(matches!(Format::Minidump.prologue_size(&contents), Err(WriteError::Architecture { .. })));
}

#[test]
fn a_thread_at_fault_that_is_gone_is_told_without_registers() {
    let mut process = sample::crashed();
    process.threads.retain(|thread| thread.id != ThreadId(101));
    let file = mini(&process);
    let dump = open(&file);
    let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
    assert_eq!(exception.thread_id, 101);
    assert_eq!(exception.raw.thread_context.data_size, 0);
}

/// Addresses of pages of the sample's memory in any order.
fn shuffled_pages() -> impl Strategy<Value = Vec<Address>> {
    let pages: Vec<_> = sample::extents()
        .ranges()
        .flat_map(|range| (range.start().0..range.end().0).step_by(4096).map(Address))
        .collect();
    let count = pages.len();
    proptest::sample::subsequence(pages, 0..=count).prop_shuffle()
}

fn bytes_at(range: AddressRange) -> Vec<u8> {
    (range.start().0..range.end().0).map(byte_at).collect()
}

proptest! {
    /// Memory whose order in the file is not that of its addresses.
    #[test]
    fn memory_in_any_order_is_read_where_it_is(pages in shuffled_pages(), full in any::<bool>()) {
        let mut extents = ExtentList::new(sample::PAGE);
        for page in &pages {
            let range = AddressRange::sized(*page, sample::PAGE);
            extents.push_anywhere(Extent { range, content: Content::Bytes }, false);
        }
        let file = sample::dump(&sample::process(), &extents, if full { FULL } else { 0 }, &[]);

        let theirs = open(&file);
        let list = theirs.get_memory().unwrap_or_default();
        prop_assert_eq!(list.iter().count(), extents.ranges().count());
        for part in list.iter() {
            let range = AddressRange::sized(Address(part.base_address()), part.size());
            prop_assert!(extents.ranges().any(|listed| listed == range));
            prop_assert_eq!(part.bytes(), bytes_at(range));
        }
        for thread in &theirs.get_stream::<MinidumpThreadList<'_>>().unwrap().threads {
            let raw = thread.raw.stack;
            let range = AddressRange::sized(Address(raw.start_of_memory_range), raw.memory.data_size.into());
            let at = usize::try_from(raw.memory.rva).unwrap();
            prop_assert_eq!(&file[at..][..usize::try_from(range.size()).unwrap()], bytes_at(range));
            if !range.is_empty() {
                prop_assert_eq!(thread.stack_memory(&list).unwrap().bytes(), bytes_at(range));
            }
        }

        let ours = read::Dump::parse(&file).unwrap();
        for thread in ours.threads().unwrap() {
            let written = sample::process().threads.into_iter().find(|written| written.id == thread.id).unwrap();
            let in_dump = |address: Address| pages.contains(&address.page_floor(sample::PAGE));
            let pointer = Address(written.registers.ok().map_or(0, |registers| registers.general().unwrap().stack_pointer().unwrap().0));
            prop_assert_eq!(thread.stack.contains(pointer), in_dump(pointer));
        }
        let memory = ours.memory().unwrap();
        prop_assert_eq!(memory.missing(), 0);
        prop_assert_eq!(memory.ranges().map(|range| range.size()).sum::<u64>(), extents.bytes());
        for placed in extents.by_address() {
            let range = placed.extent.range;
            let mut buffer = vec![0; usize::try_from(range.size()).unwrap()];
            prop_assert_eq!(memory.read(range.start(), &mut buffer), Ok(buffer.len()));
            prop_assert_eq!(buffer, bytes_at(range));
        }
    }
}

#[test]
fn a_read_goes_on_where_the_file_does_not() {
    let mut extents = ExtentList::new(sample::PAGE);
    for page in [2, 0, 3, 1] {
        let range = AddressRange::sized(Address(sample::heap().start().0 + page * sample::PAGE), sample::PAGE);
        extents.push_anywhere(Extent { range, content: Content::Bytes }, false);
    }
    let file = sample::dump(&sample::process(), &extents, FULL, &[]);
    let memory = read::Dump::parse(&file).unwrap().memory().unwrap();
    let mut buffer = vec![0; 5 * 4096];
    assert_eq!(memory.read(sample::heap().start(), &mut buffer), Ok(4 * 4096));
    assert_eq!(buffer[..4 * 4096], bytes_at(sample::heap()));
}
