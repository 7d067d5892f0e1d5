//! Where the components of an XSAVE area lie.
//!
//! `NT_X86_XSTATE` is an XSAVE area in standard format, in which each component has a fixed place; but CPUID, not the
//! architecture, says which. Intel's processors all agree with each other, and leave room for components that they lack;
//! AMD's leave no such room. The note does not say which it is, and readers of cores guess by its length.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::layout::XsaveComponent;

/// Offset of XCR0 in the area, among the bytes that are left to software (Linux, arch/x86/include/uapi/asm/ptrace-abi.h
/// and `xstate_fx_sw_bytes`).
pub(super) const XCR0_OFFSET: usize = 464;
/// Bytes of the legacy part and the header, which come first in every layout.
const HEADER_END: usize = 576;
/// Bytes of the legacy part: what FXSAVE stores.
pub(super) const LEGACY_SIZE: usize = 512;

/// A component, as Intel's processors place it.
struct Component {
    /// Its bit in XCR0.
    bit: u32,
    size: usize,
    offset: usize,
    name: &'static str,
}

/// A component, and where it lies in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its bit in XCR0.
    pub(super) bit: u32,
    pub(super) name: &'static str,
    /// From the area's beginning, in bytes.
    pub(super) offset: usize,
    /// In bytes.
    pub(super) size: usize,
}

/// Intel SDM volume 1, chapter 13.5, and CPUID leaf 0xd of the processors that have them.
const COMPONENTS: [Component; 10] = [
    Component { bit: 2, size: 256, offset: 576, name: "AVX: upper halves of ymm0-15" },
    Component { bit: 3, size: 64, offset: 960, name: "MPX bounds" },
    Component { bit: 4, size: 64, offset: 1024, name: "MPX configuration" },
    Component { bit: 5, size: 64, offset: 1088, name: "AVX-512: k0-7" },
    Component { bit: 6, size: 512, offset: 1152, name: "AVX-512: upper halves of zmm0-15" },
    Component { bit: 7, size: 1024, offset: 1664, name: "AVX-512: zmm16-31" },
    Component { bit: 9, size: 8, offset: 2688, name: "PKRU" },
    Component { bit: 17, size: 64, offset: 2752, name: "AMX tile configuration" },
    Component { bit: 18, size: 8192, offset: 2816, name: "AMX tiles" },
    Component { bit: 19, size: 128, offset: 960, name: "APX: r16-31" }, // in the room of MPX
];

/// XCR0 bits of the components that some AMD processor has: x87, SSE, AVX, AVX-512 and PKRU.
const AMD_BITS: u64 = 0b10_1110_0111;

/// How an area is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    /// As Intel's processors do.
    Roomy,
    /// As AMD's do: components follow one another.
    Packed,
}

/// The area with its components in the places that Intel's processors give them. One whose arrangement is not known
/// comes back as it is.
///
/// gdb 13 looks for them there whatever the processor, and calls a shorter area too small, so that the upper halves of
/// the vector registers are lost; later versions know some packed areas by their length, not all. lldb reads only the
/// part that is the same in both. The values are not touched, and [`layout_note`] says where they are.
pub(super) fn in_common_places(area: Vec<u8>) -> Vec<u8> {
    let Some((xcr0, Arrangement::Packed)) = arrangement(&area) else { return area };
    let mut roomy = area[..HEADER_END].to_vec();
    roomy.resize(roomy_end(xcr0), 0);
    let mut from = HEADER_END;
    for component in present(xcr0) {
        let to = component.offset..component.offset + component.size;
        roomy[to].copy_from_slice(&area[from..from + component.size]);
        from += component.size;
    }
    roomy
}

