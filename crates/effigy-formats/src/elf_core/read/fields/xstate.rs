//! `NT_X86_XSTATE` and `NT_X86_XSAVE_LAYOUT`: which components an XSAVE area has, and where.

use super::super::super::xsave::{self, XCR0_OFFSET};
use super::thread::Subject;
use crate::opened::{Field, MOST_RECORDS};

/// Offset of XSTATE_BV in the area: which components are not in their first state. XCOMP_BV follows.
const HEADER: usize = 512;

/// The numbers of the area's header, and its components where their places are known.
pub(super) fn area(subject: Subject<'_>) -> Option<Vec<Field>> {
    let word = |at: usize| Some(subject.shape.order.number(subject.bytes.get(at..at + 8)?));
    let (xcr0, in_use, compacted) = (word(XCR0_OFFSET)?, word(HEADER)?, word(HEADER + 8)?);
    let mut fields =
        vec![Field::number("xcr0", xcr0), Field::number("xstate_bv", in_use), Field::number("xcomp_bv", compacted)];
    fields.extend(
        [("mxcsr", 24), ("mxcsr_mask", 28)]
            .into_iter()
            .filter_map(|(name, at)| Some(Field::number(name, subject.shape.order.half(subject.bytes.get(at..)?)?))),
    );
    match xsave::components(subject.bytes) {
        None => fields.push(Field::text("Layout", "not known: neither Intel's processors nor AMD's have such an area")),
        Some(placed) => {
            let record = |placed: &xsave::Placed| {
                let used = in_use & (1 << placed.bit) != 0;
                vec![
                    Field::number("Component", placed.bit),
                    Field::text("Name", placed.name),
                    Field::number("Offset", placed.offset as u64),
                    Field::number("Size", placed.size as u64),
                    Field::number("InUse", u64::from(used)),
                ]
            };
            fields.push(Field::list("Components", placed.iter().map(record).collect()));
        }
    }
    Some(fields)
}

/// `struct x86_xfeat_component`, one after the other.
pub(super) fn layout(subject: Subject<'_>) -> Vec<Field> {
    let mut at = subject.cursor();
    let entry = || {
        let (component, size) = (at.half()?, at.half()?);
        let (offset, flags) = (at.half()?, at.half()?);
        let mut record = vec![Field::number("Component", component)];
        record.extend(xsave::name_of(component).map(|name| Field::text("Name", name)));
        record.extend([Field::number("Offset", offset), Field::number("Size", size), Field::number("Flags", flags)]);
        Some(record)
    };
    vec![Field::list("Components", std::iter::from_fn(entry).take(MOST_RECORDS).collect())]
}
