//! Network traffic as the process sees it: of all interfaces of its network namespace but the loopback. The kernel does
//! not count traffic by process.

use super::rate::Rate;
use super::{Gauge, fields};
use crate::Target;

/// Bytes a second, received or sent.
pub(super) fn gauge(target: &Target, sent: bool) -> Result<Box<dyn Gauge>, String> {
    let parse: fn(&[u8]) -> Option<u64> = if sent { |text| sum(text, 8) } else { |text| sum(text, 0) };
    Rate::gauge("net/dev", target.dir().open_file("net/dev"), parse, 1.0)
}

/// The sum of a column: `eth0: RECEIVED-BYTES packets errs drop fifo frame compressed multicast SENT-BYTES …`.
fn sum(text: &[u8], column: usize) -> Option<u64> {
    let mut total: u64 = 0;
    for line in text.split(|byte| *byte == b'\n').skip(2).filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        if line[..colon].trim_ascii() != b"lo" {
            total = total.saturating_add(fields::words(&line[colon + 1..]).nth(column).and_then(fields::decimal)?);
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up() {
        let text = b"Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0: 100 1 0 0 0 0 0 0 200 1 0\n  eth1:5 1 0 0 0 0 0 0 6 1 0\n";
        assert_eq!((sum(text, 0), sum(text, 8)), (Some(105), Some(206)));
        assert_eq!(sum(b"a\nb\nnothing\n", 0), None);
    }
}
