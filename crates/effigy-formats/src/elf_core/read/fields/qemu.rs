//! `QEMU` notes: a processor of a guest, in dumps of its memory (`QEMUCPUState`, target/i386/arch_dump.c of QEMU).

use super::thread::Subject;
use crate::opened::Field;

/// Bytes of the structure in its first and only version.
pub(super) const SIZE: u64 = 440;

const GENERAL: [&str; 18] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "rflags",
];
const SEGMENTS: [&str; 10] = ["cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt"];
const CONTROL: [&str; 5] = ["cr0", "cr1", "cr2", "cr3", "cr4"];

/// As many fields as it has.
pub(super) fn fields(subject: Subject<'_>) -> Vec<Field> {
    let mut at = subject.cursor();
    let mut fields = Vec::new();
    let mut fill = || -> Option<()> {
        let version = at.half()?;
        fields.extend([Field::number("version", version), Field::number("size", at.half()?)]);
        if version != 1 {
            fields.extend(Field::undecoded("this version of the structure is not known", at.rest()));
            return None;
        }
        let mut word = || at.take(8).map(|bytes| subject.shape.order.number(bytes));
        for name in GENERAL {
            fields.push(Field::number(name, word()?));
        }
        let mut segments = Vec::new();
        for name in SEGMENTS {
            // Selector and limit, flags and padding, each two of 32 bits.
            let (first, second, base) = (word()?, word()?, word()?);
            segments.push(vec![
                Field::text("Name", name),
                Field::number("selector", first & 0xffff_ffff),
                Field::number("limit", first >> 32),
                Field::number("flags", second & 0xffff_ffff),
                Field::number("base", base),
            ]);
        }
        fields.push(Field::list("Segments", segments));
        for name in CONTROL {
            fields.push(Field::number(name, word()?));
        }
        fields.push(Field::number("kernel_gs_base", word()?));
        Some(())
    };
    // What an older or a cut note has not is not shown.
    let _ = fill();
    fields
}
