//! Looking at a running process.

use std::time::{Duration, Instant};

use effigy_live::LiveError;
use effigy_live::snapshot::{LiveSnapshot, LiveView, Prelude, PreludeOptions, StackCopies};
use effigy_live::stop::{StopLimits, Stopped, Tracer};
use effigy_process::ProcessId;

use super::python::{Interpreter, Prepared, PythonAnswer, Reading};
use super::{Look, Refused, find_bytes};
use crate::capture::Failure;
use crate::exit::Exit;
use crate::job_control::NoJobControl;
use crate::print;

/// How long is waited at a time for the process to stand still.
const TICK: Duration = Duration::from_millis(10);

/// How long a process stands still at most for the copying of its stacks, which mostly takes one millisecond.
pub(super) const COPYING: Duration = Duration::from_millis(50);

/// A process that was looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) view: Box<LiveView>,
    /// How long it stood still for that.
    pub(super) pause: Option<Duration>,
    /// What it ran of Python then, where that was asked for.
    pub(super) python: Option<PythonAnswer>,
}

/// Whether a process may be one of Python's: whether a file of that name is mapped.
pub(super) fn may_run_python(pid: ProcessId) -> bool {
    std::fs::read(format!("/proc/{pid}/maps")).is_ok_and(|maps| find_bytes(&maps, b"python"))
}

/// Looks at a process. Where it is stopped, and there is an `interpreter` in it, that one's stacks are read as well.
pub(super) fn look(pid: ProcessId, look: Look, interpreter: Option<Interpreter>) -> Result<Looked, Refused> {
    look_at(pid, look, interpreter).map_err(|failure| {
        let text = match &failure {
            Failure::Live(LiveError::AlreadyTraced { tracer, tracer_name, .. }) => format!(
                "process {pid} is already traced by process {tracer} ({}), so its registers cannot be read; ask \
                 for something else than registers and stacks, or end that one",
                print::safe(tracer_name.as_bytes())
            ),
            failure => print::chain(failure),
        };
        (Exit::from(&failure), text)
    })
}

fn look_at(pid: ProcessId, look: Look, interpreter: Option<Interpreter>) -> Result<Looked, Failure> {
    let stops = matches!(look, Look::Registers | Look::Stacks);
    let options =
        PreludeOptions { kernel_facts: look == Look::Threads, allow_traced: !stops, ..PreludeOptions::default() };
    let prelude = Prelude::read(pid, options)?;
    if !stops {
        let view = Box::new(LiveView::new(LiveSnapshot::of_unstopped(prelude)?));
        return Ok(Looked { view, pause: None, python: None });
    }
    let copied = (look == Look::Stacks).then_some(&prelude);
    let python = match interpreter.clone() {
        Some(interpreter) => Some(interpreter.prepare(LiveView::of_prelude(&prelude)?)),
        None => None,
    };
    let still = stop(pid, copied, python)?;
    let view = LiveView::new(LiveSnapshot::of_stopped(prelude, still.stopped)?).with_stacks(still.stacks);
    let is_same = interpreter.is_none_or(|interpreter| interpreter.is_of(view.process()));
    let python = still.python.map(|python| python.and_then(|stacks| is_same.then_some(stacks).ok_or_else(replaced)));
    Ok(Looked { view: Box::new(view), pause: Some(still.pause), python })
}

fn replaced() -> String {
    "the process has begun to run another program".to_owned()
}

/// What was read while a process stood still.
struct Still {
    stopped: Stopped,
    stacks: StackCopies,
    python: Option<PythonAnswer>,
    pause: Duration,
}

/// Stops a process, reads its registers and, where `prelude` is given, copies its stacks, and lets it go before anything
/// else is done: nothing that could take long, or never end, is between. A signal that ends effigy meanwhile lets it go as
/// well, see [`effigy_live::stop`].
fn stop(pid: ProcessId, prelude: Option<&Prelude>, python: Option<Prepared>) -> Result<Still, Failure> {
    let _no_job_control = NoJobControl::hold();
    let mut tracer = Tracer::start(pid)?;
    tracer.stop(StopLimits::default(), None)?;
    let stopped = loop {
        if let Some(stopped) = tracer.wait_stopped(TICK) {
            break stopped?;
        }
    };
    let until = Instant::now() + COPYING;
    let reading = python.map(|python| python.begin(until));
    let stacks = prelude.map(|prelude| StackCopies::take(prelude, &stopped, COPYING)).unwrap_or_default();
    let python = reading.map(Reading::wait);
    let pause = tracer.resume()?;
    Ok(Still { stopped, stacks, python, pause })
}
