//! Notes that are a few numbers one after the other.

use super::thread::Subject;
use crate::opened::{Field, MOST_RECORDS};

/// `NT_ARM_HW_BREAK`.
pub(super) const HW_BREAK: u32 = 0x402;
/// `NT_ARM_HW_WATCH`.
pub(super) const HW_WATCH: u32 = 0x403;

/// A number's name and its length in bytes.
type Row = (&'static str, usize);

/// From arch/*/include/uapi/asm/ptrace.h and the register sets of arch/*/kernel/ptrace.c of Linux 6.18.
const NOTES: &[(u32, &[Row])] = &[
    (0x103, &[("tar", 8)]),
    (0x104, &[("ppr", 8)]),
    (0x105, &[("dscr", 8)]),
    (0x106, &[("ebbrr", 8), ("ebbhr", 8), ("bescr", 8)]),
    (0x107, &[("siar", 8), ("sdar", 8), ("sier", 8), ("mmcr2", 8), ("mmcr0", 8)]),
    (0x110, &[("amr", 8), ("iamr", 8), ("uamor", 8)]),
    (0x204, &[("ssp", 8)]),
    (0x301, &[("timer", 8)]),
    (0x302, &[("todcmp", 8)]),
    (0x303, &[("todpreg", 4)]),
    (0x305, &[("prefix", 4)]),
    (0x306, &[("last_break", 8)]),
    (0x307, &[("system_call", 4)]),
    (0x401, &[("tpidr_el0", 8), ("tpidr2_el0", 8)]),
    (0x404, &[("syscall", 4)]),
    (0x406, &[("data_mask", 8), ("insn_mask", 8)]),
    (0x409, &[("tagged_addr_ctrl", 8)]),
    (0x40a, &[("pac_enabled_keys", 8)]),
    (0x40e, &[("fpmr", 8)]),
    (0x40f, &[("por_el0", 8)]),
    (0x410, &[("features_enabled", 8), ("features_locked", 8), ("gcspr_el0", 8)]),
    (0x902, &[("tagged_addr_ctrl", 8)]),
];

/// The numbers of a note, as many as it has: those of older kernels are shorter. `None` when it has none that is known.
pub(super) fn fields(number: u32, subject: Subject<'_>) -> Option<Vec<Field>> {
    let (_, rows) = NOTES.iter().find(|(known, _)| *known == number)?;
    let mut at = subject.cursor();
    let value = |(name, size): &Row| Some(Field::number(name, subject.shape.order.number(at.take(*size)?)));
    let fields: Vec<Field> = rows.iter().map_while(value).collect();
    (!fields.is_empty()).then_some(fields)
}

/// `NT_386_TLS`: `struct user_desc`, one after the other.
pub(super) fn descriptors(subject: Subject<'_>) -> Vec<Field> {
    let mut at = subject.cursor();
    let entry = || {
        let names = ["entry_number", "base_addr", "limit", "flags"];
        names.into_iter().map(|name| Some(Field::number(name, at.half()?))).collect::<Option<Vec<_>>>()
    };
    vec![Field::list("Descriptors", std::iter::from_fn(entry).take(MOST_RECORDS).collect())]
}
