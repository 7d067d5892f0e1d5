//! Where memory holds something: bytes, text, pointers, what a regular expression describes.
//!
//! Memory is searched in pieces of a megabyte on all processors. A hit that lies across the border of two pieces, or of
//! two captured ranges that adjoin, is found as any other; none lies across a gap. Hits come by rising address whatever
//! the number of threads, and are the same for the same memory, however it was read.
//!
//! The pieces lie on a fixed grid of addresses, and each is seen with enough of what follows it that every hit of up to
//! [`LONGEST_MATCH`] bytes that starts in it is seen whole. An expression with very many hits in a piece sees
//! [`SURE_MATCH`] bytes of each that follows, which bounds the time for any expression and any memory.

mod deliver;
mod engine;
mod query;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use effigy_process::{Address, AddressRange, Memory};
use serde::Serialize;

use self::deliver::Delivery;
use self::engine::Engine;
pub use self::query::{
    ExpressionPattern, LONGEST_FOLDED_TEXT, LONGEST_MATCH, LONGEST_NEEDLE, MOST_NEEDLES, Pattern, PatternError,
    PointerPattern, PointerWidth, SURE_MATCH, TextPattern,
};
use self::scan::Scanner;
use crate::Unread;
use crate::captured::Captured;
use crate::ordered::{in_order, is_set, threads_or_all};

/// How a text lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// UTF-8, or ASCII.
    Utf8,
    /// UTF-16, low byte first.
    Utf16,
}

impl Encoding {
    fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf16 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        }
    }
}

/// Something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Where it starts.
    pub address: Address,
    /// Its length in bytes; never 0.
    pub length: u64,
    /// Which pattern it is of: its place in the list, from 0.
    pub pattern: usize,
    /// For texts: the encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// For pointers: where it points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Address>,
    /// For regular expressions: the hit is longer than [`LONGEST_MATCH`], and this is only its beginning.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl Hit {
    fn end(&self) -> Address {
        self.address.saturating_add(self.length)
    }
}

/// What a search tells while it goes on, by rising address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Something was found.
    Hit(Hit),
    /// A part of the memory could not be searched.
    Unread(Unread),
}

/// How to search.
#[derive(Clone, Copy, Debug, Default)]
pub struct SearchOptions<'a> {
    /// Hits after which to end.
    pub limit: Option<NonZeroU64>,
    /// Set by somebody else to end the search, also while there is nothing to tell.
    pub stop: Option<&'a AtomicBool>,
    /// Threads to search with, besides the caller's, which takes the hits; `None` for one a processor.
    pub threads: Option<NonZeroUsize>,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All memory was searched, but for what could not be read.
    Complete,
    /// It ended with the last hit of the limit; there may be more.
    Limit,
    /// The caller had enough, or somebody stopped it.
    Stopped,
}

/// What a search did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SearchReport {
    /// How it ended.
    pub outcome: Outcome,
    /// How many hits were given.
    pub hits: u64,
    /// Bytes searched; where the search ended early, those below its last hit.
    pub searched_bytes: u64,
    /// Bytes that could not be read, by reason. Each was given as a [`Finding::Unread`].
    pub unread_bytes: BTreeMap<&'static str, u64>,
}

/// A search that is ready to be made, on any memory.
#[derive(Clone, Debug)]
pub struct Search {
    engines: Vec<Engine>,
    patterns: usize,
}

impl Search {
    /// Makes a search for all of `patterns`.
    ///
    /// # Errors
    /// Why one of them, or all together, cannot be searched for.
    pub fn new(patterns: &[Pattern]) -> Result<Self, PatternError> {
        Ok(Self { engines: engine::compile(patterns)?, patterns: patterns.len() })
    }

    /// Searches those `ranges` of `memory`, which may come in any order, and are meant to be what there is to be read:
    /// what cannot be is tried page by page and reported.
    ///
    /// `tell` hears of each hit and of each range that could not be read on this thread, by rising address, and ends the
    /// search by breaking. A hit in whose midst a range cannot be read is none.
    pub fn run<M: Memory + Sync + ?Sized>(
        &self,
        memory: &M,
        ranges: impl IntoIterator<Item = AddressRange>,
        options: SearchOptions<'_>,
        tell: impl FnMut(Finding) -> ControlFlow<()>,
    ) -> SearchReport {
        let captured = Captured::new(ranges);
        let scanner = || Scanner::new(memory, &captured, self.engines.clone());
        let none_taken = vec![Address(0); self.patterns];
        let new_worker = || {
            let mut scanner = scanner();
            let none_taken = &none_taken;
            move |job: &Vec<_>| scanner.scan(job, Address(0), none_taken)
        };
        let mut delivery = Delivery::new(scanner(), self.patterns, options.limit, tell);
        in_order(threads_or_all(options.threads), captured.jobs(), new_worker, |job, scan| {
            if is_set(options.stop) { delivery.stop() } else { delivery.take(&job, scan) }
        });
        delivery.finish()
    }
}
