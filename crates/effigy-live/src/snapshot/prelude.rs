//! What is read before the target is stopped.

use std::collections::HashMap;
use std::time::SystemTime;

use bstr::{BString, ByteSlice};
use effigy_process::{
    Architecture, Gap, GapReason, GapSubject, Handle, KernelFacts, MemoryCounters, Namespace, ProcessId, Region,
    System, ThreadId, ThreadState,
};

use crate::image::{KnownImages, architecture_of};
use crate::procfs::{
    HANDLES_WHILE_STOPPED, ProcDir, SocketTable, Stat, Status, ThreadFacts, handles, kernel_facts, read_regions,
    read_system, release_file, thread_facts,
};
use crate::remote::{Code, Refused, find_code};
use crate::stop::already_traced;
use crate::{LiveError, LiveMemory, permission};

/// What the prelude is to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreludeOptions {
    /// The kernel's side of every thread.
    pub kernel_facts: bool,
    /// Read all facts about regions while the target stands still, which takes 30 ms for a GiB of memory. Otherwise what
    /// was read before is used, and [`LiveSnapshot::newly_excluded`](super::LiveSnapshot::newly_excluded) tells
    /// afterwards whether that was right.
    pub careful: bool,
    /// Look for what calls inside the target are made with.
    pub calls: bool,
    /// Accept a target that another tracer holds; only for a dump without registers.
    pub allow_traced: bool,
}

/// Facts of a target that were read while it ran.
#[derive(Debug)]
pub struct Prelude {
    pub(crate) dir: ProcDir,
    pub(crate) system: System,
    pub(crate) cpuinfo: BString,
    pub(crate) uptime: BString,
    pub(crate) release: BString,
    pub(crate) command_line: BString,
    pub(crate) environment: BString,
    pub(crate) limits: BString,
    pub(crate) cgroup: BString,
    pub(crate) security_label: String,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) sockets: SocketTable,
    pub(crate) threads: HashMap<u32, ThreadFacts>,
    pub(crate) kernel: HashMap<u32, KernelFacts>,
    pub(crate) architecture: Option<Architecture>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) images: KnownImages,
    pub(crate) handles: Vec<Handle>,
    /// The regions, unless they are all to be read while the target stands still.
    pub(crate) regions: Vec<Region>,
    /// When they were read.
    pub(crate) counted: SystemTime,
    pub(crate) mark: Mark,
    name: BString,
    witness: ThreadId,
    counters: MemoryCounters,
    code: Result<Code, Refused>,
}

impl Prelude {
    /// Looks at the process.
    ///
    /// # Errors
    /// When there is no such process, it cannot be dumped, or another tracer holds it and that is not allowed for.
    pub fn read(pid: ProcessId, options: PreludeOptions) -> Result<Self, LiveError> {
        let dir = ProcDir::open(pid)?;
        if pid.0 == std::process::id() {
            return Err(LiveError::Ourselves(pid));
        }
        let stat = Stat::parse(&dir.require("stat")?).ok_or_else(|| dir.form("stat", "not one line of fields"))?;
        if stat.is_kernel_thread() {
            return Err(LiveError::KernelThread(pid, stat.name.to_string()));
        }
        let status = Status::parse(&dir.require("status")?);
        if status.tracer() != 0 && !options.allow_traced {
            return Err(already_traced(&dir, status.tracer()));
        }
        let threads: HashMap<u32, ThreadFacts> = dir
            .numbers("task")
            .map_err(|source| dir.error("task", source))?
            .into_iter()
            .filter_map(|tid| Some((tid, thread_facts(&dir, ThreadId(tid))?)))
            .collect();
        let witness = live_thread(pid, &threads).ok_or(LiveError::Zombie(pid))?;
        let live = ProcDir::open(ProcessId(witness.0))?;
        // Whether the target may be looked into at all: the same question as for ptrace.
        if let Err(error) = live.open_file("mem") {
            return Err(match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    LiveError::NotPermitted(permission::explain(&dir, "read the memory of"))
                }
                _ => dir.error("mem", error),
            });
        }
        let kernel = threads
            .iter()
            .filter(|(_, facts)| options.kernel_facts || facts.state.is_uninterruptible())
            .map(|(tid, facts)| (*tid, kernel_facts(&dir, ThreadId(*tid), Some(facts.state.0))))
            .collect();
        let regions = read_regions(&live)?;
        let counted = SystemTime::now();
        let sockets = SocketTable::read(&live);
        let (system, cpuinfo, uptime) = read_system();
        let mut gaps = Vec::new();
        let mut text = |name: &str| match live.read(name) {
            Ok(bytes) => BString::from(bytes),
            Err(error) => {
                gaps.push(Gap {
                    subject: GapSubject::Fact(name.into()),
                    reason: match error.kind() {
                        std::io::ErrorKind::PermissionDenied => GapReason::NotPermitted,
                        std::io::ErrorKind::NotFound => GapReason::Unsupported,
                        _ => GapReason::Unreadable,
                    },
                    detail: error.to_string(),
                });
                BString::default()
            }
        };
        Ok(Self {
            command_line: text("cmdline"),
            environment: text("environ"),
            limits: text("limits"),
            cgroup: text("cgroup"),
            security_label: live
                .read("attr/current")
                .map_or_else(|_| String::new(), |label| label.to_str_lossy().trim_end_matches(['\n', '\0']).to_owned()),
            release: release_file(&live),
            namespaces: namespaces(&live),
            architecture: executable_architecture(&live),
            name: stat.name,
            counters: Status::parse(&live.read("status").unwrap_or_default()).memory(),
            code: code(&live, &regions, system.page_size, options.calls),
            mark: Mark::read(&live),
            handles: many_handles(&live, &sockets),
            sockets,
            images: known_images(witness, &live, &regions, system.page_size)?,
            regions: if options.careful { Vec::new() } else { regions },
            counted,
            dir,
            system,
            cpuinfo,
            uptime,
            threads,
            kernel,
            gaps,
            witness,
        })
    }

    /// The target's id.
    #[must_use]
    pub fn pid(&self) -> ProcessId {
        self.dir.id()
    }

    /// The target's short name.
    #[must_use]
    pub fn name(&self) -> &BString {
        &self.name
    }

    /// Bytes of memory that the target has resident, and a little more for its page tables and headers.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.counters.resident
    }

    /// The target's memory counters.
    #[must_use]
    pub fn counters(&self) -> &MemoryCounters {
        &self.counters
    }

    /// What calls inside the target are made with.
    ///
    /// # Errors
    /// Why none can be made.
    pub fn code(&self) -> Result<Code, Refused> {
        self.code.clone()
    }

    /// The regions as they were, unless they are to be read while the target stands still.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Number of threads.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// A thread that lives, for when no thread is stopped.
    pub(crate) fn witness(&self) -> ThreadId {
        self.witness
    }
}

