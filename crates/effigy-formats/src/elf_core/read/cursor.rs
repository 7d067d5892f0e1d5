//! Numbers one after the other, in the order of bytes and with the width of words that a file has.

use effigy_process::ByteOrder;

use super::super::layout::Class;

/// How numbers are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) class: Class,
    pub(crate) order: ByteOrder,
}

impl Shape {
    /// Bytes of a word: an address, an offset or a `long`.
    pub(crate) fn word_size(self) -> usize {
        match self.class {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        }
    }

    /// A cursor at the beginning of `bytes`.
    pub(crate) fn cursor(self, bytes: &[u8]) -> Cursor<'_> {
        Cursor { bytes, shape: self }
    }
}

/// A place in a string of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    shape: Shape,
}

impl<'a> Cursor<'a> {
    /// The next `size` bytes; `None` when there are fewer.
    pub(crate) fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(size)?;
        self.bytes = rest;
        Some(taken)
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// A 16-bit number.
    pub(crate) fn short(&mut self) -> Option<u16> {
        let number = self.shape.order.number(self.take(2)?);
        u16::try_from(number).ok()
    }

    /// A 32-bit number.
    pub(crate) fn half(&mut self) -> Option<u32> {
        self.shape.order.half(self.take(4)?)
    }

    /// A word of the file's class.
    pub(crate) fn word(&mut self) -> Option<u64> {
        self.take(self.shape.word_size()).map(|bytes| self.shape.order.number(bytes))
    }
}
