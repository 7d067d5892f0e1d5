//! `effigy disassemble`: machine code as instructions: WinDbg's `u`, `ub` and `uf`.

use effigy_process::{Address, Architecture, CapturedMemory, NotRead, Process};
use effigy_symbols::disassemble::{Disassembler, Instruction};
use effigy_symbols::{demangle, elf};
use serde::Serialize;

use crate::cli::DisassembleArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject, Symbols};
use crate::words;

/// Most bytes of a function that are printed.
const LARGEST_FUNCTION: u64 = 1 << 20;
/// Most instructions at once.
const MOST: usize = 100_000;

/// Runs the command.
pub(crate) fn run(args: &DisassembleArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &DisassembleArgs) -> Result<Exit, Refused> {
    let look = if args.place.contains('@') { Look::Registers } else { Look::Passing };
    let mut subject = Subject::open(&args.target.target, look)?;
    subject.fill(&args.symbols.images, None)?;
    let symbols = subject.symbols(&args.symbols)?;
    let process = subject.process();
    let decoder = Disassembler::new(process.architecture).map_err(|error| (Exit::Usage, error.to_string()))?;
    let (address, function) = super::symbol::place(&subject, &symbols, &args.place)?;
    let (decoder, address) = encoding(&symbols, process, decoder, address);
    let whole = args.function || function.is_some();
    let code = Code { memory: subject.memory(), decoder };
    let instructions = if whole {
        let (start, size) = function_at(&symbols, process, address)?;
        code.range(start, size)
    } else {
        code.around(address, args.before.min(MOST), args.count.min(MOST))
    };
    let instructions = instructions.map_err(|(at, reason)| {
        let text = format!(
            "the code at {at} is not there: {reason}; where it was left out, --image-path names folders with the program's files"
        );
        (Exit::Usage, text)
    })?;
    let rows: Vec<Row> = instructions.iter().map(|each| Row::of(&symbols, process, each, address)).collect();
    let mut page = Page::begin();
    if args.target.json {
        page.json(&subject.document(Answer { instructions: rows }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    let mut last = None;
    for row in &rows {
        if row.function.is_some() && row.function != last {
            page.line(format!("{}:", print::safe(row.function.clone().unwrap_or_default().as_bytes())));
            last.clone_from(&row.function);
        }
        page.line(row.line(process));
    }
    Ok(page.finish())
}

/// The decoder for the code at an address, and where that code is. On 32-bit ARM an odd address means Thumb code, as it does
/// to the processor; of an even one the symbols tell.
fn encoding(
    symbols: &Symbols<'_>,
    process: &Process,
    decoder: Disassembler,
    address: Address,
) -> (Disassembler, Address) {
    if process.architecture != Architecture::Arm {
        return (decoder, address);
    }
    let code = Address(address.0 & !1);
    let told = || {
        symbols.module_at(code).is_some_and(|module| {
            let offset = code.0 - process.modules[module].range.start().0;
            symbols.image_of(module).and_then(|image| elf::is_thumb(&image, offset)) == Some(true)
        })
    };
    let is_thumb = address.0 & 1 == 1 || told();
    (if is_thumb { decoder.thumb() } else { decoder }, code)
}

/// Where the function of an address begins, and its length.
fn function_at(symbols: &Symbols<'_>, process: &Process, address: Address) -> Result<(Address, u64), Refused> {
    let (module, names) = symbols.names_at(address);
    let base = module.map_or(0, |module| process.modules[module].range.start().0);
    let by_name = names.last().and_then(|name| Some((name.start, name.size?)));
    let by_symbol = || symbols.symbol_at(address).and_then(|(_, symbol)| Some((symbol.offset, symbol.size?)));
    let (start, size) = by_name
        .or_else(by_symbol)
        .filter(|(start, size)| address.0.checked_sub(base.saturating_add(*start)).is_some_and(|behind| behind < *size))
        .ok_or_else(|| {
            (
                Exit::Usage,
                format!("no function of known length is known at {address}; --count prints instructions from there on"),
            )
        })?;
    Ok((Address(base.saturating_add(start)), size.min(LARGEST_FUNCTION)))
}

/// Code that is read and taken apart.
struct Code<'a> {
    memory: &'a dyn CapturedMemory,
    decoder: Disassembler,
}

impl Code<'_> {
    fn range(&self, start: Address, size: u64) -> Result<Vec<Instruction>, (Address, NotRead)> {
        let bytes = self.bytes(start, usize::try_from(size).unwrap_or(0)).map_err(|reason| (start, reason))?;
        Ok(self.decoder.forwards(&bytes, start.0, MOST))
    }

    fn around(&self, at: Address, before: usize, count: usize) -> Result<Vec<Instruction>, (Address, NotRead)> {
        let mut found = Vec::new();
        if before > 0 {
            let window = self.decoder.window(before) as u64;
            let mut start = at.saturating_sub(window);
            // As much of it as is there without a hole.
            let bytes = loop {
                let size = usize::try_from(at.0 - start.0).unwrap_or(0);
                let mut bytes = vec![0; size];
                match self.memory.read_exact(start, &mut bytes) {
                    Ok(()) => break bytes,
                    Err(_) if size > 16 => start = Address(start.0 + (at.0 - start.0) / 2),
                    Err(reason) => return Err((start, reason)),
                }
            };
            found = self.decoder.backwards(&bytes, start.0, before);
        }
        let most = count.saturating_mul(effigy_symbols::disassemble::LONGEST_INSTRUCTION);
        let bytes = self.bytes(at, most).map_err(|reason| (at, reason))?;
        found.extend(self.decoder.forwards(&bytes, at.0, count));
        Ok(found)
    }

    /// At most so many bytes, as many as there are in one piece.
    fn bytes(&self, at: Address, most: usize) -> Result<Vec<u8>, NotRead> {
        let mut bytes = vec![0; most];
        let mut done = 0;
        while done < most {
            match self.memory.read(at.saturating_add(done as u64), &mut bytes[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(reason) if done == 0 => return Err(reason),
                Err(_) => break,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer {
    instructions: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    address: Address,
    /// Hexadecimal digits.
    bytes: String,
    text: String,
    /// Where it jumps to or what it refers to, where it says so itself.
    target: Option<Address>,
    /// The symbol there.
    target_name: Option<String>,
    /// The function that the instruction is in.
    function: Option<String>,
    /// Whether it is the one that was asked for.
    current: bool,
}

impl Row {
    fn of(symbols: &Symbols<'_>, process: &Process, instruction: &Instruction, asked: Address) -> Self {
        let address = Address(instruction.address);
        let target = instruction.target.map(Address);
        Self {
            address,
            bytes: instruction.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            text: instruction.text.clone(),
            target,
            target_name: target.and_then(|target| name(symbols, process, target, true)),
            function: name(symbols, process, address, false),
            current: address == asked,
        }
    }

    fn line(&self, process: &Process) -> String {
        let mark = if self.current { ">" } else { " " };
        let name = self.target_name.as_ref().map(|name| format!("  ; {}", print::safe(name.as_bytes())));
        let address = words::address(process, self.address);
        format!("{mark} {address}  {:<22}  {}{}", self.bytes, self.text, name.unwrap_or_default())
    }
}

/// `module!symbol`, with the displacement where that is wanted.
fn name(symbols: &Symbols<'_>, process: &Process, address: Address, displaced: bool) -> Option<String> {
    let (module, symbol) = symbols.symbol_at(address)?;
    let module = process.modules.get(module)?;
    let behind = address.0.checked_sub(module.range.start().0.checked_add(symbol.offset)?)?;
    let name = demangle::demangle(&symbol.name).unwrap_or_else(|| String::from_utf8_lossy(&symbol.name).into_owned());
    let behind = if displaced && behind > 0 { format!("+{behind:#x}") } else { String::new() };
    Some(format!("{}!{name}{behind}", String::from_utf8_lossy(module.name())))
}
