//! Registers: the CONTEXT of each architecture, and effigy's own lossless notes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `ContextFlags`: the architecture's bit, and below it which parts of the CONTEXT are valid.
pub(crate) mod flag {
    /// `CONTEXT_AMD64`.
    pub(crate) const AMD64: u32 = 0x10_0000;
    /// `CONTEXT_i386`.
    pub(crate) const X86: u32 = 0x1_0000;
    /// `CONTEXT_ARM64`.
    pub(crate) const ARM64: u32 = 0x40_0000;
    /// `MD_CONTEXT_ARM` (Breakpad).
    pub(crate) const ARM: u32 = 0x4000_0000;

    /// Instruction and stack pointer and their like, on every architecture.
    pub(crate) const CONTROL: u32 = 0x1;
    /// The other general registers, on every architecture.
    pub(crate) const INTEGER: u32 = 0x2;
    /// ds, es, fs and gs (x86 and x86-64).
    pub(crate) const X86_SEGMENTS: u32 = 0x4;
    /// Floating point (x86 and x86-64).
    pub(crate) const X86_FLOATING_POINT: u32 = 0x8;
    /// FXSAVE area (x86).
    pub(crate) const X86_EXTENDED: u32 = 0x20;
    /// Floating point (ARM and ARM64).
    pub(crate) const ARM_FLOATING_POINT: u32 = 0x4;
}

/// `CONTEXT` of x86-64 (winnt.h).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Amd64 {
    pub(crate) home: [U64; 6],
    pub(crate) flags: U32,
    pub(crate) mxcsr: U32,
    /// cs, ds, es, fs, gs, ss.
    pub(crate) segments: [U16; 6],
    pub(crate) eflags: U32,
    pub(crate) debug: [U64; 6],
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15: the order of their numbers in machine code.
    pub(crate) general: [U64; 16],
    pub(crate) rip: U64,
    /// FXSAVE area.
    pub(crate) float: [u8; 512],
    pub(crate) vector: [[u8; 16]; 26],
    pub(crate) vector_control: U64,
    pub(crate) debug_control: [U64; 5],
}

/// `CONTEXT` of x86 (winnt.h).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct X86 {
    pub(crate) flags: U32,
    pub(crate) debug: [U32; 6],
    /// FSAVE area.
    pub(crate) float: [u8; 108],
    pub(crate) cr0_npx_state: U32,
    pub(crate) gs: U32,
    pub(crate) fs: U32,
    pub(crate) es: U32,
    pub(crate) ds: U32,
    pub(crate) edi: U32,
    pub(crate) esi: U32,
    pub(crate) ebx: U32,
    pub(crate) edx: U32,
    pub(crate) ecx: U32,
    pub(crate) eax: U32,
    pub(crate) ebp: U32,
    pub(crate) eip: U32,
    pub(crate) cs: U32,
    pub(crate) eflags: U32,
    pub(crate) esp: U32,
    pub(crate) ss: U32,
    /// FXSAVE area.
    pub(crate) extended: [u8; 512],
}

/// `ARM64_NT_CONTEXT` (winnt.h), which Breakpad uses too.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Arm64 {
    pub(crate) flags: U32,
    pub(crate) cpsr: U32,
    pub(crate) x: [U64; 31],
    pub(crate) sp: U64,
    pub(crate) pc: U64,
    pub(crate) v: [u8; 512],
    pub(crate) fpcr: U32,
    pub(crate) fpsr: U32,
    /// Breakpoint and watchpoint registers.
    pub(crate) debug: [u8; 120],
}

/// `MDRawContextARM64_Old` (Breakpad), which goes with the architecture 0x8003: the flags have 64 bits, cpsr comes behind
/// pc, and floating point is at the end.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Arm64Old {
    pub(crate) flags: U64,
    pub(crate) x: [U64; 31],
    pub(crate) sp: U64,
    pub(crate) pc: U64,
    pub(crate) cpsr: U32,
    pub(crate) fpsr: U32,
    pub(crate) fpcr: U32,
    pub(crate) v: [u8; 512],
}

/// `MDRawContextARM` (Breakpad; not the CONTEXT of winnt.h).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Arm {
    pub(crate) flags: U32,
    pub(crate) r: [U32; 16],
    pub(crate) cpsr: U32,
    pub(crate) fpscr: U64,
    pub(crate) d: [u8; 256],
    pub(crate) extra: [U32; 8],
}

const _: () = {
    assert!(size_of::<Amd64>() == 1232);
    assert!(size_of::<X86>() == 716);
    assert!(size_of::<Arm64>() == 912);
    assert!(size_of::<Arm64Old>() == 796);
    assert!(size_of::<Arm>() == 368);
};

/// Start of the stream of register notes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct NotesHeader {
    /// [`NOTES_VERSION`].
    pub(crate) version: U32,
    /// Number of threads that follow.
    pub(crate) threads: U32,
}

/// Version of the stream of register notes.
pub(crate) const NOTES_VERSION: u32 = 1;

/// Start of a thread's register notes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ThreadNotes {
    pub(crate) id: U32,
    /// ELF machine (`EM_*`) in whose layout the notes are.
    pub(crate) machine: U16,
    /// Number of notes that follow.
    pub(crate) notes: U16,
}

/// Start of a register note.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct NoteHeader {
    /// `n_type`; of `NT_PRSTATUS` only the registers follow, `elf_gregset_t`.
    pub(crate) kind: U32,
    /// Length in bytes, padding not included.
    pub(crate) size: U32,
}
