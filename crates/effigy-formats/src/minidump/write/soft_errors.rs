//! MozSoftErrors: what could not be captured, and why. Always there: an empty list says that nothing is missing.

use super::Scene;
use super::output::Output;
use crate::WriteError;

/// Writes the gaps as a JSON array.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let start = out.position();
    super::json(&scene.contents.gaps, out)?;
    Ok(Some(out.position() - start))
}
