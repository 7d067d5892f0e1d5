//! Writing.
use std::io::Write;

use crate::{Contents, WriteError};

/// See [`crate::Format::prologue_size`].
pub fn prologue_size(_contents: &Contents<'_>) -> Result<u64, WriteError> { Ok(0) }

/// See [`crate::Format::write_prologue`].
pub fn write_prologue(_contents: &Contents<'_>, _data_offset: u64, _out: &mut dyn Write) -> Result<(), WriteError> { Ok(()) }
