//! Registers, in the layouts that Linux uses for them.
//!
//! A register set is kept as the kernel's register note of the same type (`NT_PRSTATUS`'s `pr_reg`, `NT_PRFPREG`,
//! `NT_X86_XSTATE`, …): those layouts exist for every architecture, lose nothing, and are what ELF cores hold. A
//! minidump's CONTEXT is made from them.

mod names;

use crate::{Address, Architecture, ByteOrder, CompactBytes};

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

/// One register set as the kernel lays it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSet {
    /// Its note type, see [`note`].
    pub note: u32,
    /// Its bytes, in the target's byte order.
    pub bytes: CompactBytes,
}

/// All registers of a thread.
///
/// Wherever they come from, they are kept as the Linux kernel lays them out: a CONTEXT of a minidump is brought into that
/// form, so that all who look at registers know but one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Registers {
    /// The thread's architecture.
    pub architecture: Architecture,
    /// The order of the bytes in the sets.
    pub byte_order: ByteOrder,
    /// The sets that could be read; the general registers ([`note::PRSTATUS`]) come first.
    pub sets: Vec<RegisterSet>,
    /// The words of the general registers whose values are not known, as a mask: bit 0 is the first word. The kernel
    /// gives all of them; a CONTEXT has no `orig_rax`, and one of Linux no `fs_base`.
    pub missing: u64,
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
        let words =
            bytes.chunks_exact(self.architecture.word_size()).map(|word| self.byte_order.number(word)).collect();
        Some(GeneralRegisters { architecture: self.architecture, words, missing: self.missing })
    }
}

/// The general registers by word, in the order of the kernel's `elf_gregset_t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneralRegisters {
    /// The thread's architecture.
    pub architecture: Architecture,
    /// x86-64 and x32: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base
    /// gs_base ds es fs gs (`struct user_regs_struct`). i386: ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs
    /// eflags esp ss. arm64: x0–x30 sp pc pstate. arm: r0–r15 cpsr orig_r0. riscv64: pc ra sp gp tp t0…. ppc64: gpr0–31
    /// nip msr orig_gpr3 ctr link xer ccr softe trap dar dsisr result, then padding. s390x: psw mask and address,
    /// gpr0–15, access registers two a word, orig_gpr2.
    pub words: Vec<u64>,
    /// Words whose values are not known, see [`Registers::missing`].
    pub missing: u64,
}

impl GeneralRegisters {
    /// A word, where its value is known.
    fn word(&self, index: usize) -> Option<u64> {
        let missing = u32::try_from(index).ok().and_then(|bit| self.missing.checked_shr(bit)).unwrap_or(0);
        self.words.get(index).copied().filter(|_| missing & 1 == 0)
    }

    /// The word with one of the architecture's four special numbers.
    fn special(&self, which: impl Fn(&Special) -> Option<usize>) -> Option<Address> {
        Special::of(self.architecture)
            .and_then(|special| which(&special))
            .and_then(|index| self.word(index))
            .map(Address)
    }

    /// Where the thread executes. `None` where the architecture is not known.
    #[must_use]
    pub fn instruction_pointer(&self) -> Option<Address> {
        let address = self.special(|special| Some(special.instruction))?;
        // The highest bit of an address says nothing of it: it tells 31-bit addressing from 24-bit.
        Some(if self.architecture == Architecture::S390x { Address(address.0 & !(1 << 63)) } else { address })
    }

    /// The stack pointer. `None` where the architecture is not known.
    #[must_use]
    pub fn stack_pointer(&self) -> Option<Address> {
        self.special(|special| Some(special.stack))
    }

    /// The frame pointer, for code that keeps one. `None` where the architecture is not known.
    #[must_use]
    pub fn frame_pointer(&self) -> Option<Address> {
        self.special(|special| Some(special.frame))
    }

    /// Base of the thread's local storage, where the general registers hold it: x86-64 (fs_base), riscv64 (tp) and ppc64
    /// (r13).
    #[must_use]
    pub fn thread_pointer(&self) -> Option<Address> {
        self.special(|special| special.thread)
    }

    /// The registers by the names that the architecture's debuggers show, in the kernel's order; those that are not known
    /// are left out, and all are where the architecture is not.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = names::of(self.architecture).iter().enumerate();
        let known = names.filter_map(|(index, name)| Some((*name, self.word(index)?)));
        known.filter(|(name, _)| !name.is_empty()).map(|(name, value)| match name {
            // Sixteen bits in a whole word, of which gdb once left the rest to chance.
            "cs" | "ss" | "ds" | "es" | "fs" | "gs" => (name, value & 0xffff),
            _ => (name, value),
        })
    }

    /// The value of a register by its name, as [`named`](Self::named) gives it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.named().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// Which words of the general registers have a meaning that every architecture knows.
struct Special {
    instruction: usize,
    stack: usize,
    frame: usize,
    thread: Option<usize>,
}

impl Special {
    fn of(architecture: Architecture) -> Option<Self> {
        let (instruction, stack, frame, thread) = match architecture {
            Architecture::X86 => (12, 15, 5, None),
            Architecture::X86_64 | Architecture::X32 => (16, 19, 4, Some(21)),
            Architecture::Arm => (15, 13, 11, None),
            Architecture::Aarch64 => (32, 31, 29, None),
            Architecture::Riscv64 => (0, 2, 8, Some(4)),
            Architecture::Ppc64 | Architecture::Ppc64le => (32, 1, 31, Some(13)),
            Architecture::S390x => (1, 17, 13, None),
            Architecture::Other { .. } => return None,
        };
        Some(Self { instruction, stack, frame, thread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(architecture: Architecture, byte_order: ByteOrder, words: &[u64], missing: u64) -> GeneralRegisters {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| match byte_order {
                ByteOrder::Little => word.to_le_bytes(),
                ByteOrder::Big => word.to_be_bytes(),
            })
            .collect();
        let sets = vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&bytes) }];
        Registers { architecture, byte_order, sets, missing }.general().unwrap()
    }

    #[test]
    fn big_endian_registers_are_numbers_like_others() {
        let mut words = [0; 27];
        (words[1], words[17]) = (0x8000_0000_0100_0af6, 0x3ff_ff00);
        let general = registers(Architecture::S390x, ByteOrder::Big, &words, 0);
        assert_eq!(general.instruction_pointer(), Some(Address(0x100_0af6)));
        assert_eq!(general.stack_pointer(), Some(Address(0x3ff_ff00)));
        assert_eq!(general.get("r15"), Some(0x3ff_ff00));
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let words: Vec<u64> = (0..27).collect();
        let general = registers(Architecture::X86_64, ByteOrder::Little, &words, 1 << 21 | 1 << 15);
        assert_eq!(general.thread_pointer(), None);
        assert_eq!((general.get("orig_rax"), general.get("rip")), (None, Some(16)));
        assert_eq!(general.named().count(), 25);
        let unknown = registers(Architecture::default(), ByteOrder::Little, &words, 0);
        assert_eq!((unknown.instruction_pointer(), unknown.named().count()), (None, 0));
    }

    #[test]
    fn every_general_register_has_a_name() {
        for (architecture, without) in [
            (Architecture::X86, 0),
            (Architecture::X86_64, 0),
            (Architecture::Arm, 0),
            (Architecture::Aarch64, 0),
            (Architecture::Riscv64, 0),
            (Architecture::Ppc64le, 4),
            (Architecture::S390x, 0),
        ] {
            let words = architecture.general_size() / architecture.word_size();
            assert_eq!(names::of(architecture).len() + without, words, "{architecture}");
        }
    }
}
