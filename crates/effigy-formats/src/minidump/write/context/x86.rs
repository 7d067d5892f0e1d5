//! 32-bit x86.

use effigy_process::{Registers, note};
use zerocopy::FromZeros;

use super::{Words, leading};
use crate::minidump::layout::context::{X86, flag};

/// The CONTEXT. Word numbers are those of `struct user_regs_struct` (asm/user_32.h).
pub(super) fn context(registers: &Registers) -> X86 {
    let words = Words::of(registers);
    let mut context = X86::new_zeroed();
    context.ebx = words.low32(0).into();
    context.ecx = words.low32(1).into();
    context.edx = words.low32(2).into();
    context.esi = words.low32(3).into();
    context.edi = words.low32(4).into();
    context.ebp = words.low32(5).into();
    context.eax = words.low32(6).into();
    context.ds = u32::from(words.low16(7)).into();
    context.es = u32::from(words.low16(8)).into();
    context.fs = u32::from(words.low16(9)).into();
    context.gs = u32::from(words.low16(10)).into();
    context.eip = words.low32(12).into();
    context.cs = u32::from(words.low16(13)).into();
    context.eflags = words.low32(14).into();
    context.esp = words.low32(15).into();
    context.ss = u32::from(words.low16(16)).into();
    context.flags =
        (flag::X86 | flag::CONTROL | flag::INTEGER | flag::X86_SEGMENTS | float(&mut context, registers)).into();
    context
}

/// Fills in the floating-point registers, in their old and their new form, and says which of them there were.
fn float(context: &mut X86, registers: &Registers) -> u32 {
    let mut flags = 0;
    // `struct user_i387_ia32_struct` is the FSAVE area that a CONTEXT has too.
    if let Some(fsave) = leading(registers, note::PRFPREG) {
        context.float = fsave;
        flags |= flag::X86_FLOATING_POINT;
    }
    if let Some(fxsave) = leading(registers, note::PRXFPREG).or_else(|| leading(registers, note::X86_XSTATE)) {
        context.extended = fxsave;
        flags |= flag::X86_EXTENDED;
    }
    flags
}
