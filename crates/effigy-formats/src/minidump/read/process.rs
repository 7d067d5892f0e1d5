//! A minidump as a process.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::BString;
use effigy_process::{
    Address, Architecture, Fault, FaultKind, GapReason, Module, NoRegisters, PeIdentity, Platform, Process, Registers,
    TextFiles, Thread, ThreadId, ThreadTimes, WindowsThread,
};

use super::context::{self, architecture};
use super::error::Wrong;
use super::{Dump, Exception, ModuleIdentity, ReadError, names, wow64};
use crate::MemoryMap;
use crate::facts::{self, Document};
use crate::minidump::layout::{self, DUMP_REQUESTED, ThreadInfo, ThreadInfoHeader, stream};
use crate::opened::{Part, Warning, or_warn, warn};
use crate::{Attachment, working_set};

/// `STILL_ACTIVE` of winbase.h: the exit status of what has not exited.
const STILL_ACTIVE: u32 = 259;
/// `SIGSTOP`.
const STOPPED: u32 = 19;
/// Seconds from 1601, where Windows begins to count, to 1970.
const BEFORE_1970: u64 = 11_644_473_600;

impl Dump {
    /// The process: everything but its memory, which is needed to find what lies in it.
    ///
    /// What is damaged is left out and becomes a warning.
    pub fn process(&self, memory: &MemoryMap, warnings: &mut Vec<Warning>) -> Process {
        let number = self.processor_architecture().unwrap_or(u16::MAX);
        let system = or_warn(self.system(), warnings);
        let mut wrong = Wrong::default();
        let mut process = Process {
            architecture: architecture(number),
            byte_order: architecture(number).usual_byte_order(),
            identity: or_warn(self.identity(), warnings),
            captured: self.captured_at(),
            modules: self.process_modules(system.platform, warnings),
            unloaded_modules: or_warn(self.listed_unloaded(&mut wrong), warnings),
            regions: or_warn(self.process_regions(), warnings),
            handles: or_warn(self.listed_handles(&mut wrong), warnings),
            files: self.text_files(warnings),
            comment: or_warn(self.comment(), warnings).unwrap_or_default(),
            system,
            ..Process::default()
        };
        wrong.warn(warnings);
        or_warn(self.check_misc_info(), warnings);
        // Where there is another list of regions it is not used; it is damaged all the same.
        or_warn(self.check_memory_info(), warnings);
        if let Some((counters, faults)) = or_warn(self.vm_counters(), warnings) {
            (process.counters, process.page_faults) = (Some(counters), Some(faults));
        }
        if let Some(main) = process.modules.iter().find(|module| module.is_main) {
            process.identity.executable = main.path.clone();
            process.identity.build_id = main.build_id.clone();
            if process.identity.name.is_empty() {
                process.identity.name = main.name().into();
            }
        }
        process.threads = self.process_threads(number, process.system.platform, warnings);
        self.faults(number, &mut process, warnings);
        if process.architecture == Architecture::X86_64 && wow64::is_wow64(&process.modules) {
            see_32_bits(&mut process, memory, warnings);
        }
        let facts = self.document(stream::EFFIGY_FACTS, self.facts(), warnings);
        let gaps = self.document(stream::MOZ_SOFT_ERRORS, self.soft_errors(), warnings);
        let _ = facts::complete(facts.as_ref(), gaps.as_ref(), &mut process, warnings);
        let kind = stream::EFFIGY_WORKING_SETS;
        if let Some(bytes) = or_warn(self.stream(kind), warnings) {
            working_set::complete_from(&bytes, self.place_of(kind), &mut process, warnings);
        }
        process
    }

    /// Files that are attached behind the memory. What is damaged becomes a warning.
    pub(crate) fn attached(&self, warnings: &mut Vec<Warning>) -> Vec<(Attachment, u64)> {
        let list = self.document(stream::EFFIGY_ATTACHMENTS, self.attachments(), warnings);
        facts::attachments(list.as_ref(), warnings)
    }

