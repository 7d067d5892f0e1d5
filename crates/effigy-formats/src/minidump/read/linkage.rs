//! What Breakpad's dumps of Linux have of a program's start: the auxiliary vector, and the dynamic linker's state.

use zerocopy::little_endian::{U32, U64};

use super::fields::beginning;
use super::source::Block;
use super::{Dump, ReadError};
use crate::auxiliary;
use crate::opened::{Field, MOST_CONTENT, MOST_RECORDS};

/// Architectures whose words have 64 bits, `PROCESSOR_ARCHITECTURE_*`; 0x8003 is an older number of arm64.
const WIDE: [u16; 3] = [9, 12, 0x8003];
/// `r_version` of the dynamic linkers of Linux.
const VERSION: u64 = 1;

impl Dump {
    /// Whether words of the process have 64 bits.
    fn is_wide(&self) -> bool {
        self.processor_architecture().is_some_and(|architecture| WIDE.contains(&architecture))
    }

    /// A word of the process at `at`.
    fn word(&self, block: &Block, at: u64, what: &'static str) -> Result<u64, ReadError> {
        if self.is_wide() {
            return Ok(block.record::<U64>(at, what)?.get());
        }
        Ok(block.record::<U32>(at, what)?.get().into())
    }

    fn word_size(&self) -> u64 {
        if self.is_wide() { 8 } else { 4 }
    }

    /// The auxiliary vector, up to `AT_NULL`.
    pub(super) fn auxiliary_vector(&self, block: &Block) -> Result<Vec<Field>, ReadError> {
        let each = 2 * self.word_size();
        let mut values = Vec::new();
        for index in 0..(block.len() / each).min(MOST_RECORDS as u64) {
            let kind = self.word(block, index * each, "an auxiliary value's type")?;
            if kind == 0 {
                break;
            }
            values.push((kind, self.word(block, index * each + self.word_size(), "an auxiliary value")?));
        }
        Ok(vec![Field::list("Entries", auxiliary::records(&values))])
    }

    /// `MDRawDebug32` or `MDRawDebug64`, and the `MDRawLinkMap32` or `MDRawLinkMap64` of each object. Words lie at
    /// multiples of their length.
    pub(super) fn shared_objects(&self, block: &Block) -> Result<Vec<Field>, ReadError> {
        let half = |at| Ok(u64::from(block.record::<U32>(at, "the dynamic linker's state")?.get()));
        if half(0)? != VERSION {
            let why = "it does not begin with the one version of the dynamic linker's state that is known";
            return Ok(Field::undecoded(why, &beginning(block, MOST_CONTENT)?));
        }
        let (map, count) = (half(4)?, half(8)?);
        let mut fields =
            vec![Field::number("Version", half(0)?), Field::number("Map", map), Field::number("DsoCount", count)];
        for (name, index) in [("Brk", 0), ("LdBase", 1), ("Dynamic", 2)] {
            let first = 12u64.next_multiple_of(self.word_size());
            let value = self.word(block, first + index * self.word_size(), "the dynamic linker's state")?;
            fields.push(Field::number(name, value));
        }
        let each = 3 * self.word_size();
        let mut budget = self.file.budget();
        let mut objects = Vec::new();
        for index in 0..count.min(MOST_RECORDS as u64) {
            let entry = self.file.part(map.saturating_add(index * each), each, "a shared object")?;
            let name = entry.record::<U32>(self.word_size(), "a shared object's name")?.get();
            objects.push(vec![
                Field::number("Addr", self.word(&entry, 0, "a shared object's address")?),
                Field::text("Name", self.file.string(name.into(), "a shared object's name", &mut budget)?),
                Field::number("Ld", self.word(&entry, 2 * self.word_size(), "a shared object's dynamic section")?),
            ]);
        }
        fields.push(Field::list("Objects", objects));
        Ok(fields)
    }
}
