//! 32-bit ARM.

use std::array;

use effigy_process::{Registers, note};
use zerocopy::FromZeros;

use super::{Words, leading, word_at};
use crate::minidump::layout::context::{Arm, flag};

/// Where in `struct pt_regs` (asm/ptrace.h) the status register lies, behind r0 to r15.
const CPSR: usize = 16;

/// Where in the VFP note FPSCR lies, behind d0 to d31 (`struct user_vfp`, asm/user.h), and the length up to there.
const FPSCR: usize = 256;
const VFP: usize = FPSCR + 4;

/// The CONTEXT.
pub(super) fn context(registers: &Registers) -> Arm {
    let words = Words::of(registers);
    let mut context = Arm::new_zeroed();
    let mut flags = flag::ARM | flag::CONTROL | flag::INTEGER;
    context.r = array::from_fn(|index| words.low32(index).into());
    context.cpsr = words.low32(CPSR).into();
    if let Some(vfp) = leading::<VFP>(registers, note::ARM_VFP) {
        context.d.copy_from_slice(&vfp[..FPSCR]);
        context.fpscr = u64::from(word_at(&vfp, FPSCR)).into();
        flags |= flag::ARM_FLOATING_POINT;
    }
    context.flags = flags.into();
    context
}
