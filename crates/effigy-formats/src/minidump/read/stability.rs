//! `StabilityReport`: what Chromium tells of memory and handles at the time of a crash, a protobuf message.
//!
//! Source: components/stability_report/stability_report.proto of Chromium, 2023. Older versions told far more of the
//! browser; those numbers are reserved now, and are shown without names.

use super::ReadError;
use super::protobuf::{Known, walk};
use crate::opened::Field;

const fn number(number: u64, name: &'static str) -> Known {
    Known { number, name, message: None }
}

const fn message(number: u64, name: &'static str, fields: &'static [Known]) -> Known {
    Known { number, name, message: Some(fields) }
}

/// `ProcessState.MemoryState.WindowsMemory`; pages of 4 KiB, the attempt in bytes.
const PROCESS_MEMORY: &[Known] = &[
    number(1, "process_private_usage"),
    number(2, "process_peak_workingset_size"),
    number(3, "process_peak_pagefile_usage"),
    number(4, "process_allocation_attempt"),
];
/// `ProcessState.MemoryState`.
const MEMORY_STATE: &[Known] = &[message(1, "windows_memory", PROCESS_MEMORY)];
/// `ProcessState.FileSystemState`.
const FILE_SYSTEM_STATE: &[Known] = &[
    message(1, "posix_file_system_state", &[number(1, "open_file_descriptors")]),
    message(2, "windows_file_system_state", &[number(1, "process_handle_count")]),
];
/// `ProcessState`.
const PROCESS_STATE: &[Known] = &[
    number(3, "process_id"),
    message(4, "memory_state", MEMORY_STATE),
    message(7, "file_system_state", FILE_SYSTEM_STATE),
];
/// `SystemMemoryState.WindowsMemory`; pages of 4 KiB.
const SYSTEM_MEMORY: &[Known] =
    &[number(1, "system_commit_limit"), number(2, "system_commit_remaining"), number(3, "system_handle_count")];
/// `StabilityReport`.
const REPORT: &[Known] = &[
    message(2, "process_states", PROCESS_STATE),
    message(7, "system_memory_state", &[message(1, "windows_memory", SYSTEM_MEMORY)]),
];

/// The fields of a report whose bytes begin at `offset` in the file.
pub(super) fn fields(bytes: &[u8], offset: u64) -> Result<Vec<Field>, ReadError> {
    let walked = walk(bytes, REPORT);
    if walked.records.is_empty()
        && let Some(at) = walked.damaged
    {
        let value = bytes.get(at).copied().unwrap_or_default().into();
        return Err(ReadError::Value { what: "the first tag of the stability report", offset, value });
    }
    let mut fields = vec![Field::list("Fields", walked.records)];
    fields.extend(walked.damaged.map(|at| Field::number("DamagedAt", at as u64)));
    fields.extend(walked.more.then(|| Field::text("More", "there are more fields than are shown")));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_names_of_its_description() {
        // process_states { process_id: 42, memory_state { windows_memory { process_allocation_attempt: 65536 } } }
        let report = [0x12, 10, 0x18, 42, 0x22, 6, 0x0a, 4, 0x20, 0x80, 0x80, 4];
        let text = format!("{:?}", fields(&report, 0).unwrap());
        for name in
            ["process_states", "process_id", "memory_state", "windows_memory", "process_allocation_attempt", "65536"]
        {
            assert!(text.contains(name), "{name}: {text}");
        }
        assert!(fields(&[0xff; 20], 0x100).is_err());
    }
}
