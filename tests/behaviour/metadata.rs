//! What a dump tells besides memory: modules, descriptors, regions, threads, limits, environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use minidump::{
    MinidumpException, MinidumpHandleDataStream, MinidumpLinuxEnviron, MinidumpLinuxMaps, MinidumpLinuxProcStatus,
    MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpModuleList, MinidumpSystemInfo, MinidumpThreadInfoList, Module,
};

use crate::harness::{Dump, Plan, Target, dump_core, dump_minidump, gdb_commands, oracle, run_gdb_live};

fn subject() -> Target {
    Plan::c("big").args(["-m", "4", "-t", "3"]).env("EFFIGY_TEST_VARIABLE", "in the environment").start()
}

/// Start and name of each mapped file, from the kernel.
fn files_of(pid: i32) -> BTreeMap<String, u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut files = BTreeMap::new();
    for line in maps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [range, _, _, _, _, path] = words[..]
            && path.starts_with('/')
            && !path.ends_with(".cache")
        {
            let start = u64::from_str_radix(range.split('-').next().unwrap(), 16).unwrap();
            files.entry(path.to_owned()).or_insert(start);
        }
    }
    files
}

/// Every image is a module at its address, with the build id of its file.
#[test]
fn modules() {
    let target = subject();
    let dump = dump_minidump(&target, &[]);
    let list = dump.minidump().get_stream::<MinidumpModuleList>().unwrap();
    for (path, start) in files_of(target.pid) {
        let module = list.iter().find(|module| module.base_address() == start);
        let module = module.unwrap_or_else(|| panic!("no module at {start:#x} for {path}"));
        assert_eq!(module.code_file(), path);
        let identifier = module.code_identifier().map(|identifier| identifier.to_string().to_lowercase());
        assert_eq!(identifier, build_id(Path::new(&path)), "build id of {path}");
        assert!(module.size() > 4096, "size of {path}");
    }
}

/// The build id in a file, if it has one.
fn build_id(program: &Path) -> Option<String> {
    let bytes = fs::read(program).unwrap();
    let header = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = bstr::ByteSlice::find(&bytes[..], header)? + header.len();
    Some(bytes[at..at + 20].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All descriptors are handles, with what they lead to.
#[test]
fn handles() {
    let target = subject();
    let dump = dump_minidump(&target, &[]);
    let handles = dump.minidump().get_stream::<MinidumpHandleDataStream>().unwrap();
    let told: BTreeMap<_, _> =
        handles.iter().map(|handle| (handle.raw.handle().copied(), handle.object_name.clone())).collect();
    let links = Path::new(&format!("/proc/{}/fd", target.pid)).read_dir().unwrap();
    for link in links.flatten() {
        let number: u64 = link.file_name().to_str().unwrap().parse().unwrap();
        let leads_to = fs::read_link(link.path()).unwrap();
        let name = told.get(&Some(number)).unwrap_or_else(|| panic!("descriptor {number} is not told"));
        assert_eq!(name.as_deref(), leads_to.to_str(), "descriptor {number}");
    }
}

/// The streams that other readers look for are there, once, and say what is so.
#[test]
fn streams() {
    let target = subject();
    let dump = dump_minidump(&target, &[]);
    let minidump = dump.minidump();
    let system = minidump.get_stream::<MinidumpSystemInfo>().unwrap();
    assert_eq!((system.os, system.cpu), (minidump::system_info::Os::Linux, minidump::system_info::Cpu::X86_64));
    let misc = minidump.get_stream::<MinidumpMiscInfo>().unwrap();
    assert_eq!(misc.raw.process_id().copied(), u32::try_from(target.pid).ok());
    minidump.get_stream::<MinidumpException>().expect("one exception stream");
    let infos = minidump.get_stream::<MinidumpThreadInfoList>().unwrap();
    assert_eq!(infos.thread_infos.len(), target.threads.len());
    minidump.get_stream::<MinidumpLinuxProcStatus>().expect("the status file");
    let environment = minidump.get_stream::<MinidumpLinuxEnviron>().expect("the environment");
    // As the kernel has it: variables ended by zero bytes.
    let variable = b"EFFIGY_TEST_VARIABLE=in the environment\0";
    assert!(bstr::ByteSlice::find(&environment.raw_bytes()[..], variable).is_some(), "a variable is missing");
    expect_every_region(&dump, target.pid);
    let kinds: Vec<_> = minidump.all_streams().map(|stream| stream.stream_type).filter(|kind| *kind != 0).collect();
    assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len(), "a stream type stands twice: {kinds:?}");
}

/// Each mapping of the process is in both lists of regions.
#[track_caller]
fn expect_every_region(dump: &Dump, pid: i32) {
    let infos = dump.minidump().get_stream::<MinidumpMemoryInfoList<'_>>().expect("the list of regions");
    let maps = dump.minidump().get_stream::<MinidumpLinuxMaps<'_>>().expect("the maps file");
    let kernels = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    for line in kernels.lines().filter(|line| !line.ends_with("[vsyscall]")) {
        let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        assert!(infos.memory_info_at_address(start).is_some(), "not in the list of regions: {line}");
        assert!(maps.memory_info_at_address(start).is_some(), "not in the maps: {line}");
    }
}

/// gdb sees the same general registers in every thread as in the living process just before. The mask registers are left
/// out: gdb 13 looks for them in the wrong place in a living process when the processor lays its state out compactly.
#[test]
fn registers_as_in_the_living_process() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = subject();
    let ask = ["thread apply all info registers"];
    let live = registers(&run_gdb_live(&gdb, target.pid, &ask));
    let dump = dump_core(&target, &[]);
    let dumped = registers(&gdb_commands(&gdb, &target.exe(), &dump.path, &ask));
    for tid in &target.threads {
        assert!(live[tid].len() >= 24, "gdb shows {} registers of thread {tid}", live[tid].len());
        assert_eq!(Some(&live[tid]), dumped.get(tid), "registers of thread {tid}");
    }
}

/// `Thread 2 (… (LWP 77) …):` and lines `rax  0x1  1`; the number suffices.
fn registers(said: &str) -> BTreeMap<u32, Vec<(String, String)>> {
    let mut all: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    let mut tid = None;
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("LWP ").filter(|_| line.starts_with("Thread ")) {
            tid = rest.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
        } else if let (Some(tid), [name, value, ..]) = (tid, &line.split_whitespace().collect::<Vec<_>>()[..])
            && value.starts_with("0x")
            && !name.starts_with('k')
        {
            all.entry(tid).or_default().push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    all
}

/// NT_FILE and the auxiliary vector of a core name the program and its entry.
#[test]
fn notes_about_the_program() {
    let target = subject();
    let dump = dump_core(&target, &[]);
    let core = dump.core();
    let auxv = fs::read(format!("/proc/{}/auxv", target.pid)).unwrap();
    assert_eq!(core.notes_of("CORE", 6).next(), Some(&auxv[..]), "NT_AUXV");
    let files = core.notes_of("CORE", 0x4649_4c45).next().expect("NT_FILE");
    for path in files_of(target.pid).keys() {
        assert!(bstr::ByteSlice::find(files, path.as_str()).is_some(), "{path} is not in NT_FILE");
    }
    let summary = core.notes_of("CORE", 3).next().expect("NT_PRPSINFO");
    assert!(bstr::ByteSlice::find(summary, "big").is_some(), "the program's name is not in NT_PRPSINFO");
}
