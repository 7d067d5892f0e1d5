//! The names of general registers, in the order of the kernel's `elf_gregset_t`.
//!
//! Source: the `user_regs_struct`, `user_pt_regs`, `pt_regs` and `s390_regs` of arch/*/include/uapi/asm/ptrace.h of Linux
//! 6.18; the names are those that gdb shows.

use crate::Architecture;

/// The names of an architecture's words; empty for what has none.
pub(super) fn of(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::X86 => &X86,
        Architecture::X86_64 | Architecture::X32 => &X86_64,
        Architecture::Arm => &ARM,
        Architecture::Aarch64 => &AARCH64,
        Architecture::Riscv64 => &RISCV64,
        Architecture::Ppc64 | Architecture::Ppc64le => &PPC64,
        Architecture::S390x => &S390X,
        Architecture::Other { .. } => &[],
    }
}

const X86: [&str; 17] = [
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip", "cs", "eflags", "esp",
    "ss",
];

const X86_64: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
];

const ARM: [&str; 18] = [
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc", "cpsr",
    "orig_r0",
];

const AARCH64: [&str; 34] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc", "pstate",
];

const RISCV64: [&str; 32] = [
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

const PPC64: [&str; 44] = [
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "r16", "r17",
    "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27", "r28", "r29", "r30", "r31", "pc", "msr",
    "orig_r3", "ctr", "lr", "xer", "cr", "softe", "trap", "dar", "dsisr", "result",
];

/// The access registers lie two a word and have no word, hence no name, of their own.
const S390X: [&str; 27] = [
    "pswm", "pswa", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "", "", "", "", "", "", "", "", "orig_r2",
];
