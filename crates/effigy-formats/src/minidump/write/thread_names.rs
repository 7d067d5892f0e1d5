//! ThreadNames.

use bstr::{BString, ByteSlice};
use effigy_process::{Process, ThreadId};

use super::Scene;
use super::output::{Output, narrow, string_size};
use crate::WriteError;
use crate::minidump::layout::ThreadName;

/// Writes the list, and behind it the names.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let count = named(scene.process).count();
    if count == 0 {
        return Ok(None);
    }
    let start = out.position();
    out.record(&narrow(count as u64).to_le_bytes())?;
    let size = 4 + (count * size_of::<ThreadName>()) as u64;
    let mut rva = start + size;
    for (id, name) in named(scene.process) {
        out.record(&ThreadName { id: id.0.into(), name_rva: rva.into() })?;
        rva += string_size(&name.to_str_lossy());
    }
    named(scene.process).try_for_each(|(_, name)| out.string(&name.to_str_lossy()))?;
    Ok(Some(size))
}

fn named(process: &Process) -> impl Iterator<Item = (ThreadId, &BString)> {
    process.threads.iter().filter_map(|thread| Some((thread.id, thread.name.as_ref()?)))
}
