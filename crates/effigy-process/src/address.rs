//! Virtual addresses and half-open ranges of them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A virtual address in the target, whatever the target's word size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub u64);

impl Address {
    /// The address `bytes` further on, or `None` past the end of the 64-bit space.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// The address `bytes` before, stopping at zero.
    #[must_use]
    pub fn saturating_sub(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }

    /// The address `bytes` further on, stopping at the end of the 64-bit space.
    #[must_use]
    pub fn saturating_add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// The start of the page that holds this address. `page` is the page size in bytes, a power of two.
    #[must_use]
    pub fn page_floor(self, page: u64) -> Self {
        Self(self.0 & !(page - 1))
    }

    /// The first page boundary at or after this address. `page` is the page size in bytes, a power of two.
    #[must_use]
    pub fn page_ceil(self, page: u64) -> Self {
        Self(self.0.saturating_add(page - 1) & !(page - 1))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From `0x…`.
impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| de::Error::custom("not an address in hexadecimal"))
    }
}

/// A half-open range of addresses, `start..end`. Never reversed; may be empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Bounds")]
pub struct AddressRange {
    start: Address,
    end: Address,
}

/// The two ends as they are stored, in any order.
#[derive(Deserialize)]
struct Bounds {
    start: Address,
    end: Address,
}

impl From<Bounds> for AddressRange {
    fn from(bounds: Bounds) -> Self {
        Self::new(bounds.start, bounds.end)
    }
}

impl AddressRange {
    /// The range from `start` up to, not including, `end`; empty at `start` when the two are reversed.
    #[must_use]
    pub fn new(start: Address, end: Address) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The range of `size` bytes at `start`, cut off at the end of the 64-bit space.
    #[must_use]
    pub fn sized(start: Address, size: u64) -> Self {
        Self { start, end: start.saturating_add(size) }
    }

    /// First address.
    #[must_use]
    pub fn start(&self) -> Address {
        self.start
    }

    /// First address past the range.
    #[must_use]
    pub fn end(&self) -> Address {
        self.end
    }

    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Whether it holds no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        self.start <= address && address < self.end
    }

    /// The part that both ranges cover; `None` when that is empty.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self::new(self.start.max(other.start), self.end.min(other.end));
        (!both.is_empty()).then_some(both)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start.0, self.end.0)
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reversed_bounds_make_an_empty_range() {
        let range = AddressRange::new(Address(8), Address(4));
        assert!(range.is_empty());
        assert!(!range.contains(Address(8)));
    }

    #[test]
    fn intersection_is_none_when_ranges_only_touch() {
        let low = AddressRange::new(Address(0), Address(4096));
        let high = AddressRange::new(Address(4096), Address(8192));
        assert_eq!(low.intersection(&high), None);
        assert_eq!(low.intersection(&low), Some(low));
    }

    #[test]
    fn page_rounding() {
        assert_eq!(Address(0x1fff).page_floor(0x1000), Address(0x1000));
        assert_eq!(Address(0x1001).page_ceil(0x1000), Address(0x2000));
        assert_eq!(Address(0x1000).page_ceil(0x1000), Address(0x1000));
    }
}
