//! Registers, in the layouts that Linux uses for them.
//!
//! A register set is kept as the kernel's register note of the same type (`NT_PRSTATUS`'s `pr_reg`, `NT_PRFPREG`,
//! `NT_X86_XSTATE`, …): those layouts exist for every architecture, lose nothing, and are what ELF cores hold. A
//! minidump's CONTEXT is made from them.

use serde::Serialize;

use crate::{Address, CompactBytes};

/// Types of register notes (`n_type`), from include/uapi/linux/elf.h of Linux 6.18.
pub mod note {
    /// General registers, `elf_gregset_t`. The note itself also holds the thread's state.
    pub const PRSTATUS: u32 = 1;
    /// Floating-point registers (x86-64: the 512 bytes of FXSAVE; i386: 108 bytes of FSAVE).
    pub const PRFPREG: u32 = 2;
    /// i386: the 512 bytes of FXSAVE.
    pub const PRXFPREG: u32 = 0x46e6_2b7f;
    /// i386 thread-local descriptors, `struct user_desc[3]`.
    pub const I386_TLS: u32 = 0x200;
    /// x86 XSAVE area in standard format.
    pub const X86_XSTATE: u32 = 0x202;
    /// x86 shadow stack pointer.
    pub const X86_SHSTK: u32 = 0x204;
    /// Where in the XSAVE area each component lies.
    pub const X86_XSAVE_LAYOUT: u32 = 0x205;
    /// 32-bit ARM VFP registers.
    pub const ARM_VFP: u32 = 0x400;
    /// ARM thread pointer (`TPIDR_EL0`, then `TPIDR2_EL0` where there is one).
    pub const ARM_TLS: u32 = 0x401;
    /// arm64 number of the current system call.
    pub const ARM_SYSTEM_CALL: u32 = 0x404;
    /// arm64 SVE registers.
    pub const ARM_SVE: u32 = 0x405;
    /// arm64 masks of pointer authentication codes.
    pub const ARM_PAC_MASK: u32 = 0x406;
    /// arm64 tagged-address control.
    pub const ARM_TAGGED_ADDR_CTRL: u32 = 0x409;
    /// arm64 streaming SVE registers.
    pub const ARM_SSVE: u32 = 0x40b;
    /// arm64 SME ZA array.
    pub const ARM_ZA: u32 = 0x40c;
    /// arm64 SME2 ZT registers.
    pub const ARM_ZT: u32 = 0x40d;
    /// arm64 floating-point mode register.
    pub const ARM_FPMR: u32 = 0x40e;
    /// RISC-V vector state.
    pub const RISCV_VECTOR: u32 = 0x901;
}

/// A processor architecture, as a target has it: a 32-bit program on a 64-bit x86 system is [`X86`](Self::X86).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Architecture {
    /// 32-bit x86.
    X86,
    /// 64-bit x86.
    X86_64,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Architecture {
    /// Bytes in a pointer.
    #[must_use]
    pub fn pointer_size(self) -> usize {
        match self {
            Self::X86 | Self::Arm => 4,
            Self::X86_64 | Self::Aarch64 | Self::Riscv64 => 8,
        }
    }

    /// Bytes of `elf_gregset_t`, the general registers of `NT_PRSTATUS`.
    #[must_use]
    pub fn general_size(self) -> usize {
        match self {
            Self::X86 => 68,
            Self::X86_64 => 27 * 8,
            Self::Arm => 18 * 4,
            Self::Aarch64 => 34 * 8,
            Self::Riscv64 => 32 * 8,
        }
    }

    /// Bytes below the stack pointer that a function may use without moving it (the red zone of the System V ABI).
    #[must_use]
    pub fn red_zone(self) -> u64 {
        match self {
            Self::X86_64 => 128,
            Self::X86 | Self::Arm | Self::Aarch64 | Self::Riscv64 => 0,
        }
    }
}

/// One register set as the kernel lays it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSet {
    /// Its note type, see [`note`].
    pub note: u32,
    /// Its bytes, in the target's byte order.
    pub bytes: CompactBytes,
}

/// All registers of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The thread's architecture.
    pub architecture: Architecture,
    /// The sets that could be read; the general registers ([`note::PRSTATUS`]) come first.
    pub sets: Vec<RegisterSet>,
}

impl Registers {
    /// The bytes of one set.
    #[must_use]
    pub fn set(&self, note: u32) -> Option<Vec<u8>> {
        self.sets.iter().find(|set| set.note == note).map(|set| set.bytes.to_vec())
    }

    /// The general registers, by word.
    #[must_use]
    pub fn general(&self) -> Option<GeneralRegisters> {
        let bytes = self.set(note::PRSTATUS)?;
        let words = match self.architecture.pointer_size() {
            4 => bytes
                .chunks_exact(4)
                .map(|word| u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])))
                .collect(),
            _ => bytes
                .chunks_exact(8)
                .map(|word| {
                    let mut whole = [0; 8];
                    whole.copy_from_slice(word);
                    u64::from_le_bytes(whole)
                })
                .collect(),
        };
        Some(GeneralRegisters { architecture: self.architecture, words })
    }
}

/// The general registers by word, in the order of the kernel's `elf_gregset_t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneralRegisters {
    /// The thread's architecture.
    pub architecture: Architecture,
    /// x86-64: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds
    /// es fs gs (`struct user_regs_struct`). i386: ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss.
    /// arm64: x0–x30 sp pc pstate. arm: r0–r15 cpsr orig_r0. riscv64: pc ra sp gp tp t0….
    pub words: Vec<u64>,
}

impl GeneralRegisters {
    fn word(&self, index: usize) -> Address {
        Address(self.words.get(index).copied().unwrap_or(0))
    }

    /// Where the thread executes.
    #[must_use]
    pub fn instruction_pointer(&self) -> Address {
        self.word(match self.architecture {
            Architecture::X86 => 12,
            Architecture::X86_64 => 16,
            Architecture::Arm => 15,
            Architecture::Aarch64 => 32,
            Architecture::Riscv64 => 0,
        })
    }

    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> Address {
        self.word(match self.architecture {
            Architecture::X86 => 15,
            Architecture::X86_64 => 19,
            Architecture::Arm => 13,
            Architecture::Aarch64 => 31,
            Architecture::Riscv64 => 2,
        })
    }

    /// The frame pointer, for code that keeps one.
    #[must_use]
    pub fn frame_pointer(&self) -> Address {
        self.word(match self.architecture {
            Architecture::X86 => 5,
            Architecture::X86_64 => 4,
            Architecture::Arm => 11,
            Architecture::Aarch64 => 29,
            Architecture::Riscv64 => 8,
        })
    }

    /// Base of the thread's local storage, where the general registers hold it: x86-64 (fs_base) and riscv64 (tp).
    #[must_use]
    pub fn thread_pointer(&self) -> Option<Address> {
        match self.architecture {
            Architecture::X86_64 => Some(self.word(21)),
            Architecture::Riscv64 => Some(self.word(4)),
            Architecture::X86 | Architecture::Arm | Architecture::Aarch64 => None,
        }
    }
}
