//! Looking at a running process.

use std::time::Duration;

use effigy_live::LiveError;
use effigy_live::snapshot::{LiveSnapshot, LiveView, Prelude, PreludeOptions, StackCopies};
use effigy_live::stop::{StopLimits, Stopped, Tracer};
use effigy_process::ProcessId;

use super::{Look, Refused};
use crate::capture::Failure;
use crate::exit::Exit;
use crate::job_control::NoJobControl;
use crate::print;

/// How long is waited at a time for the process to stand still.
const TICK: Duration = Duration::from_millis(10);

/// How long a process stands still at most for the copying of its stacks, which mostly takes one millisecond.
const COPYING: Duration = Duration::from_millis(50);

/// Looks at a process, and says how long it stood still for that.
pub(super) fn look(pid: ProcessId, look: Look) -> Result<(LiveView, Option<Duration>), Refused> {
    look_at(pid, look).map_err(|failure| {
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

fn look_at(pid: ProcessId, look: Look) -> Result<(LiveView, Option<Duration>), Failure> {
    let stops = matches!(look, Look::Registers | Look::Stacks);
    let options =
        PreludeOptions { kernel_facts: look == Look::Threads, allow_traced: !stops, ..PreludeOptions::default() };
    let prelude = Prelude::read(pid, options)?;
    if !stops {
        return Ok((LiveView::new(LiveSnapshot::of_unstopped(prelude)?), None));
    }
    let copied = (look == Look::Stacks).then_some(&prelude);
    let (stopped, stacks, pause) = stop(pid, copied)?;
    Ok((LiveView::new(LiveSnapshot::of_stopped(prelude, stopped)?).with_stacks(stacks), Some(pause)))
}

/// Stops a process, reads its registers and, where `prelude` is given, copies its stacks, and lets it go before anything
/// else is done: nothing that could take long, or never end, is between. A signal that ends effigy meanwhile lets it go as
/// well, see [`effigy_live::stop`].
fn stop(pid: ProcessId, prelude: Option<&Prelude>) -> Result<(Stopped, StackCopies, Duration), Failure> {
    let _no_job_control = NoJobControl::hold();
    let mut tracer = Tracer::start(pid)?;
    tracer.stop(StopLimits::default(), None)?;
    let stopped = loop {
        if let Some(stopped) = tracer.wait_stopped(TICK) {
            break stopped?;
        }
    };
    let stacks = prelude.map(|prelude| StackCopies::take(prelude, &stopped, COPYING)).unwrap_or_default();
    let pause = tracer.resume()?;
    Ok((stopped, stacks, pause))
}