/// Which program runs in the process: another after an execve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    executable: Option<(u64, u64)>,
    /// Holds addresses that the kernel chose at random for this program.
    auxv: Vec<u8>,
    start_stack: Option<u64>,
}

impl Mark {
    pub(crate) fn read(dir: &ProcDir) -> Self {
        Self {
            executable: dir.stat_link("exe").ok().map(|about| (about.st_dev, about.st_ino)),
            auxv: dir.read("auxv").unwrap_or_default(),
            start_stack: dir.read("stat").ok().and_then(|bytes| Some(Stat::parse(&bytes)?.start_stack)),
        }
    }
}

/// The open handles, if they are too many to be looked at while the target stands still.
fn many_handles(dir: &ProcDir, sockets: &SocketTable) -> Vec<Handle> {
    if dir.numbers("fd").map_or(0, |numbers| numbers.len()) > HANDLES_WHILE_STOPPED {
        handles(dir, sockets, &[]).0
    } else {
        Vec::new()
    }
}

/// The leader, or when it has exited any thread that has not.
fn live_thread(pid: ProcessId, threads: &HashMap<u32, ThreadFacts>) -> Option<ThreadId> {
    let lives = |state: ThreadState| !state.is_exited();
    if threads.get(&pid.0).is_some_and(|facts| lives(facts.state)) {
        return Some(ThreadId(pid.0));
    }
    threads.iter().filter(|(_, facts)| lives(facts.state)).map(|(tid, _)| ThreadId(*tid)).min()
}

fn code(live: &ProcDir, regions: &[Region], page_size: u64, wanted: bool) -> Result<Code, Refused> {
    if !wanted {
        return Err(Refused::because("calls inside the target were not asked for".into()));
    }
    if is_frozen(live) {
        return Err(Refused::because("the process is frozen by its control group".into()));
    }
    ProcDir::open(live.id())
        .and_then(|dir| LiveMemory::open(dir, page_size))
        .map_err(|error| Refused::because(error.to_string()))
        .and_then(|memory| find_code(&memory, regions))
}

/// Whether a control group keeps the thread from running: it would make no call before it is thawed. The kernel holds it
/// in `do_freezer_trap` (version 2), which compilers make a part of `get_signal`, or in `__refrigerator` (version 1).
fn is_frozen(live: &ProcDir) -> bool {
    let sleeps = live.read("stat").ok().and_then(|bytes| Stat::parse(&bytes)).is_some_and(|stat| stat.state == 'S');
    let function = live.read("wchan").unwrap_or_default();
    function == b"__refrigerator" || sleeps && (function == b"do_freezer_trap" || function == b"get_signal")
}

fn known_images(
    witness: ThreadId,
    live: &ProcDir,
    regions: &[Region],
    page_size: u64,
) -> Result<KnownImages, LiveError> {
    let memory = LiveMemory::open(ProcDir::open(ProcessId(witness.0))?, page_size)?;
    let executable = live.stat_link("exe").map_or(0, |about| about.st_ino);
    Ok(KnownImages::look(&memory, regions, executable))
}

fn namespaces(dir: &ProcDir) -> Vec<Namespace> {
    const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let inode =
        |link: &[u8]| -> Option<u64> { link.split_once_str(":[")?.1.strip_suffix(b"]")?.to_str().ok()?.parse().ok() };
    KINDS
        .iter()
        .filter_map(|kind| {
            let theirs = inode(&dir.read_link(&format!("ns/{kind}")).ok()?)?;
            let ours = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok();
            let ours = ours.and_then(|link| inode(link.to_string_lossy().as_bytes()));
            Some(Namespace { kind: (*kind).to_owned(), inode: theirs, same_as_ours: ours == Some(theirs) })
        })
        .collect()
}

fn executable_architecture(dir: &ProcDir) -> Option<Architecture> {
    use std::io::Read;
    let mut header = [0; 20];
    dir.open_link("exe").ok()?.read_exact(&mut header).ok()?;
    architecture_of(&header)
}
