//! What changed, item by item.

use effigy_analysis::compare::{
    Comparison, MemoryComparison, ModuleDifferences, RegionChangeKind, RegionDifferences, ThreadChange,
    ThreadDifferences, ThreadFacts,
};
use effigy_dump::sink::size;
use effigy_process::Process;

use crate::print::{self, Page};
use crate::subject::Subject;
use crate::words;

/// Prints everything that changed.
pub(super) fn print(
    before: &Subject,
    after: &Subject,
    comparison: &Comparison,
    memory: Option<&MemoryComparison>,
    page: &mut Page,
) {
    let (old, new) = (before.process(), after.process());
    threads(&comparison.threads, new, page);
    if let Some(differences) = &comparison.modules {
        modules(differences, old, new, page);
    }
    if let Some(differences) = &comparison.regions {
        regions(differences, new, page);
    }
    if let Some(memory) = memory {
        changed_memory(memory, after, page);
    }
}

fn thread_name(thread: &ThreadFacts) -> String {
    let name = thread.name.as_ref().map(|name| format!(" \"{}\"", print::safe(name))).unwrap_or_default();
    format!("thread {}{name}", thread.id)
}

fn threads(differences: &ThreadDifferences, process: &Process, page: &mut Page) {
    differences.gone.iter().for_each(|thread| page.line(format!("- {}", thread_name(thread))));
    differences.new.iter().for_each(|thread| page.line(format!("+ {}", thread_name(thread))));
    for change in &differences.changed {
        page.line(format!("~ {}{}", thread_name(&change.after), thread_changes(change)));
        for register in &change.changed_registers {
            let size = process.architecture.word_size();
            let [before, after] = [register.before, register.after].map(|value| words::number(value, size));
            page.line(format!("    {:<8} {before} -> {after}", register.name));
        }
        if !change.changed_sets.is_empty() {
            let sets: Vec<_> = change.changed_sets.iter().map(|set| format!("{set:#x}")).collect();
            page.line(format!("    register sets: {}", sets.join(" ")));
        }
    }
}

fn thread_changes(change: &ThreadChange) -> String {
    use effigy_analysis::compare::RegisterComparison;
    let mut text = String::new();
    if change.before.name != change.after.name {
        let before = change.before.name.as_ref().map(|name| print::safe(name)).unwrap_or_default();
        text = format!(", was \"{before}\"");
    }
    if let (Some(before), Some(after)) = (change.before.state, change.after.state)
        && before != after
    {
        text = format!("{text}, state {} -> {}", before.0, after.0);
    }
    if change.registers == RegisterComparison::NotCompared {
        text.push_str(", registers not compared");
    }
    text
}

fn modules(differences: &ModuleDifferences, old: &Process, new: &Process, page: &mut Page) {
    let line = |sign, process: &Process, module: &effigy_process::Module| {
        format!("{sign} {}  {}", words::range(process, module.range), print::safe(&module.path))
    };
    differences.unloaded.iter().for_each(|module| page.line(line('-', old, module)));
    differences.loaded.iter().for_each(|module| page.line(line('+', new, module)));
    for change in &differences.changed {
        let what: Vec<_> = change.differences.iter().map(|what| format!("{what:?}").to_lowercase()).collect();
        page.line(format!("{} ({})", line('~', new, &change.after), what.join(", ")));
    }
}

/// `3 added (12.0 KiB), 1 grown (4.0 KiB)`.
pub(super) fn region_counts(differences: &RegionDifferences) -> String {
    const KINDS: [RegionChangeKind; 5] = [
        RegionChangeKind::Added,
        RegionChangeKind::Removed,
        RegionChangeKind::Grown,
        RegionChangeKind::Shrunk,
        RegionChangeKind::Changed,
    ];
    let part = |kind: RegionChangeKind| {
        let of_kind = differences.changes.iter().filter(|change| change.change == kind);
        let (count, bytes) =
            of_kind.fold((0, 0u64), |(count, bytes), change| (count + 1, bytes.saturating_add(change.range.size())));
        if count == 0 {
            format!("0 {}", kind_word(kind))
        } else {
            format!("{count} {} ({})", kind_word(kind), size(bytes))
        }
    };
    KINDS.map(part).join(", ")
}

fn kind_word(kind: RegionChangeKind) -> &'static str {
    match kind {
        RegionChangeKind::Added => "added",
        RegionChangeKind::Removed => "removed",
        RegionChangeKind::Grown => "grown",
        RegionChangeKind::Shrunk => "shrunk",
        RegionChangeKind::Changed => "changed",
    }
}

fn regions(differences: &RegionDifferences, process: &Process, page: &mut Page) {
    for change in &differences.changes {
        let sign = match change.change {
            RegionChangeKind::Added | RegionChangeKind::Grown => '+',
            RegionChangeKind::Removed | RegionChangeKind::Shrunk => '-',
            RegionChangeKind::Changed => '~',
        };
        let facts = change.after.as_deref().or(change.before.as_deref());
        let name = facts.map(|facts| print::safe(&facts.name)).unwrap_or_default();
        let rights = match (&change.before, &change.after) {
            (Some(before), Some(after)) if before.protection != after.protection => {
                format!("{} -> {}", before.protection, after.protection)
            }
            _ => facts.map(|facts| facts.protection.to_string()).unwrap_or_default(),
        };
        let range = words::range(process, change.range);
        page.line(format!("{sign} {range}  {}  {rights}  {name}", kind_word(change.change)).trim_end());
    }
}

fn changed_memory(memory: &MemoryComparison, after: &Subject, page: &mut Page) {
    let process = after.process();
    for changed in &memory.changed_ranges {
        let range = words::range(process, changed.range);
        let place = after.place(changed.range.start()).unwrap_or_else(|| {
            process.region_at(changed.range.start()).map(|region| print::safe(&region.name)).unwrap_or_default()
        });
        let bytes = words::count(changed.changed_bytes, "byte");
        page.line(format!("~ {range}  {bytes} changed  {place}").trim_end());
    }
    let more = memory.changed_range_count.saturating_sub(memory.changed_ranges.len() as u64);
    if more > 0 {
        page.line(format!("  and {} of changed memory more (--limit)", words::count(more, "range")));
    }
}
