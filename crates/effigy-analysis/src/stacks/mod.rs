//! What every thread was doing: its frames, with their names.

mod group;
mod naming;
mod python;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use effigy_process::{Address, Memory, Process, Registers, ThreadId};
use effigy_symbols::unwind::{Frame, Stack, Stop, UnwindImages, Unwinder};
use effigy_symbols::{Name, Symbol, SymbolTable};

pub use group::{Group, group};
use naming::Names;
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

/// Unwinds threads with these registers, on all processors; gives the stacks in the same order. A place where several
/// frames are is looked up once: its rules for unwinding by each processor, its names by one of them.
#[must_use]
pub fn stacks(walk: Walk<'_>, threads: &[(ThreadId, Option<&Registers>)]) -> Vec<ThreadStack> {
    let unwinder = Unwinder::new(walk.process, walk.memory, walk.images);
    let stacks = in_parallel(
        threads.len(),
        || unwinder.worker(),
        |worker, index| match threads[index].1 {
            Some(registers) => worker.unwind(registers, walk.limit),
            None => Stack { frames: Vec::new(), stop: Stop::NoRegisters },
        },
    );
    let names = Names::of(walk, &stacks);
    let named = stacks.into_iter().zip(threads).map(|(stack, (thread, _))| ThreadStack {
        thread: *thread,
        frames: stack.frames.into_iter().map(|frame| names.name(frame)).collect(),
        stop: stack.stop,
        python: Vec::new(),
    });
    named.collect()
}

/// What `work` makes of each of `count` numbers, in their order, on all processors. Each of these begins with its own
/// `W`, with which its work goes on.
fn in_parallel<W, T: Send>(
    count: usize,
    begin: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    let run = || {
        let mut worker = begin();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let result = work(&mut worker, index);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(count);
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
