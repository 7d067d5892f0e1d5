//! Headers of units: what `.debug_info` is made of.

use gimli::{Encoding, EndianSlice, Format, Reader, RunTimeEndian};

/// Most bytes that a header takes: of a type unit in 64-bit DWARF 5.
pub(super) const LONGEST: usize = 12 + 2 + 1 + 1 + 8 + 8 + 8;

/// What a unit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    /// A compilation; before DWARF 5 any unit.
    Compilation,
    /// What stayed of a compilation of which the rest was split off.
    Skeleton,
    /// What was split off.
    Split,
    /// What several compilations share (dwz, LTO).
    Partial,
    /// A type. It has no code.
    Type,
}

/// The header of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Length of the whole unit in bytes, the field with the length included.
    pub(super) size: u64,
    /// Version, sizes of addresses and offsets.
    pub(super) encoding: Encoding,
    pub(super) kind: UnitKind,
    /// Offset of its abbreviations in `.debug_abbrev`.
    pub(super) abbreviations: u64,
    /// Offset of its first entry from its start.
    pub(super) root: usize,
    /// What ties a skeleton to what was split off it, from DWARF 5 on.
    pub(super) dwo_id: Option<u64>,
}

impl Header {
    /// The header at the beginning of `bytes`, which need not hold the whole unit.
    pub(super) fn parse(bytes: &[u8], endian: RunTimeEndian) -> Option<Self> {
        let mut input = EndianSlice::new(bytes, endian);
        let (length, format) = input.read_initial_length().ok()?;
        let size = (length as u64).checked_add(u64::from(format.initial_length_size()))?;
        let version = input.read_u16().ok()?;
        let (kind, address_size, abbreviations) = match version {
            2..=4 => {
                let abbreviations = input.read_offset(format).ok()?;
                (UnitKind::Compilation, input.read_u8().ok()?, abbreviations)
            }
            5 => Self::fifth(&mut input, format)?,
            _ => return None,
        };
        let dwo_id = match kind {
            UnitKind::Skeleton | UnitKind::Split => Some(input.read_u64().ok()?),
            _ => None,
        };
        if version == 5 && kind == UnitKind::Type {
            // Signature and offset of the type.
            input.skip(8 + usize::from(format.word_size())).ok()?;
        }
        if !matches!(address_size, 2 | 4 | 8) {
            return None;
        }
        let encoding = Encoding { address_size, format, version };
        let root = bytes.len() - input.len();
        Some(Self { size, encoding, kind, abbreviations: abbreviations as u64, root, dwo_id })
    }

    /// Kind, size of addresses and abbreviations, in the order of DWARF 5.
    fn fifth(input: &mut EndianSlice<'_, RunTimeEndian>, format: Format) -> Option<(UnitKind, u8, usize)> {
        let kind = match gimli::DwUt(input.read_u8().ok()?) {
            gimli::DW_UT_compile => UnitKind::Compilation,
            gimli::DW_UT_partial => UnitKind::Partial,
            gimli::DW_UT_skeleton => UnitKind::Skeleton,
            gimli::DW_UT_split_compile => UnitKind::Split,
            gimli::DW_UT_type | gimli::DW_UT_split_type => UnitKind::Type,
            _ => return None,
        };
        let address_size = input.read_u8().ok()?;
        Some((kind, address_size, input.read_offset(format).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_fourth_and_fifth_version() {
        let fourth = [0x40, 0, 0, 0, 4, 0, 0x10, 0, 0, 0, 8, 1];
        let header = Header::parse(&fourth, RunTimeEndian::Little).unwrap();
        assert_eq!((header.size, header.encoding.version, header.abbreviations, header.root), (0x44, 4, 0x10, 11));
        let fifth = [0, 0, 0, 0x40, 0, 5, 4, 8, 0, 0, 0, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let header = Header::parse(&fifth, RunTimeEndian::Big).unwrap();
        assert_eq!((header.kind, header.abbreviations, header.root), (UnitKind::Skeleton, 0x20, 20));
        assert_eq!(header.dwo_id, Some(0x0102_0304_0506_0708));
    }

    #[test]
    fn damaged_headers_are_none() {
        assert!(Header::parse(&[], RunTimeEndian::Little).is_none());
        assert!(Header::parse(&[0xf0, 0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0, 8], RunTimeEndian::Little).is_none());
        assert!(Header::parse(&[9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 8], RunTimeEndian::Little).is_none());
        assert!(Header::parse(&[9, 0, 0, 0, 4, 0, 0, 0, 0, 0, 3], RunTimeEndian::Little).is_none());
    }
}
