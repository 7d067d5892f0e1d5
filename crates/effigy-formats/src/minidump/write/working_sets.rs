//! Our own stream of what of each region was in memory.

use super::Scene;
use super::output::Output;
use crate::{WriteError, working_set};

/// Writes it, where something is known.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    if !working_set::is_known(scene.process) {
        return Ok(None);
    }
    let start = out.position();
    working_set::write(scene.process, out)?;
    Ok(Some(out.position() - start))
}
