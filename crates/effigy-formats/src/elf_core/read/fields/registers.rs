//! Floating-point and vector registers. Numbers that are longer than 64 bits are texts, their highest digit first.

use effigy_process::Architecture;

use super::thread::Subject;
use crate::opened::Field;

/// Names of numbered registers.
const ST: [&str; 8] = ["st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"];
const XMM: [&str; 16] = [
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
    "xmm14", "xmm15",
];
const F: [&str; 32] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15", "f16", "f17",
    "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27", "f28", "f29", "f30", "f31",
];
const V: [&str; 32] = [
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17",
    "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31",
];

/// `NT_PRFPREG`, which each architecture has a structure of its own for; `None` where that is not known or cut off.
pub(super) fn floating_point(subject: Subject<'_>) -> Option<Vec<Field>> {
    match subject.architecture {
        Architecture::X86_64 | Architecture::X32 => fxsave(subject, XMM.len()),
        Architecture::X86 => fsave(subject),
        Architecture::Aarch64 => advanced(subject),
        Architecture::Riscv64 => numbered(subject, 32, "fcsr", 4),
        Architecture::Ppc64 | Architecture::Ppc64le => numbered(subject, 32, "fpscr", 8),
        Architecture::S390x => {
            let mut at = subject.cursor();
            let mut fields = vec![Field::number("fpc", at.half()?)];
            at.half()?;
            for name in &F[..16] {
                fields.push(Field::number(name, at.word()?));
            }
            Some(fields)
        }
        _ => None,
    }
}

/// What FXSAVE stores (Intel SDM volume 1, section 10.5.1), with so many vector registers.
pub(super) fn fxsave(subject: Subject<'_>, vectors: usize) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = Vec::with_capacity(40);
    for name in ["fcw", "fsw", "ftw", "fop"] {
        fields.push(Field::number(name, at.short()?));
    }
    let shape = subject.shape;
    // With 64 bits the addresses take all of their eight bytes; with 32 the upper half is a selector.
    fields.push(Field::number("fip", shape.order.number(at.take(8)?)));
    fields.push(Field::number("fdp", shape.order.number(at.take(8)?)));
    fields.extend([Field::number("mxcsr", at.half()?), Field::number("mxcsr_mask", at.half()?)]);
    for name in ST {
        fields.push(Field::text(name, subject.wide(&at.take(16)?[..10])));
    }
    for name in &XMM[..vectors.min(XMM.len())] {
        fields.push(Field::text(name, subject.wide(at.take(16)?)));
    }
    Some(fields)
}

/// What FSAVE stores with 32 bits.
fn fsave(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = Vec::with_capacity(15);
    for name in ["fctrl", "fstat", "ftag", "fip", "fcs", "foo", "fos"] {
        let value = at.half()?;
        // The upper halves of control, status and tag word are reserved, and ones.
        let is_short = matches!(name, "fctrl" | "fstat" | "ftag");
        fields.push(Field::number(name, if is_short { value & 0xffff } else { value }));
    }
    for name in ST {
        fields.push(Field::text(name, subject.wide(at.take(10)?)));
    }
    Some(fields)
}

/// `struct user_fpsimd_state` of arm64.
fn advanced(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = Vec::with_capacity(34);
    for name in V {
        fields.push(Field::text(name, subject.wide(at.take(16)?)));
    }
    fields.extend([Field::number("fpsr", at.half()?), Field::number("fpcr", at.half()?)]);
    Some(fields)
}

/// Registers of 64 bits, then a control register.
fn numbered(subject: Subject<'_>, count: usize, control: &'static str, size: usize) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = Vec::with_capacity(count + 1);
    for name in &F[..count.min(F.len())] {
        fields.push(Field::number(name, subject.shape.order.number(at.take(8)?)));
    }
    fields.extend(at.take(size).map(|bytes| Field::number(control, subject.shape.order.number(bytes))));
    Some(fields)
}
