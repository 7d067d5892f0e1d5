//! Puts a process together from its prelude, its stopped threads and `/proc`.

use std::collections::HashMap;
use std::time::SystemTime;

use bstr::BString;
use effigy_process::{
    Address, Architecture, CountMoment, Gap, GapReason, GapSubject, Identity, NoRegisters, PageFaults, Process,
    ProcessId, Protection, Region, RegionUsage, Sharing, TextFiles, Thread, ThreadId, stack,
};

use super::known::{may_be_read, not_frozen};
use super::prelude::Mark;
use super::{LiveSnapshot, Prelude};
use crate::procfs::{
    ProcDir, Stat, Status, handles, kernel_facts, parse_limits, read_known_regions, read_regions, thread_facts,
};
use crate::stop::Stopped;
use crate::{LiveError, LiveMemory, image};

/// Makes a snapshot; `stopped` is `None` for a target that another tracer holds. The regions are read unless they are given.
pub(super) fn assemble(
    prelude: Prelude,
    stopped: Option<Stopped>,
    regions: Option<Vec<Region>>,
) -> Result<LiveSnapshot, LiveError> {
    let captured = SystemTime::now();
    let pid = prelude.pid();
    let witness = stopped.as_ref().map_or_else(|| prelude.witness(), |stopped| stopped.witness);
    let live = ProcDir::open(ProcessId(witness.0)).map_err(|_| LiveError::Ended(pid))?;
    let stat_text = prelude.dir.require("stat")?;
    let stat = Stat::parse(&stat_text).ok_or_else(|| prelude.dir.form("stat", "not one line of fields"))?;
    let status_text = live.require("status")?;
    let status = Status::parse(&status_text);
    let regions = match regions.filter(|regions| !regions.is_empty()) {
        Some(regions) => Some(regions),
        None => read_known_regions(&live, &prelude.regions)?,
    };
    let (regions, counted) = match regions {
        Some(regions) if !prelude.regions.is_empty() => {
            (regions, CountMoment { time: Some(prelude.counted), while_stopped: false })
        }
        _ => {
            let moment = CountMoment { time: Some(SystemTime::now()), while_stopped: stopped.is_some() };
            (read_regions(&live)?, moment)
        }
    };
    if regions.is_empty() {
        return Err(LiveError::Ended(pid));
    }
    let mut gaps = prelude.gaps.clone();
    let auxv = text(&live, "auxv", &mut gaps);
    let executable = executable(&live);
    if prelude.mark != Mark::read(&live) {
        return Err(LiveError::Replaced(pid));
    }
    let (handles, handle_gap) = handles(&live, &prelude.sockets, &prelude.handles);
    gaps.extend(handle_gap);
    // Read again now: a program may rewrite its title, and these are the target's own memory.
    let mut again = |name: &str, before: &BString| match live.read(name) {
        Ok(bytes) => {
            gaps.retain(|gap| gap.subject != GapSubject::Fact(name.into()));
            BString::from(bytes)
        }
        Err(_) => before.clone(),
    };
    let command_line = again("cmdline", &prelude.command_line);
    let environment = again("environ", &prelude.environment);
    let memory = LiveMemory::open(live, prelude.system.page_size)?;
    let modules = image::modules(&memory, &regions, executable.inode, &prelude.images);
    gaps.extend(image::past_ends(&memory, &regions, &prelude.images));
    gaps.extend(regions.iter().filter(|region| is_shared_with_others(region)).map(not_frozen));
    let threads = threads(&prelude, stopped, &regions, &mut gaps);
    let architecture = threads
        .iter()
        .find_map(|thread| Some(thread.registers.as_ref().ok()?.architecture))
        .or(prelude.architecture)
        .unwrap_or(NATIVE);
    let selected = threads
        .iter()
        .filter(|thread| thread.registers.is_ok())
        .min_by_key(|thread| (thread.id.0 != pid.0, thread.id))
        .map(|thread| thread.id);
    let mut credentials = status.credentials();
    credentials.security_label.clone_from(&prelude.security_label);
    let process = Process {
        architecture,
        identity: identity(&stat, &status, &prelude, &executable, &modules, captured),
        captured: Some(captured),
        credentials: Some(credentials),
        limits: parse_limits(&prelude.limits),
        namespaces: prelude.namespaces,
        counters: Some(status.memory()),
        page_faults: Some(PageFaults { minor: stat.minor_faults, major: stat.major_faults }),
        threads,
        modules,
        regions,
        regions_counted: Some(counted),
        handles,
        fault: None,
        selected,
        files: TextFiles {
            cpuinfo: prelude.cpuinfo,
            status: status_text.into(),
            release: prelude.release,
            command_line,
            environment,
            auxv,
            limits: prelude.limits,
            stat: stat_text.into(),
            uptime: prelude.uptime,
            cgroup: prelude.cgroup,
        },
        comment: String::new(),
        gaps,
        system: prelude.system,
        ..Process::default()
    };
    Ok(LiveSnapshot::new(process, memory))
}

