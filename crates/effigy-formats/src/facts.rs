//! What neither format has a place for, as one JSON document with a version.
//!
//! It is a stream of its own in a minidump and a note of its own in an ELF core, and holds the same in both.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::{BString, ByteSlice};
use effigy_process::{
    Address, AddressRange, BuildId, Credentials, Gap, GapReason, GapSubject, Handle, Identity, Journal, KernelFacts,
    Limit, MemoryCounters, Module, Namespace, NoRegisters, PageFaults, Process, SchedulingFacts, System, Thread,
    ThreadId, ThreadState, ThreadTimes,
};
use serde::{Deserialize, Serialize};

use crate::Attachment;
use crate::opened::{Warning, warn};

/// Version of the document; it rises when a field changes its meaning or goes, not when one is added.
const VERSION: u32 = 1;

/// The document.
#[derive(Serialize)]
pub(crate) struct Facts<'a> {
    version: u32,
    /// What the dump holds; a core has no other place for it.
    minidump_type: u64,
    captured_unix: Option<f64>,
    comment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<&'a Journal>,
    architecture: effigy_process::Architecture,
    system: &'a System,
    identity: &'a Identity,
    credentials: Option<&'a Credentials>,
    limits: &'a [Limit],
    namespaces: &'a [Namespace],
    memory: Option<&'a MemoryCounters>,
    page_faults: Option<&'a PageFaults>,
    modules: &'a [Module],
    handles: &'a [Handle],
    /// `/proc/PID/cgroup`, for which no other stream of a minidump has a place.
    #[serde(skip_serializing_if = "str::is_empty")]
    cgroup: Cow<'a, str>,
    threads: Vec<ThreadFacts<'a>>,
}

#[derive(Serialize)]
struct ThreadFacts<'a> {
    tid: u32,
    inner_tid: Option<u32>,
    name: Option<Cow<'a, str>>,
    state: Option<char>,
    registers_missing: Option<(&'static str, &'a str)>,
    times: Option<&'a ThreadTimes>,
    scheduling: &'a SchedulingFacts,
    kernel: Option<&'a KernelFacts>,
}

impl<'a> Facts<'a> {
    /// The facts of a process, of which a dump holds what the MINIDUMP_TYPE bits say.
    pub(crate) fn new(process: &'a Process, minidump_type: u64) -> Self {
        Self {
            version: VERSION,
            minidump_type,
            captured_unix: process.captured.map(unix_seconds),
            comment: &process.comment,
            journal: process.journal.as_ref(),
            architecture: process.architecture,
            system: &process.system,
            identity: &process.identity,
            credentials: process.credentials.as_ref(),
            limits: &process.limits,
            namespaces: &process.namespaces,
            memory: process.counters.as_ref(),
            page_faults: process.page_faults.as_ref(),
            modules: &process.modules,
            handles: &process.handles,
            cgroup: process.files.cgroup.to_str_lossy(),
            threads: process
                .threads
                .iter()
                .map(|thread| ThreadFacts {
                    tid: thread.id.0,
                    inner_tid: thread.inner_id.map(|id| id.0),
                    name: thread.name.as_ref().map(|name| name.to_str_lossy()),
                    state: thread.state.map(|state| state.0),
                    registers_missing: thread
                        .registers
                        .as_ref()
                        .err()
                        .map(|missing| (GapReason::as_str(missing.reason), missing.detail.as_str())),
                    times: thread.times.as_ref(),
                    scheduling: &thread.scheduling,
                    kernel: thread.kernel.as_ref(),
                })
                .collect(),
        }
    }
}

/// The document as it is read back; older ones lack what was added since.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    minidump_type: Option<u64>,
    captured_unix: Option<f64>,
    journal: Option<Journal>,
    system: Option<System>,
    identity: Option<Identity>,
    credentials: Option<Credentials>,
    limits: Vec<Limit>,
    namespaces: Vec<Namespace>,
    memory: Option<MemoryCounters>,
    page_faults: Option<PageFaults>,
    modules: Vec<Module>,
    handles: Vec<Handle>,
    cgroup: BString,
    threads: Vec<StoredThread>,
}

