//! A small process made by code, and dumps of it, for tests.

use std::time::{Duration, SystemTime};

use effigy_process::{
    Address, AddressRange, Architecture, BuildId, CompactBytes, Content, Cpu, Credentials, Device, Extent, ExtentList,
    Fault, Gap, GapReason, GapSubject, Handle, HandleKind, Identity, MemoryCounters, Module, NoRegisters, PageFaults,
    Process, ProcessId, Protection, Region, RegionFlags, RegisterSet, Registers, SchedulingFacts, Sharing, Socket,
    System, TextFiles, Thread, ThreadId, ThreadState, ThreadTimes, note,
};

use super::write;
use crate::{Attachment, Contents};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const MAIN_BASE: Address = Address(0x5555_5555_4000);
pub(super) const MAIN_BSS: Address = Address(0x5555_5555_7000);
pub(crate) const LIBC_BASE: Address = Address(0x7fff_f7c0_0000);
pub(super) const STACK_POINTER: u64 = 0x7fff_ffff_1f00;
pub(super) const RELEASE: &str = "6.18.44-foo";
pub(super) const BUILD_ID: [u8; 20] = *b"0123456789abcdefghij";

fn range(start: u64, end: u64) -> AddressRange {
    AddressRange::new(Address(start), Address(end))
}

/// The heap, all of it in the dump.
pub(crate) fn heap() -> AddressRange {
    range(0x5555_5560_0000, 0x5555_5560_4000)
}

/// The main thread's stack, all of it in the dump.
pub(crate) fn stack() -> AddressRange {
    range(0x7fff_ffff_0000, 0x7fff_ffff_4000)
}

/// Words of an x86-64 register set in which every word is its number, but for instruction and stack pointer.
fn general_x86_64(ip: u64, sp: u64) -> Vec<u8> {
    let words = (0..27u64).map(|index| match index {
        16 => ip,
        19 => sp,
        17 => 0x33,
        20 | 23 | 24 => 0x2b,
        _ => 0x1000 + index,
    });
    words.flat_map(u64::to_le_bytes).collect()
}