/// Whether other processes have memory of the region mapped, and may write to it.
fn is_shared_with_others(region: &Region) -> bool {
    let written = region.protection.contains(Protection::WRITE) || region.usage() == RegionUsage::SharedMemory;
    region.sharing == Sharing::Shared
        && region.inode != 0
        && region.mapped_elsewhere > Some(0)
        && written
        && may_be_read(region)
}

/// The architecture that effigy itself was built for.
const NATIVE: Architecture = if cfg!(target_arch = "x86_64") {
    Architecture::X86_64
} else if cfg!(target_arch = "aarch64") {
    Architecture::Aarch64
} else if cfg!(target_arch = "riscv64") {
    Architecture::Riscv64
} else if cfg!(target_arch = "arm") {
    Architecture::Arm
} else {
    Architecture::X86
};

/// The main program's file.
struct Executable {
    path: BString,
    deleted: bool,
    inode: u64,
}

fn executable(dir: &ProcDir) -> Executable {
    let link = dir.read_link("exe").unwrap_or_default();
    let (path, deleted) = match link.strip_suffix(b" (deleted)") {
        Some(path) => (path.into(), true),
        None => (link.clone(), false),
    };
    Executable { path, deleted, inode: dir.stat_link("exe").map_or(0, |about| about.st_ino) }
}

fn text(dir: &ProcDir, name: &str, gaps: &mut Vec<Gap>) -> BString {
    dir.read(name).map(BString::from).unwrap_or_else(|error| {
        let subject = GapSubject::Fact(name.into());
        gaps.push(Gap { subject, reason: GapReason::Unreadable, detail: error.to_string() });
        BString::default()
    })
}

fn identity(
    stat: &Stat,
    status: &Status,
    prelude: &Prelude,
    executable: &Executable,
    modules: &[effigy_process::Module],
    now: SystemTime,
) -> Identity {
    let boot = now
        .checked_sub(std::time::Duration::from_secs_f64(prelude.system.uptime.unwrap_or(0.0).max(0.0)))
        .unwrap_or(now);
    Identity {
        pid: Some(prelude.pid()),
        namespace_pids: namespace_pids(prelude.pid(), status),
        parent: Some(ProcessId(stat.parent)),
        group: Some(stat.group),
        session: Some(stat.session),
        name: stat.name.clone(),
        executable: executable.path.clone(),
        executable_deleted: executable.deleted,
        build_id: modules.iter().find(|module| module.is_main).and_then(|module| module.build_id.clone()),
        started: Some(boot + stat.started),
        started_since_boot: Some(stat.started),
        user_time: Some(stat.user_time),
        kernel_time: Some(stat.kernel_time),
        start_stack: Address(if stat.start_stack > 1 { stat.start_stack } else { 0 }),
    }
}

