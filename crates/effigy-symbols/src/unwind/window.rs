//! Small reads of memory, served from a piece that was read before.
//!
//! A frame reads a dozen words that lie side by side, and a dump answers each read with a system call.

use effigy_process::{Address, ByteOrder, Memory, NotRead};

/// Bytes that are read at once.
const PIECE: usize = 4096;

/// Why a word could not be read: where, and why.
pub(super) type Missing = (Address, NotRead);

/// A view of memory through the piece that was read last.
pub(super) struct Window<'a> {
    memory: &'a (dyn Memory + Sync),
    order: ByteOrder,
    start: u64,
    len: usize,
    piece: Box<[u8; PIECE]>,
}

impl<'a> Window<'a> {
    pub(super) fn new(memory: &'a (dyn Memory + Sync), order: ByteOrder) -> Self {
        Self { memory, order, start: 0, len: 0, piece: Box::new([0; PIECE]) }
    }

    /// Forgets what was read.
    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    /// A number of `size` bytes, at most eight.
    pub(super) fn number(&mut self, address: u64, size: usize) -> Result<u64, Missing> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..size.min(8)];
        self.exactly(address, bytes)?;
        Ok(self.order.number(bytes))
    }

    /// Fills the whole of a buffer of at most a few words.
    pub(super) fn exactly(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), Missing> {
        if let Some(bytes) = self.held(address, buffer.len()) {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        self.load(address & !(PIECE as u64 - 1));
        if self.held(address, buffer.len()).is_none() {
            self.load(address);
        }
        if let Some(bytes) = self.held(address, buffer.len()) {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        // It reaches across the end of what is in one piece.
        self.memory.read_exact(Address(address), buffer).map_err(|reason| (Address(address), reason))
    }

    fn held(&self, address: u64, size: usize) -> Option<&[u8]> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.piece[..self.len].get(offset..offset.checked_add(size)?)
    }

    fn load(&mut self, address: u64) {
        self.start = address;
        self.len = self.memory.read(Address(address), &mut self.piece[..]).map_or(0, |count| count.min(PIECE));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bytes;
    use super::*;

    #[test]
    fn words_across_the_end_of_a_piece_and_of_memory() {
        let memory = Bytes::new(&[(0x1ff0, (0..0x20).collect()), (0x3005, vec![7; 6])]);
        let mut window = Window::new(&memory, ByteOrder::Little);
        assert_eq!(window.number(0x1ffc, 8), Ok(0x1312_1110_0f0e_0d0c));
        assert_eq!(window.number(0x200c, 4), Ok(0x1f1e_1d1c));
        assert_eq!(window.number(0x200d, 4), Err((Address(0x200d), NotRead::NotCaptured)));
        assert_eq!(window.number(0x3005, 2), Ok(0x0707));
        assert!(window.number(u64::MAX - 2, 8).is_err());
    }
}
