//! What the `minidump` crate, the library behind minidump-stackwalk, reads of the same files, field by field.
//!
//! Known disagreements: the crate knows no WOW64 and shows the 64-bit layer; it gives registers of CONTEXTs whatever
//! their flags say; and it leaves out modules that have no size.

use ::minidump::system_info::Cpu;
use ::minidump::{
    Minidump, MinidumpContext, MinidumpException, MinidumpHandleDataStream, MinidumpMemory64List,
    MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpModuleList, MinidumpSystemInfo, MinidumpThreadList,
    MinidumpThreadNames, MinidumpUnloadedModuleList, Module as _,
};
use effigy_process::{Architecture, CapturedMemory, Process, Registers};

use super::corpus::{corpus, index, opened_file};
use super::*;

type Oracle = Minidump<'static, Vec<u8>>;

#[test]
fn minidumps_are_read_as_the_minidump_crate_reads_them() {
    let Some(corpus) = corpus() else { return };
    let mut compared = 0;
    for (path, description) in index(&corpus) {
        if !description.starts_with("minidump") || description.contains("malformed") || path.contains("wow64") {
            continue;
        }
        let oracle: Oracle = Minidump::read(std::fs::read(corpus.join(&path)).unwrap()).unwrap();
        let opened = opened_file(&corpus.join(&path)).unwrap();
        let process = &opened.process;
        threads(&path, &oracle, process);
        modules(&path, &oracle, process);
        fault(&path, &oracle, process);
        rest(&path, &oracle, &opened);
        compared += 1;
    }
    assert!(compared > 40, "only {compared} dumps were compared");
}

/// The registers that both know have the same values.
fn same_registers(path: &str, theirs: &MinidumpContext, ours: &Registers) {
    let general = ours.general().unwrap();
    let mut same = 0;
    for (name, value) in general.named() {
        let name = match (ours.architecture, name) {
            (Architecture::Aarch64, "x29") => "fp",
            (Architecture::Aarch64, "x30") => "lr",
            (_, "pstate") => continue,
            (_, name) => name,
        };
        if let Some(expected) = theirs.get_register(name) {
            assert_eq!(value, expected, "{path}: {name}");
            same += 1;
        }
    }
    assert!(same >= 8, "{path}: only {same} registers in common");
    assert_eq!(general.instruction_pointer().unwrap().0, theirs.get_instruction_pointer(), "{path}");
    assert_eq!(general.stack_pointer().unwrap().0, theirs.get_stack_pointer(), "{path}");
}

fn threads(path: &str, oracle: &Oracle, process: &Process) {
    let Ok(list) = oracle.get_stream::<MinidumpThreadList<'_>>() else { return };
    let (Ok(system), misc) = (oracle.get_stream::<MinidumpSystemInfo>(), oracle.get_stream::<MinidumpMiscInfo>())
    else {
        return;
    };
    let names = oracle.get_stream::<MinidumpThreadNames>().ok();
    assert_eq!(list.threads.len(), process.threads.len(), "{path}");
    for (theirs, ours) in list.threads.iter().zip(&process.threads) {
        assert_eq!(theirs.raw.thread_id, ours.id.0, "{path}");
        let context = theirs.context(&system, misc.as_ref().ok());
        if let (Some(context), Ok(registers)) = (context, &ours.registers) {
            same_registers(path, &context, registers);
        }
        let name = names.as_ref().and_then(|names| names.get_name(theirs.raw.thread_id));
        assert_eq!(name.map(|name| name.into_owned()), ours.name.as_ref().map(ToString::to_string), "{path}");
        let block = ours.windows.as_ref().map_or(0, |windows| windows.environment_block.map_or(0, |block| block.0));
        if ours.windows.is_some() {
            assert_eq!(theirs.raw.teb, block, "{path}");
        }
    }
}

