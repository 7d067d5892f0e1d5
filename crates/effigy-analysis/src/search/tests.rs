use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};

use effigy_process::{ByteOrder, NotRead};
use proptest::prelude::*;

use super::*;
use crate::captured::GRID;
use crate::sample::SampleMemory;

fn bytes(needle: &[u8]) -> Pattern {
    Pattern::Bytes(needle.to_vec())
}

fn expression(expression: &str) -> Pattern {
    Pattern::Expression(ExpressionPattern { expression: expression.to_owned(), ignore_case: false })
}

fn folded(text: &str) -> Pattern {
    Pattern::Text(TextPattern { ignore_case: true, ..TextPattern::new(text) })
}

fn pointers(into: (u64, u64), width: PointerWidth, unaligned: bool) -> PointerPattern {
    let into = AddressRange::new(Address(into.0), Address(into.1));
    PointerPattern { into, width, byte_order: ByteOrder::Little, unaligned }
}

/// Hits, unread ranges and the report.
fn search(
    memory: &SampleMemory,
    patterns: &[Pattern],
    options: SearchOptions<'_>,
) -> (Vec<Hit>, Vec<Unread>, SearchReport) {
    let (mut hits, mut unread) = (Vec::new(), Vec::new());
    let report = Search::new(patterns).unwrap().run(memory, memory.captured(), options, |finding| {
        match finding {
            Finding::Hit(hit) => hits.push(hit),
            Finding::Unread(range) => unread.push(range),
        }
        ControlFlow::Continue(())
    });
    assert_eq!(report.hits, hits.len() as u64);
    (hits, unread, report)
}

fn all(memory: &SampleMemory, pattern: Pattern) -> Vec<(u64, u64)> {
    let (hits, _, report) = search(memory, &[pattern], SearchOptions::default());
    assert_eq!(report.outcome, Outcome::Complete);
    hits.iter().map(|hit| (hit.address.0, hit.length)).collect()
}

#[test]
fn hits_may_overlap() {
    let memory = SampleMemory::of(0x1000, b"xabababax");
    assert_eq!(all(&memory, bytes(b"aba")), [(0x1001, 3), (0x1003, 3), (0x1005, 3)]);
}

#[test]
fn hits_across_the_border_of_two_ranges_are_found_and_across_a_gap_not() {
    let memory = SampleMemory::of(0x1000, b"..nee").with(0x1005, b"dle..nee").with(0x1010, b"dle");
    assert_eq!(all(&memory, bytes(b"needle")), [(0x1002, 6)]);
}

#[test]
fn texts_are_found_in_both_encodings_and_upper_and_lower_case() {
    let utf16: Vec<u8> = "Größe".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let memory = SampleMemory::of(0x1000, "GRÖßE größe".as_bytes()).with(0x2001, &utf16);
    let exact = all(&memory, Pattern::Text(TextPattern::new("größe")));
    assert_eq!(exact, [(0x1008, 7)]);
    let (hits, ..) = search(&memory, &[folded("gRöße")], SearchOptions::default());
    let found: Vec<_> = hits.iter().map(|hit| (hit.address.0, hit.length, hit.encoding.unwrap())).collect();
    assert_eq!(found, [(0x1000, 7, Encoding::Utf8), (0x1008, 7, Encoding::Utf8), (0x2001, 10, Encoding::Utf16)]);
}

#[test]
fn pointers_of_both_widths_and_orders_are_found() {
    let mut memory = vec![0; 64];
    memory[8..16].copy_from_slice(&0x7fff_1234u64.to_le_bytes());
    memory[27..35].copy_from_slice(&0x7fff_1235u64.to_le_bytes());
    memory[48..56].copy_from_slice(&0x7fff_1236u64.to_be_bytes());
    let memory = SampleMemory::of(0x1000, &memory);
    let into = (0x7fff_1234, 0x7fff_1237);
    let find = |pattern| {
        let (hits, ..) = search(&memory, &[Pattern::Pointers(pattern)], SearchOptions::default());
        hits.iter().map(|hit| (hit.address.0, hit.pointer.unwrap().0)).collect::<Vec<_>>()
    };
    assert_eq!(find(pointers(into, PointerWidth::Eight, false)), [(0x1008, 0x7fff_1234)]);
    assert_eq!(find(pointers(into, PointerWidth::Eight, true)), [(0x1008, 0x7fff_1234), (0x101b, 0x7fff_1235)]);
    assert_eq!(find(pointers(into, PointerWidth::Four, false)), [(0x1008, 0x7fff_1234)]);
    let big = PointerPattern { byte_order: ByteOrder::Big, ..pointers(into, PointerWidth::Eight, false) };
    assert_eq!(find(big), [(0x1030, 0x7fff_1236)]);
    let big = PointerPattern { byte_order: ByteOrder::Big, ..pointers(into, PointerWidth::Four, false) };
    assert_eq!(find(big), [(0x1034, 0x7fff_1236)]);
}

