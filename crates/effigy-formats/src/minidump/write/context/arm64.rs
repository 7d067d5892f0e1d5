//! 64-bit ARM.

use std::array;

use effigy_process::{Registers, note};
use zerocopy::FromZeros;

use super::{Words, leading, word_at};
use crate::minidump::layout::context::{Arm64, flag};

/// Where in `struct user_pt_regs` (asm/ptrace.h) what follows x0 to x30 lies.
const SP: usize = 31;
const PC: usize = 32;
const PSTATE: usize = 33;

/// Length in bytes of `struct user_fpsimd_state` (asm/ptrace.h) without its reserved end, and where its parts lie.
const FPSIMD: usize = FPCR + 4;
const FPSR: usize = 512;
const FPCR: usize = 516;

/// The CONTEXT. What it has no place for (SVE, SME, TPIDR) is among the register notes.
pub(super) fn context(registers: &Registers) -> Arm64 {
    let words = Words::of(registers);
    let mut context = Arm64::new_zeroed();
    let mut flags = flag::ARM64 | flag::CONTROL | flag::INTEGER;
    context.x = array::from_fn(|index| words.word(index).into());
    context.sp = words.word(SP).into();
    context.pc = words.word(PC).into();
    context.cpsr = words.low32(PSTATE).into();
    if let Some(state) = leading::<FPSIMD>(registers, note::PRFPREG) {
        context.v.copy_from_slice(&state[..FPSR]);
        context.fpsr = word_at(&state, FPSR).into();
        context.fpcr = word_at(&state, FPCR).into();
        flags |= flag::ARM_FLOATING_POINT;
    }
    context.flags = flags.into();
    context
}
