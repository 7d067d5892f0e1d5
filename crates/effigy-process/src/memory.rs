//! Memory that is read by address.

use std::fmt;

use crate::{Address, AddressRange};

/// A process's memory. *Not captured* is an answer of its own, never zero bytes.
pub trait Memory {
    /// Fills the beginning of `buffer` with the bytes at `address` and says how many there were: at least one, fewer
    /// than asked for where what follows cannot be read.
    ///
    /// # Errors
    /// Why there is not even one byte.
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead>;

    /// Where to try again after a read at `address` has failed: nothing before that can be read either, for the same
    /// reason. `None` where that is not known; then the next page may do.
    fn try_again_at(&self, address: Address) -> Option<Address> {
        let _ = address;
        None
    }

    /// Fills the whole of `buffer`.
    ///
    /// # Errors
    /// Why the first missing byte is missing.
    fn read_exact(&self, address: Address, buffer: &mut [u8]) -> Result<(), NotRead> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.checked_add(done as u64).ok_or(NotRead::Unmapped)?;
            match self.read(at, &mut buffer[done..])? {
                0 => return Err(NotRead::Unreadable),
                count => done += count,
            }
        }
        Ok(())
    }
}

/// Memory of which it is known beforehand what there is: that of a dump.
///
/// Whoever searches, compares or copies goes by [`captured`](Self::captured) and asks for nothing else.
pub trait CapturedMemory: Memory + Send + Sync {
    /// The ranges that are there, by rising address; no two overlap, and none is empty. Two may touch: their bytes lie
    /// in different places of the file, and [`Memory::read`] reads across them.
    fn captured(&self) -> &[CapturedRange];

    /// The ranges of which some address lies at or behind `address`: the first may begin before it.
    fn captured_from(&self, address: Address) -> &[CapturedRange] {
        let all = self.captured();
        &all[all.partition_point(|captured| captured.range.end() <= address)..]
    }

    /// Bytes that are there.
    fn captured_bytes(&self) -> u64 {
        self.captured().iter().map(|captured| captured.range.size()).fold(0, u64::saturating_add)
    }
}

/// A range of memory that is there in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedRange {
    /// Its addresses.
    pub range: AddressRange,
    /// Where its first byte lies in the dump, in bytes from the dump's start (of what is in it, where it is compressed);
    /// `None` where it comes from no file.
    pub offset: Option<u64>,
}

/// Why there are no bytes at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotRead {
    /// The process has nothing mapped there.
    Unmapped,
    /// Mapped in the process, and not in this dump.
    NotCaptured,
    /// Mapped, and the read failed.
    Unreadable,
    /// Left out because the dump was to hold no secrets.
    Redacted,
    /// The process is gone.
    Ended,
    /// In the dump, which is compressed, and more would have to be unpacked for it than is accepted of a file so short.
    NotUnpacked,
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmapped => "nothing is mapped there",
            Self::NotCaptured => "not in this dump",
            Self::Unreadable => "could not be read",
            Self::Redacted => "redacted",
            Self::Ended => "the process has ended",
            Self::NotUnpacked => "not unpacked, as that takes too much: decompress the file first",
        })
    }
}

impl std::error::Error for NotRead {}
