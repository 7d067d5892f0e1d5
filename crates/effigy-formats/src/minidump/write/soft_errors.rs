//! MozSoftErrors: what could not be captured, and why. Always there: an empty list says that nothing is missing.

use super::output::Output;
use crate::{Contents, WriteError};

/// Writes the gaps as a JSON array.
pub(in crate::minidump) fn write(contents: &Contents<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let start = out.position();
    super::json(&contents.gaps, out)?;
    Ok(Some(out.position() - start))
}
