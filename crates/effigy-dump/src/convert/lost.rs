//! What a new dump cannot hold of an old one: nothing goes silently.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bstr::ByteSlice;
use effigy_formats::{DumpKind, Format, OpenedDump, Part};
use effigy_process::{FaultKind, GapReason, Process, ThreadId};
use serde::Serialize;

use super::described::lacks;

/// Something that a new dump does not have as the old one had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What it is.
    pub what: String,
    /// Why, or what became of it. May be empty.
    pub detail: String,
    /// Whether effigy finds it in the new dump, in a place that other readers do not know.
    pub kept_for_effigy: bool,
}

impl Loss {
    fn gone(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), detail: detail.into(), kept_for_effigy: false }
    }

    fn hidden(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), detail: detail.into(), kept_for_effigy: true }
    }
}

/// Streams of minidumps whose contents are part of effigy's model of a process.
const MODELLED_STREAMS: [&str; 28] = [
    "UnusedStream",
    "ThreadListStream",
    "ModuleListStream",
    "MemoryListStream",
    "ExceptionStream",
    "SystemInfoStream",
    "Memory64ListStream",
    "CommentStreamA",
    "CommentStreamW",
    "HandleDataStream",
    "MiscInfoStream",
    "MemoryInfoListStream",
    "ThreadInfoListStream",
    "ProcessVmCountersStream",
    "ThreadNamesStream",
    "LinuxCPUInfo",
    "LinuxProcStatus",
    "LinuxLSBRelease",
    "LinuxCMDLine",
    "LinuxEnviron",
    "LinuxAuxv",
    "LinuxMaps",
    "LinuxProcStat",
    "LinuxProcUptime",
    "MozLinuxLimits",
    "EffigyFacts",
    "EffigyRegisterNotes",
    "EffigyWorkingSets",
];
/// The same for streams that only effigy's own dumps have in a form that it reads.
const OWN_STREAMS: [&str; 2] = ["MozSoftErrors", "EffigyAttachments"];
/// Names of notes that tell of the process only in part what the model has.
const PARTLY_MODELLED: [(&str, &str); 2] = [
    ("NT_PRPSINFO", "arguments, user and group, nice value"),
    ("NT_SIGINFO", "all but number, code and address of the signal"),
];

/// What is lost where everything but the memory is carried over.
pub(super) fn by_carrying(dump: &OpenedDump) -> Vec<Loss> {
    let mut losses = Vec::new();
    let extended = dump.parts.iter().filter(|part| part.name == Some("ThreadExListStream"));
    losses.extend(extended.map(|part| stream(part, "its offsets lead to memory that is elsewhere now")));
    if dump.kind == DumpKind::ReflectionPair {
        let detail = "streams are those of the file with threads and modules; of the other only memory is taken";
        losses.push(Loss::gone("other streams of the pair's second file", detail));
    }
    losses
}

/// What is lost where a new dump is written; `redacted` when that is without what a triage dump must not hold.
pub(super) fn by_writing(dump: &OpenedDump, format: Format, redacted: bool) -> Vec<Loss> {
    let own = dump
        .parts
        .iter()
        .any(|part| matches!(part.name, Some("EffigyFacts" | "EFFIGY_FACTS")) || part.owner == "EFFIGY");
    let mut losses = match dump.kind {
        DumpKind::ElfCore => notes(dump, own),
        _ => streams(dump, own, redacted),
    };
    if redacted && !dump.attachments.is_empty() {
        losses.push(Loss::gone(format!("{} embedded files", dump.attachments.len()), "a triage dump has none"));
    }
    if dump.kind != DumpKind::ElfCore {
        losses.extend(contexts(&dump.process, own));
    }
    if format == Format::ElfCore {
        losses.extend(by_core(&dump.process));
    }
    losses
}

fn stream(part: &Part, detail: &str) -> Loss {
    let name = part.name.unwrap_or("of unknown type");
    Loss::gone(format!("stream {:#x} ({name}), {} bytes", part.number, part.size), detail)
}

fn streams(dump: &OpenedDump, own: bool, redacted: bool) -> Vec<Loss> {
    let detail = if redacted { "it may hold anything" } else { "the new dump has no place for it" };
    let is_lost = |part: &&Part| {
        part.number != 0
            && !part.name.is_some_and(|name| MODELLED_STREAMS.contains(&name) || own && OWN_STREAMS.contains(&name))
    };
    dump.parts.iter().filter(is_lost).map(|part| stream(part, detail)).collect()
}

