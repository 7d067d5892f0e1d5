//! `effigy source`: the line of source that an address belongs to, and its surroundings where the file is there.

use std::path::Path;

use effigy_process::Address;
use effigy_symbols::{Name, demangle};
use serde::Serialize;

use crate::cli::SourceArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject};

/// Longest source file that is read, in bytes.
const LONGEST_SOURCE: u64 = 16 << 20;

/// Runs the command.
pub(crate) fn run(args: &SourceArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &SourceArgs) -> Result<Exit, Refused> {
    let look = if args.address.contains('@') { Look::Registers } else { Look::Passing };
    let subject = Subject::open(&args.target.target, look)?;
    let symbols = subject.symbols(&args.symbols)?;
    let (address, _) = super::symbol::place(&subject, &symbols, &args.address)?;
    let (_, names) = symbols.names_at(address);
    let lines: Vec<Line> = names.iter().filter_map(Line::of).collect();
    symbols.save();
    let mut page = Page::begin();
    if args.target.json {
        page.json(&subject.document(Answer { address, lines }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    symbols.warnings().iter().for_each(|text| print::note(&format!("effigy: warning: {text}")));
    if lines.is_empty() {
        let what = print::safe(args.address.as_bytes());
        page.line(format!("no line of source is known for {what}: there are no symbols with lines of it"));
    }
    for (index, line) in lines.iter().enumerate() {
        let what = if line.inlined { " (inlined)" } else { "" };
        let file = print::safe(line.file.as_bytes());
        page.line(format!("{}{what}  [{file}:{}]", print::safe(line.function.as_bytes()), line.line));
        if index == 0 {
            surroundings(line, args.context, &mut page);
        }
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer {
    address: Address,
    /// Innermost first: a function that was inlined, then where it was called from.
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    function: String,
    file: String,
    line: u32,
    column: Option<u32>,
    inlined: bool,
}

impl Line {
    fn of(name: &Name) -> Option<Self> {
        let line = name.line.as_ref()?;
        let function = demangle::demangle(&name.function);
        Some(Self {
            function: function.unwrap_or_else(|| String::from_utf8_lossy(&name.function).into_owned()),
            file: line.file.to_string(),
            line: line.line,
            column: Some(line.column).filter(|column| *column > 0),
            inlined: name.inlined,
        })
    }
}

/// The lines around, where the file is on this machine. Whether it is the version that was compiled is not known.
fn surroundings(line: &Line, context: usize, page: &mut Page) {
    let path = Path::new(&line.file);
    let is_ordinary = path.metadata().is_ok_and(|about| about.is_file() && about.len() <= LONGEST_SOURCE);
    let Some(text) = is_ordinary.then(|| std::fs::read(path).ok()).flatten() else { return };
    let at = usize::try_from(line.line).unwrap_or(usize::MAX).saturating_sub(1);
    let first = at.saturating_sub(context);
    let count = at.saturating_sub(first).saturating_add(context).saturating_add(1);
    for (index, text) in text.split(|byte| *byte == b'\n').enumerate().skip(first).take(count) {
        let mark = if index == at { ">" } else { " " };
        page.line(format!("{mark}{:6}  {}", index + 1, print::safe(text)));
    }
}
