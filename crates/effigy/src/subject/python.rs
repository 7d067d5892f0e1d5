//! Stacks of Python: those of a running process are read while it stands still, as frames are gone as soon as it goes on.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use effigy_live::snapshot::{LiveView, PageCopies, PageRoom};
use effigy_process::{Address, Architecture, Memory, Module, Process};
use effigy_symbols::python::{self, PythonStacks, Version};

use super::live::COPYING;
use crate::print;

/// The stacks, or why there are none.
pub(crate) type PythonAnswer = Result<PythonStacks, String>;

/// Where an interpreter's structures lie in a process.
#[derive(Clone, Debug)]
pub(super) struct Interpreter {
    pub(super) module: Module,
    pub(super) architecture: Architecture,
    pub(super) runtime: Address,
    pub(super) version: Option<Version>,
}

impl Interpreter {
    /// Its stacks, from memory that does not change.
    pub(super) fn stacks(&self, memory: &dyn Memory) -> PythonAnswer {
        let version = self.version.ok_or_else(|| {
            format!("how {} keeps them is not known: its version is not told", print::safe(self.module.name()))
        })?;
        python::threads(memory, self.architecture, self.runtime, version).map_err(|error| print::chain(&error))
    }

    /// Makes ready to read the stacks of a process, as long as it runs: what takes time is done when this returns.
    pub(super) fn prepare(self, view: LiveView) -> Prepared {
        let (begin, begun) = channel::<Instant>();
        let (sender, answer) = channel();
        let (say, ready) = channel();
        // A page may have to come from where it never comes: the process must not wait for that.
        let reading = thread::Builder::new().name("python".into()).spawn(move || {
            let room = PageRoom::default();
            let _ = say.send(());
            // Where the process could not be stopped there is nothing to read.
            let Ok(until) = begun.recv() else { return };
            let pages = PageCopies::new(&view, view.process().system.page_size, until, room);
            let mut stacks = self.stacks(&pages);
            if pages.is_over() {
                stacks = too_late(stacks);
            }
            // Nobody waits for what comes too late.
            let _ = sender.send(stacks);
        });
        // It ends at once where the thread could not be started.
        let _ = ready.recv();
        Prepared { begin, answer: reading.is_ok().then_some(answer) }
    }

    /// Whether a process still has what was found: it may have begun another program since.
    pub(super) fn is_of(&self, process: &Process) -> bool {
        let same = |module: &Module| module.range == self.module.range && module.path == self.module.path;
        process.modules.iter().any(same)
    }
}

/// A reading that can begin.
pub(super) struct Prepared {
    begin: Sender<Instant>,
    answer: Option<Receiver<PythonAnswer>>,
}

impl Prepared {
    /// Begins to read, from a process that stands still, at most until an instant.
    pub(super) fn begin(self, until: Instant) -> Reading {
        // Where the thread could not be started there will be no answer either.
        let _ = self.begin.send(until);
        Reading { answer: self.answer, until }
    }
}

/// A reading that is under way.
pub(super) struct Reading {
    answer: Option<Receiver<PythonAnswer>>,
    until: Instant,
}

impl Reading {
    /// Waits for it, no longer than it may take.
    pub(super) fn wait(self) -> PythonAnswer {
        let left = self.until.saturating_duration_since(Instant::now());
        let answer = self.answer.and_then(|answer| answer.recv_timeout(left).ok());
        answer.unwrap_or_else(|| too_late(Err(String::new())))
    }
}

/// Threads that were read whole are right; the others and those that are missing could not be had in time.
fn too_late(stacks: PythonAnswer) -> PythonAnswer {
    let why =
        format!("they are too many to be read within {} ms, and a process is held no longer", COPYING.as_millis());
    let Ok(mut stacks) = stacks else { return Err(why) };
    stacks.threads.iter_mut().filter_map(|thread| thread.cut.as_mut()).for_each(|cut| cut.clone_from(&why));
    stacks.cut = Some(why);
    Ok(stacks)
}

/// What is missing of stacks that were read, for people; `None` where nothing is.
pub(crate) fn missing(stacks: &PythonStacks) -> Option<String> {
    let cut = stacks.threads.iter().filter_map(|thread| thread.cut.as_ref());
    let (count, first) = (cut.clone().count(), cut.clone().next());
    match (&stacks.cut, first) {
        (Some(why), _) => Some(format!("of some threads: {why}")),
        (None, Some(why)) => Some(format!("of {count} of {} threads: {why}", stacks.threads.len())),
        (None, None) => None,
    }
}
