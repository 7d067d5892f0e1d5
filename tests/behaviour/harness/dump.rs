//! Dumps: taking one from a target with the target checked before and after, and reading it by other people's code.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use minidump::{
    Minidump, MinidumpMemory64List, MinidumpMemoryList, MinidumpRawContext, MinidumpSystemInfo, MinidumpThreadList,
    MinidumpThreadNames, UnifiedMemoryList,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{Core, NT_PRSTATUS, Run, State, Target, Tolerance, effigy, scratch};

/// A dump, taken or found.
pub(crate) struct Dump {
    pub(crate) path: PathBuf,
    /// What `--json` told; null when it was not asked.
    pub(crate) json: Value,
    content: Content,
    /// Keeps the directory in which it lies.
    _dir: Option<TempDir>,
}

enum Content {
    Core(Box<Core>),
    Minidump(Box<Minidump<'static, Vec<u8>>>),
}

/// Registers of a thread on x86-64, as many as tests look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) r12: u64,
    pub(crate) r15: u64,
    pub(crate) sp: u64,
    pub(crate) pc: u64,
}

/// An ELF core of the target, which must come out complete and leave the target unharmed.
#[track_caller]
pub(crate) fn dump_core(target: &Target, arguments: &[&str]) -> Dump {
    let (run, dump) = dump_with(target, "dump.core", arguments, Tolerance::STRICT);
    run.expect(0);
    dump.unwrap()
}

/// A minidump of the target, likewise.
#[track_caller]
pub(crate) fn dump_minidump(target: &Target, arguments: &[&str]) -> Dump {
    let (run, dump) = dump_with(target, "dump.dmp", arguments, Tolerance::STRICT);
    run.expect(0);
    dump.unwrap()
}

/// Runs `effigy dump` on the target into a directory of its own; the target must be unharmed, whatever came of it.
#[track_caller]
pub(crate) fn dump_with(target: &Target, name: &str, arguments: &[&str], tolerance: Tolerance) -> (Run, Option<Dump>) {
    let dir = scratch();
    let path = dir.path().join(name);
    let before = State::of(target.pid);
    let run = effigy(["dump", &target.pid_text(), "--json", "-o"]).arg(&path).args(arguments).run();
    before.assert_unharmed(tolerance);
    let dump = path.exists().then(|| {
        let json = run.objects().pop().unwrap_or_default();
        Dump::read(&path, json, Some(dir))
    });
    (run, dump)
}

impl Dump {
    /// Opens a finished dump.
    #[track_caller]
    pub(crate) fn open(path: &Path) -> Self {
        Self::read(path, Value::Null, None)
    }

    /// The same, with what `--json` told of it.
    pub(crate) fn with_json(mut self, json: Value) -> Self {
        self.json = json;
        self
    }

    #[track_caller]
    fn read(path: &Path, json: Value, dir: Option<TempDir>) -> Self {
        let mut magic = [0; 4];
        let length = File::open(path).unwrap().read_at(&mut magic, 0).unwrap();
        assert_eq!(length, 4, "{} is empty", path.display());
        let content = if &magic == b"MDMP" {
            let bytes = fs::read(path).unwrap();
            Content::Minidump(Box::new(
                Minidump::read(bytes).unwrap_or_else(|error| panic!("no good minidump: {error}")),
            ))
        } else {
            Content::Core(Box::new(Core::open(path)))
        };
        Self { path: path.to_owned(), json, content, _dir: dir }
    }

    #[track_caller]
    pub(crate) fn core(&self) -> &Core {
        match &self.content {
            Content::Core(core) => core,
            Content::Minidump(_) => panic!("{} is a minidump", self.path.display()),
        }
    }

