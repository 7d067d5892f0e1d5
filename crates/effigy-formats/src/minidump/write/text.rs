//! The kernel's text files, as Breakpad's extensions for Linux hold them: the file's bytes, nothing else.

use std::io::Write;

use super::Scene;
use super::output::Output;
use crate::WriteError;

/// Writes one file, when there is anything in it.
pub(super) fn write(file: &[u8], out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    if file.is_empty() {
        return Ok(None);
    }
    out.write_all(file)?;
    Ok(Some(file.len() as u64))
}

/// Writes the list of regions as `/proc/PID/maps` would show it.
pub(super) fn write_maps(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    if scene.process.regions.is_empty() {
        return Ok(None);
    }
    let start = out.position();
    for region in &scene.process.regions {
        out.write_all(&region.maps_line())?;
        out.write_all(b"\n")?;
    }
    Ok(Some(out.position() - start))
}