/// An FXSAVE area in which MXCSR and the registers can be told from zeros.
pub(super) fn fxsave() -> Vec<u8> {
    let mut area = vec![0; 512];
    area[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
    area[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    area[160..416].copy_from_slice(&[0xab; 256]);
    area
}

pub(super) fn registers(architecture: Architecture, sets: &[(u32, Vec<u8>)]) -> Registers {
    let sets = sets.iter().map(|(note, bytes)| RegisterSet { note: *note, bytes: CompactBytes::new(bytes) }).collect();
    Registers { architecture, sets, ..Registers::default() }
}

pub(super) fn thread(id: u32, ip: u64, sp: u64) -> Thread {
    let mut xsave = fxsave();
    xsave.resize(2696, 0);
    xsave[576..580].copy_from_slice(b"AVX!");
    let sets = [(note::PRSTATUS, general_x86_64(ip, sp)), (note::PRFPREG, fxsave()), (note::X86_XSTATE, xsave)];
    Thread {
        id: ThreadId(id),
        inner_id: None,
        name: Some(format!("worker-{id}").into()),
        state: Some(ThreadState('S')),
        registers: Ok(registers(Architecture::X86_64, &sets)),
        stack: None,
        times: Some(ThreadTimes {
            user: Duration::from_millis(1500),
            kernel: Duration::from_millis(20),
            started: Some(Duration::from_secs(101)),
        }),
        scheduling: SchedulingFacts { affinity: Some(0b1011), ..SchedulingFacts::default() },
        kernel: None,
        windows: None,
    }
}

/// A region; `access` is as in `/proc/PID/maps`, and a name with a slash is a file's.
pub(super) fn region(start: u64, end: u64, access: &str, name: &str) -> Region {
    let mut protection = Protection::empty();
    protection.set(Protection::READ, access.contains('r'));
    protection.set(Protection::WRITE, access.contains('w'));
    protection.set(Protection::EXECUTE, access.contains('x'));
    Region {
        range: range(start, end),
        protection,
        sharing: Sharing::Private,
        offset: 0,
        device: Device::default(),
        inode: u64::from(name.contains('/')) * 77,
        name: name.into(),
        flags: RegionFlags::empty(),
        resident: Some(end - start),
        ..Region::default()
    }
}

fn module(path: &str, base: Address, size: u64, is_main: bool) -> Module {
    let mut id = BUILD_ID;
    id[19] = if is_main { b'M' } else { b'j' };
    Module {
        path: path.into(),
        range: AddressRange::sized(base, size),
        build_id: Some(BuildId(id.to_vec())),
        soname: None,
        is_main,
        deleted: false,
        file_size: Some(12345),
        ..Module::default()
    }
}

fn handles() -> Vec<Handle> {
    let handle = |number, kind, target: &str, flags| Handle {
        number,
        kind,
        target: target.into(),
        offset: None,
        flags: Some(flags),
        inode: None,
        socket: None,
        windows: None,
    };
    let mut socket = handle(3, HandleKind::Socket, "socket:[1234]", 0o2_000_002);
    socket.socket = Some(Socket {
        protocol: "tcp".into(),
        local: "127.0.0.1:80".into(),
        remote: "10.0.0.1:5555".into(),
        state: "ESTABLISHED".into(),
    });
    vec![handle(0, HandleKind::File, "/dev/null", 0), handle(1, HandleKind::File, "/var/log/grüße", 0o1), socket]
}

/// A process with a main thread, a worker, and a thread without registers.
pub(crate) fn process() -> Process {
    let mut main = thread(100, MAIN_BASE.0 + 0x1010, STACK_POINTER);
    main.stack = Some(range(STACK_POINTER - 128, stack().end().0));
    let mut worker = thread(101, LIBC_BASE.0 + 0x1500, heap().start().0 + 0x2000);
    worker.stack = Some(range(heap().start().0 + 0x1f80, heap().end().0));
    let mut sleeper = thread(102, 0, 0);
    sleeper.registers = Err(NoRegisters { reason: GapReason::UninterruptibleSleep, detail: "nfs".into() });
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Process {
        system: system(),
        architecture: Architecture::X86_64,
        identity: Identity {
            pid: Some(ProcessId(100)),
            namespace_pids: vec![100],
            parent: Some(ProcessId(1)),
            group: Some(100),
            session: Some(100),
            name: "prog".into(),
            executable: "/usr/bin/prog".into(),
            executable_deleted: false,
            build_id: None,
            started: Some(started),
            started_since_boot: Some(Duration::from_secs(100)),
            user_time: Some(Duration::from_secs(7)),
            kernel_time: Some(Duration::from_secs(3)),
            start_stack: Address(0),
        },
        captured: Some(started + Duration::from_secs(3600)),
        credentials: Some(Credentials::default()),
        limits: vec![],
        namespaces: vec![],
        counters: Some(MemoryCounters { resident: 4 << 20, peak_resident: 5 << 20, ..MemoryCounters::default() }),
        page_faults: Some(PageFaults { minor: 40, major: 2 }),
        threads: vec![main, worker, sleeper],
        modules: vec![
            module("/usr/bin/prog", MAIN_BASE, 0x4000, true),
            module("/lib/x86_64-linux-gnu/libc.so.6", LIBC_BASE, 0x3000, false),
        ],
        regions: regions(),
        handles: handles(),
        fault: None,
        selected: Some(ThreadId(100)),
        files: text_files(),
        comment: "effigy dump --kind mini 100".into(),
        gaps: vec![Gap {
            subject: GapSubject::Registers(ThreadId(102)),
            reason: GapReason::UninterruptibleSleep,
            detail: "nfs".into(),
        }],
        ..Process::default()
    }
}

/// The same, dead of a segmentation fault in its second thread.
pub(crate) fn crashed() -> Process {
    let fault = Fault::signal(ThreadId(101), 11, 1, Some(Address(0xdead_0000)));
    Process { fault: Some(fault), selected: Some(ThreadId(101)), ..process() }
}

fn system() -> System {
    System {
        name: "Linux".into(),
        release: RELEASE.into(),
        version: "#1 SMP".into(),
        host: "box".into(),
        processors: Some(4),
        page_size: PAGE,
        uptime: Some(4000.0),
        cpu: Cpu {
            vendor: "GenuineIntel".into(),
            family: 6,
            model: 0x8f,
            stepping: 8,
            signature: 0x806f8,
            features: 0x178b_fbff,
            mhz: 2100,
            ..Cpu::default()
        },
        ..System::default()
    }
}

fn regions() -> Vec<Region> {
    let (main, libc) = (MAIN_BASE.0, LIBC_BASE.0);
    vec![
        region(main, main + 0x1000, "r--", "/usr/bin/prog"),
        region(main + 0x1000, main + 0x3000, "r-x", "/usr/bin/prog"),
        region(MAIN_BSS.0, MAIN_BSS.0 + 0x1000, "rw-", ""),
        region(heap().start().0, heap().end().0, "rw-", "[heap]"),
        region(libc, libc + 0x1000, "r--", "/lib/x86_64-linux-gnu/libc.so.6"),
        region(libc + 0x1000, libc + 0x3000, "r-x", "/lib/x86_64-linux-gnu/libc.so.6"),
        region(stack().start().0, stack().end().0, "rw-", "[stack]"),
    ]
}

fn text_files() -> TextFiles {
    TextFiles {
        cpuinfo: "processor\t: 0\n".into(),
        status: "Name:\tprog\nPid:\t100\n".into(),
        release: "DISTRIB_ID=Debian\n".into(),
        command_line: "/usr/bin/prog\0-x\0".into(),
        environment: "HOME=/root\0".into(),
        auxv: vec![0; 16].into(),
        limits: "Limit                     Soft Limit           Hard Limit           Units     \n".into(),
        stat: "100 (prog) S 1".into(),
        uptime: "4000.00 1.00\n".into(),
        cgroup: "0::/\n".into(),
    }
}

/// The memory of a small dump: each module's first page, the heap and the stack.
pub(crate) fn extents() -> ExtentList {
    let mut list = ExtentList::new(PAGE);
    let pages = |start: Address| AddressRange::sized(start, PAGE);
    for part in [pages(MAIN_BASE), heap(), pages(LIBC_BASE), stack()] {
        list.push(Extent { range: part, content: Content::Bytes }, true);
    }
    list
}

/// The byte that the sample's memory holds at an address.
pub(crate) fn byte_at(address: u64) -> u8 {
    (address / 8).to_le_bytes()[0] ^ (address >> 12).to_le_bytes()[0]
}

/// A whole dump as a file would hold it, with its memory and `attached` behind that.
pub(crate) fn dump(process: &Process, extents: &ExtentList, minidump_type: u64, attached: &[Attachment]) -> Vec<u8> {
    let contents = Contents { process, extents, gaps: &process.gaps, minidump_type, attachments: attached };
    let size = write::prologue_size(&contents).unwrap();
    let data_offset = size.next_multiple_of(PAGE);
    let mut file = Vec::new();
    write::write_prologue(&contents, data_offset, &mut file).unwrap();
    assert_eq!(file.len() as u64, data_offset);
    for part in extents.ranges() {
        file.extend((part.start().0..part.end().0).map(byte_at));
    }
    for attachment in attached {
        file.extend(std::iter::repeat_n(b'@', usize::try_from(attachment.length).unwrap()));
    }
    file
}

/// The same in either format, without attachments.
pub(crate) fn written(format: crate::Format, process: &Process, extents: &ExtentList) -> Vec<u8> {
    let contents = Contents { process, extents, gaps: &process.gaps, minidump_type: 2, attachments: &[] };
    let data_offset = format.prologue_size(&contents).unwrap().next_multiple_of(PAGE);
    let mut file = Vec::new();
    format.write_prologue(&contents, data_offset, &mut file).unwrap();
    for part in extents.ranges() {
        file.extend((part.start().0..part.end().0).map(byte_at));
    }
    file
}
