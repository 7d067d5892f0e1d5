//! effigy's own notes.

use std::io::{self, Write};

use effigy_process::Process;
use serde::{Serialize, Serializer};

use super::super::layout::{OWNER_EFFIGY, effigy};
use super::notes::Notes;
use crate::facts::{AttachmentEntry, Facts};
use crate::{Attachment, Contents, working_set};

/// All of them. `data_offset` is where in the file the memory begins.
pub(super) fn write(contents: &Contents<'_>, data_offset: u64, notes: &mut Notes<'_>) -> io::Result<()> {
    let process = contents.process;
    let facts = Facts::new(process, contents.minidump_type);
    notes.stream(OWNER_EFFIGY, effigy::FACTS, |out| json(&facts, out))?;
    notes.stream(OWNER_EFFIGY, effigy::GAPS, |out| json(&contents.gaps, out))?;
    if !contents.attachments.is_empty() {
        let offset = data_offset.saturating_add(contents.extents.bytes());
        notes.stream(OWNER_EFFIGY, effigy::ATTACHMENTS, |out| attachments(contents.attachments, offset, out))?;
    }
    if !process.comment.is_empty() {
        notes.add(OWNER_EFFIGY, effigy::COMMENT, process.comment.as_bytes())?;
    }
    for (kind, text) in text_files(process) {
        if !text.is_empty() {
            notes.add(OWNER_EFFIGY, kind, text)?;
        }
    }
    notes.stream(OWNER_EFFIGY, effigy::MAPS, |out| {
        process.regions.iter().try_for_each(|region| {
            out.write_all(&region.maps_line())?;
            out.write_all(b"\n")
        })
    })?;
    if working_set::is_known(process) {
        notes.stream(OWNER_EFFIGY, effigy::WORKING_SETS, |out| working_set::write(process, out))?;
    }
    Ok(())
}

fn text_files(process: &Process) -> [(u32, &[u8]); 9] {
    let files = &process.files;
    [
        (effigy::STATUS, &files.status),
        (effigy::LIMITS, &files.limits),
        (effigy::CGROUP, &files.cgroup),
        (effigy::ENVIRONMENT, &files.environment),
        (effigy::COMMAND_LINE, &files.command_line),
        (effigy::CPUINFO, &files.cpuinfo),
        (effigy::RELEASE, &files.release),
        (effigy::STAT, &files.stat),
        (effigy::UPTIME, &files.uptime),
    ]
}

fn json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// The attachments, the first of them at `offset`. The length must not depend on `offset`, which is not known when the
/// note is measured: behind the array stand spaces for the digits that the offsets have less than the longest number.
fn attachments(attachments: &[Attachment], offset: u64, out: &mut dyn Write) -> io::Result<()> {
    json(&Table { attachments, offset }, out)?;
    let longest = digits(u64::MAX);
    let spare: usize = places(attachments, offset).map(|(_, offset)| longest - digits(offset)).sum();
    io::copy(&mut io::Read::take(io::repeat(b' '), spare as u64), out)?;
    Ok(())
}

struct Table<'a> {
    attachments: &'a [Attachment],
    offset: u64,
}

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(places(self.attachments, self.offset).map(|(attachment, offset)| AttachmentEntry {
            name: &attachment.name,
            build_id: attachment.build_id.as_ref(),
            offset,
            length: attachment.length,
        }))
    }
}

/// Each attachment and its offset in the file.
fn places(attachments: &[Attachment], offset: u64) -> impl Iterator<Item = (&Attachment, u64)> {
    attachments.iter().scan(offset, |next, attachment| {
        let offset = *next;
        *next = next.saturating_add(attachment.length);
        Some((attachment, offset))
    })
}

/// Decimal digits of a number.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_long_wherever_the_memory_begins() {
        let list = [
            Attachment { name: "/bin/a".into(), build_id: None, length: 1 },
            Attachment { name: "/bin/b".into(), build_id: None, length: u64::MAX },
            Attachment { name: "/bin/c".into(), build_id: None, length: 5 },
        ];
        let written = |offset| {
            let mut out = Vec::new();
            attachments(&list, offset, &mut out).unwrap();
            out
        };
        let near = written(0);
        assert_eq!(near.len(), written(u64::MAX).len());
        let parsed: serde_json::Value = serde_json::from_slice(&near).unwrap();
        assert_eq!(parsed[1]["offset"], 1);
    }
}