    /// The text of a stream of type `kind`, with its place.
    fn document(
        &self,
        kind: u32,
        text: Result<Option<String>, ReadError>,
        warnings: &mut Vec<Warning>,
    ) -> Option<Document> {
        or_warn(text, warnings).map(|text| Document { offset: self.place_of(kind), text })
    }

    /// Where the first stream of type `kind` begins, from the start of the file, in bytes; 0 when there is none.
    fn place_of(&self, kind: u32) -> u64 {
        let entry = self.directory.iter().find(|entry| entry.kind.get() == kind);
        entry.map_or(0, |entry| entry.location.rva.get().into())
    }

    /// The streams, unknown ones included.
    pub fn parts(&self, warnings: &mut Vec<Warning>) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.directory.len());
        let mut seen = HashSet::new();
        for (index, entry) in self.directory.iter().enumerate() {
            let (number, location) = (entry.kind.get(), entry.location);
            let (offset, size) = (u64::from(location.rva.get()), u64::from(location.size.get()));
            let is_first = seen.insert(number);
            let mut part =
                Part { number, owner: BString::default(), name: names::of(number), offset, size, fields: vec![] };
            let named = |wrong| format!("stream {number:#x} ({}): {wrong}", names::of(number).unwrap_or("unknown"));
            match self.stream_block(index) {
                _ if number == stream::UNUSED => {}
                // lldb writes an exception for each thread, and they are taken for what they are.
                Ok(_) if !is_first && number == stream::EXCEPTION => {}
                Ok(_) if !is_first => {
                    let wrong = "there is one of this type before, which is taken".to_owned();
                    warn(Warning::at(offset, named(wrong)), warnings);
                }
                Ok(block) => match self.fields(number, &block) {
                    Ok(fields) => part.fields = fields,
                    Err(error) => warn(Warning { text: named(error.to_string()), ..Warning::of(&error) }, warnings),
                },
                // The error names a stream of a known type itself, and so does whoever else asks for it.
                Err(error) if part.name.is_some() => warn(Warning::of(&error), warnings),
                Err(error) => warn(Warning { text: named(error.to_string()), ..Warning::of(&error) }, warnings),
            }
            parts.push(part);
        }
        parts
    }

    fn text_files(&self, warnings: &mut Vec<Warning>) -> TextFiles {
        let mut file = |kind| or_warn(self.kernel_file(kind), warnings).unwrap_or_default();
        TextFiles {
            cpuinfo: file(stream::LINUX_CPU_INFO),
            status: file(stream::LINUX_PROC_STATUS),
            release: file(stream::LINUX_LSB_RELEASE),
            command_line: file(stream::LINUX_CMD_LINE),
            environment: file(stream::LINUX_ENVIRON),
            auxv: file(stream::LINUX_AUXV),
            limits: file(stream::MOZ_LINUX_LIMITS),
            stat: file(stream::LINUX_PROC_STAT),
            uptime: file(stream::LINUX_PROC_UPTIME),
            cgroup: BString::default(),
        }
    }

    fn process_modules(&self, platform: Platform, warnings: &mut Vec<Warning>) -> Vec<Module> {
        let raw = or_warn(self.modules(), warnings);
        let mut modules: Vec<Module> = raw
            .into_iter()
            .enumerate()
            .map(|(index, raw)| {
                let path = or_warn(raw.name.clone(), warnings);
                let identity = or_warn(raw.identity.clone(), warnings);
                module(raw, path, identity, index == 0, platform)
            })
            .collect();
        modules.sort_by_key(|module| module.range.start());
        modules
    }

    fn process_threads(&self, number: u16, platform: Platform, warnings: &mut Vec<Warning>) -> Vec<Thread> {
        let mut infos = or_warn(self.thread_infos(), warnings);
        let mut notes: HashMap<ThreadId, Registers> = or_warn(self.register_notes(), warnings)
            .into_iter()
            .map(|thread| (thread.thread, self.lossless(number, thread.notes)))
            .collect();
        let raw = or_warn(self.raw_threads(), warnings);
        let mut wrong = Wrong::default();
        let threads = or_warn(self.listed_threads(&mut wrong), warnings);
        wrong.warn(warnings);
        let made = threads.into_iter().zip(raw).map(|(thread, raw)| {
            let environment = Some(raw.environment_block.get()).filter(|block| *block != 0);
            let registers = match thread.context {
                Ok(Some(found)) => {
                    let gs = environment.filter(|_| platform == Platform::Windows);
                    context::registers(number, &found.bytes, gs).ok_or_else(|| no_registers("of an unknown form"))
                }
                Ok(None) => Err(no_registers("")),
                Err(error) => {
                    let detail = error.to_string();
                    let text = format!("thread {}: {detail}", thread.id);
                    warn(Warning { text, ..Warning::of(&error) }, warnings);
                    Err(NoRegisters { reason: GapReason::Damaged, detail })
                }
            };
            let registers = notes.remove(&thread.id).map_or(registers, Ok);
            let info = infos.remove(&thread.id);
            Thread {
                id: thread.id,
                name: thread.name.map(BString::from),
                registers,
                stack: Some(thread.stack).filter(|stack| !stack.is_empty()),
                times: info.as_ref().map(times),
                windows: (!platform.is_linux()).then(|| Box::new(windows(&raw, info.as_ref()))),
                ..Thread::default()
            }
        });
        made.collect()
    }

    /// effigy's own copy of all register sets.
    fn lossless(&self, number: u16, sets: Vec<effigy_process::RegisterSet>) -> Registers {
        let architecture = architecture(number);
        Registers { architecture, byte_order: architecture.usual_byte_order(), sets, missing: 0 }
    }

    fn thread_infos(&self) -> Result<HashMap<ThreadId, ThreadInfo>, ReadError> {
        let what = "the list of thread times";
        let Some(block) = self.block(stream::THREAD_INFO_LIST)? else { return Ok(HashMap::new()) };
        let head: ThreadInfoHeader = block.record(0, what)?;
        let head = (head.header_size.get(), head.entry_size.get(), head.count.get().into());
        let entries: Vec<ThreadInfo> = block.sized(head, size_of::<ThreadInfo>(), what)?;
        Ok(entries.into_iter().map(|entry| (ThreadId(entry.id.get()), entry)).collect())
    }

    /// What happened, from all exceptions, and which thread is shown first.
    fn faults(&self, number: u16, process: &mut Process, warnings: &mut Vec<Warning>) {
        let own = self.facts().is_ok_and(|facts| facts.is_some());
        for mut exception in or_warn(self.exceptions(), warnings) {
            exception.context = Ok(or_warn(exception.context, warnings));
            process.selected = process.selected.or(Some(exception.thread));
            // lldb writes the signal by which it stopped the process, which had done nothing.
            let stopped = process.system.platform.is_linux() && matches!(exception.code, 0 | STOPPED);
            if exception.code == DUMP_REQUESTED || stopped {
                continue;
            }
            let fault = fault(exception, process.system.platform, number, own);
            if process.fault.is_none() {
                process.fault = Some(fault);
            } else {
                process.further_faults.push(fault);
            }
        }
        process.selected = process.selected.or_else(|| process.threads.first().map(|thread| thread.id));
    }
}

