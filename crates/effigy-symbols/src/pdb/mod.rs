//! Names and lines out of PDB files: functions, inlined calls, public symbols.
//!
//! What takes a PDB apart keeps references into what it has read, so that a table cannot hold both. Each PDB that is used
//! has a thread that does, and answers questions; it ends with the table. Another good comes of it: should a damaged file
//! bring it down, that is a table without names.

mod source;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Builder;

use pdb_addr2line::pdb::PDB;
use pdb_addr2line::{Context, ContextPdbData, Function, TypeFormatterFlags};

use self::source::Pages;
use crate::name::{Name, SourceLine, Symbol, SymbolKind, SymbolTable};
use crate::pattern::Pattern;

/// Stack of the thread, in bytes: types lie in each other as deep as a program's author likes.
const STACK: usize = 16 << 20;

/// Symbols that a search is ahead of whoever takes them.
const AHEAD: usize = 256;

/// Why a PDB cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PdbError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder, a device, a pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What is not.
        path: PathBuf,
    },
}

/// A question to the thread.
enum Question {
    Names(u32, Sender<Vec<Name>>),
    Symbol(u32, Sender<Option<Symbol>>),
    Find(Pattern, SyncSender<Symbol>),
}

/// The names of a module out of its PDB. Offsets are relative virtual addresses.
#[derive(Debug)]
pub struct PdbTable {
    path: PathBuf,
    /// To the thread; it ends when this goes.
    questions: OnceLock<Option<Sender<Question>>>,
}

impl PdbTable {
    /// The PDB at a path. That it belongs to the module is for whoever found it to know. Nothing is read yet.
    ///
    /// # Errors
    /// When it is not there, or no file.
    pub fn open(path: &Path) -> Result<Self, PdbError> {
        let path = path.to_owned();
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Self { path, questions: OnceLock::new() }),
            Ok(_) => Err(PdbError::NotAFile { path }),
            Err(source) => Err(PdbError::Read { path, source }),
        }
    }

    /// Puts a question; `None` where there is nobody to answer.
    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Question) -> Option<T> {
        let (sender, receiver) = channel();
        self.questions()?.send(question(sender)).ok()?;
        receiver.recv().ok()
    }

    fn questions(&self) -> Option<&Sender<Question>> {
        let start = || {
            let file = File::open(&self.path).and_then(Pages::new).ok()?;
            let (sender, receiver) = channel();
            let builder = Builder::new().name("pdb".to_owned()).stack_size(STACK);
            builder.spawn(move || answer(file, &receiver)).ok()?;
            Some(sender)
        };
        self.questions.get_or_init(start).as_ref()
    }
}

/// What the thread does: nothing, where the file is none. Then questions go unanswered, which is an answer.
fn answer(file: Pages, questions: &Receiver<Question>) {
    let flags = TypeFormatterFlags::NO_FUNCTION_RETURN
        | TypeFormatterFlags::NO_MEMBER_FUNCTION_STATIC
        | TypeFormatterFlags::SPACE_AFTER_COMMA
        | TypeFormatterFlags::NAME_ONLY;
    let Ok(pdb) = PDB::open(file) else { return };
    let Ok(data) = ContextPdbData::try_from_pdb(pdb) else { return };
    let Ok(context) = data.make_context_with_formatter_flags(flags) else { return };
    for question in questions {
        // Whoever asked may be gone.
        match question {
            Question::Names(place, reply) => drop(reply.send(names(&context, place))),
            Question::Symbol(place, reply) => {
                let function = context.find_function(place).ok().flatten();
                drop(reply.send(function.and_then(symbol)));
            }
            Question::Find(pattern, reply) => {
                let fitting = context.functions().filter_map(symbol);
                let mut fitting = fitting.filter(|symbol| pattern.matches_symbol(&symbol.name));
                drop(fitting.try_for_each(|symbol| reply.send(symbol)));
            }
        }
    }
}

fn names(context: &Context<'_, '_>, place: u32) -> Vec<Name> {
    let Ok(Some(found)) = context.find_frames(place) else { return Vec::new() };
    let last = found.frames.len().saturating_sub(1);
    let size = found.end_rva.and_then(|end| end.checked_sub(found.start_rva));
    let name = |(number, frame): (usize, pdb_addr2line::Frame<'_>)| {
        let line = frame.line.filter(|line| *line > 0 && !is_hidden(*line));
        let line =
            frame.file.zip(line).map(|(file, line)| SourceLine { file: file.into_owned().into(), line, column: 0 });
        Name {
            function: frame.function.unwrap_or_default().into(),
            start: u64::from(found.start_rva),
            // Of inlined calls it is not told where they lie.
            size: size.filter(|_| number == last).map(u64::from),
            line,
            inlined: number != last,
        }
    };
    found.frames.into_iter().enumerate().map(name).filter(|name| !name.function.is_empty()).collect()
}

/// Lines that compilers write for code that has none.
fn is_hidden(line: u32) -> bool {
    matches!(line, 0x00fe_efee | 0x00f0_0f00)
}

fn symbol(function: Function) -> Option<Symbol> {
    let size = function.end_rva.and_then(|end| end.checked_sub(function.start_rva));
    Some(Symbol {
        name: function.name.filter(|name| !name.is_empty())?.into(),
        offset: u64::from(function.start_rva),
        size: size.map(u64::from),
        kind: SymbolKind::Function,
        global: true,
    })
}

impl SymbolTable for PdbTable {
    fn names_at(&self, offset: u64) -> Vec<Name> {
        let place = u32::try_from(offset).ok();
        place.and_then(|place| self.ask(|reply| Question::Names(place, reply))).unwrap_or_default()
    }

    fn symbol_at(&self, offset: u64) -> Option<Symbol> {
        let place = u32::try_from(offset).ok()?;
        self.ask(|reply| Question::Symbol(place, reply)).flatten()
    }

    fn find(&self, pattern: &str, found: &mut dyn FnMut(Symbol) -> ControlFlow<()>) {
        let (sender, receiver) = sync_channel(AHEAD);
        let question = Question::Find(Pattern::new(pattern), sender);
        if self.questions().is_some_and(|questions| questions.send(question).is_ok()) {
            let _ = receiver.iter().try_for_each(found);
        }
    }

    fn source_of(&self) -> &'static str {
        "PDB"
    }
}
