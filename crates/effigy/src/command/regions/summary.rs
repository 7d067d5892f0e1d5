//! The address space in a few tables: WinDbg's `!address -summary`.

use effigy_analysis::address_space::{AddressSpace, Kind, Rights, Row, State, Usage, WorkingSet};
use effigy_process::{MemoryCounters, PageFaults, Region};
use serde::Serialize;

use super::held::{Held, when_counted};
use super::{kind_name, state_name, usage_name};
use crate::print::Page;
use crate::subject::Subject;
use crate::words;

/// The tables as JSON; docs/json.md describes them.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    total_bytes: u64,
    busy_bytes: u64,
    by_usage: &'a [Row<Usage>],
    by_kind: &'a [Row<Kind>],
    by_state: &'a [Row<State>],
    by_protection: &'a [Row<Rights>],
    working_set: Option<WorkingSet>,
    /// Bytes of files of which the process has copies of its own.
    copied_on_write: Option<u64>,
    /// Bytes of what is in use that the dump holds, and that image files have of the rest.
    #[serde(flatten)]
    held: Held,
    memory: Option<&'a MemoryCounters>,
    page_faults: Option<&'a PageFaults>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(subject: &'a Subject, space: &'a AddressSpace) -> Self {
        Self {
            total_bytes: space.total_bytes,
            busy_bytes: space.busy_bytes,
            by_usage: &space.by_usage,
            by_kind: &space.by_kind,
            by_state: &space.by_state,
            by_protection: &space.by_protection,
            working_set: space.working_set,
            copied_on_write: copied_on_write(subject),
            held: held(subject, space),
            memory: subject.process().counters.as_ref(),
            page_faults: subject.process().page_faults.as_ref(),
        }
    }
}

/// What the process has copied of the files that it has mapped; `None` when that is known of no region.
fn copied_on_write(subject: &Subject) -> Option<u64> {
    subject.process().regions.iter().filter_map(Region::copied_on_write).reduce(u64::saturating_add)
}

fn held(subject: &Subject, space: &AddressSpace) -> Held {
    let busy = space.regions.iter().filter(|region| region.is_busy());
    let none = Held { in_dump: Some(0), from_images: Some(0) };
    let add = |sum: Option<u64>, bytes: Option<u64>| Some(sum?.saturating_add(bytes?));
    let sum = busy.map(|region| Held::of(subject, region.range)).fold(none, |sum, held| Held {
        in_dump: add(sum.in_dump, held.in_dump),
        from_images: add(sum.from_images, held.from_images),
    });
    Held {
        in_dump: sum.in_dump.filter(|_| subject.dump().is_some()),
        from_images: sum.from_images.filter(|_| subject.images().is_some()),
    }
}

/// Prints the tables.
pub(super) fn print(subject: &Subject, space: &AddressSpace, page: &mut Page) {
    table("Usage Summary", &space.by_usage, |usage| usage_name(*usage).to_owned(), page);
    table("Type Summary (for busy)", &space.by_kind, |kind| kind_name(*kind).to_owned(), page);
    table("State Summary", &space.by_state, |state| state_name(*state).to_owned(), page);
    table("Protect Summary (for commit)", &space.by_protection, ToString::to_string, page);
    page.line(format!("--- {:-<36}{:-^21} {:-^34}", "Largest Region by Usage ", " Base Address ", " Region Size "));
    for row in &space.by_usage {
        let base = words::address(subject.process(), row.largest.start());
        page.line(format!("{:<40} {base:>20} {:>34}", usage_name(row.key), long_size(row.largest.size())));
    }
    working_set(subject, space, page);
    where_it_is(subject, space, page);
    if !space.listed {
        page.line("");
        page.line("The dump lists no regions: these are its modules and stacks.");
    }
}

fn table<K>(title: &str, rows: &[Row<K>], name: impl Fn(&K) -> String, page: &mut Page) {
    if rows.is_empty() {
        return;
    }
    page.line(format!(
        "--- {:-<36}{:->10} {:-^34} {:>7} {:>8}",
        format!("{title} "),
        " RgnCount",
        " Total Size ",
        "%ofBusy",
        "%ofTotal"
    ));
    for row in rows {
        let busy = row.percent_of_busy.map(|percent| format!("{percent:.2}%")).unwrap_or_default();
        let (size, total) = (long_size(row.bytes), row.percent_of_total);
        page.line(format!("{:<40}{:>10} {size:>34} {busy:>7} {total:>7.2}%", name(&row.key), row.count));
    }
    page.line("");
}

fn working_set(subject: &Subject, space: &AddressSpace, page: &mut Page) {
    let process = subject.process();
    let mut rows = Vec::new();
    if let Some(set) = &space.working_set {
        rows.extend([("Resident", set.resident), ("  Private", set.private), ("  Shared", set.shared)]);
        rows.extend(copied_on_write(subject).map(|bytes| ("  Copied on write", bytes)));
        rows.push(("Swapped out", set.swapped));
    } else if let Some(counters) = &process.counters {
        rows.extend([("Resident", counters.resident), ("  Private", counters.resident_anonymous)]);
        rows.push(("  Shared", counters.resident_file.saturating_add(counters.resident_shared)));
        rows.push(("Swapped out", counters.swapped));
    }
    if let Some(counters) = &process.counters {
        rows.extend([("Locked", counters.locked), ("Peak resident", counters.peak_resident)]);
        rows.push(("Page tables", counters.page_tables));
    }
    if rows.is_empty() {
        return;
    }
    page.line("");
    page.line(format!("--- {:-<36}", "Working Set "));
    for (name, bytes) in rows {
        page.line(format!("{name:<40} {:>43}", long_size(bytes)));
    }
    if let Some(faults) = &process.page_faults {
        page.line(format!("{:<40} {:>43}", "Soft faults", faults.minor));
        page.line(format!("{:<40} {:>43}", "Hard faults", faults.major));
    }
    if let Some(text) = when_counted(subject).filter(|_| space.working_set.is_some()) {
        page.line(format!("Resident and swapped memory was counted {text}."));
    }
}

/// What of the memory a dump holds, and what of the rest image files have.
fn where_it_is(subject: &Subject, space: &AddressSpace, page: &mut Page) {
    let held = held(subject, space);
    let Some(in_dump) = held.in_dump else { return };
    page.line("");
    page.line(format!("--- {:-<36}", "Contents "));
    page.line(format!("{:<40} {:>43}", "In this dump", long_size(in_dump)));
    if let Some(bytes) = held.from_images.filter(|bytes| *bytes > 0) {
        page.line(format!("{:<40} {:>43}", "From image files", long_size(bytes)));
    }
}

/// ``7df9`74541000 ( 125.974 TB)``.
pub(super) fn long_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = [" B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown of it")]
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{:>17} ({number:>8.3} {})", words::short_number(bytes), UNITS[unit]).trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::long_size;

    #[test]
    fn sizes_in_hexadecimal_and_in_words() {
        assert_eq!(long_size(0x7df9_7454_1000), "7df9`74541000 ( 125.974 TB)");
        assert_eq!(long_size(0x1000), "1000 (   4.000 kB)");
    }
}
