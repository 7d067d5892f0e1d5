//! How addresses, times and places are written: as WinDbg writes them.

use std::time::Duration;

use bstr::ByteSlice;
use effigy_process::{Address, AddressRange, Process};

use crate::print;

/// An address with all its digits: 00007ffb`7ea82460, or 00400000 in a 32-bit process.
pub(crate) fn address(process: &Process, address: Address) -> String {
    number(address.0, process.architecture.pointer_size())
}

/// The two ends of a range.
pub(crate) fn range(process: &Process, range: AddressRange) -> String {
    format!("{} - {}", address(process, range.start()), address(process, range.end()))
}

/// A number of so many bytes with all its digits, with a mark in the middle of those of eight.
pub(crate) fn number(number: u64, bytes: usize) -> String {
    if bytes <= 4 && number >> 32 == 0 {
        return format!("{number:0width$x}", width = bytes * 2);
    }
    format!("{:08x}`{:08x}", number >> 32, number & 0xffff_ffff)
}

/// A size as WinDbg's tables have it: `7df9`74541000`, without the digits that are zero.
pub(crate) fn short_number(number: u64) -> String {
    if number >> 32 == 0 { format!("{number:x}") } else { format!("{:x}`{:08x}", number >> 32, number & 0xffff_ffff) }
}

/// `0 days 15:32:15.692`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days} days {hours}:{minutes:02}:{:02}.{:03}", seconds % 60, time.subsec_millis())
}

/// `0:00:00.093`, for times of threads.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, time.subsec_millis())
}

/// A count and its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Words that lie one behind the other, each ended by a zero byte, as a line.
pub(crate) fn zero_ended(bytes: &[u8]) -> String {
    let words: Vec<_> = bytes.strip_suffix(b"\0").unwrap_or(bytes).split_str("\0").map(print::safe).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_all_their_digits() {
        assert_eq!(number(0x7ffb_7ea8_2460, 8), "00007ffb`7ea82460");
        assert_eq!((number(0x40_0000, 4), number(0x1f, 2)), ("00400000".into(), "001f".into()));
        assert_eq!((short_number(0x7df9_7454_1000), short_number(0x1000)), ("7df9`74541000".into(), "1000".into()));
    }

    #[test]
    fn times() {
        assert_eq!(span(Duration::from_millis(55_935_692)), "0 days 15:32:15.692");
        assert_eq!(clock(Duration::from_millis(93)), "0:00:00.093");
    }

    #[test]
    fn arguments_are_joined() {
        assert_eq!(zero_ended(b"a\0b c\0"), "a b c");
        assert_eq!(zero_ended(b""), "");
    }
}
