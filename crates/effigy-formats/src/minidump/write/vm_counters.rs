//! ProcessVmCounters: how much memory the process uses.

use zerocopy::FromZeros;

use super::Scene;
use super::output::{Output, narrow};
use crate::WriteError;
use crate::minidump::layout::VmCounters;

/// `MINIDUMP_PROCESS_VM_COUNTERS_2` is the second revision of the structure.
const REVISION: u16 = 2;
/// `MINIDUMP_PROCESS_VM_COUNTERS`, `_VIRTUALSIZE`, `_EX` and `_EX2`: all fields but those of Windows's jobs are valid.
const VALID: u16 = 0xf;

/// Writes the stream. Linux keeps no peak of what Windows calls page file usage, the private memory in use.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let Some(counters) = &scene.process.counters else { return Ok(None) };
    let faults = scene.process.page_faults.unwrap_or_default();
    let private = counters.resident_anonymous.saturating_add(counters.swapped);
    out.record(&VmCounters {
        revision: REVISION.into(),
        flags: VALID.into(),
        page_faults: narrow(faults.minor.saturating_add(faults.major)).into(),
        peak_working_set: counters.peak_resident.into(),
        working_set: counters.resident.into(),
        pagefile_usage: private.into(),
        peak_pagefile_usage: private.into(),
        peak_virtual_size: counters.peak_size.into(),
        virtual_size: counters.size.into(),
        private_usage: private.into(),
        private_working_set: counters.resident_anonymous.into(),
        shared_commit: counters.resident_shared.into(),
        ..VmCounters::new_zeroed()
    })?;
    Ok(Some(size_of::<VmCounters>() as u64))
}
