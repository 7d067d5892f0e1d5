//! CommentW: who took the dump, and how.

use std::io::Write;

use super::Scene;
use super::output::Output;
use crate::WriteError;

/// Writes the text as it is, in UTF-16 with a terminator.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    if scene.process.comment.is_empty() {
        return Ok(None);
    }
    let start = out.position();
    out.utf16(&scene.process.comment)?;
    out.write_all(&[0; 2])?;
    Ok(Some(out.position() - start))
}
