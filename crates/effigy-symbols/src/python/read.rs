//! Numbers and texts by address, from memory that may hold anything.

use std::cell::Cell;
use std::fmt;

use effigy_process::{Address, Memory, NotRead};

use super::PythonError;
use super::layout::{Bytes, Text};

/// Bytes that are read and kept in all, so that no memory keeps us busy for long.
const BUDGET: u64 = 256 << 20;
/// The longest text that is shown whole, in characters. Paths end at 4096 bytes.
const LONGEST_TEXT: u64 = 4096;
/// The longest table of lines that is believed, in bytes. A module of a megabyte of source has some 200 kB.
const LONGEST_TABLE: u64 = 16 << 20;

/// Memory, and how much of it may still be read.
pub(super) struct Reader<'a> {
    memory: &'a dyn Memory,
    left: Cell<u64>,
}

/// Why a part of a frame is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Memory has no bytes.
    NotRead(NotRead),
    /// It has others than there should be.
    Unlike,
    /// The budget is spent.
    TooMuch,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRead(reason) => reason.fmt(f),
            Self::Unlike => f.write_str("not as Python has it"),
            Self::TooMuch => f.write_str("there is too much to read"),
        }
    }
}

impl From<NotRead> for Missing {
    fn from(reason: NotRead) -> Self {
        Self::NotRead(reason)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(memory: &'a dyn Memory) -> Self {
        Self::bounded(memory, BUDGET)
    }

    /// With a budget of so many bytes.
    pub(super) fn bounded(memory: &'a dyn Memory, budget: u64) -> Self {
        Self { memory, left: Cell::new(budget) }
    }

    /// Takes some bytes of the budget.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), Missing> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Missing::TooMuch)
    }

    fn array<const N: usize>(&self, base: Address, offset: u64) -> Result<[u8; N], NotRead> {
        let mut bytes = [0; N];
        let at = base.checked_add(offset).ok_or(NotRead::Unmapped)?;
        self.memory.read_exact(at, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes `offset` behind `base`, where a structure begins that is `what`.
    pub(super) fn block<const N: usize>(
        &self,
        base: Address,
        offset: u64,
        what: &'static str,
    ) -> Result<[u8; N], PythonError> {
        self.array(base, offset).map_err(|source| PythonError::Unreadable { what, address: base, source })
    }

    /// A number of 64 bits in a structure that is `what`.
    pub(super) fn number(&self, base: Address, offset: u64, what: &'static str) -> Result<u64, PythonError> {
        self.block(base, offset, what).map(u64::from_le_bytes)
    }

    /// A pointer in a structure that is `what`; `None` when it is null.
    pub(super) fn pointer(
        &self,
        base: Address,
        offset: u64,
        what: &'static str,
    ) -> Result<Option<Address>, PythonError> {
        let address = self.number(base, offset, what)?;
        Ok((address != 0).then_some(Address(address)))
    }

    /// A number of 32 bits.
    pub(super) fn half(&self, base: Address, offset: u64) -> Result<i32, Missing> {
        Ok(self.array(base, offset).map(i32::from_le_bytes)?)
    }

    /// A pointer in a part of a frame that can be missed.
    pub(super) fn reference(&self, base: Address, offset: u64) -> Result<Address, Missing> {
        match self.array(base, offset).map(u64::from_le_bytes)? {
            0 => Err(Missing::Unlike),
            address => Ok(Address(address)),
        }
    }

    /// The text of a `str`. What is longer than any path ends in an ellipsis.
    pub(super) fn text(&self, at: Address, layout: &Text) -> Result<String, Missing> {
        let length = u64::from_le_bytes(self.array(at, layout.length)?);
        let state = State(u32::from_le_bytes(self.array(at, layout.state)?));
        let width = state.width().ok_or(Missing::Unlike)?;
        if i64::try_from(length).is_err() {
            return Err(Missing::Unlike);
        }
        let shown = length.min(LONGEST_TEXT);
        let size = shown * width;
        self.spend(size)?;
        let start = if state.is_ascii() { layout.ascii } else { layout.wide };
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.memory.read_exact(at.checked_add(start).ok_or(NotRead::Unmapped)?, &mut bytes)?;
        let mut text = characters(&bytes, width);
        if shown < length {
            text.push('…');
        }
        Ok(text)
    }

    /// What a `bytes` holds, from its beginning.
    pub(super) fn stream(&self, at: Address, layout: &Bytes) -> Result<Stream<'_>, Missing> {
        let size = u64::from_le_bytes(self.array(at, layout.size)?);
        if size > LONGEST_TABLE {
            return Err(Missing::Unlike);
        }
        let at = at.checked_add(layout.data).ok_or(NotRead::Unmapped)?;
        Ok(Stream { reader: self, at, left: size, buffer: [0; CHUNK], taken: 0, filled: 0 })
    }
}

/// The bits in `PyASCIIObject.state`: two for interning (of no interest), three for the width, then whether the text
/// follows the head, and whether it is ASCII. They are the same from 3.9 to 3.13, with and without the GIL.
#[derive(Clone, Copy)]
struct State(u32);

impl State {
    fn is_ascii(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Bytes in a character; `None` for text that lies elsewhere, which nothing makes for names and paths.
    fn width(self) -> Option<u64> {
        let width = self.0 >> 2 & 7;
        let compact = self.0 & 0x20 != 0;
        (compact && matches!(width, 1 | 2 | 4) && (width == 1 || !self.is_ascii())).then_some(u64::from(width))
    }
}

/// Characters of one, two or four bytes. Halves of surrogate pairs, by which Python keeps bytes that are no UTF-8, have
/// no place in our texts.
fn characters(bytes: &[u8], width: u64) -> String {
    let character = |number: u32| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    match width {
        1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        2 => bytes.as_chunks().0.iter().map(|two| character(u16::from_le_bytes(*two).into())).collect(),
        _ => bytes.as_chunks().0.iter().map(|four| character(u32::from_le_bytes(*four))).collect(),
    }
}

/// Bytes that are read at a time.
const CHUNK: usize = 256;

/// Bytes in memory, one after the other, read as far as they are asked for.
pub(super) struct Stream<'a> {
    reader: &'a Reader<'a>,
    at: Address,
    left: u64,
    buffer: [u8; CHUNK],
    taken: usize,
    filled: usize,
}

impl Stream<'_> {
    fn fill(&mut self) -> Result<(), Missing> {
        let wanted = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        self.reader.spend(wanted as u64)?;
        let count = self.reader.memory.read(self.at, &mut self.buffer[..wanted])?.min(wanted);
        if count == 0 {
            return Err(NotRead::Unreadable.into());
        }
        self.at = self.at.saturating_add(count as u64);
        self.left -= count as u64;
        (self.taken, self.filled) = (0, count);
        Ok(())
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<u8, Missing>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken == self.filled {
            if self.left == 0 {
                return None;
            }
            if let Err(missing) = self.fill() {
                return Some(Err(missing));
            }
        }
        let byte = self.buffer[self.taken];
        self.taken += 1;
        Some(Ok(byte))
    }
}
