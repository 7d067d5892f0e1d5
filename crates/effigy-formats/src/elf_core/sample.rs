//! A made-up process for the tests of this directory.

use std::time::{Duration, SystemTime};

use effigy_process::{
    Address, AddressRange, Architecture, CompactBytes, Content, Device, Extent, ExtentList, Fault, Gap, GapReason,
    GapSubject, Identity, Process, ProcessId, Protection, Region, RegionFlags, RegisterSet, Registers, SchedulingFacts,
    Sharing, System, TextFiles, Thread, ThreadId, ThreadState, ThreadTimes, note,
};

use crate::{Contents, Format};

pub(super) const PAGE: u64 = 4096;

/// An anonymous, readable and writable region.
pub(super) fn region(start: u64, end: u64) -> Region {
    Region {
        range: AddressRange::new(Address(start), Address(end)),
        protection: Protection::READ | Protection::WRITE,
        sharing: Sharing::Private,
        offset: 0,
        device: Device::default(),
        inode: 0,
        name: "".into(),
        flags: RegionFlags::empty(),
        ..Region::default()
    }
}

fn file_region(start: u64, end: u64, offset: u64, name: &str) -> Region {
    let protection = Protection::READ | Protection::EXECUTE;
    Region { protection, offset, inode: 7, name: name.into(), ..region(start, end) }
}

/// Three regions: a file with a page, a heap of four pages of which the second is missing, a file without a page.
pub(super) fn extents() -> ExtentList {
    let mut list = ExtentList::new(PAGE);
    for (page, pages, content) in
        [(0x400, 1, Content::Bytes), (0x600, 1, Content::Bytes), (0x602, 1, Content::Bytes), (0x603, 1, Content::Zeros)]
    {
        list.push(Extent { range: AddressRange::sized(Address(page * PAGE), pages * PAGE), content }, true);
    }
    list
}

pub(super) fn thread(id: u32, sets: Vec<(u32, Vec<u8>)>) -> Thread {
    let sets = sets.into_iter().map(|(note, bytes)| RegisterSet { note, bytes: CompactBytes::new(&bytes) }).collect();
    Thread {
        id: ThreadId(id),
        inner_id: None,
        name: None,
        state: Some(ThreadState('S')),
        registers: Ok(Registers { architecture: Architecture::X86_64, sets, ..Registers::default() }),
        stack: None,
        times: Some(ThreadTimes { user: Duration::from_millis(1500), ..ThreadTimes::default() }),
        scheduling: SchedulingFacts { nice: Some(5), signals_blocked: Some(4), ..SchedulingFacts::default() },
        kernel: None,
        windows: None,
    }
}

/// General registers of x86-64 that execute in the first region.
pub(super) fn general() -> Vec<u8> {
    let mut words = [0u64; 27];
    (words[16], words[17], words[19], words[20]) = (0x40_0010, 0x33, 0x60_3800, 0x2b);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An XSAVE area as an AMD processor with AVX-512 lays it out. All of `ymm0` and `zmm17` is 0x5a.
pub(super) fn amd_xsave() -> Vec<u8> {
    let mut area = vec![0; 2432];
    area[0..2].copy_from_slice(&[0x7f, 0x03]);
    area[24..28].copy_from_slice(&[0x80, 0x1f, 0, 0]);
    area[464] = 0xe7;
    area[512] = 0xe7;
    for part in [160..176, 576..592, 1408 + 64..1408 + 128] {
        area[part].fill(0x5a);
    }
    area
}

pub(super) fn process() -> Process {
    let xsave = vec![(note::PRSTATUS, general()), (note::X86_XSTATE, amd_xsave())];
    Process {
        system: System { page_size: PAGE, ..System::default() },
        architecture: Architecture::X86_64,
        identity: identity(),
        captured: Some(SystemTime::UNIX_EPOCH),
        credentials: Some(effigy_process::Credentials::default()),
        limits: Vec::new(),
        namespaces: Vec::new(),
        counters: Some(effigy_process::MemoryCounters::default()),
        page_faults: Some(effigy_process::PageFaults::default()),
        threads: vec![thread(100, xsave.clone()), thread(101, xsave.clone()), thread(102, xsave)],
        modules: Vec::new(),
        regions: vec![
            file_region(0x40_0000, 0x40_1000, 0, "/usr/bin/sample (deleted)"),
            region(0x60_0000, 0x60_4000),
            file_region(0x70_0000, 0x70_3000, 0x2000, "/usr/lib/new\\012line.so"),
        ],
        handles: Vec::new(),
        fault: None,
        selected: Some(ThreadId(101)),
        files: TextFiles {
            command_line: "sample\0--fast\0".into(),
            auxv: [[6u64, PAGE], [0, 0]]
                .as_flattened()
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<_>>()
                .into(),
            stat: "100 (a) b) S 1 2 3 4 5 4194304 7".into(),
            status: "Name:\tsample\n".into(),
            ..TextFiles::default()
        },
        comment: "for a test".into(),
        gaps: vec![Gap {
            subject: GapSubject::Memory(AddressRange::sized(Address(0x60_1000), PAGE)),
            reason: GapReason::Unreadable,
            detail: String::new(),
        }],
        ..Process::default()
    }
}

pub(super) fn fault() -> Fault {
    Fault::signal(ThreadId(101), 11, 1, Some(Address(0x10)))
}

fn identity() -> Identity {
    Identity {
        pid: Some(ProcessId(100)),
        namespace_pids: vec![100],
        parent: Some(ProcessId(1)),
        group: Some(2),
        session: Some(3),
        name: "sample".into(),
        executable: "/usr/bin/sample".into(),
        executable_deleted: true,
        build_id: None,
        started: Some(SystemTime::UNIX_EPOCH),
        started_since_boot: Some(Duration::ZERO),
        user_time: Some(Duration::from_secs(3)),
        kernel_time: Some(Duration::ZERO),
        start_stack: Address(0),
    }
}

/// The pages with these numbers, in file order.
pub(super) fn pages(numbers: &[u64]) -> ExtentList {
    let mut list = ExtentList::new(PAGE);
    for page in numbers {
        let range = AddressRange::sized(Address(page * PAGE), PAGE);
        list.push_anywhere(Extent { range, content: Content::Bytes }, false);
    }
    list
}

/// The whole core, memory and all: each page holds the low byte of its number.
pub(super) fn core(process: &Process, extents: &ExtentList) -> Vec<u8> {
    let contents = Contents { process, extents, gaps: &process.gaps, minidump_type: 2, attachments: &[] };
    let offset = Format::ElfCore.prologue_size(&contents).unwrap().next_multiple_of(PAGE);
    let mut out = Vec::new();
    Format::ElfCore.write_prologue(&contents, offset, &mut out).unwrap();
    for extent in extents.iter() {
        for page in (extent.range.start().0..extent.range.end().0).step_by(4096) {
            let fill = if extent.content == Content::Zeros { 0 } else { page.to_le_bytes()[1] >> 4 };
            out.resize(out.len() + 4096, fill);
        }
    }
    out
}
