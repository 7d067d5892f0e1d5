//! Repeated measurements as one figure with its range.

/// Median and range of what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// Most decimals that a figure is shown with: what is smaller than a millionth is nothing.
const MOST_DECIMALS: i32 = 6;

impl Spread {
    /// Nothing for no measurement.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(*values.get(middle.checked_sub(1)?)?, *values.get(middle)?),
            _ => *values.get(middle)?,
        };
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }

    /// The range in relation to the median.
    pub(crate) fn relative(&self) -> f64 {
        (self.max - self.min) / self.median
    }

    /// `median (min–max)` with so many decimals.
    pub(crate) fn show(&self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}–{:.decimals$})", self.median, self.min, self.max)
    }

    /// The same with as many decimals as the median needs for three digits that count.
    pub(crate) fn show_three_digits(&self) -> String {
        let decimals = (0..MOST_DECIMALS).find(|decimals| self.median.abs() * 10_f64.powi(*decimals) >= 99.95);
        self.show(usize::try_from(decimals.unwrap_or(MOST_DECIMALS)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn three_digits_count() {
        let shown = |value| Spread::of([value]).map(|spread| spread.show_three_digits()).unwrap_or_default();
        assert_eq!(shown(0.187_71), "0.188 (0.188–0.188)");
        assert_eq!(shown(0.023_14), "0.0231 (0.0231–0.0231)");
        assert_eq!(shown(7.25), "7.25 (7.25–7.25)");
        assert_eq!(shown(41.35), "41.4 (41.4–41.4)");
        assert_eq!(shown(167.9), "168 (168–168)");
        assert_eq!(shown(99.96), "100 (100–100)");
        assert_eq!(shown(2365.3), "2365 (2365–2365)");
        assert_eq!(shown(0.0), "0.000000 (0.000000–0.000000)");
    }

    #[test]
    fn shown_with_its_range() {
        let spread = Spread { median: 1.25, min: 1.0, max: 2.0 };
        assert_eq!(spread.show(2), "1.25 (1.00–2.00)");
        assert!((spread.relative() - 0.8).abs() < 1e-9);
    }
}
