//! Which process it was.

use std::mem::offset_of;

use zerocopy::little_endian::U32;

use super::{Dump, ReadError};
use crate::minidump::layout::{MiscInfo, misc, stream};

/// What tells a process from others on its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProcessKey {
    /// Its id; `None` when the dump does not tell.
    pub id: Option<u32>,
    /// When it started, in seconds since 1970; `None` when the dump does not tell.
    pub created: Option<u32>,
}

/// Bytes of the first `MINIDUMP_MISC_INFO`; there is none that is shorter.
const LEAST: u64 = 24;

impl Dump {
    /// Whether the stream is long enough for what it is for.
    pub(super) fn check_misc_info(&self) -> Result<(), ReadError> {
        let Some(block) = self.block(stream::MISC_INFO)? else { return Ok(()) };
        block.part(0, LEAST, "the process's id and times").map(drop)
    }

    /// Which process this is a dump of.
    ///
    /// # Errors
    /// When the stream is cut off.
    pub fn process_key(&self) -> Result<ProcessKey, ReadError> {
        let Some(block) = self.block(stream::MISC_INFO)? else { return Ok(ProcessKey::default()) };
        // The stream has grown with every Windows; each field is looked at for itself.
        let field = |at: usize| Ok(block.record::<U32>(at as u64, "the process's id and times")?.get());
        let flags = field(offset_of!(MiscInfo, flags))?;
        let valid = |bit: u32, at: usize| if flags & bit == 0 { Ok(None) } else { field(at).map(Some) };
        Ok(ProcessKey {
            id: valid(misc::PROCESS_ID, offset_of!(MiscInfo, process_id))?,
            created: valid(misc::PROCESS_TIMES, offset_of!(MiscInfo, process_created))?,
        })
    }
}
