//! MiscInfo: process id, times, processor frequency.

use std::time::Duration;

use zerocopy::FromZeros;

use super::output::{Output, narrow, size_of_u32};
use super::{Scene, since_1970};
use crate::WriteError;
use crate::minidump::layout::{MiscInfo, misc};

/// Writes the stream.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let identity = &scene.process.identity;
    let mhz = scene.process.system.cpu.mhz;
    let power = if mhz == 0 { 0 } else { misc::PROCESSOR_POWER_INFO };
    out.record(&MiscInfo {
        size: size_of_u32::<MiscInfo>().into(),
        flags: (misc::PROCESS_ID | misc::PROCESS_TIMES | power).into(),
        process_id: identity.pid.0.into(),
        process_created: seconds(since_1970(identity.started)).into(),
        process_user_time: seconds(identity.user_time).into(),
        process_kernel_time: seconds(identity.kernel_time).into(),
        processor_max_mhz: mhz.into(),
        processor_current_mhz: mhz.into(),
        processor_mhz_limit: mhz.into(),
        ..MiscInfo::new_zeroed()
    })?;
    Ok(Some(size_of::<MiscInfo>() as u64))
}

fn seconds(time: Duration) -> u32 {
    narrow(time.as_secs())
}