/// `NStgid` of whichever thread's status was read: the process's ids, outermost namespace first.
fn namespace_pids(pid: ProcessId, status: &Status) -> Vec<u32> {
    let pids = status.numbers("NStgid");
    if pids.is_empty() { vec![pid.0] } else { pids }
}

fn threads(prelude: &Prelude, stopped: Option<Stopped>, regions: &[Region], gaps: &mut Vec<Gap>) -> Vec<Thread> {
    let Some(stopped) = stopped else { return untouched_threads(prelude, regions, gaps) };
    let mut seen: HashMap<u32, ()> = HashMap::with_capacity(stopped.threads.len());
    let mut threads = Vec::with_capacity(stopped.threads.len() + 1);
    let page = prelude.system.page_size;
    for held in stopped.threads {
        seen.insert(held.id.0, ());
        let unstoppable = held.state.is_some();
        if let Err(missing) = &held.registers {
            gaps.push(Gap {
                subject: GapSubject::Registers(held.id),
                reason: missing.reason,
                detail: missing.detail.clone(),
            });
        }
        let mut stack = held.registers.as_ref().ok().and_then(|registers| stack::used_part(registers, regions, page));
        let mut thread = thread(prelude, held.id, held.registers);
        if unstoppable {
            thread.state = held.state.or(thread.state);
            // Its kernel side stands in for its registers, as it is now.
            let kernel = kernel_facts(&prelude.dir, held.id, Some('D'));
            stack = kernel.stack_pointer.and_then(|pointer| stack::above_pointer(Address(pointer), regions, page));
            thread.kernel = Some(kernel);
        }
        thread.stack = stack;
        threads.push(thread);
    }
    // A leader that has exited while others live on: it is there, and has no registers to lose.
    let leader = prelude.pid().0;
    if !seen.contains_key(&leader) {
        let missing = NoRegisters { reason: GapReason::Ended, detail: "the main thread has exited".into() };
        threads.insert(0, thread(prelude, ThreadId(leader), Err(missing)));
    }
    threads.sort_by_key(|thread| thread.id);
    threads
}

/// The threads of a target that was not stopped. Where the kernel's side was asked for, it tells where their stacks are.
fn untouched_threads(prelude: &Prelude, regions: &[Region], gaps: &mut Vec<Gap>) -> Vec<Thread> {
    let mut ids: Vec<u32> = prelude.threads.keys().copied().collect();
    ids.sort_unstable();
    let missing = NoRegisters { reason: GapReason::AlreadyTraced, detail: "the threads were not stopped".into() };
    ids.into_iter()
        .map(|tid| {
            gaps.push(Gap {
                subject: GapSubject::Registers(ThreadId(tid)),
                reason: missing.reason,
                detail: missing.detail.clone(),
            });
            let thread = thread(prelude, ThreadId(tid), Err(missing.clone()));
            let pointer = thread.kernel.as_ref().and_then(|kernel| kernel.stack_pointer);
            let stack =
                pointer.and_then(|pointer| stack::above_pointer(Address(pointer), regions, prelude.system.page_size));
            Thread { stack, ..thread }
        })
        .collect()
}

fn thread(prelude: &Prelude, id: ThreadId, registers: Result<effigy_process::Registers, NoRegisters>) -> Thread {
    // A thread that is younger than the prelude is looked at now.
    let facts = prelude.threads.get(&id.0).cloned().or_else(|| thread_facts(&prelude.dir, id));
    let kernel = prelude.kernel.get(&id.0).cloned();
    match facts {
        Some(facts) => Thread {
            id,
            inner_id: facts.inner_id,
            name: facts.name,
            state: Some(facts.state),
            registers,
            times: Some(facts.times),
            scheduling: facts.scheduling,
            kernel,
            ..Thread::default()
        },
        None => Thread { id, registers, kernel, ..Thread::default() },
    }
}