/// Notes that are none of the model's; register sets are all.
fn notes(dump: &OpenedDump, own: bool) -> Vec<Loss> {
    let mut lost: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for part in dump.parts.iter().filter(|part| part.owner != "EFFIGY") {
        let system = part.owner.is_empty() || part.owner == "CORE" || part.owner == "LINUX";
        let owner = part.owner.to_str_lossy();
        let name = part.name.map_or_else(|| format!("{owner} {:#x}", part.number), str::to_owned);
        let partly = PARTLY_MODELLED.iter().find(|(known, _)| system && part.name == Some(known));
        let detail = match partly {
            Some((_, detail)) if !own => detail,
            None if !system => "the new dump has no place for it",
            _ => continue,
        };
        lost.entry(format!("note {name}")).or_insert((0, detail)).0 += 1;
    }
    lost.into_iter()
        .map(|(name, (count, detail))| {
            let what = if count == 1 { name } else { format!("{count} × {name}") };
            Loss::gone(what, detail)
        })
        .collect()
}

/// What the CONTEXTs of a minidump have beyond the register sets that are made of them, and lack of those.
fn contexts(process: &Process, own: bool) -> Vec<Loss> {
    let mut losses = Vec::new();
    let with_registers = || process.threads.iter().filter_map(|thread| thread.registers.as_ref().ok());
    if !own && with_registers().next().is_some() {
        let detail = "debug registers, and vector registers beyond AVX, where the CONTEXTs have them";
        losses.push(Loss::gone("parts of the threads' CONTEXTs", detail));
    }
    let unknown = with_registers().filter(|registers| registers.missing != 0).count();
    if unknown > 0 {
        let mut detail = "what the CONTEXTs do not tell is zero in the new dump".to_owned();
        if let Some(registers) = with_registers().find(|registers| registers.missing != 0) {
            let _ = write!(detail, " ({} of the general registers)", registers.missing.count_ones().min(64));
        }
        losses.push(Loss::gone(format!("that some registers of {unknown} threads are not known"), detail));
    }
    losses
}

/// What a core has no place for.
fn by_core(process: &Process) -> Vec<Loss> {
    let mut losses = Vec::new();
    let platform = process.system.platform;
    if !platform.is_linux() {
        let detail = "other readers of the core take the process for one of Linux";
        losses.push(Loss::hidden(format!("that the system is {}", platform.as_str()), detail));
    }
    if let Some(fault) = &process.fault {
        if !matches!(fault.kind, FaultKind::Signal { .. }) {
            let detail = "a core tells of signals only; its thread is shown first";
            losses.push(Loss::gone(format!("{} of thread {}", fault.kind, fault.thread), detail));
        }
        losses.extend(replaced(process, fault.thread));
    }
    if !process.further_faults.is_empty() {
        let what = format!("{} further exceptions", process.further_faults.len());
        losses.push(Loss::gone(what, "a core tells of one signal"));
    }
    for (count, what) in [
        (process.handles.len(), "handles"),
        (process.threads.iter().filter(|thread| thread.name.is_some()).count(), "names of threads"),
        (process.threads.iter().filter(|thread| thread.registers.is_err()).count(), "threads without registers"),
    ] {
        if count > 0 {
            losses.push(Loss::hidden(format!("{count} {what}"), "in effigy's own notes"));
        }
    }
    for (count, what) in [
        (process.regions.iter().filter(|region| region.windows.is_some()).count(), "regions' state and kind"),
        (process.threads.iter().filter(|thread| thread.windows.is_some()).count(), "threads' environment blocks"),
    ] {
        if count > 0 {
            losses
                .push(Loss::gone(format!("{count} {what}"), "in the terms of Windows, which a core has no place for"));
        }
    }
    losses
}

/// The registers that a thread had when the dump was written, which those of the fault take the place of.
fn replaced(process: &Process, id: ThreadId) -> Option<Loss> {
    let then = process.fault.as_ref()?.registers.as_deref()?;
    let thread = process.thread(id)?;
    let had = !matches!(&thread.registers, Err(missing) if missing.reason == GapReason::NotInDump);
    let detail = "the core has those that it had at the fault";
    (had && lacks(thread, then))
        .then(|| Loss::gone(format!("registers of thread {id} when the dump was written"), detail))
}
