//! The records of a symbol file that say how to get from a function to what called it. They are read here; what they
//! mean is for whoever walks stacks.

use std::sync::Arc;

use super::SymFile;
use super::records::Words;

/// Changes to the rules within a function, at most.
const MOST_DELTAS: usize = 1 << 16;

/// The rules of a function: `STACK CFI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfiRecord {
    /// Offset of the first byte that they are good for.
    pub start: u64,
    /// Length in bytes of what they are good for.
    pub size: u64,
    /// The rules at its start: `register: expression` over and over.
    pub init: String,
    /// From an offset on, rules that take the place of those before. By rising offset.
    pub deltas: Vec<(u64, String)>,
}

/// The frame of a function of 32-bit Windows: `STACK WIN`. Lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinRecord {
    /// `FrameType` of the debug information: 0 frame pointer omitted, 4 with a program.
    pub kind: u32,
    /// Offset of the first byte that it is good for.
    pub start: u64,
    /// Length of what it is good for.
    pub size: u64,
    /// Length of the code that makes the frame.
    pub prologue_size: u32,
    /// Length of the code that takes it away.
    pub epilogue_size: u32,
    /// Parameters on the stack.
    pub parameter_size: u32,
    /// Registers that are saved.
    pub saved_register_size: u32,
    /// Local variables.
    pub local_size: u32,
    /// Most that it has on the stack at any time.
    pub max_stack_size: u32,
    /// How registers are got back, where there is a program for it.
    pub program: Option<String>,
    /// Without a program, whether `ebp` is used for something else and was saved.
    pub allocates_base_pointer: bool,
}

/// How to unwind a module, out of its symbol file.
#[derive(Clone, Debug)]
pub struct BreakpadUnwind {
    pub(super) file: Arc<SymFile>,
}

impl BreakpadUnwind {
    /// Whether it has anything of the kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let index = self.file.index();
        index.cfi.list().is_empty() && index.win.list().is_empty()
    }

    /// The rules for an offset.
    #[must_use]
    pub fn cfi_at(&self, offset: u64) -> Option<CfiRecord> {
        let index = self.file.index();
        let at = index.cfi.at(offset).next()?.value;
        let mut record: Option<CfiRecord> = None;
        self.file.source.each_line(at, self.file.source.size(), &mut |line_at, line| match &mut record {
            None if line_at == at => {
                record = init(line);
                record.is_some()
            }
            None => false,
            Some(record) => match delta(line) {
                Some(delta) if record.deltas.len() < MOST_DELTAS => {
                    record.deltas.push(delta);
                    true
                }
                _ => false,
            },
        });
        let mut record = record?;
        record.deltas.sort_by_key(|(offset, _)| *offset);
        Some(record)
    }

    /// The frame at an offset. Of several kinds the one with a program is told: it says most.
    #[must_use]
    pub fn win_at(&self, offset: u64) -> Option<WinRecord> {
        let index = self.file.index();
        let records = index.win.at(offset).filter_map(|found| win(&self.file.line(found.value)));
        let mut best: Option<WinRecord> = None;
        for record in records {
            let better = best.as_ref().is_none_or(|best| best.program.is_none() && record.program.is_some());
            if better {
                best = Some(record);
            }
        }
        best
    }
}

/// `STACK CFI INIT start size rules`
fn init(line: &[u8]) -> Option<CfiRecord> {
    let mut words = Words(line.strip_prefix(b"STACK CFI INIT ")?);
    let (start, size) = (words.hexadecimal()?, words.hexadecimal()?);
    Some(CfiRecord { start, size, init: text(words.0), deltas: Vec::new() })
}

/// `STACK CFI offset rules`
fn delta(line: &[u8]) -> Option<(u64, String)> {
    let mut words = Words(line.strip_prefix(b"STACK CFI ")?);
    let offset = words.hexadecimal()?;
    Some((offset, text(words.0)))
}

/// `STACK WIN kind start size prologue epilogue parameters saved locals max has-program program-or-ebp`
fn win(line: &[u8]) -> Option<WinRecord> {
    let mut words = Words(line.strip_prefix(b"STACK WIN ")?);
    let small = |words: &mut Words<'_>| u32::try_from(words.hexadecimal()?).ok();
    let kind = small(&mut words)?;
    let (start, size) = (words.hexadecimal()?, words.hexadecimal()?);
    let mut record = WinRecord {
        kind,
        start,
        size,
        prologue_size: small(&mut words)?,
        epilogue_size: small(&mut words)?,
        parameter_size: small(&mut words)?,
        saved_register_size: small(&mut words)?,
        local_size: small(&mut words)?,
        max_stack_size: small(&mut words)?,
        program: None,
        allocates_base_pointer: false,
    };
    if words.hexadecimal()? != 0 {
        record.program = Some(text(words.0));
    } else {
        record.allocates_base_pointer = words.hexadecimal()? != 0;
    }
    Some(record)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
