//! What the unwinder must know of an architecture: register numbers, and which registers outlive a call.
//!
//! Numbers are DWARF's, from each architecture's ABI supplement: System V x86-64 (figure 3.36), Intel386, AADWARF32,
//! AADWARF64, RISC-V ELF psABI, 64-bit PowerPC ELF ABI, s390x ELF ABI.

use effigy_process::Architecture;

/// The number under which the program counter is kept where DWARF has none for it.
pub(super) const PROGRAM_COUNTER: u16 = 0xfff0;

/// How many registers of a frame are kept at most.
pub(super) const SLOTS: usize = 36;

/// An architecture, as far as unwinding goes.
#[derive(Debug)]
pub(super) struct Abi {
    /// Number of the program counter.
    pub(super) pc: u16,
    /// Number of the stack pointer.
    pub(super) sp: u16,
    /// Number of the frame pointer, in code that keeps one.
    pub(super) fp: u16,
    /// Number of the register in which a call leaves the return address; `None` where calls push it.
    pub(super) link: Option<u16>,
    /// Registers that a function leaves as they were, as a mask of slots.
    pub(super) kept: u64,
    /// The names of the registers, by slot.
    pub(super) names: &'static [&'static str],
    /// DWARF numbers by slot, where the two are not the same: pairs of slot and number.
    pub(super) elsewhere: &'static [(usize, u16)],
    /// Whether the caller's stack pointer is the CFA. On s390x the CFA is 160 bytes above it.
    pub(super) cfa_is_sp: bool,
}

/// A mask of slots.
const fn slots(list: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < list.len() {
        mask |= 1 << list[index];
        index += 1;
    }
    mask
}

impl Abi {
    /// That of an architecture; `None` for those whose registers effigy does not know.
    pub(super) fn of(architecture: Architecture) -> Option<&'static Self> {
        Some(match architecture {
            Architecture::X86_64 | Architecture::X32 => &X86_64,
            Architecture::X86 => &X86,
            Architecture::Aarch64 => &AARCH64,
            Architecture::Arm => &ARM,
            Architecture::Riscv64 => &RISCV64,
            Architecture::Ppc64 | Architecture::Ppc64le => &PPC64,
            Architecture::S390x => &S390X,
            _ => return None,
        })
    }

    /// The slot of a register.
    pub(super) fn slot(&self, number: u16) -> Option<usize> {
        if let Some((slot, _)) = self.elsewhere.iter().find(|(_, known)| *known == number) {
            return Some(*slot);
        }
        let slot = usize::from(number);
        (slot < self.names.len() && !self.elsewhere.iter().any(|(taken, _)| *taken == slot)).then_some(slot)
    }
}

static X86_64: Abi = Abi {
    pc: 16,
    sp: 7,
    fp: 6,
    link: None,
    kept: slots(&[3, 6, 12, 13, 14, 15, 17, 18]),
    names: &[
        "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        "rip", "fs_base", "gs_base",
    ],
    elsewhere: &[(17, 58), (18, 59)],
    cfa_is_sp: true,
};

static X86: Abi = Abi {
    pc: 8,
    sp: 4,
    fp: 5,
    link: None,
    kept: slots(&[3, 5, 6, 7]),
    names: &["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip"],
    elsewhere: &[],
    cfa_is_sp: true,
};

/// The link register counts as kept: a leaf function returns with what it was called with.
static AARCH64: Abi = Abi {
    pc: 32,
    sp: 31,
    fp: 29,
    link: Some(30),
    kept: slots(&[18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30]),
    names: &[
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
        "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc",
    ],
    elsewhere: &[],
    cfa_is_sp: true,
};

static ARM: Abi = Abi {
    pc: 15,
    sp: 13,
    fp: 11,
    link: Some(14),
    kept: slots(&[4, 5, 6, 7, 8, 9, 10, 11, 14]),
    names: &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc"],
    elsewhere: &[],
    cfa_is_sp: true,
};

static RISCV64: Abi = Abi {
    pc: PROGRAM_COUNTER,
    sp: 2,
    fp: 8,
    link: Some(1),
    kept: slots(&[1, 3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27]),
    names: &[
        "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
        "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6", "pc",
    ],
    elsewhere: &[(32, PROGRAM_COUNTER)],
    cfa_is_sp: true,
};

static PPC64: Abi = Abi {
    pc: PROGRAM_COUNTER,
    sp: 1,
    fp: 31,
    link: Some(65),
    kept: slots(&[2, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32]),
    names: &[
        "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "r16",
        "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27", "r28", "r29", "r30", "r31", "lr",
        "ctr", "cr", "pc",
    ],
    elsewhere: &[(32, 65), (33, 66), (34, 64), (35, PROGRAM_COUNTER)],
    cfa_is_sp: true,
};

static S390X: Abi = Abi {
    pc: 65,
    sp: 15,
    fp: 11,
    link: Some(14),
    kept: slots(&[6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    names: &[
        "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "pswa",
    ],
    elsewhere: &[(16, 65)],
    cfa_is_sp: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_slot_and_every_special_number_a_name() {
        for abi in [&X86_64, &X86, &AARCH64, &ARM, &RISCV64, &PPC64, &S390X] {
            assert!(abi.names.len() <= SLOTS);
            for number in [abi.pc, abi.sp, abi.fp].into_iter().chain(abi.link) {
                assert!(abi.slot(number).is_some_and(|slot| slot < abi.names.len()), "{abi:?} {number}");
            }
            let beyond = abi.names.len().try_into().unwrap();
            assert!(abi.elsewhere.iter().any(|(_, number)| *number == beyond) || abi.slot(beyond).is_none());
        }
        assert_eq!((X86_64.slot(17), X86_64.slot(58)), (None, Some(17)));
    }
}
