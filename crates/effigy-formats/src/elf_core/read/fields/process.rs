//! Notes about the process as a whole: who it is, the signal that ended it, what it was started with, its files.

use super::super::files;
use super::super::info::{ProcessInfo, auxiliary as auxiliary_values};
use super::thread::Subject;
use crate::auxiliary;
use crate::opened::{Field, MOST_RECORDS};

/// `struct elf_prpsinfo`.
pub(super) fn info(subject: Subject<'_>) -> Option<Vec<Field>> {
    let info = ProcessInfo::read(subject.shape, subject.bytes)?;
    let letter = String::from_utf8_lossy(&[info.letter]).trim_end_matches('\0').to_owned();
    Some(vec![
        Field::number("pr_state", info.state),
        Field::text("pr_sname", letter),
        Field::number("pr_zomb", info.zombie),
        Field::signed("pr_nice", info.nice),
        Field::number("pr_flag", info.flags),
        Field::number("pr_uid", info.uid),
        Field::number("pr_gid", info.gid),
        Field::number("pr_pid", info.pid),
        Field::number("pr_ppid", info.parent),
        Field::number("pr_pgrp", info.group),
        Field::number("pr_sid", info.session),
        Field::text("pr_fname", info.name.to_string()),
        Field::text("pr_psargs", info.arguments.to_string()),
    ])
}

/// What a `siginfo_t` has behind its three first numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// An address, and what the code adds to it.
    Fault,
    /// Who sent it, perhaps with a value.
    Sender {
        value: bool,
    },
    Timer,
    Child,
    Poll,
    Call,
    /// Nothing that the number and the code tell of.
    Nothing,
}

impl Rest {
    /// By `si_signo` and `si_code`: positive codes are the kernel's, and mean for each signal something else.
    fn of(number: i32, code: i32) -> Self {
        match (number, code) {
            (_, 0 | -6) => Self::Sender { value: false },
            (_, -1 | -3) => Self::Sender { value: true },
            (_, -2) => Self::Timer,
            // SI_KERNEL says that there is no more.
            (_, 0x80) => Self::Nothing,
            (4 | 5 | 7 | 8 | 11, 1..) => Self::Fault,
            (17, 1..) => Self::Child,
            (29, 1..) => Self::Poll,
            (31, 1..) => Self::Call,
            _ => Self::Nothing,
        }
    }
}

/// `siginfo_t`.
pub(super) fn signal(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let (number, error, code) = (at.half()?.cast_signed(), at.half()?.cast_signed(), at.half()?.cast_signed());
    let mut fields =
        vec![Field::signed("si_signo", number), Field::signed("si_errno", error), Field::signed("si_code", code)];
    if subject.shape.word_size() == 8 {
        at.half()?;
    }
    let rest = subject.bytes.len() - at.rest().len();
    fields.extend(details(Subject { bytes: &subject.bytes[rest..], ..subject }, number, code).unwrap_or_default());
    Some(fields)
}

/// The union behind the numbers; `None` when it is cut off.
fn details(subject: Subject<'_>, number: i32, code: i32) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut id = |name| Some(Field::number(name, at.half()?));
    Some(match Rest::of(number, code) {
        Rest::Nothing => Vec::new(),
        Rest::Sender { value } => {
            let mut fields = vec![id("si_pid")?, id("si_uid")?];
            if value {
                fields.push(Field::number("si_value", at.word()?));
            }
            fields
        }
        Rest::Timer => {
            let mut fields = vec![id("si_tid")?, id("si_overrun")?];
            fields.push(Field::number("si_value", at.word()?));
            fields
        }
        Rest::Child => {
            let mut fields = vec![id("si_pid")?, id("si_uid")?, id("si_status")?];
            if subject.shape.word_size() == 8 {
                at.half()?;
            }
            fields.extend([Field::number("si_utime", at.word()?), Field::number("si_stime", at.word()?)]);
            fields
        }
        Rest::Poll => vec![Field::number("si_band", at.word()?), Field::number("si_fd", at.half()?)],
        Rest::Call => {
            let address = Field::number("si_call_addr", at.word()?);
            vec![address, Field::number("si_syscall", at.half()?), Field::number("si_arch", at.half()?)]
        }
        Rest::Fault => fault(subject, number, code)?,
    })
}

fn fault(subject: Subject<'_>, number: i32, code: i32) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let mut fields = vec![Field::number("si_addr", at.word()?)];
    match (number, code) {
        // BUS_MCEERR_AR and BUS_MCEERR_AO: how much of the memory is broken, as a power of two.
        (7, 4 | 5) => fields.push(Field::number("si_addr_lsb", at.short()?)),
        // SEGV_BNDERR and SEGV_PKUERR: aligned as a pointer is.
        (11, 3) => {
            at.word()?;
            fields.extend([Field::number("si_lower", at.word()?), Field::number("si_upper", at.word()?)]);
        }
        (11, 4) => {
            at.word()?;
            fields.push(Field::number("si_pkey", at.half()?));
        }
        _ => {}
    }
    Some(fields)
}

/// The auxiliary vector, up to `AT_NULL`.
pub(super) fn auxiliary_vector(subject: Subject<'_>) -> Vec<Field> {
    vec![Field::list("Entries", auxiliary::records(&auxiliary_values(subject.shape, subject.bytes)))]
}

/// `NT_FILE`: sizes and offsets in bytes.
pub(super) fn files(subject: Subject<'_>) -> Option<Vec<Field>> {
    let mut at = subject.cursor();
    let (count, unit) = (at.word()?, at.word()?);
    let mut fields = vec![Field::number("count", count), Field::number("page_size", unit)];
    let mapped = files::table(subject.shape, subject.bytes, 0).ok()?;
    let entry = |file: &super::super::process::Mapped| {
        vec![
            Field::number("start", file.range.start().0),
            Field::number("end", file.range.end().0),
            Field::number("offset", file.offset),
            Field::text("path", file.path.to_string()),
        ]
    };
    fields.push(Field::list("Files", mapped.iter().take(MOST_RECORDS).map(entry).collect()));
    Some(fields)
}
