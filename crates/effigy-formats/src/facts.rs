//! What neither format has a place for, as one JSON document with a version.
//!
//! It is a stream of its own in a minidump and a note of its own in an ELF core, and holds the same in both.

use std::time::{SystemTime, UNIX_EPOCH};

use bstr::{BString, ByteSlice};
use effigy_process::{
    BuildId, Credentials, GapReason, Handle, Identity, KernelFacts, Limit, MemoryCounters, Module, Namespace,
    PageFaults, Process, SchedulingFacts, System, ThreadTimes,
};
use serde::Serialize;

/// Version of the document; it rises when a field changes its meaning or goes, not when one is added.
const VERSION: u32 = 1;

/// The document.
#[derive(Serialize)]
pub(crate) struct Facts<'a> {
    version: u32,
    captured_unix: Option<f64>,
    comment: &'a str,
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
    threads: Vec<ThreadFacts<'a>>,
}

#[derive(Serialize)]
struct ThreadFacts<'a> {
    tid: u32,
    inner_tid: Option<u32>,
    name: Option<std::borrow::Cow<'a, str>>,
    state: Option<char>,
    registers_missing: Option<(&'static str, &'a str)>,
    times: Option<&'a ThreadTimes>,
    scheduling: &'a SchedulingFacts,
    kernel: Option<&'a KernelFacts>,
}

impl<'a> Facts<'a> {
    /// The facts of a process.
    pub(crate) fn new(process: &'a Process) -> Self {
        Self {
            version: VERSION,
            captured_unix: process.captured.map(unix_seconds),
            comment: &process.comment,
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
