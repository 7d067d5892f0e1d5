//! `effigy handles`: what the process holds open.

use std::collections::BTreeMap;

use effigy_process::{Handle, Process};
use serde::Serialize;

use crate::cli::PlainArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject};
use crate::table::{Align, Table};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &PlainArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &PlainArgs) -> Result<Exit, Refused> {
    let subject = Subject::open(&args.target.target, Look::Passing)?;
    let process = subject.process();
    let mut page = Page::begin();
    if args.target.json {
        let handles = process.handles.iter().map(|handle| Row { type_name: handle.type_name().to_string(), handle });
        page.json(&subject.document(Answer { handles: handles.collect() }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    table(process).print(&mut page);
    if process.handles.is_empty() {
        page.line(if subject.dump().is_some() { "the dump tells of no handles" } else { "no open handles" });
    } else {
        page.line("");
        counts(process, &mut page);
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    handles: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    type_name: String,
    #[serde(flatten)]
    handle: &'a Handle,
}

fn table(process: &Process) -> Table {
    let mut table = Table::new(&[
        ("Handle", Align::Right),
        ("Type", Align::Left),
        ("Offset", Align::Right),
        ("Flags", Align::Left),
        ("Access", Align::Right),
        ("Handles", Align::Right),
        ("Pointers", Align::Right),
        ("Name", Align::Left),
    ]);
    for handle in &process.handles {
        let windows = handle.windows.as_ref();
        table.row([
            if windows.is_some() { format!("{:x}", handle.number) } else { handle.number.to_string() },
            print::safe(handle.type_name()),
            handle.offset.map(|offset| offset.to_string()).unwrap_or_default(),
            handle.flags.map(open_flags).unwrap_or_default(),
            windows.map(|windows| format!("{:x}", windows.granted_access)).unwrap_or_default(),
            windows.map(|windows| windows.handle_count.to_string()).unwrap_or_default(),
            windows.map(|windows| windows.pointer_count.to_string()).unwrap_or_default(),
            name(handle),
        ]);
    }
    table
}

/// What the handle leads to, and both ends of a socket.
fn name(handle: &Handle) -> String {
    let target = print::safe(&handle.target);
    let Some(socket) = &handle.socket else { return target };
    let safe = |text: &str| print::safe(text.as_bytes());
    let ends = match (socket.local.as_str(), socket.remote.as_str()) {
        ("", "") => String::new(),
        (local, "") => format!(" {}", safe(local)),
        (local, remote) => format!(" {} -> {}", safe(local), safe(remote)),
    };
    format!("{target} {}{ends} {}", safe(&socket.protocol), safe(&socket.state)).trim_end().to_owned()
}

/// The flags of open(2) by name, as asm-generic/fcntl.h numbers them.
fn open_flags(flags: u32) -> String {
    const NAMES: [(u32, &str); 12] = [
        (0o100, "CREAT"),
        (0o200, "EXCL"),
        (0o1000, "TRUNC"),
        (0o2000, "APPEND"),
        (0o4000, "NONBLOCK"),
        (0o10000, "DSYNC"),
        (0o20000, "ASYNC"),
        (0o40000, "DIRECT"),
        (0o200_000, "DIRECTORY"),
        (0o400_000, "NOFOLLOW"),
        (0o2_000_000, "CLOEXEC"),
        (0o10_000_000, "PATH"),
    ];
    let access = match flags & 3 {
        0 => "RDONLY",
        1 => "WRONLY",
        2 => "RDWR",
        _ => "none",
    };
    let set = NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    std::iter::once(access).chain(set).collect::<Vec<_>>().join(" ")
}

/// How many there are of each type, most first.
fn counts(process: &Process, page: &mut Page) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for handle in &process.handles {
        *counts.entry(print::safe(handle.type_name())).or_default() += 1;
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut table = Table::new(&[("Type", Align::Left), ("Count", Align::Right)]);
    rows.into_iter().for_each(|(name, count)| table.row([name, count.to_string()]));
    page.line(words::count(process.handles.len() as u64, "handle"));
    table.print(page);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names() {
        assert_eq!(open_flags(0o2_100_002), "RDWR CLOEXEC");
        assert_eq!(open_flags(0o2001), "WRONLY APPEND");
    }
}
