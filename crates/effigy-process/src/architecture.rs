//! Architectures and the order of bytes.

use std::fmt;

use serde::{Serialize, Serializer};

/// A processor architecture, as a target has it: a 32-bit program on a 64-bit x86 system is [`X86`](Self::X86).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// 32-bit x86.
    X86,
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with pointers of 32 bits (the x32 ABI).
    X32,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit PowerPC, big endian.
    Ppc64,
    /// 64-bit PowerPC, little endian.
    Ppc64le,
    /// 64-bit z/Architecture.
    S390x,
    /// One whose registers effigy does not know.
    Other {
        /// ELF machine (`EM_*`); 0 where nothing is known.
        machine: u16,
        /// Bytes in a pointer: 4 or 8.
        pointer_size: u8,
    },
}

/// One of which nothing is known but that it is most likely to have 64-bit pointers.
impl Default for Architecture {
    fn default() -> Self {
        Self::Other { machine: 0, pointer_size: 8 }
    }
}

impl Architecture {
    /// The architecture of an ELF file: its `e_machine`, whether it is of the 64-bit class, and the order of its bytes.
    #[must_use]
    pub fn of_elf(machine: u16, is_64: bool, order: ByteOrder) -> Self {
        match (machine, is_64, order) {
            (3, false, _) => Self::X86,
            (62, true, _) => Self::X86_64,
            (62, false, _) => Self::X32,
            (40, false, _) => Self::Arm,
            (183, true, _) => Self::Aarch64,
            (243, true, _) => Self::Riscv64,
            (21, true, ByteOrder::Big) => Self::Ppc64,
            (21, true, ByteOrder::Little) => Self::Ppc64le,
            (22, true, _) => Self::S390x,
            _ => Self::Other { machine, pointer_size: if is_64 { 8 } else { 4 } },
        }
    }

    /// Bytes in a pointer.
    #[must_use]
    pub fn pointer_size(self) -> usize {
        match self {
            Self::X86 | Self::X32 | Self::Arm => 4,
            Self::X86_64 | Self::Aarch64 | Self::Riscv64 | Self::Ppc64 | Self::Ppc64le | Self::S390x => 8,
            Self::Other { pointer_size, .. } => usize::from(pointer_size),
        }
    }

    /// Bytes in a general register: more than in a pointer for x32.
    #[must_use]
    pub fn word_size(self) -> usize {
        if self == Self::X32 { 8 } else { self.pointer_size() }
    }

    /// Bytes of `elf_gregset_t`, the general registers of `NT_PRSTATUS`; 0 where that is not known.
    #[must_use]
    pub fn general_size(self) -> usize {
        match self {
            Self::X86 => 68,
            Self::X86_64 | Self::X32 | Self::S390x => 27 * 8,
            Self::Arm => 18 * 4,
            Self::Aarch64 => 34 * 8,
            Self::Riscv64 => 32 * 8,
            Self::Ppc64 | Self::Ppc64le => 48 * 8,
            Self::Other { .. } => 0,
        }
    }

    /// Bytes below the stack pointer that a function may use without moving it: the red zone of the System V ABI, and
    /// what the ABIs of PowerPC keep for leaf functions.
    #[must_use]
    pub fn red_zone(self) -> u64 {
        match self {
            Self::X86_64 | Self::X32 => 128,
            Self::Ppc64 => 288,
            Self::Ppc64le => 512,
            Self::X86 | Self::Arm | Self::Aarch64 | Self::Riscv64 | Self::S390x | Self::Other { .. } => 0,
        }
    }

    /// The order of bytes that programs of this architecture have as a rule. ARM, MIPS and others know both: a dump
    /// tells which.
    #[must_use]
    pub fn usual_byte_order(self) -> ByteOrder {
        match self {
            Self::Ppc64 | Self::S390x => ByteOrder::Big,
            _ => ByteOrder::Little,
        }
    }

    /// Bytes in a page where the source of a process does not say: the smallest that the architecture's systems use.
    #[must_use]
    pub fn usual_page_size(self) -> u64 {
        match self {
            Self::Ppc64 | Self::Ppc64le => 0x1_0000,
            _ => 0x1000,
        }
    }

    /// Stable name, for JSON and for people; that of the Linux ABI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::X86_64 => "x86_64",
            Self::X32 => "x32",
            Self::Arm => "arm",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::Ppc64 => "ppc64",
            Self::Ppc64le => "ppc64le",
            Self::S390x => "s390x",
            Self::Other { machine, .. } => match machine {
                2 => "sparc",
                8 => "mips",
                20 => "powerpc",
                50 => "ia64",
                243 => "riscv32",
                258 => "loongarch",
                _ => "unknown",
            },
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The order of the bytes of a number in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ByteOrder {
    /// The lowest byte first.
    #[default]
    Little,
    /// The highest byte first.
    Big,
}

impl ByteOrder {
    /// The number in `bytes`, of which the lowest eight count.
    #[must_use]
    pub fn number(self, bytes: &[u8]) -> u64 {
        let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, append),
            Self::Big => bytes.iter().fold(0, append),
        }
    }

    /// The 32-bit number at the beginning of `bytes`; `None` when there are fewer than four.
    #[must_use]
    pub fn half(self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk::<4>()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_orders() {
        assert_eq!(ByteOrder::Little.number(&[1, 2, 3, 4]), 0x0403_0201);
        assert_eq!(ByteOrder::Big.number(&[1, 2, 3, 4]), 0x0102_0304);
        assert_eq!(ByteOrder::Big.half(&[1, 2, 3, 4, 5]), Some(0x0102_0304));
        assert_eq!(ByteOrder::Little.half(&[1, 2, 3]), None);
    }
}