#[test]
fn alignment_is_that_of_the_address_and_not_of_the_range() {
    let mut memory = vec![0; 32];
    memory[4..12].copy_from_slice(&0x5555u64.to_le_bytes());
    let memory = SampleMemory::of(0x1004, &memory);
    assert_eq!(all(&memory, Pattern::Pointers(pointers((0x5555, 0x5556), PointerWidth::Eight, false))), [(0x1008, 8)]);
}

#[test]
fn hits_of_an_expression_do_not_overlap_across_pieces_either() {
    let text = "ab".repeat(20);
    let memory = SampleMemory::of(GRID - 13, text.as_bytes());
    assert_eq!(all(&memory, expression("(?:ab)+")), [(GRID - 13, 40)]);
    assert_eq!(all(&memory, expression("aba")), (0..10).map(|at| (GRID - 13 + at * 4, 3)).collect::<Vec<_>>());
}

#[test]
fn words_and_beginnings_are_seen_across_pieces() {
    let memory = SampleMemory::of(GRID - 4, b"longword word");
    assert_eq!(all(&memory, expression(r"\bword\b")), [(GRID + 5, 4)]);
    assert_eq!(all(&memory, expression(r"\A...")), [(GRID - 4, 3)]);
}

#[test]
fn a_hit_longer_than_the_longest_is_marked_and_not_taken_for_several() {
    let size = usize::try_from(GRID).unwrap() * 3;
    let memory = SampleMemory::of(GRID, &vec![b'a'; size]);
    let (hits, ..) = search(&memory, &[expression("a+")], SearchOptions::default());
    assert!(hits[0].cut);
    assert!(!hits.last().unwrap().cut);
    let mut next = Address(GRID);
    for hit in &hits {
        assert_eq!(hit.address, next);
        next = hit.end();
    }
    assert_eq!(next, Address(GRID * 4));
}

#[test]
fn more_hits_than_a_job_keeps_are_all_given() {
    let size = 5000;
    let start = GRID - 2500;
    let memory = SampleMemory::of(start, &vec![b'a'; size]);
    let patterns = [bytes(b"a"), expression("a"), folded("A"), bytes(b"aa"), bytes(b"aaa")];
    let (hits, _, report) = search(&memory, &patterns, SearchOptions::default());
    let starts = |pattern| {
        let hits = hits.iter().filter(move |hit| hit.pattern == pattern);
        hits.map(|hit| hit.address.0).collect::<Vec<_>>()
    };
    for (pattern, length) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3)] {
        assert_eq!(starts(pattern), (start..start + 5001 - length).collect::<Vec<_>>());
    }
    assert_eq!(report.searched_bytes, size as u64);
}

