//! What is known of the target's pages.

use effigy_process::AddressRange;

use crate::pagemap::PageState;

/// Puts `changes` over `states`, both in rising order. Where the new state is of no page, nothing remains.
pub(super) fn overlay(
    states: Vec<(AddressRange, PageState)>,
    changes: Vec<(AddressRange, PageState)>,
) -> Vec<(AddressRange, PageState)> {
    if changes.is_empty() {
        return states;
    }
    let mut result: Vec<(AddressRange, PageState)> = Vec::with_capacity(states.len() + changes.len());
    let mut add = |run: AddressRange, state: PageState| {
        let state = state.difference(PageState::WRITTEN);
        if run.is_empty() || !state.intersects(PageState::PRESENT | PageState::SWAPPED) {
            return;
        }
        match result.last_mut().filter(|(last, same)| last.end() == run.start() && *same == state) {
            Some((last, _)) => *last = AddressRange::new(last.start(), run.end()),
            None => result.push((run, state)),
        }
    };
    let mut states = states.into_iter();
    let mut old = states.next();
    for (change, state) in changes {
        while let Some((run, before)) = old {
            if run.end() <= change.start() {
                add(run, before);
                old = states.next();
            } else {
                if run.start() < change.start() {
                    add(AddressRange::new(run.start(), change.start()), before);
                }
                if run.end() > change.end() {
                    old = Some((AddressRange::new(run.start().max(change.end()), run.end()), before));
                    break;
                }
                old = states.next();
            }
        }
        add(change, state);
    }
    while let Some((run, before)) = old {
        add(run, before);
        old = states.next();
    }
    result
}

/// Who watches a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// We, and the kernel answers writes.
    Watched,
    /// We, and we answer writes ourselves.
    Aside,
    /// Nobody.
    Unwatched,
}

/// Cuts a range by what is watched and what was set aside: two lists of ranges, each in rising order and without
/// overlaps, that have no part in common.
pub(super) fn pieces(
    range: AddressRange,
    watched: &[AddressRange],
    aside: &[AddressRange],
) -> Vec<(AddressRange, Piece)> {
    let from = |list: &[AddressRange]| list.partition_point(|one| one.end() <= range.start());
    let mut watched = watched[from(watched)..].iter().peekable();
    let mut aside = aside[from(aside)..].iter().peekable();
    let mut pieces = Vec::new();
    let mut at = range.start();
    while at < range.end() {
        let (next, piece) = match (watched.peek(), aside.peek()) {
            (Some(first), Some(second)) if second.start() < first.start() => (aside.next(), Piece::Aside),
            (Some(_), _) => (watched.next(), Piece::Watched),
            (None, Some(_)) => (aside.next(), Piece::Aside),
            (None, None) => (None, Piece::Unwatched),
        };
        let next = next.and_then(|next| next.intersection(&AddressRange::new(at, range.end())));
        let start = next.map_or(range.end(), |next| next.start());
        if at < start {
            pieces.push((AddressRange::new(at, start), Piece::Unwatched));
        }
        let Some(next) = next else { break };
        pieces.push((next, piece));
        at = next.end();
    }
    pieces
}

#[cfg(test)]
mod tests {
    use effigy_process::Address;
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> AddressRange {
        AddressRange::new(Address(start), Address(end))
    }

    const P: PageState = PageState::PRESENT;

    #[test]
    fn changes_lie_over_what_was_known() {
        let states = vec![(range(10, 20), P), (range(30, 40), P)];
        let changes = vec![(range(5, 12), PageState::empty()), (range(15, 35), P | PageState::ZERO_PAGE)];
        let expected = vec![(range(12, 15), P), (range(15, 35), P | PageState::ZERO_PAGE), (range(35, 40), P)];
        assert_eq!(overlay(states, changes), expected);
    }

    #[test]
    fn a_range_is_cut_by_who_watches() {
        let watched = [range(0, 10), range(20, 30), range(50, 60)];
        let aside = [range(10, 12), range(30, 40), range(70, 80)];
        let expected = vec![
            (range(5, 10), Piece::Watched),
            (range(10, 12), Piece::Aside),
            (range(12, 20), Piece::Unwatched),
            (range(20, 30), Piece::Watched),
            (range(30, 40), Piece::Aside),
            (range(40, 50), Piece::Unwatched),
            (range(50, 55), Piece::Watched),
        ];
        assert_eq!(pieces(range(5, 55), &watched, &aside), expected);
        assert_eq!(pieces(range(62, 65), &watched, &aside), [(range(62, 65), Piece::Unwatched)]);
        assert_eq!(pieces(range(75, 78), &watched, &aside), [(range(75, 78), Piece::Aside)]);
        assert_eq!(pieces(range(90, 95), &[], &[]), [(range(90, 95), Piece::Unwatched)]);
    }

    proptest! {
        #[test]
        fn an_overlay_is_right_for_every_page(
            states in proptest::collection::vec((0u64..4, 1u64..5), 0..12),
            changes in proptest::collection::vec((0u64..6, 1u64..5, any::<bool>()), 0..12),
        ) {
            let mut model = std::collections::BTreeMap::new();
            let mut at = 0;
            let mut old = Vec::new();
            for (gap, size) in states {
                old.push((range(at + gap, at + gap + size), P));
                (at + gap..at + gap + size).for_each(|page| { model.insert(page, P); });
                at += gap + size;
            }
            let mut at = 0;
            let mut new = Vec::new();
            for (gap, size, there) in changes {
                let state = if there { P | PageState::FILE } else { PageState::empty() };
                new.push((range(at + gap, at + gap + size), state));
                for page in at + gap..at + gap + size {
                    if there { model.insert(page, state); } else { model.remove(&page); }
                }
                at += gap + size;
            }
            let found: std::collections::BTreeMap<u64, PageState> = overlay(old, new)
                .into_iter()
                .flat_map(|(run, state)| (run.start().0..run.end().0).map(move |page| (page, state)))
                .collect();
            prop_assert_eq!(found, model);
        }
    }
}