fn no_registers(detail: &str) -> NoRegisters {
    NoRegisters { reason: GapReason::NotInDump, detail: detail.to_owned() }
}

fn module(
    raw: super::Module,
    path: String,
    identity: Option<ModuleIdentity>,
    is_main: bool,
    platform: Platform,
) -> Module {
    let mut module = Module { path: path.into(), range: raw.range, is_main, version: raw.version, ..Module::default() };
    if platform == Platform::Windows {
        module.pe = Some(PeIdentity {
            time_stamp: raw.time_stamp,
            checksum: raw.checksum,
            size_of_image: u32::try_from(raw.range.size()).unwrap_or(u32::MAX),
        });
    }
    match identity {
        Some(ModuleIdentity::BuildId(id)) => module.build_id = Some(id),
        // Breakpad has put the UUID of a Mach-O image there, and the beginning of an ELF image's build id.
        Some(ModuleIdentity::Pdb(pdb)) => match platform {
            Platform::MacOs | Platform::Ios => module.uuid = Some(pdb.guid),
            _ => module.pdb = Some(pdb),
        },
        None => {}
    }
    module
}

fn times(info: &ThreadInfo) -> ThreadTimes {
    ThreadTimes { user: ticks(info.user_time.get()), kernel: ticks(info.kernel_time.get()), started: None }
}

