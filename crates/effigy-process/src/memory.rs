//! Memory that is read by address.

use std::fmt;

use crate::Address;

/// A process's memory. *Not captured* is an answer of its own, never zero bytes.
pub trait Memory {
    /// Fills the beginning of `buffer` with the bytes at `address` and says how many there were: at least one, fewer
    /// than asked for where what follows cannot be read.
    ///
    /// # Errors
    /// Why there is not even one byte.
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead>;

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
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmapped => "nothing is mapped there",
            Self::NotCaptured => "not in this dump",
            Self::Unreadable => "could not be read",
            Self::Redacted => "redacted",
            Self::Ended => "the process has ended",
        })
    }
}

impl std::error::Error for NotRead {}
