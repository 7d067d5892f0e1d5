//! ThreadInfoList: how long the threads have run, and where they may.

use std::time::Duration;

use effigy_process::{Process, Thread};
use zerocopy::FromZeros;

use super::output::{Output, narrow, size_of_u32};
use super::{Scene, since_1970};
use crate::WriteError;
use crate::minidump::layout::{ThreadInfo, ThreadInfoHeader};

/// `MINIDUMP_THREAD_INFO_EXITED_THREAD`.
const EXITED_THREAD: u32 = 0x4;
/// `MINIDUMP_THREAD_INFO_INVALID_CONTEXT`.
const INVALID_CONTEXT: u32 = 0x10;
/// `STILL_ACTIVE` of winbase.h: the exit status of what has not exited.
const STILL_ACTIVE: u32 = 259;

/// From 1601, where Windows begins to count, to 1970.
const BEFORE_1970: Duration = Duration::from_secs(11_644_473_600);

/// Writes the list.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let threads = &scene.process.threads;
    let start = out.position();
    out.record(&ThreadInfoHeader {
        header_size: size_of_u32::<ThreadInfoHeader>().into(),
        entry_size: size_of_u32::<ThreadInfo>().into(),
        count: narrow(threads.len() as u64).into(),
    })?;
    for thread in threads {
        out.record_with(|| entry(scene.process, thread, scene.context.registers(thread).is_some()))?;
    }
    Ok(Some(out.position() - start))
}

fn entry(process: &Process, thread: &Thread, has_context: bool) -> ThreadInfo {
    let exited = thread.state.is_some_and(effigy_process::ThreadState::is_exited);
    let times = thread.times.unwrap_or_default();
    let flags = if exited { EXITED_THREAD } else { 0 } | if has_context { 0 } else { INVALID_CONTEXT };
    ThreadInfo {
        id: thread.id.0.into(),
        dump_flags: flags.into(),
        exit_status: if exited { 0 } else { STILL_ACTIVE }.into(),
        created: created(process, thread).map_or(0, |created| ticks(created + BEFORE_1970)).into(),
        kernel_time: ticks(times.kernel).into(),
        user_time: ticks(times.user).into(),
        affinity: thread.scheduling.affinity.unwrap_or(0).into(),
        ..ThreadInfo::new_zeroed()
    }
}

/// When the thread was created, from 1970. Linux gives it from the system's start only, and the process's both ways.
/// `None` when not known.
fn created(process: &Process, thread: &Thread) -> Option<Duration> {
    let identity = &process.identity;
    Some(since_1970(identity.started?) + thread.times?.started?.saturating_sub(identity.started_since_boot?))
}

/// A time in units of 100 ns.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX)
}