/// A time in units of 100 ns.
fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(100))
}

/// A point in time, counted from 1601 in units of 100 ns; `None` for 0 and for times before 1970.
fn point(count: u64) -> Option<SystemTime> {
    let (seconds, rest) = (count / 10_000_000, count % 10_000_000);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.checked_sub(BEFORE_1970)?) + ticks(rest))
}

fn windows(raw: &layout::Thread, info: Option<&ThreadInfo>) -> WindowsThread {
    let known = |address: u64| Some(Address(address)).filter(|address| address.0 != 0);
    let status = info.map(|info| info.exit_status.get()).filter(|status| *status != STILL_ACTIVE);
    WindowsThread {
        environment_block: known(raw.environment_block.get()),
        suspend_count: raw.suspend_count.get(),
        priority_class: raw.priority_class.get(),
        priority: raw.priority.get(),
        start_address: info.and_then(|info| known(info.start_address.get())),
        created: info.and_then(|info| point(info.created.get())),
        exited: info.and_then(|info| point(info.exited.get())),
        exit_status: status,
        dump_flags: info.map(|info| info.dump_flags.get()),
        dump_error: info.map(|info| info.dump_error.get()),
    }
}

/// `own` says that effigy wrote it: then an address that the fault does not have is not made up.
fn fault(exception: Exception, platform: Platform, number: u16, own: bool) -> Fault {
    let (code, flags) = (exception.code, exception.flags);
    let kind = match platform {
        Platform::Linux | Platform::Android => {
            FaultKind::Signal { number: code.cast_signed(), code: flags.cast_signed() }
        }
        Platform::Windows => FaultKind::Windows { code, flags },
        Platform::MacOs | Platform::Ios => FaultKind::Mach { exception: code, code: flags },
        Platform::Other(_) | _ => FaultKind::Other { code, flags },
    };
    let made_up = own && exception.parameters.is_empty() && platform.is_linux();
    let context = exception.context.ok().flatten();
    // Windows widens the addresses of a 32-bit process with their sign.
    let mask = if architecture(number).pointer_size() == 4 { u64::from(u32::MAX) } else { u64::MAX };
    let parameters = exception.parameters.iter().map(|parameter| parameter & mask).collect();
    Fault {
        thread: exception.thread,
        kind,
        address: Some(exception.address).filter(|_| !made_up),
        registers: context.and_then(|context| context::registers(number, &context.bytes, None)).map(Box::new),
        parameters: if own { Vec::new() } else { parameters },
    }
}

/// Makes a 32-bit process of what a 64-bit program saw of it.
fn see_32_bits(process: &mut Process, memory: &MemoryMap, warnings: &mut Vec<Warning>) {
    let block = |thread: &Thread| thread.windows.as_ref().and_then(|windows| windows.environment_block);
    let found: Vec<_> = process.threads.iter().map(|thread| wow64::registers(memory, block(thread)?)).collect();
    if found.iter().all(Option::is_none) {
        let text = "the process is a 32-bit one, but its own registers are not in the dump; those of the layer that runs it are shown";
        warnings.push(Warning::remark(text));
        return;
    }
    process.architecture = Architecture::X86;
    for (thread, registers) in process.threads.iter_mut().zip(found) {
        thread.registers = registers.ok_or_else(|| no_registers("its 32-bit registers are not in the dump"));
    }
    let before = process.modules.len();
    process.modules.retain(|module| !wow64::belongs_to_layer(memory, module));
    let layer = before - process.modules.len();
    let text = format!("a 32-bit process on 64-bit Windows: {layer} modules of the layer that runs it are left out");
    warnings.push(Warning::remark(text));
}
