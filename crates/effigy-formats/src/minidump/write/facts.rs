//! Our own stream of facts that no other stream has a place for.

use super::Scene;
use super::output::Output;
use crate::WriteError;
use crate::facts::Facts;

/// Writes the facts as one JSON object.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let start = out.position();
    super::json(&Facts::new(scene.process, scene.contents.minidump_type), out)?;
    Ok(Some(out.position() - start))
}
