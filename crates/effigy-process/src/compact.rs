//! Bytes that are mostly zero, kept small.

use std::fmt;

/// Granularity at which zero bytes are left out.
const CHUNK: usize = 32;

/// A byte string of which only the 32-byte chunks that are not all zero are kept.
///
/// An XSAVE area takes 2.4 to 11 KiB a thread and is nearly empty in a thread that waits; with 30,000 threads this
/// keeps effigy's own memory small.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CompactBytes {
    len: usize,
    /// One bit a chunk, set when the chunk is kept.
    kept: Box<[u8]>,
    bytes: Box<[u8]>,
}

impl CompactBytes {
    /// Keeps a copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut kept = vec![0u8; bytes.len().div_ceil(CHUNK).div_ceil(8)];
        let mut data = Vec::new();
        for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
            if chunk.iter().any(|byte| *byte != 0) {
                kept[index / 8] |= 1 << (index % 8);
                data.extend_from_slice(chunk);
            }
        }
        Self { len: bytes.len(), kept: kept.into_boxed_slice(), bytes: data.into_boxed_slice() }
    }

    /// Length in bytes of the whole string.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the string has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole string.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut whole = vec![0u8; self.len];
        let mut rest = &self.bytes[..];
        for (index, chunk) in whole.chunks_mut(CHUNK).enumerate() {
            if self.kept[index / 8] & (1 << (index % 8)) != 0 {
                let (now, later) = rest.split_at(chunk.len());
                chunk.copy_from_slice(now);
                rest = later;
            }
        }
        whole
    }
}

impl fmt::Debug for CompactBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompactBytes({} bytes, {} kept)", self.len, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gives_back_what_it_was_given(bytes in proptest::collection::vec(prop_oneof![9 => Just(0u8), 1 => any::<u8>()], 0..3000)) {
            let compact = CompactBytes::new(&bytes);
            prop_assert_eq!(compact.len(), bytes.len());
            prop_assert_eq!(compact.to_vec(), bytes);
        }
    }

    #[test]
    fn an_idle_xsave_area_is_small() {
        let mut area = vec![0u8; 2696];
        area[512] = 3;
        assert!(CompactBytes::new(&area).bytes.len() <= CHUNK);
    }
}