#[derive(Deserialize)]
struct StoredThread {
    tid: u32,
    inner_tid: Option<u32>,
    name: Option<BString>,
    state: Option<char>,
    registers_missing: Option<(String, String)>,
    times: Option<ThreadTimes>,
    #[serde(default)]
    scheduling: SchedulingFacts,
    kernel: Option<KernelFacts>,
}

/// A gap as it is stored.
#[derive(Deserialize)]
struct StoredGap {
    subject: String,
    start: Option<Address>,
    end: Option<Address>,
    tid: Option<u32>,
    fact: Option<String>,
    reason: String,
    #[serde(default)]
    detail: String,
}

/// Bytes that an object of a document has at least, on the whole, and how many objects may be shorter. An empty module has
/// two bytes there and several hundred in memory.
const LEAST_OBJECT: usize = 16;
const FEW_OBJECTS: usize = 4096;

/// A document of effigy's in a dump.
pub(crate) struct Document {
    /// Where it begins, from the start of the file, in bytes.
    pub(crate) offset: u64,
    pub(crate) text: String,
}

impl Document {
    /// What it says; `None` when it cannot be read, which becomes a warning.
    fn read<'a, T: Deserialize<'a>>(&'a self, what: &str, warnings: &mut Vec<Warning>) -> Option<T> {
        let objects = self.text.bytes().filter(|byte| *byte == b'{').count();
        let most = FEW_OBJECTS + self.text.len() / LEAST_OBJECT;
        if objects > most {
            let text = format!(
                "{what} at offset {:#x}: {objects} objects, and in so short a text {most} at most",
                self.offset
            );
            warn(Warning::at(self.offset, text), warnings);
            return None;
        }
        let outcome = serde_json::from_str(&self.text);
        // The place of the error is counted within the document.
        outcome
            .map_err(|error| {
                warn(Warning::at(self.offset, format!("{what} at offset {:#x}: {error}", self.offset)), warnings)
            })
            .ok()
    }
}

/// Completes a process that was read from a dump of effigy's with what its own documents say: the facts and the gaps.
/// Other dumps have none. A document that cannot be read becomes a warning. Gives the MINIDUMP_TYPE bits, where they are
/// told.
pub(crate) fn complete(
    facts: Option<&Document>,
    gaps: Option<&Document>,
    process: &mut Process,
    warnings: &mut Vec<Warning>,
) -> Option<u64> {
    let stored: Option<Stored> = facts?.read("effigy's facts", warnings);
    let minidump_type = stored.as_ref().and_then(|stored| stored.minidump_type);
    if let Some(stored) = stored {
        stored.apply(process);
    }
    if let Some(gaps) = gaps.and_then(|gaps| gaps.read::<Vec<StoredGap>>("the list of gaps", warnings)) {
        process.gaps = gaps.into_iter().filter_map(StoredGap::gap).collect();
    }
    minidump_type
}

impl Stored {
    fn apply(self, process: &mut Process) {
        if let Some(system) = self.system {
            // An ELF header has no number for Windows or macOS, of whose processes cores are made of minidumps.
            process.system = system;
        }
        if let Some(identity) = self.identity {
            process.identity = identity;
        }
        let since = self.captured_unix.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        process.journal = self.journal;
        process.captured = since.and_then(|since| UNIX_EPOCH.checked_add(since)).or(process.captured);
        process.credentials = self.credentials.or(process.credentials.take());
        process.counters = self.memory.or(process.counters);
        process.page_faults = self.page_faults.or(process.page_faults);
        (process.limits, process.namespaces) = (self.limits, self.namespaces);
        if !self.modules.is_empty() {
            process.modules = self.modules;
        }
        if !self.handles.is_empty() {
            process.handles = self.handles;
        }
        if process.files.cgroup.is_empty() {
            process.files.cgroup = self.cgroup;
        }
        complete_threads(self.threads, &mut process.threads);
    }
}

