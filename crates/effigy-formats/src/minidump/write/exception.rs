//! Exception: what the process died of, or which thread a debugger is to show.
//!
//! There is exactly one such stream: Breakpad refuses dumps with several, and so does lldb before version 20.

use effigy_process::{Fault, Process, Thread, ThreadId};
use zerocopy::FromZeros;

use super::output::Output;
use super::{Scene, location};
use crate::WriteError;
use crate::minidump::layout::{DUMP_REQUESTED, Exception};

/// Writes the stream, and behind it once more the CONTEXT of its thread.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let Some(mut exception) = exception(scene.process) else { return Ok(None) };
    let thread = thread(scene.process, ThreadId(exception.thread_id.get()));
    let registers = thread.and_then(|thread| scene.context.registers(thread));
    let size = size_of::<Exception>() as u64;
    if registers.is_some() {
        exception.context = location(scene.context.aligned(out.position() + size), scene.context.size());
    }
    out.record(&exception)?;
    if let Some(registers) = registers {
        scene.context.write(registers, out)?;
    }
    Ok(Some(size))
}

/// The stream without its CONTEXT.
fn exception(process: &Process) -> Option<Exception> {
    match &process.fault {
        Some(fault) => Some(died(process, fault)),
        None => process.selected.map(|id| asked_for(process, id)),
    }
}

/// A process that got a signal. Readers know Linux's signals by their plain numbers.
fn died(process: &Process, fault: &Fault) -> Exception {
    let mut exception = Exception::new_zeroed();
    exception.thread_id = fault.thread.0.into();
    let (code, flags) = fault.kind.numbers();
    exception.code = code.into();
    exception.flags = flags.into();
    match fault.address {
        Some(address) => {
            exception.address = address.0.into();
            exception.parameter_count = 1.into();
            exception.parameters[0] = address.0.into();
        }
        None => exception.address = instruction_pointer(process, fault.thread).into(),
    }
    exception
}

/// A process that was well when it was captured.
fn asked_for(process: &Process, id: ThreadId) -> Exception {
    let mut exception = Exception::new_zeroed();
    exception.thread_id = id.0.into();
    exception.code = DUMP_REQUESTED.into();
    exception.address = instruction_pointer(process, id).into();
    exception
}

fn thread(process: &Process, id: ThreadId) -> Option<&Thread> {
    process.threads.iter().find(|thread| thread.id == id)
}

/// Where a thread executes; 0 when that is not known.
fn instruction_pointer(process: &Process, id: ThreadId) -> u64 {
    thread(process, id)
        .and_then(|thread| thread.registers.as_ref().ok()?.general())
        .and_then(|general| general.instruction_pointer())
        .map_or(0, |pointer| pointer.0)
}
