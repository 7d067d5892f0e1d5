//! Vector registers of x86 by name, from the areas in which the processor keeps them.

use effigy_process::{Architecture, Registers, note};

use super::xsave::{self, LEGACY_SIZE, Placed};

/// Where the vector registers begin in what FXSAVE stores, and the length of each, in bytes.
const VECTORS: usize = 160;
const VECTOR: usize = 16;
/// Offset of XSTATE_BV in an XSAVE area.
const IN_USE: usize = 512;
/// Bits of components in XCR0.
const SSE: u32 = 1;
const AVX: u32 = 2;
const MASKS: u32 = 5;
const UPPER_HALVES: u32 = 6;
const UPPER_REGISTERS: u32 = 7;
const KEYS: u32 = 9;

/// The vector registers of a thread by the names that debuggers show, with their bytes, the lowest first: the longest form
/// of each that the thread has (`zmm0`, `ymm0`, `xmm0`), then AVX-512's masks and the protection keys' register. Empty for
/// another architecture, and where the registers are not there. A register of a component that is in its first state is
/// zero, whatever the area's bytes are.
#[must_use]
pub fn vector_registers(registers: &Registers) -> Vec<(String, Vec<u8>)> {
    let count = match registers.architecture {
        Architecture::X86_64 | Architecture::X32 => 16,
        Architecture::X86 => 8,
        _ => return Vec::new(),
    };
    let area = registers.set(note::X86_XSTATE).and_then(Area::new);
    if let Some(area) = area {
        return area.registers(count);
    }
    let legacy = if count == 8 { note::PRXFPREG } else { note::PRFPREG };
    let Some(bytes) = registers.set(legacy).filter(|bytes| bytes.len() >= LEGACY_SIZE) else { return Vec::new() };
    (0..count).map(|index| (format!("xmm{index}"), piece(&bytes, VECTORS, VECTOR, index))).collect()
}

/// An XSAVE area whose components have known places.
struct Area {
    bytes: Vec<u8>,
    placed: Vec<Placed>,
    in_use: u64,
}

impl Area {
    /// `None` for an area whose arrangement is not known.
    fn new(bytes: Vec<u8>) -> Option<Self> {
        let placed = xsave::components(&bytes)?;
        let in_use = u64::from_le_bytes(*bytes.get(IN_USE..)?.first_chunk()?);
        Some(Self { bytes, placed, in_use })
    }

    fn has(&self, bit: u32) -> bool {
        self.placed.iter().any(|placed| placed.bit == bit)
    }

    /// The `index`th piece of a component, of `size` bytes; zeros when it is not in use.
    fn of(&self, bit: u32, size: usize, index: usize) -> Vec<u8> {
        let place = self.placed.iter().find(|placed| placed.bit == bit && self.in_use & (1 << bit) != 0);
        place.map_or_else(|| vec![0; size], |place| piece(&self.bytes, place.offset, size, index))
    }

    fn registers(&self, count: usize) -> Vec<(String, Vec<u8>)> {
        let (is_ymm, is_zmm) = (self.has(AVX), self.has(UPPER_HALVES));
        let letter = if is_zmm {
            'z'
        } else if is_ymm {
            'y'
        } else {
            'x'
        };
        let low = |index| match self.in_use & (1 << SSE) {
            0 => vec![0; VECTOR],
            _ => piece(&self.bytes, VECTORS, VECTOR, index),
        };
        let mut found = Vec::with_capacity(2 * count + 9);
        for index in 0..count {
            let mut bytes = low(index);
            if is_ymm {
                bytes.extend(self.of(AVX, VECTOR, index));
            }
            if is_zmm {
                bytes.extend(self.of(UPPER_HALVES, 2 * VECTOR, index));
            }
            found.push((format!("{letter}mm{index}"), bytes));
        }
        if self.has(UPPER_REGISTERS) && count == 16 {
            found.extend(
                (0..16).map(|index| (format!("zmm{}", index + 16), self.of(UPPER_REGISTERS, 4 * VECTOR, index))),
            );
        }
        if self.has(MASKS) {
            found.extend((0..8).map(|index| (format!("k{index}"), self.of(MASKS, 8, index))));
        }
        if self.has(KEYS) {
            found.push(("pkru".into(), self.of(KEYS, 4, 0)));
        }
        found
    }
}

/// The `index`th of the pieces of `size` bytes that begin at `start`; zeros where the area ends before.
fn piece(bytes: &[u8], start: usize, size: usize, index: usize) -> Vec<u8> {
    let start = start + index * size;
    bytes.get(start..start + size).map_or_else(|| vec![0; size], <[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use effigy_process::{CompactBytes, RegisterSet};

    use super::*;
    use crate::elf_core::sample::amd_xsave;

    fn named(area: &[u8], architecture: Architecture) -> Vec<(String, Vec<u8>)> {
        let sets = vec![RegisterSet { note: note::X86_XSTATE, bytes: CompactBytes::new(area) }];
        vector_registers(&Registers { architecture, sets, ..Registers::default() })
    }

    fn get<'a>(registers: &'a [(String, Vec<u8>)], name: &str) -> &'a [u8] {
        &registers.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn registers_are_put_together_from_their_components() {
        let mut area = amd_xsave();
        area[832..840].copy_from_slice(&7u64.to_le_bytes());
        let found = named(&area, Architecture::X86_64);
        assert_eq!(found.len(), 32 + 8);
        let mut expected = vec![0x5a; 32];
        expected.resize(64, 0);
        assert_eq!(get(&found, "zmm0"), expected);
        assert_eq!(get(&found, "zmm17"), [0x5a; 64]);
        assert_eq!(get(&found, "k0"), 7u64.to_le_bytes());
        // The same where Intel's processors put it.
        let roomy = xsave::in_common_places(area.clone());
        assert_eq!(named(&roomy, Architecture::X86_64), found);
        assert_eq!(named(&roomy, Architecture::X86).len(), 8 + 8);
        // Upper halves in their first state.
        area[IN_USE] &= !(1 << AVX);
        assert_eq!(get(&named(&area, Architecture::X86_64), "zmm0")[16..], [0; 48]);
    }

    #[test]
    fn keys_and_shorter_registers() {
        let mut area = vec![0; 2696];
        (area[464], area[465], area[512], area[513]) = (7, 2, 7, 2);
        (area[160], area[576], area[2688]) = (1, 2, 0x54);
        let found = named(&area, Architecture::X86_64);
        assert_eq!(
            (get(&found, "ymm0")[0], get(&found, "ymm0")[16], get(&found, "pkru")),
            (1, 2, &[0x54, 0, 0, 0][..])
        );
        let legacy = vec![RegisterSet { note: note::PRFPREG, bytes: CompactBytes::new(&area[..512]) }];
        let found =
            vector_registers(&Registers { architecture: Architecture::X86_64, sets: legacy, ..Registers::default() });
        assert_eq!((found.len(), get(&found, "xmm0")[0]), (16, 1));
        assert!(named(&area[..100], Architecture::X86_64).is_empty());
        assert!(named(&area, Architecture::Aarch64).is_empty());
    }
}
