//! What every thread was doing: its frames, with their names.

mod group;
mod python;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use effigy_process::{Address, Memory, Process, Registers, ThreadId};
use effigy_symbols::unwind::{Frame, Stop, UnwindImages, Unwinder};
use effigy_symbols::{Name, Symbol, SymbolTable};

pub use group::{Group, group};
pub use python::{PythonPart, with_python};

/// Where names come from. A module is named by its index in [`Process::modules`].
pub trait ModuleNames: Sync {
    /// The symbols of a module; asked for when the first frame is in it, and not again.
    fn table(&self, module: usize) -> Option<Arc<dyn SymbolTable>>;

    /// The name of code that is in no module: what a just-in-time compiler made.
    fn made_at_run_time(&self, address: Address) -> Option<Symbol> {
        let _ = address;
        None
    }
}

/// What is unwound.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// The process.
    pub process: &'a Process,
    /// Its memory, with the bytes of its images where these are known.
    pub memory: &'a (dyn Memory + Sync),
    /// Its images.
    pub images: &'a dyn UnwindImages,
    /// Its symbols.
    pub names: &'a dyn ModuleNames,
    /// Most frames of a thread.
    pub limit: usize,
}

/// A thread's frames, innermost first.
#[derive(Clone, Debug)]
pub struct ThreadStack {
    /// The thread.
    pub thread: ThreadId,
    /// Its frames.
    pub frames: Vec<NamedFrame>,
    /// Why there are no more.
    pub stop: Stop,
    /// The functions of Python that frames of the interpreter stand for, where both stacks come out even: see
    /// [`with_python`].
    pub python: Vec<PythonPart>,
}

/// A frame and what it is called.
#[derive(Clone, Debug)]
pub struct NamedFrame {
    /// The frame.
    pub frame: Frame,
    /// How far into its module, or into code that is in none, it is executing.
    pub offset: Option<u64>,
    /// Innermost first: what was inlined, then the function itself. Empty where nothing is known.
    pub names: Arc<[Name]>,
    /// The nearest symbol, where no function is known.
    pub symbol: Option<Symbol>,
}

/// Unwinds threads with these registers, on all processors; gives the stacks in the same order.
#[must_use]
pub fn stacks(walk: Walk<'_>, threads: &[(ThreadId, Option<&Registers>)]) -> Vec<ThreadStack> {
    let unwinder = Unwinder::new(walk.process, walk.memory, walk.images);
    let cache = Cache { walk, tables: Mutex::default(), names: Mutex::default() };
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(threads.len()));
    let work = || {
        while let Some((index, (thread, registers))) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, threads.get(index)?)))
        {
            let stack = one(&unwinder, &cache, *thread, *registers, walk.limit);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, stack));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(threads.len());
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, stack)| stack).collect()
}

fn one(
    unwinder: &Unwinder<'_>,
    cache: &Cache<'_>,
    thread: ThreadId,
    registers: Option<&Registers>,
    limit: usize,
) -> ThreadStack {
    let Some(registers) = registers else {
        return ThreadStack { thread, frames: Vec::new(), stop: Stop::NoRegisters, python: Vec::new() };
    };
    let stack = unwinder.unwind(registers, limit);
    let frames = stack.frames.into_iter().map(|frame| cache.name(frame)).collect();
    ThreadStack { thread, frames, stop: stack.stop, python: Vec::new() }
}

/// Names that were looked up: most threads of a program wait in the same places.
struct Cache<'a> {
    walk: Walk<'a>,
    tables: Mutex<HashMap<usize, Option<Arc<dyn SymbolTable>>>>,
    names: Mutex<HashMap<Address, Found>>,
}

#[derive(Clone)]
struct Found {
    offset: Option<u64>,
    names: Arc<[Name]>,
    symbol: Option<Symbol>,
}

impl Cache<'_> {
    fn name(&self, frame: Frame) -> NamedFrame {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&frame.lookup).cloned();
        let found = known.unwrap_or_else(|| {
            let found = self.look_up(&frame);
            self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(frame.lookup, found.clone());
            found
        });
        NamedFrame { frame, offset: found.offset, names: found.names, symbol: found.symbol }
    }

    fn look_up(&self, frame: &Frame) -> Found {
        let Some(index) = frame.module else {
            let symbol = self.walk.names.made_at_run_time(frame.lookup);
            return Found { offset: None, names: Arc::default(), symbol };
        };
        let start = self.walk.process.modules[index].range.start();
        let offset = frame.lookup.0.saturating_sub(start.0);
        let table = self.table(index);
        let names: Arc<[Name]> = table.as_ref().map(|table| table.names_at(offset)).unwrap_or_default().into();
        let symbol = table.filter(|_| names.is_empty()).and_then(|table| table.symbol_at(offset));
        Found { offset: Some(offset), names, symbol }
    }

    fn table(&self, module: usize) -> Option<Arc<dyn SymbolTable>> {
        if let Some(known) = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(&module) {
            return known.clone();
        }
        // Two threads may both look, and one finds what the other has kept.
        let table = self.walk.names.table(module);
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).entry(module).or_insert(table).clone()
    }
}