    #[track_caller]
    pub(crate) fn minidump(&self) -> &Minidump<'static, Vec<u8>> {
        match &self.content {
            Content::Core(_) => panic!("{} is a core", self.path.display()),
            Content::Minidump(minidump) => minidump,
        }
    }

    /// Memory, if all of it is in the dump.
    pub(crate) fn memory(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        match &self.content {
            Content::Core(core) => core.memory(address, length),
            Content::Minidump(minidump) => minidump_memory(minidump, address, length),
        }
    }

    /// Thread ids, sorted.
    pub(crate) fn threads(&self) -> Vec<u32> {
        let mut threads = match &self.content {
            Content::Core(core) => core.threads(),
            Content::Minidump(minidump) => {
                let list = minidump.get_stream::<MinidumpThreadList<'_>>().unwrap();
                list.threads.iter().map(|thread| thread.raw.thread_id).collect()
            }
        };
        threads.sort_unstable();
        threads
    }

    /// Registers of a thread, if the dump has them.
    pub(crate) fn registers(&self, tid: u32) -> Option<Registers> {
        match &self.content {
            Content::Core(core) => core_registers(core, tid),
            Content::Minidump(minidump) => minidump_registers(minidump, tid),
        }
    }

    /// Name of a thread in a minidump.
    pub(crate) fn thread_name(&self, tid: u32) -> Option<String> {
        let names = self.minidump().get_stream::<MinidumpThreadNames>().ok()?;
        names.get_name(tid).map(|name| name.into_owned())
    }

    /// The gaps that `--json` told.
    pub(crate) fn gaps(&self) -> &[Value] {
        self.json["gaps"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The memory gap over this address, if one was told.
    pub(crate) fn gap_at(&self, address: u64) -> Option<&Value> {
        self.gaps().iter().find(|gap| {
            let bound = |name: &str| gap[name].as_str().and_then(hexadecimal).or_else(|| gap[name].as_u64());
            gap["subject"] == "memory" && bound("start") <= Some(address) && bound("end") > Some(address)
        })
    }

    /// Panics unless a gap over this address gives this reason.
    #[track_caller]
    pub(crate) fn expect_gap(&self, address: u64, reason: &str) {
        let gap = self.gap_at(address);
        assert_eq!(
            gap.and_then(|gap| gap["reason"].as_str()),
            Some(reason),
            "reason of the gap at {address:#x}; all gaps: {:?}",
            self.gaps()
        );
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn minidump_memory(dump: &Minidump<'static, Vec<u8>>, address: u64, length: usize) -> Option<Vec<u8>> {
    let long = dump.get_stream::<MinidumpMemory64List<'_>>().ok().map(UnifiedMemoryList::Memory64);
    let short = dump.get_stream::<MinidumpMemoryList<'_>>().ok().map(UnifiedMemoryList::Memory);
    let lists: Vec<_> = long.into_iter().chain(short).collect();
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = address + bytes.len() as u64;
        let memory = lists.iter().find_map(|list| list.memory_at_address(at))?;
        let from = usize::try_from(at - memory.base_address()).unwrap();
        let part = memory.bytes().get(from..).filter(|part| !part.is_empty())?;
        bytes.extend_from_slice(&part[..part.len().min(length - bytes.len())]);
    }
    Some(bytes)
}

fn core_registers(core: &Core, tid: u32) -> Option<Registers> {
    // struct elf_prstatus: pr_pid at 32, pr_reg, the words of struct user_regs_struct, at 112.
    let word = |status: &[u8], at: usize| u64::from_le_bytes(status[at..at + 8].try_into().unwrap());
    let status = core.notes_of("CORE", NT_PRSTATUS).find(|status| status[32..36] == tid.to_le_bytes())?;
    let register = |index: usize| word(status, 112 + 8 * index);
    Some(Registers { r15: register(0), r12: register(3), pc: register(16), sp: register(19) })
}

fn minidump_registers(minidump: &Minidump<'static, Vec<u8>>, tid: u32) -> Option<Registers> {
    let system = minidump.get_stream::<MinidumpSystemInfo>().ok()?;
    let threads = minidump.get_stream::<MinidumpThreadList<'_>>().ok()?;
    let thread = threads.threads.iter().find(|thread| thread.raw.thread_id == tid)?;
    match &thread.context(&system, None)?.raw {
        MinidumpRawContext::Amd64(context) => {
            Some(Registers { r12: context.r12, r15: context.r15, sp: context.rsp, pc: context.rip })
        }
        _ => None,
    }
}

/// Bytes that a file takes on disk.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Whether the bytes are anywhere in the file; its holes are not read.
pub(crate) fn file_contains(path: &Path, needle: &[u8]) -> bool {
    const CHUNK: usize = 4 << 20;
    let file = File::open(path).unwrap();
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        let mut from = data;
        while from < end {
            let length = usize::try_from(end - from).unwrap().min(CHUNK);
            let mut bytes = vec![0; length + needle.len()];
            let read = file.read_at(&mut bytes, from).unwrap();
            if bytes[..read].find(needle).is_some() {
                return true;
            }
            from += length as u64;
        }
        at = end;
    }
    false
}
