//! The records, found once and taken apart when a frame needs them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;

/// Records that may begin before the one that is looked for and still hold the address.
const MOST_NESTED: usize = 16;

/// Most bytes of text that are read for one address.
pub(super) const LONGEST_TEXT: usize = 64 << 10;

/// The STACK records of a symbol file.
pub struct BreakpadUnwind {
    bytes: Arc<[u8]>,
    cfi: Vec<CfiRange>,
    deltas: Vec<Delta>,
    windows: Vec<WindowsFrame>,
}

impl fmt::Debug for BreakpadUnwind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.cfi.len(), self.windows.len());
        f.debug_struct("BreakpadUnwind").field("cfi", &counts.0).field("windows", &counts.1).finish_non_exhaustive()
    }
}

/// A `STACK CFI INIT` record, and the `STACK CFI` records that follow it.
struct CfiRange {
    start: u64,
    end: u64,
    rules: Range<usize>,
    deltas: Range<usize>,
}

/// A `STACK CFI` record: rules from an address on.
struct Delta {
    address: u64,
    rules: Range<usize>,
}

/// A `STACK WIN` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WindowsFrame {
    start: u64,
    end: u64,
    /// 4 for those with a program as a rule, 0 for those of frames without a frame pointer.
    pub(super) kind: u64,
    /// Bytes of parameters that the function takes off the stack.
    pub(super) parameters: u64,
    /// Bytes of registers that it saved.
    pub(super) saved: u64,
    /// Bytes of its variables.
    pub(super) locals: u64,
    pub(super) way: WindowsWay,
}

/// How the caller is found by a `STACK WIN` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WindowsWay {
    /// By a program, which is this part of the file.
    Program(Range<usize>),
    /// By the sizes alone; says whether the function uses the frame pointer as any register.
    Sizes { uses_frame_pointer: bool },
}

/// What the rules for an address are: the first record's, then those that override them.
pub(super) struct Rules<'r> {
    records: &'r BreakpadUnwind,
    first: &'r Range<usize>,
    deltas: &'r [Delta],
}

impl<'r> Rules<'r> {
    pub(super) fn texts(&self) -> impl Iterator<Item = &'r str> {
        let all = std::iter::once(self.first).chain(self.deltas.iter().map(|delta| &delta.rules));
        all.map(|range| self.records.text(range))
    }

    pub(super) fn count(&self) -> usize {
        self.deltas.len() + 1
    }

    /// Bytes of all of them.
    pub(super) fn size(&self) -> usize {
        self.first.len() + self.deltas.iter().map(|delta| delta.rules.len()).sum::<usize>()
    }
}

impl BreakpadUnwind {
    /// Finds the STACK records in a symbol file. What is no such record, or is damaged, is passed over.
    #[must_use]
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Self {
        let mut records = Self { bytes: bytes.into(), cfi: Vec::new(), deltas: Vec::new(), windows: Vec::new() };
        let bytes = Arc::clone(&records.bytes);
        let mut at = 0;
        while at < bytes.len() {
            let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length);
            if bytes[at..end].starts_with(b"STACK ")
                && let Ok(line) = std::str::from_utf8(&bytes[at..end])
            {
                records.line(line.trim_end(), at);
            }
            at = end + 1;
        }
        records.cfi.sort_by_key(|range| range.start);
        records.windows.sort_by_key(|frame| frame.start);
        records
    }

    /// Whether it has no record that could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cfi.is_empty() && self.windows.is_empty()
    }

    fn line(&mut self, line: &str, at: usize) -> Option<()> {
        let mut words = Words { line, at: 0 };
        words.next()?;
        match (words.next()?, words.next()?) {
            ("CFI", "INIT") => {
                let (start, size) = (words.number()?, words.number()?);
                let deltas = self.deltas.len();
                let range =
                    CfiRange { start, end: start.checked_add(size)?, rules: words.rest(at), deltas: deltas..deltas };
                self.cfi.push(range);
            }
            ("CFI", address) => {
                let address = hexadecimal(address)?;
                // Rules without a range to be in belong to nothing.
                let range = self.cfi.last_mut()?;
                self.deltas.push(Delta { address, rules: words.rest(at) });
                range.deltas.end = self.deltas.len();
            }
            ("WIN", kind) => {
                let frame = windows_frame(hexadecimal(kind)?, &mut words, at)?;
                self.windows.push(frame);
            }
            _ => {}
        }
        Some(())
    }

    /// The rules for an offset into the module.
    pub(super) fn cfi_at(&self, offset: u64) -> Option<Rules<'_>> {
        let after = self.cfi.partition_point(|range| range.start <= offset);
        let range = self.cfi[..after].iter().rev().take(MOST_NESTED).find(|range| offset < range.end)?;
        let deltas = &self.deltas[range.deltas.clone()];
        let deltas = &deltas[..deltas.partition_point(|delta| delta.address <= offset)];
        Some(Rules { records: self, first: &range.rules, deltas })
    }

    /// The `STACK WIN` record for an offset into the module; that with the most to say, where there are two.
    pub(super) fn windows_at(&self, offset: u64) -> Option<&WindowsFrame> {
        let after = self.windows.partition_point(|frame| frame.start <= offset);
        let holding = self.windows[..after].iter().rev().take(MOST_NESTED).filter(|frame| offset < frame.end);
        holding.max_by_key(|frame| (frame.kind == 4, frame.start))
    }

    pub(super) fn text(&self, range: &Range<usize>) -> &str {
        self.bytes.get(range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// `rva code_size prologue_size epilogue_size parameter_size saved_register_size local_size max_stack_size
/// has_program_string`, then the program or whether the frame pointer is used for something else.
fn windows_frame(kind: u64, words: &mut Words<'_>, at: usize) -> Option<WindowsFrame> {
    let mut fields = [0; 9];
    for field in &mut fields {
        *field = words.number()?;
    }
    let [start, size, _, _, parameters, saved, locals, _, has_program] = fields;
    let way = if has_program != 0 {
        WindowsWay::Program(words.rest(at))
    } else {
        WindowsWay::Sizes { uses_frame_pointer: words.number()? != 0 }
    };
    Some(WindowsFrame { start, end: start.checked_add(size)?, kind, parameters, saved, locals, way })
}

/// The words of a line, and what is left of it.
struct Words<'l> {
    line: &'l str,
    at: usize,
}

impl<'l> Words<'l> {
    fn next(&mut self) -> Option<&'l str> {
        let left = self.line.get(self.at..)?;
        let start = self.at + (left.len() - left.trim_start_matches(' ').len());
        let word = self.line.get(start..)?.split(' ').next().filter(|word| !word.is_empty())?;
        self.at = start + word.len();
        Some(word)
    }

    fn number(&mut self) -> Option<u64> {
        self.next().and_then(hexadecimal)
    }

    /// What is left, as a part of the file in which the line begins at `line_at`.
    fn rest(&self, line_at: usize) -> Range<usize> {
        line_at + self.at..line_at + self.line.len()
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}