#[test]
fn a_search_ends_at_its_limit_or_when_the_caller_has_enough() {
    let memory = SampleMemory::of(0x1000, &vec![7; usize::try_from(GRID).unwrap() * 8]);
    let options = SearchOptions { limit: NonZeroU64::new(10_000), ..SearchOptions::default() };
    let (hits, _, report) = search(&memory, &[bytes(&[7])], options);
    assert_eq!((hits.len(), report.outcome), (10_000, Outcome::Limit));
    assert_eq!(report.searched_bytes, 9_999);
    let mut seen = 0;
    let stop_at_five = |_| {
        seen += 1;
        if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let search = Search::new(&[bytes(&[7])]).unwrap();
    let report = search.run(&memory, memory.captured(), SearchOptions::default(), stop_at_five);
    assert_eq!((seen, report.hits, report.outcome), (5, 5, Outcome::Stopped));
    let stop = AtomicBool::new(true);
    let options = SearchOptions { stop: Some(&stop), ..SearchOptions::default() };
    let report = search.run(&memory, memory.captured(), options, |_| ControlFlow::Continue(()));
    assert_eq!((report.hits, report.searched_bytes, report.outcome), (0, 0, Outcome::Stopped));
}

#[test]
fn what_cannot_be_read_is_told_in_its_place_and_counted() {
    let memory = SampleMemory::of(0x1000, b"..needle")
        .without(0x1008, 0x3000, NotRead::Unreadable)
        .without(0x4008, 0x10, NotRead::Redacted)
        .with(0x4018, b"needle")
        .without(0x5000, 2 * GRID, NotRead::NotCaptured);
    let mut order = Vec::new();
    let report = Search::new(&[bytes(b"needle")]).unwrap().run(
        &memory,
        memory.captured(),
        SearchOptions::default(),
        |finding| {
            order.push(match finding {
                Finding::Hit(hit) => (hit.address.0, hit.length),
                Finding::Unread(unread) => (unread.range.start().0, unread.range.size()),
            });
            ControlFlow::Continue(())
        },
    );
    assert_eq!(order, [(0x1002, 6), (0x1008, 0x3000), (0x4008, 0x10), (0x4018, 6), (0x5000, 2 * GRID)]);
    assert_eq!(report.searched_bytes, 14);
    let unread = [("not_captured", 2 * GRID), ("redacted", 0x10), ("unreadable", 0x3000)];
    assert_eq!(report.unread_bytes, BTreeMap::from(unread));
}

/// Memory of which one try shows that none of it can be read; counts tries.
struct Costly(AtomicU64);

impl Memory for Costly {
    fn read(&self, _address: Address, _buffer: &mut [u8]) -> Result<usize, NotRead> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(NotRead::NotUnpacked)
    }

    fn try_again_at(&self, _address: Address) -> Option<Address> {
        Some(Address(u64::MAX))
    }
}

#[test]
fn memory_that_cannot_be_read_for_long_is_not_tried_page_by_page() {
    let (memory, pieces) = (Costly(AtomicU64::new(0)), 200);
    let range = AddressRange::sized(Address(0x1000), pieces * GRID);
    let report = Search::new(&[bytes(b"needle")])
        .unwrap()
        .run(&memory, [range], SearchOptions::default(), |_| ControlFlow::Continue(()));
    assert_eq!(report.unread_bytes, BTreeMap::from([("not_unpacked", pieces * GRID)]));
    assert_eq!((report.searched_bytes, report.outcome), (0, Outcome::Complete));
    let tries = memory.0.into_inner();
    assert!(tries <= pieces + 1, "{tries} tries");
}

#[test]
fn patterns_that_cannot_be_searched_are_refused_with_their_place() {
    let error = |patterns: &[Pattern]| Search::new(patterns).unwrap_err();
    assert_eq!(error(&[]), PatternError::None);
    assert_eq!(error(&[bytes(b"a"), bytes(b"")]), PatternError::Empty { index: 1 });
    let long = LONGEST_NEEDLE + 1;
    let limit = LONGEST_NEEDLE;
    assert_eq!(error(&[bytes(&vec![0; long])]), PatternError::TooLong { index: 0, bytes: long, limit });
    assert!(matches!(error(&[expression("a(")]), PatternError::Expression { index: 0, .. }));
    let above = pointers((1 << 32, 1 << 33), PointerWidth::Four, false);
    assert!(matches!(error(&[Pattern::Pointers(above)]), PatternError::NoPointer { .. }));
    let none = TextPattern { utf8: false, utf16: false, ..TextPattern::new("a") };
    assert_eq!(error(&[Pattern::Text(none)]), PatternError::NoEncoding { index: 0 });
    assert_eq!(error(&vec![bytes(b"a"); 1001]), PatternError::TooMany { count: 1001 });
}

#[test]
fn findings_have_stable_names_in_json() {
    let hit =
        Hit { address: Address(16), length: 4, pattern: 0, encoding: Some(Encoding::Utf16), pointer: None, cut: false };
    let range = AddressRange::sized(Address(32), 8);
    let unread = Finding::Unread(Unread { range, reason: NotRead::NotCaptured });
    assert_eq!(
        serde_json::to_string(&[Finding::Hit(hit), unread]).unwrap(),
        r#"[{"hit":{"address":"0x10","length":4,"pattern":0,"encoding":"utf16"}},{"unread":{"start":"0x20","end":"0x28","reason":"not_captured"}}]"#
    );
}

/// Ranges around the border of two pieces, of two letters so that there are hits; some cannot be read.
fn any_memory() -> impl Strategy<Value = SampleMemory> {
    let letter = prop_oneof![Just(b'a'), Just(b'b'), Just(0)];
    let content = prop_oneof![
        5 => proptest::collection::vec(letter, 1..60).prop_map(Ok),
        1 => Just(Err(10)),
    ];
    let gap = prop_oneof![2 => Just(0u64), 1 => 1u64..20];
    let ranges = proptest::collection::vec((gap, content), 1..12);
    (ranges, 0u64..200, 0usize..20).prop_map(|(parts, below, most)| SampleMemory::of_parts(GRID - below, parts, most))
}

