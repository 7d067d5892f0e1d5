//! Our own stream that says where the attached files lie.

use serde::Serializer;

use super::output::Output;
use crate::facts::AttachmentEntry;
use crate::{Contents, WriteError};

/// Writes the list as a JSON array. Its length must not depend on where the files lie, so spaces follow it, as many as
/// it is shorter than with offsets of the greatest length.
pub(in crate::minidump) fn write(
    contents: &Contents<'_>,
    data_offset: u64,
    out: &mut Output<'_>,
) -> Result<Option<u64>, WriteError> {
    if contents.attachments.is_empty() {
        return Ok(None);
    }
    let mut longest = Output::measuring();
    write_entries(contents, u64::MAX, &mut longest)?;

    let start = out.position();
    write_entries(contents, data_offset.saturating_add(contents.extents.bytes()), out)?;
    let length = out.position() - start;
    out.fill(longest.position().saturating_sub(length), b' ')?;
    Ok(Some(longest.position()))
}

/// Writes the entries of files that lie one behind the other from `offset` on.
fn write_entries(contents: &Contents<'_>, mut offset: u64, out: &mut Output<'_>) -> Result<(), WriteError> {
    let entries = contents.attachments.iter().map(|attachment| {
        let entry = AttachmentEntry {
            name: &attachment.name,
            build_id: attachment.build_id.as_ref(),
            offset,
            length: attachment.length,
        };
        offset = offset.saturating_add(attachment.length);
        entry
    });
    serde_json::Serializer::new(out).collect_seq(entries).map_err(std::io::Error::from)?;
    Ok(())
}
