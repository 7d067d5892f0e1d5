//! Register sets of arm and arm64 (arch/arm64/include/uapi/asm/ptrace.h of Linux 6.18).

use super::thread::Subject;
use crate::opened::Field;

const D: [&str; 32] = [
    "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15", "d16", "d17",
    "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29", "d30", "d31",
];
/// Bit of `flags` in `struct user_sve_header`: SVE registers follow, and not those of FPSIMD.
const HAS_SVE: u16 = 1;

/// `NT_ARM_VFP`: 32 registers and a status register.
pub(super) fn vfp(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = Vec::with_capacity(D.len() + 1);
    for name in D {
        fields.push(Field::number(name, subject.shape.order.number(at.take(8)?)));
    }
    fields.push(Field::number("fpscr", at.half()?));
    Some(fields)
}

/// `struct user_sve_header` of `NT_ARM_SVE` and `NT_ARM_SSVE`.
pub(super) fn scalable(subject: Subject<'_>) -> Option<Vec<Field>> {
    let (mut fields, flags) = header(subject)?;
    let content = if flags & HAS_SVE != 0 { "SVE registers" } else { "FPSIMD registers" };
    fields.push(Field::text("content", content));
    Some(fields)
}

/// `struct user_za_header` of `NT_ARM_ZA`, which has the same fields; without the array when that is not in use.
pub(super) fn array(subject: Subject<'_>) -> Option<Vec<Field>> {
    let (mut fields, _) = header(subject)?;
    let content = if subject.bytes.len() > HEADER_SIZE { "the array" } else { "nothing: the array is not in use" };
    fields.push(Field::text("content", content));
    Some(fields)
}

const HEADER_SIZE: usize = 16;

/// The header and its flags; lengths in bytes.
fn header(subject: Subject<'_>) -> Option<(Vec<Field>, u16)> {
    let mut at = subject.cursor();
    let mut fields = vec![Field::number("size", at.half()?), Field::number("max_size", at.half()?)];
    fields.extend([Field::number("vl", at.short()?), Field::number("max_vl", at.short()?)]);
    let flags = at.short()?;
    fields.push(Field::number("flags", flags));
    Some((fields, flags))
}

/// `struct user_hwdebug_state`: breakpoints or watchpoints, as many as the processor has.
pub(super) fn debug_registers(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let info = at.half()?;
    at.half()?;
    let entry = || {
        let (address, control) = (subject.shape.order.number(at.take(8)?), at.half()?);
        at.half()?;
        Some(vec![Field::number("addr", address), Field::number("ctrl", control)])
    };
    // The kernel's structure has room for sixteen.
    let registers = std::iter::from_fn(entry).take(16).collect();
    Some(vec![Field::number("dbg_info", info), Field::list("dbg_regs", registers)])
}
