//! `effigy symbol`: what lies at an address, and where a name lies: WinDbg's `ln` and `x`.

use std::ops::ControlFlow;

use effigy_process::{Address, Process};
use effigy_symbols::{Symbol, SymbolTable, demangle};
use serde::Serialize;

use crate::cli::SymbolCommandArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject, Symbols, matches_pattern};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &SymbolCommandArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &SymbolCommandArgs) -> Result<Exit, Refused> {
    let look = if args.what.contains('@') { Look::Registers } else { Look::Passing };
    let subject = Subject::open(&args.target.target, look)?;
    let symbols = subject.symbols(&args.symbols)?;
    let mut found = Vec::new();
    match subject.address(&args.what, None) {
        Ok(address) => found.extend(at(&symbols, subject.process(), address)),
        Err(_) => _ = search(&symbols, subject.process(), &args.what, args.limit, &mut found),
    }
    let mut page = Page::begin();
    if args.target.json {
        page.json(&subject.document(Answer { symbols: found }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    symbols.warnings().iter().for_each(|text| print::note(&format!("effigy: warning: {text}")));
    if found.is_empty() {
        let what = print::safe(args.what.as_bytes());
        page.line(format!("nothing is known by the name or at the address {what}"));
    }
    for symbol in &found {
        page.line(symbol.line(subject.process()));
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer {
    symbols: Vec<Found>,
}

/// A symbol, and how far behind its beginning was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) address: Address,
    module: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mangled: Option<String>,
    pub(super) size: Option<u64>,
    code: bool,
    /// From the symbol's beginning to the address that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    displacement: Option<u64>,
}

impl Found {
    fn of(process: &Process, module: usize, symbol: &Symbol, asked: Option<Address>) -> Option<Self> {
        let module = process.modules.get(module)?;
        let address = module.range.start().checked_add(symbol.offset)?;
        let raw = String::from_utf8_lossy(&symbol.name).into_owned();
        let name = demangle::demangle(&symbol.name);
        Some(Self {
            address,
            module: String::from_utf8_lossy(module.name()).into_owned(),
            mangled: name.is_some().then(|| raw.clone()),
            name: name.unwrap_or(raw),
            size: symbol.size,
            code: symbol.kind.is_code(),
            displacement: asked.map(|asked| asked.0.saturating_sub(address.0)),
        })
    }

    fn line(&self, process: &Process) -> String {
        let behind = self.displacement.filter(|behind| *behind > 0).map(|behind| format!("+{behind:#x}"));
        let size = self.size.map(|size| format!("  {size:#x} bytes")).unwrap_or_default();
        let name = print::safe(format!("{}!{}", self.module, self.name).as_bytes());
        format!("{}  {name}{}{size}", words::address(process, self.address), behind.unwrap_or_default())
    }
}

/// The nearest symbol at or below an address.
fn at(symbols: &Symbols<'_>, process: &Process, address: Address) -> Option<Found> {
    let (module, symbol) = symbols.symbol_at(address)?;
    Found::of(process, module, &symbol, Some(address))
}

/// The symbols that `MODULE!NAME` or `NAME` means, by rising address; `Break` when there are more than `limit`.
pub(super) fn search(
    symbols: &Symbols<'_>,
    process: &Process,
    text: &str,
    limit: usize,
    found: &mut Vec<Found>,
) -> ControlFlow<()> {
    let (module, name) = text.split_once('!').unwrap_or(("*", text));
    let fits = |index: &usize| {
        let own = String::from_utf8_lossy(process.modules[*index].name()).into_owned();
        let short = own.split('.').next().unwrap_or(&own);
        matches_pattern(module, &own) || matches_pattern(module, short)
    };
    let mut ended = ControlFlow::Continue(());
    for index in (0..process.modules.len()).filter(fits) {
        let Some(tables) = symbols.tables_of(index) else { continue };
        tables.find(name, &mut |symbol| {
            if found.len() >= limit {
                ended = ControlFlow::Break(());
                return ControlFlow::Break(());
            }
            found.extend(Found::of(process, index, &symbol, None));
            ControlFlow::Continue(())
        });
        if ended.is_break() {
            break;
        }
    }
    found.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
    found.dedup_by(|a, b| a.address == b.address && a.name == b.name);
    ended
}

/// The address that an expression or a name of a symbol means. Of a name with several meanings none is chosen.
pub(super) fn place(subject: &Subject, symbols: &Symbols<'_>, text: &str) -> Result<(Address, Option<Found>), Refused> {
    let refused = match subject.address(text, None) {
        Ok(address) => return Ok((address, None)),
        Err(refused) => refused,
    };
    let mut found = Vec::new();
    let _ = search(symbols, subject.process(), text, 100, &mut found);
    found.dedup_by_key(|symbol| symbol.address);
    match found.len() {
        0 => Err(refused),
        1 => Ok((found[0].address, found.pop())),
        _ => {
            let lines: Vec<_> = found.iter().take(10).map(|symbol| symbol.line(subject.process())).collect();
            let text = print::safe(text.as_bytes());
            Err((Exit::Usage, format!("{text} means more than one place; give an address:\n{}", lines.join("\n"))))
        }
    }
}
