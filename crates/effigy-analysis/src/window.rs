//! A stretch of memory in a buffer: what of it could be read, and why the rest could not.

use effigy_process::{Address, AddressRange, Memory, NotRead};
use serde::{Serialize, Serializer};

use crate::captured::Captured;

/// Where a read failed, the next try is at the next multiple of this: the smallest page of any system that we know.
const PAGE: u64 = 4096;

/// Captured memory that could not be read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Its addresses.
    #[serde(flatten)]
    pub range: AddressRange,
    /// Why there are no bytes.
    #[serde(serialize_with = "reason_name")]
    pub reason: NotRead,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) fn reason_name<S: Serializer>(reason: &NotRead, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name_of(*reason))
}

/// Stable name of a reason, for JSON.
pub(crate) fn name_of(reason: NotRead) -> &'static str {
    match reason {
        NotRead::Unmapped => "unmapped",
        NotRead::NotCaptured => "not_captured",
        NotRead::Redacted => "redacted",
        NotRead::Ended => "ended",
        NotRead::NotUnpacked => "not_unpacked",
        // Reasons that are added later are refined forms of this one until they have a name here.
        _ => "unreadable",
    }
}

/// Adds `next` to a list of what could not be read, joined to the last where it continues that for the same reason.
pub(crate) fn push_unread(list: &mut Vec<Unread>, next: Unread) {
    match list.last_mut() {
        Some(last) if last.reason == next.reason && last.range.end() == next.range.start() => {
            last.range = AddressRange::new(last.range.start(), next.range.end());
        }
        _ => list.push(next),
    }
}

/// A buffer that stretches of memory are read into, one after another.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    range: AddressRange,
    readable: Vec<AddressRange>,
    unread: Vec<Unread>,
}

impl Window {
    /// Reads `range`, which has no more bytes than a buffer may have.
    pub(crate) fn fill(&mut self, memory: &(impl Memory + ?Sized), captured: &Captured, range: AddressRange) {
        self.range = range;
        self.readable.clear();
        self.unread.clear();
        let size = usize::try_from(range.size()).unwrap_or(usize::MAX);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        let mut at = range.start();
        while at < range.end() {
            let done = offset(range.start(), at);
            at = match memory.read(at, &mut self.buffer[done..size]) {
                Ok(count) if count > 0 => self.note_readable(at, count.min(size - done)),
                Ok(_) => self.note_unread(captured, at, None, NotRead::Unreadable),
                Err(reason) => self.note_unread(captured, at, memory.try_again_at(at), reason),
            };
        }
    }

    fn note_readable(&mut self, start: Address, count: usize) -> Address {
        let read = AddressRange::sized(start, count as u64);
        match self.readable.last_mut() {
            Some(last) if last.end() == start => *last = AddressRange::new(last.start(), read.end()),
            _ => self.readable.push(read),
        }
        read.end()
    }

    /// Nothing is said of more than the page, unless the memory knows better, and of what lies behind the next border of a
    /// captured range.
    fn note_unread(&mut self, captured: &Captured, start: Address, again: Option<Address>, reason: NotRead) -> Address {
        let page_end = Address(start.0 & !(PAGE - 1)).saturating_add(PAGE);
        let again = again.filter(|again| *again > start).unwrap_or(page_end);
        let border = captured.border_behind(start).unwrap_or(page_end);
        let end = again.min(border).min(self.range.end());
        push_unread(&mut self.unread, Unread { range: AddressRange::new(start, end), reason });
        end
    }

    /// What could be read, as stretches without a hole, by rising address.
    pub(crate) fn readable(&self) -> impl Iterator<Item = Stretch<'_>> {
        self.readable.iter().map(|range| Stretch { range: *range, bytes: self.bytes(*range) })
    }

    /// What could not be read, by rising address.
    pub(crate) fn unread(&self) -> &[Unread] {
        &self.unread
    }

    fn bytes(&self, range: AddressRange) -> &[u8] {
        &self.buffer[offset(self.range.start(), range.start())..offset(self.range.start(), range.end())]
    }
}

/// Memory without a hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch<'a> {
    /// Its addresses.
    pub(crate) range: AddressRange,
    /// Its bytes, as many as addresses.
    pub(crate) bytes: &'a [u8],
}

/// Bytes from `base` up to `address`, both within one window.
pub(crate) fn offset(base: Address, address: Address) -> usize {
    usize::try_from(address.0.saturating_sub(base.0)).unwrap_or(usize::MAX)
}
