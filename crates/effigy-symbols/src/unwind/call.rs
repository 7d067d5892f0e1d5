//! Whether a return address lies behind a call instruction.

use effigy_process::{Address, Architecture};

use super::Unwinder;

/// Bytes before a return address that are looked at: the longest call of x86.
const BEFORE: usize = 7;

impl Unwinder<'_> {
    /// Whether the instruction before an address is a call; `None` where its bytes are not to be had, or the
    /// architecture's calls are not known.
    pub(super) fn follows_call(&self, address: Address) -> Option<bool> {
        let mut bytes = [0; BEFORE];
        // An image may begin with its first function, whose calls are but a few bytes from the start.
        let count = [BEFORE, 4, 2].into_iter().find(|count| {
            let start = address.0.checked_sub(*count as u64).map(Address);
            start.is_some_and(|start| self.code(start, &mut bytes[BEFORE - count..]) == *count)
        })?;
        let known = &bytes[BEFORE - count..];
        match self.process.architecture {
            Architecture::X86 | Architecture::X86_64 | Architecture::X32 => Some(x86(known)),
            Architecture::Aarch64 => word(known).map(aarch64),
            Architecture::Arm if address.0 & 1 == 1 => self.follows_thumb_call(address),
            Architecture::Arm => word(known).map(arm),
            Architecture::Riscv64 => Some(word(known).is_some_and(riscv) || half(known).is_some_and(riscv_short)),
            _ => None,
        }
    }

    /// The lowest bit of the address only tells the instruction set.
    fn follows_thumb_call(&self, address: Address) -> Option<bool> {
        let mut bytes = [0; 4];
        let start = address.0.checked_sub(5)?;
        if self.code(Address(start), &mut bytes) < 4 {
            return None;
        }
        let (first, second) = (u16::from_le_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([bytes[2], bytes[3]]));
        let long = first & 0xf800 == 0xf000 && second & 0xc000 == 0xc000;
        // blx rm
        let short = second & 0xff87 == 0x4780;
        Some(long || short)
    }
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

fn half(bytes: &[u8]) -> Option<u16> {
    bytes.last_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes))
}

/// A call of x86 ends the bytes: `E8` with four bytes, or `FF /2` with an operand of every length.
fn x86(bytes: &[u8]) -> bool {
    let from_end = |back: usize| bytes.len().checked_sub(back).and_then(|at| bytes.get(at)).copied();
    if from_end(5) == Some(0xe8) {
        return true;
    }
    (2..=7).any(|length| {
        let operand = (from_end(length), from_end(length - 1));
        let (Some(0xff), Some(mode)) = operand else { return false };
        let sib = (length > 2).then(|| from_end(length - 2)).flatten();
        mode >> 3 & 7 == 2 && x86_operand(mode, sib) == length
    })
}

/// Length in bytes of `FF` with this operand (Intel SDM volume 2, tables 2-2 and 2-3).
fn x86_operand(mode: u8, sib: Option<u8>) -> usize {
    let has_sib = mode >> 6 != 3 && mode & 7 == 4;
    let displacement = match mode >> 6 {
        0 if mode & 7 == 5 => 4,
        0 if has_sib && sib.is_some_and(|sib| sib & 7 == 5) => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    2 + usize::from(has_sib) + displacement
}

/// `BL`, `BLR` and its kin that authenticate (Arm ARM, C6.2).
fn aarch64(word: u32) -> bool {
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xfeff_f000 == 0xd63f_0000
}

/// `BL`, `BLX` to an address, `BLX` to a register.
fn arm(word: u32) -> bool {
    let conditional = word >> 28 != 0xf;
    conditional && word & 0x0f00_0000 == 0x0b00_0000
        || word & 0xfe00_0000 == 0xfa00_0000
        || conditional && word & 0x0fff_fff0 == 0x012f_ff30
}

/// `JAL` and `JALR` that leave the return address in `ra`.
fn riscv(word: u32) -> bool {
    word & 0xfff == 0x0ef || word & 0xfff == 0x0e7
}

/// `C.JALR`.
fn riscv_short(half: u16) -> bool {
    half & 0xf07f == 0x9002 && half & 0x0f80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_x86_of_every_length() {
        for call in [
            &[0xe8, 1, 2, 3, 4][..],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd3],
            &[0xff, 0x10],
            &[0xff, 0x15, 1, 2, 3, 4],
            &[0xff, 0x14, 0xc8],
            &[0xff, 0x14, 0x25, 1, 2, 3, 4],
            &[0xff, 0x50, 8],
            &[0xff, 0x54, 0x24, 8],
            &[0xff, 0x90, 0, 1, 0, 0],
            &[0xff, 0x94, 0x24, 0, 1, 0, 0],
        ] {
            let mut bytes = [0x90; BEFORE];
            bytes[BEFORE - call.len()..].copy_from_slice(call);
            assert!(x86(&bytes), "{call:02x?}");
        }
        for other in [&[0xff, 0xe0][..], &[0xe9, 1, 2, 3, 4], &[0xff, 0x30], &[0xff, 0x14], &[0xff, 0x50]] {
            let mut bytes = [0x90; BEFORE];
            bytes[BEFORE - other.len()..].copy_from_slice(other);
            assert!(!x86(&bytes), "{other:02x?}");
        }
        assert!(!x86(&[]) && x86(&[0xff, 0xd0]));
    }

    #[test]
    fn calls_of_others() {
        for call in [0x9400_0010, 0x97ff_fff0, 0xd63f_0100, 0xd63f_0900, 0xd73f_0a11] {
            assert!(aarch64(call), "{call:#x}");
        }
        for other in [0x1400_0010, 0xd61f_0100, 0xd65f_03c0, 0xaa1e_03e0] {
            assert!(!aarch64(other), "{other:#x}");
        }
        assert!(arm(0xeb00_0010) && arm(0xfa00_0010) && arm(0xe12f_ff33) && arm(0x1b00_0010));
        assert!(!arm(0xea00_0010) && !arm(0xe12f_ff1e));
        assert!(riscv(0x0100_00ef) && riscv(0x0007_80e7) && !riscv(0x0000_8067));
        assert!(riscv_short(0x9782) && !riscv_short(0x9002) && !riscv_short(0x8082));
    }
}
