//! `NT_PRSTATUS`: a thread and its general registers.

use effigy_process::{Architecture, CompactBytes, RegisterSet, Registers, note};

use super::super::cursor::{Cursor, Shape};
use super::super::threads::general;
use crate::opened::Field;

/// A note that is to be decoded.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) shape: Shape,
    pub(super) architecture: Architecture,
    pub(super) bytes: &'a [u8],
}

impl<'a> Subject<'a> {
    pub(super) fn cursor(&self) -> Cursor<'a> {
        self.shape.cursor(self.bytes)
    }

    /// A number of a register's length, its highest digit first.
    pub(super) fn wide(&self, bytes: &[u8]) -> String {
        let mut bytes = bytes.to_vec();
        if self.shape.order == effigy_process::ByteOrder::Little {
            bytes.reverse();
        }
        format!("0x{}", crate::opened::hexadecimal(&bytes))
    }
}

/// `struct elf_prstatus`; `None` when it is too short for what stands before the registers.
pub(super) fn status(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = Vec::with_capacity(48);
    for name in ["si_signo", "si_code", "si_errno"] {
        fields.push(Field::signed(name, at.half()?.cast_signed()));
    }
    fields.push(Field::signed("pr_cursig", at.short()?.cast_signed()));
    at.short()?;
    fields.push(Field::number("pr_sigpend", at.word()?));
    fields.push(Field::number("pr_sighold", at.word()?));
    for name in ["pr_pid", "pr_ppid", "pr_pgrp", "pr_sid"] {
        fields.push(Field::number(name, at.half()?));
    }
    for name in ["pr_utime", "pr_stime", "pr_cutime", "pr_cstime"] {
        fields.push(Field::text(name, time(&mut at)?));
    }
    let (registers, missing) = general(subject.architecture, subject.shape.class, subject.bytes)?;
    let behind = at.rest().get(registers.len()..).unwrap_or_default();
    let sets = vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(registers) }];
    let (architecture, byte_order) = (subject.architecture, subject.shape.order);
    let registers = Registers { architecture, byte_order, sets, missing }.general()?;
    fields.extend(registers.named().map(|(name, value)| Field::number(name, value)));
    fields.extend(subject.shape.cursor(behind).half().map(|valid| Field::number("pr_fpvalid", valid)));
    Some(fields)
}

/// A `timeval` as seconds with their millionths.
pub(super) fn time(at: &mut Cursor<'_>) -> Option<String> {
    let (seconds, micros) = (at.word()?, at.word()?);
    Some(format!("{seconds}.{micros:06}"))
}
