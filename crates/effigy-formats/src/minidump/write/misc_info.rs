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
    let valid = |known: bool, flag: u32| if known { flag } else { 0 };
    let flags = valid(identity.pid.is_some(), misc::PROCESS_ID)
        | valid(identity.started.is_some(), misc::PROCESS_TIMES)
        | valid(mhz != 0, misc::PROCESSOR_POWER_INFO);
    out.record(&MiscInfo {
        size: size_of_u32::<MiscInfo>().into(),
        flags: flags.into(),
        process_id: identity.pid.map_or(0, |pid| pid.0).into(),
        process_created: identity.started.map_or(0, |started| seconds(since_1970(started))).into(),
        process_user_time: identity.user_time.map_or(0, seconds).into(),
        process_kernel_time: identity.kernel_time.map_or(0, seconds).into(),
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