/// The `NT_X86_XSAVE_LAYOUT` note for an area that [`in_common_places`] gave; `None` when its arrangement is not known.
pub(super) fn layout_note(area: &[u8]) -> Option<Vec<u8>> {
    let (xcr0, Arrangement::Roomy) = arrangement(area)? else { return None };
    let mut note = Vec::new();
    for component in present(xcr0) {
        let entry = XsaveComponent {
            component: U32::new(component.bit),
            size: U32::new(u32::try_from(component.size).ok()?),
            offset: U32::new(u32::try_from(component.offset).ok()?),
            flags: U32::ZERO,
        };
        note.extend_from_slice(entry.as_bytes());
    }
    Some(note)
}

/// The components of an area and their places; `None` when its arrangement is not known.
pub(super) fn components(area: &[u8]) -> Option<Vec<Placed>> {
    let (xcr0, arrangement) = arrangement(area)?;
    let mut next = HEADER_END;
    let placed = present(xcr0).map(|component| {
        let offset = match arrangement {
            Arrangement::Roomy => component.offset,
            Arrangement::Packed => next,
        };
        next += component.size;
        Placed { bit: component.bit, name: component.name, offset, size: component.size }
    });
    Some(placed.collect())
}

/// What a component of XCR0 is; `None` when that is not known.
pub(super) fn name_of(bit: u32) -> Option<&'static str> {
    COMPONENTS.iter().find(|component| component.bit == bit).map(|component| component.name)
}

/// XCR0 of the area and how it is laid out, judged by its length.
fn arrangement(area: &[u8]) -> Option<(u64, Arrangement)> {
    let xcr0 = u64::from_le_bytes(area.get(XCR0_OFFSET..XCR0_OFFSET + 8)?.try_into().ok()?);
    let unknown = present(xcr0).fold(xcr0 & !0b11, |rest, component| rest & !(1 << component.bit));
    if area.len() < HEADER_END || unknown != 0 {
        return None;
    }
    let packed_end = HEADER_END + present(xcr0).map(|component| component.size).sum::<usize>();
    if area.len() >= roomy_end(xcr0) {
        Some((xcr0, Arrangement::Roomy))
    } else if area.len() == packed_end && xcr0 & !AMD_BITS == 0 {
        Some((xcr0, Arrangement::Packed))
    } else {
        None
    }
}

fn present(xcr0: u64) -> impl Iterator<Item = &'static Component> {
    COMPONENTS.iter().filter(move |component| xcr0 & (1 << component.bit) != 0)
}

/// Where Intel's arrangement of the components in `xcr0` ends.
fn roomy_end(xcr0: u64) -> usize {
    present(xcr0).map(|component| component.offset + component.size).max().unwrap_or(HEADER_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(xcr0: u64, len: usize) -> Vec<u8> {
        let mut area = vec![0; len];
        area[XCR0_OFFSET..XCR0_OFFSET + 8].copy_from_slice(&xcr0.to_le_bytes());
        area
    }

    #[test]
    fn an_amd_area_with_avx512_moves_its_masks() {
        let mut packed = area(0xe7, 2432);
        packed[576] = 1;
        packed[832] = 2;
        packed[1408] = 3;
        let roomy = in_common_places(packed);
        assert_eq!((roomy.len(), roomy[576], roomy[1088], roomy[1664]), (2688, 1, 2, 3));
        assert_eq!(layout_note(&roomy).unwrap().len(), 4 * 16);
    }

    #[test]
    fn an_amd_area_with_keys_and_no_avx512_moves_its_keys() {
        let mut packed = area(0x207, 840);
        packed[832] = 4;
        let roomy = in_common_places(packed);
        assert_eq!((roomy.len(), roomy[2688]), (2696, 4));
    }

    #[test]
    fn others_stay_as_they_are() {
        for (xcr0, len) in [(0x7, 832), (0x2e7, 2696), (0x602e7, 11008), (0xe7, 2500), (0x1_0007, 900), (7, 600)] {
            let area = area(xcr0, len);
            assert_eq!(in_common_places(area.clone()), area);
        }
        assert!(layout_note(&area(0xe7, 2500)).is_none());
        assert!(in_common_places(vec![1, 2, 3]).len() == 3);
    }
}
