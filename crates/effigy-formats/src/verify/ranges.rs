//! Ranges that should not overlap.

/// Calls `tell` with pairs of ranges of which the second begins before the first ends: the indexes that they have in
/// `ranges`, which are (start, end) in any order. Empty ones overlap nothing.
pub(super) fn overlaps(ranges: &[(u64, u64)], mut tell: impl FnMut(usize, usize)) {
    let mut order: Vec<usize> = (0..ranges.len()).filter(|index| ranges[*index].0 < ranges[*index].1).collect();
    order.sort_by_key(|index| ranges[*index]);
    let mut widest: Option<usize> = None;
    for index in order {
        if let Some(before) = widest.filter(|before| ranges[*before].1 > ranges[index].0) {
            tell(before, index);
        }
        if widest.is_none_or(|before| ranges[before].1 <= ranges[index].1) {
            widest = Some(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_is_held_against_the_one_that_reaches_furthest() {
        let mut found = Vec::new();
        overlaps(&[(10, 20), (0, 30), (30, 40), (25, 26), (35, 35), (39, 50)], |one, two| found.push((one, two)));
        assert_eq!(found, [(1, 0), (1, 3), (2, 5)]);
    }
}
