//! Words whose value lies in a range.

use std::ops::ControlFlow;

use effigy_process::{Address, ByteOrder};

use super::{Emit, Haystack, Label};
use crate::search::query::{PointerPattern, PointerWidth};

/// Words looked at before it is asked whether one of them is a hit: without a branch for each word the compiler makes
/// vector instructions of the comparison.
const WORDS: usize = 64;

/// Pointers into a range.
#[derive(Clone, Copy, Debug)]
pub(in crate::search) struct Pointers {
    label: Label,
    pattern: PointerPattern,
    /// Lowest value looked for.
    first: u64,
    /// Highest value looked for, less the lowest.
    span: u64,
}

impl Pointers {
    /// `None` when no word of the width has a value in the range.
    pub(super) fn new(label: Label, pattern: PointerPattern) -> Option<Self> {
        let largest = match pattern.width {
            PointerWidth::Four => u64::from(u32::MAX),
            PointerWidth::Eight => u64::MAX,
        };
        let first = pattern.into.start().0;
        let last = pattern.into.end().0.checked_sub(1)?.min(largest);
        let span = last.checked_sub(first)?;
        Some(Self { label, pattern, first, span })
    }

    pub(super) fn width(&self) -> usize {
        self.pattern.width.bytes()
    }

    pub(super) fn find(&self, haystack: Haystack<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
        match (self.pattern.width, self.pattern.byte_order) {
            (PointerWidth::Four, ByteOrder::Little) => self.find_words(haystack, emit, u32::from_le_bytes),
            (PointerWidth::Four, ByteOrder::Big) => self.find_words(haystack, emit, u32::from_be_bytes),
            (PointerWidth::Eight, ByteOrder::Little) => self.find_words(haystack, emit, u64::from_le_bytes),
            (PointerWidth::Eight, ByteOrder::Big) => self.find_words(haystack, emit, u64::from_be_bytes),
        }
    }

    fn find_words<W: Word, const N: usize>(
        &self,
        haystack: Haystack<'_>,
        emit: &mut Emit<'_>,
        decode: impl Fn([u8; N]) -> W + Copy,
    ) -> ControlFlow<()> {
        // `new` has seen to it that both fit.
        let (Some(first), Some(span)) = (W::of(self.first), W::of(self.span)) else {
            return ControlFlow::Continue(());
        };
        let is_hit = |bytes: [u8; N]| decode(bytes).distance_from(first) <= span;
        let bytes = haystack.for_length(N);
        let (start, end) = haystack.starts;
        if !self.pattern.unaligned {
            let ahead = haystack.address(start).0.next_multiple_of(N as u64) - haystack.address(start).0;
            let start = start + usize::try_from(ahead).unwrap_or(0);
            return find_aligned(bytes.get(start..).unwrap_or_default(), is_hit, &mut |at, word| {
                emit(self.hit(haystack.address(start + at), decode(word).value(), N))
            });
        }
        // Block by block and in each every shift in turn; hits of a block are put in order before they are given.
        let mut found = Vec::new();
        for block in (start..end).step_by(WORDS * N) {
            for shift in block..(block + N).min(end) {
                let last = bytes.len().min(shift + WORDS * N);
                let words = bytes.get(shift..last).unwrap_or_default();
                let _ = find_aligned(words, is_hit, &mut |at, word| {
                    found.push((shift + at, decode(word).value()));
                    ControlFlow::Continue(())
                });
            }
            found.sort_unstable();
            for (at, value) in found.drain(..).filter(|(at, _)| *at < end) {
                emit(self.hit(haystack.address(at), value, N))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn hit(&self, address: Address, value: u64, length: usize) -> super::Hit {
        super::Hit { pointer: Some(Address(value)), ..self.label.hit(address, length) }
    }
}

/// Calls `found` with the offsets of those words of `bytes`, one behind the other, that are hits.
fn find_aligned<const N: usize>(
    bytes: &[u8],
    is_hit: impl Fn([u8; N]) -> bool,
    found: &mut dyn FnMut(usize, [u8; N]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (words, _) = bytes.as_chunks::<N>();
    for (block_index, block) in words.chunks(WORDS).enumerate() {
        if !block.iter().fold(false, |any, word| any | is_hit(*word)) {
            continue;
        }
        for (index, word) in block.iter().enumerate().filter(|(_, word)| is_hit(**word)) {
            found((block_index * WORDS + index) * N, *word)?;
        }
    }
    ControlFlow::Continue(())
}

/// An unsigned integer of a pointer's width.
trait Word: Copy + PartialOrd {
    fn of(value: u64) -> Option<Self>;
    fn value(self) -> u64;
    /// `self - first`, around the end: at most the span for what lies in the range, and more for all else.
    fn distance_from(self, first: Self) -> Self;
}

impl Word for u32 {
    fn of(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn value(self) -> u64 {
        u64::from(self)
    }

    fn distance_from(self, first: Self) -> Self {
        self.wrapping_sub(first)
    }
}

impl Word for u64 {
    fn of(value: u64) -> Option<Self> {
        Some(value)
    }

    fn value(self) -> u64 {
        self
    }

    fn distance_from(self, first: Self) -> Self {
        self.wrapping_sub(first)
    }
}
