//! x86-64.

use effigy_process::{Registers, note};
use zerocopy::FromZeros;

use super::{Words, leading, word_at};
use crate::minidump::layout::context::{Amd64, flag};

/// Where in `struct user_regs_struct` (asm/user_64.h) the registers lie that a CONTEXT lists as rax, rcx, rdx, rbx, rsp,
/// rbp, rsi, rdi, r8 to r15.
const GENERAL: [usize; 16] = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];
/// Likewise cs, ds, es, fs, gs, ss.
const SEGMENTS: [usize; 6] = [17, 23, 24, 25, 26, 20];
const RIP: usize = 16;
const EFLAGS: usize = 18;

/// Where in an FXSAVE area MXCSR lies (Intel SDM volume 1, table 10-2).
const FXSAVE_MXCSR: usize = 24;

/// The CONTEXT. What it has no place for (orig_rax, segment bases, AVX) is among the register notes.
pub(super) fn context(registers: &Registers) -> Amd64 {
    let words = Words::of(registers);
    let mut context = Amd64::new_zeroed();
    let mut flags = flag::AMD64 | flag::CONTROL | flag::INTEGER | flag::X86_SEGMENTS;
    context.general = GENERAL.map(|index| words.word(index).into());
    context.segments = SEGMENTS.map(|index| words.low16(index).into());
    context.rip = words.word(RIP).into();
    context.eflags = words.low32(EFLAGS).into();
    // An XSAVE area begins with an FXSAVE area.
    if let Some(fxsave) = leading(registers, note::PRFPREG).or_else(|| leading(registers, note::X86_XSTATE)) {
        context.float = fxsave;
        context.mxcsr = word_at(&fxsave, FXSAVE_MXCSR).into();
        flags |= flag::X86_FLOATING_POINT;
    }
    context.flags = flags.into();
    context
}