/// Threads without registers stand in no core, and nowhere but here.
fn complete_threads(all: Vec<StoredThread>, threads: &mut Vec<Thread>) {
    let places: HashMap<ThreadId, usize> =
        threads.iter().enumerate().map(|(index, thread)| (thread.id, index)).collect();
    for stored in all {
        let id = ThreadId(stored.tid);
        match places.get(&id).and_then(|index| threads.get_mut(*index)) {
            Some(thread) => stored.apply(thread),
            None => {
                let mut thread = Thread { id, ..Thread::default() };
                stored.apply(&mut thread);
                threads.push(thread);
            }
        }
    }
}

impl StoredThread {
    fn apply(self, thread: &mut Thread) {
        thread.name = self.name.or(thread.name.take());
        thread.inner_id = self.inner_tid.map(ThreadId);
        thread.state = self.state.map(ThreadState);
        thread.times = self.times.or(thread.times);
        (thread.scheduling, thread.kernel) = (self.scheduling, self.kernel);
        if let Some((reason, detail)) = self.registers_missing {
            let reason = GapReason::from_name(&reason).unwrap_or(GapReason::NotInDump);
            thread.registers = Err(NoRegisters { reason, detail });
        }
    }
}

impl StoredGap {
    /// `None` for one of a kind that a later version has added.
    fn gap(self) -> Option<Gap> {
        let subject = match self.subject.as_str() {
            "memory" => GapSubject::Memory(AddressRange::new(self.start?, self.end?)),
            "registers" => GapSubject::Registers(ThreadId(self.tid?)),
            _ => GapSubject::Fact(self.fact?),
        };
        Some(Gap { subject, reason: GapReason::from_name(&self.reason)?, detail: self.detail })
    }
}

/// The attachments that a list of them names, each with its place in the file. A list that cannot be read becomes a
/// warning.
pub(crate) fn attachments(list: Option<&Document>, warnings: &mut Vec<Warning>) -> Vec<(Attachment, u64)> {
    #[derive(Deserialize)]
    struct Entry {
        name: BString,
        build_id: Option<BuildId>,
        offset: u64,
        length: u64,
    }
    let entries: Vec<Entry> = list.and_then(|list| list.read("the list of attachments", warnings)).unwrap_or_default();
    let place =
        |entry: Entry| (Attachment { name: entry.name, build_id: entry.build_id, length: entry.length }, entry.offset);
    entries.into_iter().map(place).collect()
}

/// Where the files lie that were attached behind the memory.
#[derive(Serialize)]
pub(crate) struct AttachmentEntry<'a> {
    #[serde(serialize_with = "lossy_reference")]
    pub(crate) name: &'a BString,
    pub(crate) build_id: Option<&'a BuildId>,
    /// From the start of the file, in bytes; 64 bits, as the memory before it may be of any size.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

fn lossy_reference<S: serde::Serializer>(bytes: &&BString, serializer: S) -> Result<S::Ok, S::Error> {
    effigy_process::text::lossy(bytes, serializer)
}

/// Seconds since 1970 with their fraction; negative times are given as zero.
pub(crate) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_are_only_long_in_memory_are_not_made() {
        let document = |modules: usize| {
            let text = format!("{{\"modules\":[{}]}}", vec!["{}"; modules].join(","));
            Document { offset: 0x40, text }
        };
        let (mut process, mut warnings) = (Process::default(), Vec::new());
        complete(Some(&document(4000)), None, &mut process, &mut warnings);
        assert_eq!((process.modules.len(), warnings.len()), (4000, 0));
        let mut process = Process::default();
        complete(Some(&document(8000)), None, &mut process, &mut warnings);
        assert_eq!(process.modules.len(), 0);
        let text = "effigy's facts at offset 0x40: 8001 objects, and in so short a text 5596 at most";
        assert_eq!(warnings.iter().map(|warning| warning.text.as_str()).collect::<Vec<_>>(), [text]);
    }
}
