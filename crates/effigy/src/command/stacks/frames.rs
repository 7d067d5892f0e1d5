//! Frames as lines: one for each function, those that were inlined too.

use effigy_analysis::stacks::{NamedFrame, ThreadStack};
use effigy_process::{Address, Process};
use effigy_symbols::python::PythonFrame;
use effigy_symbols::{Name, Symbol, demangle};
use serde::Serialize;

use crate::print;
use crate::words;

/// A line of a stack.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Where it goes on executing. Of an inlined function that of the function that it is part of.
    address: Address,
    /// The canonical frame address.
    cfa: Option<Address>,
    module: Option<String>,
    /// From the module's beginning.
    module_offset: Option<u64>,
    /// The function's name as people write it; null where none is known.
    function: Option<String>,
    /// The name as it stands in the file, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    mangled: Option<String>,
    /// From the beginning of the function, or of the nearest symbol.
    function_offset: Option<u64>,
    inlined: bool,
    file: Option<String>,
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// How it was found: `context`, `cfi`, `compact`, `pe`, `breakpad`, `go_table`, `frame_pointer` or `scan`.
    trust: &'static str,
    /// Whether the kernel called it, to deliver a signal to the next one.
    signal: bool,
    /// Whether it is a function of Python, in place of the interpreter's frame that runs it.
    python: bool,
}

impl Row {
    /// The lines of a stack, innermost first.
    pub(super) fn all(process: &Process, stack: &ThreadStack) -> Vec<Self> {
        let rows = stack.frames.iter().enumerate().flat_map(|(index, frame)| {
            let rows = Self::of(process, frame);
            match stack.python.iter().find(|part| part.frame == index) {
                Some(part) => Self::of_python(rows, &part.functions),
                None => rows,
            }
        });
        rows.collect()
    }

    /// Functions of Python with the place of the interpreter's frame. All but the last have no frame of their own.
    fn of_python(machine: Vec<Self>, functions: &[PythonFrame]) -> Vec<Self> {
        let Some(frame) = machine.last() else { return machine };
        let row = |(index, function): (usize, &PythonFrame)| Self {
            function: Some(function.function.clone()),
            mangled: None,
            module: None,
            module_offset: None,
            function_offset: None,
            inlined: index + 1 < functions.len(),
            file: Some(function.file.clone()),
            line: function.line,
            column: None,
            python: true,
            ..*frame
        };
        functions.iter().enumerate().map(row).collect()
    }

    fn of(process: &Process, named: &NamedFrame) -> Vec<Self> {
        let frame = &named.frame;
        let module = frame.module.and_then(|index| process.modules.get(index));
        let base = module.map_or(0, |module| module.range.start().0);
        let plain = |function: Option<(Option<String>, Option<String>)>| {
            let (function, mangled) = function.unwrap_or_default();
            Self {
                address: frame.address,
                cfa: frame.cfa,
                module: module.map(|module| String::from_utf8_lossy(module.name()).into_owned()),
                module_offset: module.map(|_| frame.address.0.saturating_sub(base)),
                function,
                mangled,
                function_offset: None,
                inlined: false,
                file: None,
                line: None,
                column: None,
                trust: frame.trust.as_str(),
                signal: frame.signal,
                python: false,
            }
        };
        // Symbols of code that is in no module begin at an address.
        let from = |start: u64| frame.address.0.checked_sub(base.saturating_add(start));
        if named.names.is_empty() {
            // Behind the end of a symbol lies something else, which has no name.
            let holds =
                |symbol: &&Symbol| symbol.size.is_none_or(|size| size == 0 || from(symbol.offset) <= Some(size));
            let symbol = named.symbol.as_ref().filter(holds);
            let mut row = plain(symbol.map(|symbol: &Symbol| names(&symbol.name)));
            row.function_offset = symbol.and_then(|symbol| from(symbol.offset));
            return vec![row];
        }
        let row = |name: &Name| {
            let mut row = plain(Some(names(&name.function)));
            row.inlined = name.inlined;
            row.function_offset = from(name.start).filter(|_| !name.inlined);
            if let Some(line) = &name.line {
                row.file = Some(line.file.to_string());
                row.line = Some(line.line).filter(|line| *line > 0);
                row.column = Some(line.column).filter(|column| *column > 0);
            }
            row
        };
        named.names.iter().map(row).collect()
    }

    /// For people: ` 3  00007f3c`12a8e52d  libc.so.6!poll+0x4d  [io/poll.c:29]`.
    pub(super) fn line(&self, process: &Process, number: usize, verbose: bool) -> String {
        let address = words::address(process, self.address);
        let width = address.len();
        let address = match (self.inlined, self.python) {
            (true, false) => "inlined".to_owned(),
            (true, true) => "same".to_owned(),
            (false, _) => address,
        };
        let mut text = format!("{number:>3}  {address:<width$}  ");
        if verbose {
            let cfa = self.cfa.map(|cfa| words::address(process, cfa)).unwrap_or_default();
            text = format!("{text}{cfa:<width$}  {:<13}  ", self.trust);
        }
        text.push_str(&print::safe(self.place(process).as_bytes()));
        if let Some(file) = &self.file {
            let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
            text = format!("{text}  [{}{line}]", print::safe(file.as_bytes()));
        }
        if self.signal {
            text.push_str("  <signal handler called>");
        }
        text
    }

    fn place(&self, process: &Process) -> String {
        if self.python {
            return format!("python!{}", self.function.as_deref().unwrap_or("?"));
        }
        let offset = |offset: Option<u64>| offset.filter(|offset| *offset > 0).map(|offset| format!("+{offset:#x}"));
        match (&self.module, &self.function) {
            (Some(module), Some(function)) => {
                format!("{module}!{function}{}", offset(self.function_offset).unwrap_or_default())
            }
            (None, Some(function)) => format!("{function}{}", offset(self.function_offset).unwrap_or_default()),
            (Some(module), None) => format!("{module}{}", offset(self.module_offset).unwrap_or_default()),
            (None, None) => words::address(process, self.address),
        }
    }
}

/// A name as people write it, and as it stands in the file where that is another.
fn names(raw: &bstr::BString) -> (Option<String>, Option<String>) {
    let raw_text = || String::from_utf8_lossy(raw).into_owned();
    match demangle::demangle(raw) {
        Some(name) => (Some(name), Some(raw_text())),
        None => (Some(raw_text()), None),
    }
}