fn modules(path: &str, oracle: &Oracle, process: &Process) {
    let Ok(list) = oracle.get_stream::<MinidumpModuleList>() else { return };
    let mut theirs: Vec<_> = list.iter().collect();
    theirs.sort_by_key(|module| module.base_address());
    let ours: Vec<_> = process.modules.iter().filter(|module| !module.range.is_empty()).collect();
    assert_eq!(theirs.len(), ours.len(), "{path}");
    for (theirs, ours) in theirs.iter().zip(ours) {
        assert_eq!((theirs.base_address(), theirs.size()), (ours.range.start().0, ours.range.size()), "{path}");
        assert_eq!(theirs.code_file(), ours.path.to_string(), "{path}");
        let identifier = theirs.debug_identifier().map(|id| id.breakpad().to_string());
        if let (Some(identifier), Some(pdb)) = (identifier, &ours.pdb) {
            let own = format!("{}{:x}", pdb.guid.windows().replace('-', ""), pdb.age);
            assert_eq!(identifier.to_lowercase(), own.to_lowercase(), "{path}");
        }
        if let (Some(version), Some(own)) = (theirs.version(), &ours.version) {
            let [a, b, c, d] = own.file;
            assert_eq!(version, format!("{a}.{b}.{c}.{d}"), "{path}");
        }
    }
    if let Ok(list) = oracle.get_stream::<MinidumpUnloadedModuleList>() {
        assert_eq!(list.iter().count(), process.unloaded_modules.len(), "{path}");
    }
}

fn fault(path: &str, oracle: &Oracle, process: &Process) {
    let Ok(exception) = oracle.get_stream::<MinidumpException<'_>>() else { return };
    let Some(fault) = &process.fault else {
        assert_eq!(exception.raw.exception_record.exception_code, u32::MAX, "{path}");
        return;
    };
    let system = oracle.get_stream::<MinidumpSystemInfo>().unwrap();
    assert_eq!(exception.thread_id, fault.thread.0, "{path}");
    let record = &exception.raw.exception_record;
    assert_eq!((record.exception_code, record.exception_flags), fault.kind.numbers(), "{path}");
    if process.system.platform == Platform::Linux {
        assert_eq!(exception.get_crash_address(system.os, system.cpu), fault.address.unwrap().0, "{path}");
        let reason = exception.get_crash_reason(system.os, system.cpu).to_string();
        let name = fault.kind.name().unwrap();
        assert!(reason.starts_with(name), "{path}: {reason} and {name}");
    }
    if let (Some(context), Some(registers)) = (exception.context(&system, None), &fault.registers) {
        same_registers(path, &context, registers);
    }
    assert!(system.cpu != Cpu::Unknown(0));
}

fn rest(path: &str, oracle: &Oracle, opened: &OpenedDump) {
    let process = &opened.process;
    if let Ok(misc) = oracle.get_stream::<MinidumpMiscInfo>() {
        let pid = misc.raw.process_id().copied();
        assert_eq!(pid, process.identity.pid.map(|pid| pid.0), "{path}");
    }
    if let Ok(handles) = oracle.get_stream::<MinidumpHandleDataStream>() {
        assert_eq!(handles.handles.len(), process.handles.len(), "{path}");
    }
    if let Ok(regions) = oracle.get_stream::<MinidumpMemoryInfoList<'_>>() {
        let busy = regions.iter().filter(|region| !region.state.contains(::minidump::format::MemoryState::MEM_FREE));
        assert_eq!(busy.count(), process.regions.len(), "{path}");
    }
    if let Ok(list) = oracle.get_stream::<MinidumpMemory64List<'_>>() {
        assert_eq!(list.iter().count(), opened.memory.captured().len(), "{path}");
    }
    if let Ok(list) = oracle.get_stream::<::minidump::MinidumpMemoryList<'_>>() {
        for range in list.iter().filter(|range| range.size > 0) {
            let mut bytes = vec![0; range.bytes.len()];
            opened.memory.read_exact(Address(range.base_address), &mut bytes).unwrap();
            assert!(bytes == range.bytes, "{path}: memory at {:#x}", range.base_address);
        }
    }
}