fn any_needle() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0)], 1..6)
}

/// Offsets at which `is_hit` holds of what follows, in all memory that can be read.
fn plainly(memory: &SampleMemory, is_hit: impl Fn(u64, &[u8]) -> bool) -> Vec<u64> {
    let mut hits = Vec::new();
    for (start, bytes) in memory.stretches() {
        let addresses = (0..bytes.len()).map(|at| (start.0 + at as u64, &bytes[at..]));
        hits.extend(addresses.filter(|(address, rest)| is_hit(*address, rest)).map(|(address, _)| address));
    }
    hits
}

fn starts(memory: &SampleMemory, patterns: &[Pattern], pattern: usize) -> Vec<u64> {
    let options = SearchOptions { threads: NonZeroUsize::new(3), ..SearchOptions::default() };
    let (hits, ..) = search(memory, patterns, options);
    assert!(hits.is_sorted_by_key(|hit| hit.address));
    hits.iter().filter(|hit| hit.pattern == pattern).map(|hit| hit.address.0).collect()
}

proptest! {
    #[test]
    fn byte_strings_are_found_where_a_plain_search_finds_them(
        memory in any_memory(),
        needles in proptest::collection::vec(any_needle(), 1..6),
    ) {
        let patterns: Vec<_> = needles.iter().map(|needle| bytes(needle)).collect();
        for (index, needle) in needles.iter().enumerate() {
            let plain = plainly(&memory, |_, rest| rest.starts_with(needle));
            prop_assert_eq!(starts(&memory, &patterns, index), plain);
        }
    }

    #[test]
    fn letters_in_any_case_are_found_where_a_plain_search_finds_them(memory in any_memory(), text in "[abAB]{1,4}") {
        let lower = text.to_lowercase();
        let wide: Vec<u8> = lower.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut plain = plainly(&memory, |_, rest| rest.starts_with(lower.as_bytes()));
        plain.extend(plainly(&memory, |_, rest| rest.starts_with(&wide)));
        plain.sort_unstable();
        prop_assert_eq!(starts(&memory, &[folded(&text)], 0), plain);
    }

    #[test]
    fn pointers_are_found_where_a_plain_search_finds_them(
        memory in any_memory(),
        unaligned: bool,
        big_endian: bool,
        bounds in (any::<u16>(), 1u64..1 << 16),
    ) {
        let first = u64::from(bounds.0) << 16;
        let range = (first, first + (bounds.1 << 16));
        let byte_order = if big_endian { ByteOrder::Big } else { ByteOrder::Little };
        let pattern = PointerPattern { byte_order, ..pointers(range, PointerWidth::Four, unaligned) };
        let plain = plainly(&memory, |address, rest| {
            let Some((word, _)) = rest.split_first_chunk::<4>() else { return false };
            let value = u64::from(if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) });
            (unaligned || address % 4 == 0) && (range.0..range.1).contains(&value)
        });
        prop_assert_eq!(starts(&memory, &[Pattern::Pointers(pattern)], 0), plain);
    }

    #[test]
    fn expressions_are_found_where_a_plain_search_finds_them(memory in any_memory(), choice in 0usize..6) {
        let text = ["a+", "ab|ba", "(?:aa|b)*a", r"\ba", "a.b", "(?-u)[^a]{2,}"][choice];
        let regex = regex::bytes::RegexBuilder::new(text).unicode(false).build().unwrap();
        let mut plain = Vec::new();
        for (start, bytes) in memory.stretches() {
            plain.extend(regex.find_iter(&bytes).map(|hit| (start.0 + hit.start() as u64, hit.len() as u64)));
        }
        prop_assert_eq!(all(&memory, expression(text)), plain);
    }

    #[test]
    fn every_byte_is_searched_or_reported(memory in any_memory()) {
        let (_, unread, report) = search(&memory, &[bytes(b"a")], SearchOptions::default());
        let readable: u64 = memory.stretches().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        prop_assert_eq!(report.searched_bytes, readable);
        let whole: u64 = memory.captured().map(|range| range.size()).sum();
        prop_assert_eq!(readable + unread.iter().map(|unread| unread.range.size()).sum::<u64>(), whole);
        prop_assert_eq!(report.unread_bytes.values().sum::<u64>() + readable, whole);
    }
}
