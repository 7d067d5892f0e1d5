//! Threads that are not the target's, and tracers that are not ours.

use std::time::{Duration, Instant};

use effigy_process::ProcessId;

use super::wait::{Waited, wait};
use crate::LiveError;
use crate::procfs::{ProcDir, Status};
use crate::trace::{self, detach};

/// How long a thread that is none of the target's is waited for.
const LONGEST_FOREIGN: Duration = Duration::from_millis(100);

/// Ends the trace of a thread that is none of the target's: it has to stop for a moment for that. One that does not is
/// freed, unharmed, by the end of the tracer thread.
pub(super) fn release_foreign(tid: u32) {
    if trace::interrupt(tid).is_err() {
        return;
    }
    let began = Instant::now();
    while began.elapsed() < LONGEST_FOREIGN {
        match wait(tid) {
            Waited::Stopped(stop) => return detach(tid, stop.signal),
            Waited::Gone => return,
            Waited::Nothing | Waited::Event(_) => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

/// The error for a target that someone else traces. `tracer` may be any thread of the tracing process.
pub(crate) fn already_traced(dir: &ProcDir, tracer: u32) -> LiveError {
    let leader = ProcDir::open(ProcessId(tracer))
        .ok()
        .and_then(|thread| u32::try_from(Status::parse(&thread.read("status").ok()?).number("Tgid")?).ok())
        .unwrap_or(tracer);
    let name = |path: String| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut tracer_name = name(format!("/proc/{leader}/comm"));
    // One that takes a dump is soon done; one that waits for something to happen is not.
    if tracer_name == "effigy" && name(format!("/proc/{leader}/task/{tracer}/comm")) == "session" {
        tracer_name.push_str(", which waits for something to happen to it");
    }
    LiveError::AlreadyTraced { pid: dir.id(), tracer: leader, tracer_name }
}
