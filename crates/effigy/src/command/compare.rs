//! `effigy compare`: what changed from one dump or running process to another.

mod details;

use std::ops::ControlFlow;

use effigy_analysis::compare::{Comparison, Count, MemoryComparison, MemoryOptions, MemorySide, compare_memory};
use effigy_dump::sink::size;
use effigy_process::AddressRange;
use serde::Serialize;

use crate::cli::CompareArgs;
use crate::exit::Exit;
use crate::print::Page;
use crate::subject::{Look, Places, Refused, Source, Subject};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &CompareArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &CompareArgs) -> Result<Exit, Refused> {
    let mut before = Subject::open(&args.before, Look::Passing)?;
    let mut after = Subject::open(&args.after, Look::Passing)?;
    if !args.image_path.is_empty() && !args.no_memory {
        let places = Places::folders(&args.image_path);
        before.fill_from(&places, None);
        after.fill_from(&places, None);
    }
    let comparison = Comparison::of(before.process(), after.process());
    let memory = (!args.no_memory).then(|| memory(&before, &after, args.limit));
    let mut page = Page::begin();
    if args.json {
        page.json(&Answer { before: before.source(), after: after.source(), comparison, memory });
        return Ok(page.finish());
    }
    before.say_warnings();
    after.say_warnings();
    page.line(format!("before: {}", headline(&before)));
    page.line(format!("after:  {}", headline(&after)));
    if before.process().architecture != after.process().architecture {
        page.line("the two are of different architectures");
    }
    summary(&comparison, memory.as_ref(), &mut page);
    if args.details {
        details::print(&before, &after, &comparison, memory.as_ref(), &mut page);
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    before: Source<'a>,
    after: Source<'a>,
    #[serde(flatten)]
    comparison: Comparison,
    memory: Option<MemoryComparison>,
}

/// Compares the memory that there is.
fn memory(before: &Subject, after: &Subject, list: usize) -> MemoryComparison {
    let ranges = |subject: &Subject| -> Vec<AddressRange> {
        subject.memory().captured().iter().map(|captured| captured.range).collect()
    };
    let (old, new) = (ranges(before), ranges(after));
    let page_size = before.process().system.page_size;
    compare_memory(
        MemorySide { memory: before.memory(), ranges: &old },
        MemorySide { memory: after.memory(), ranges: &new },
        MemoryOptions { page_size, list, ..MemoryOptions::default() },
        |_| ControlFlow::Continue(()),
    )
}

/// `app.dmp: redis-server (pid 4711), Sat Nov 21 …`.
fn headline(subject: &Subject) -> String {
    let process = subject.process();
    let pid = process.identity.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let name = crate::print::safe(&process.identity.name);
    format!("{}: {name}{pid}", subject.name())
}

fn summary(comparison: &Comparison, memory: Option<&MemoryComparison>, page: &mut Page) {
    let threads = &comparison.threads;
    page.line(format!(
        "threads: {} new, {} gone, {} changed, {} unchanged",
        threads.new.len(),
        threads.gone.len(),
        threads.changed.len(),
        threads.unchanged
    ));
    match &comparison.modules {
        Some(modules) => page.line(format!(
            "modules: {} loaded, {} unloaded, {} changed, {} unchanged",
            modules.loaded.len(),
            modules.unloaded.len(),
            modules.changed.len(),
            modules.unchanged
        )),
        None => page.line("modules: not compared, as one of the two lists none"),
    }
    match &comparison.regions {
        Some(regions) => page.line(format!(
            "regions: {}, {} unchanged",
            details::region_counts(regions),
            size(regions.unchanged_bytes)
        )),
        None => page.line("regions: not compared, as one of the two lists none"),
    }
    let Some(memory) = memory else { return };
    let pages = |count: &Count| format!("{} ({})", words::count(count.pages, "page"), size(count.bytes));
    page.line(format!(
        "memory:  {} changed in {}, {} equal",
        pages(&memory.changed),
        words::count(memory.changed_range_count, "range"),
        pages(&memory.equal)
    ));
    for (side, counts) in [("before", &memory.only_before), ("after", &memory.only_after)] {
        for (reason, count) in counts {
            page.line(format!("         {} only {side} (in the other: {})", pages(count), reason.replace('_', " ")));
        }
    }
    if memory.neither.bytes > 0 {
        page.line(format!("         {} could be read of neither", pages(&memory.neither)));
    }
}
