//! Two dumps as one process.

use std::path::{Path, PathBuf};

use bstr::BString;
use effigy_process::{AddressRange, Process};

use super::files::Module as ModuleFile;
use super::{Files, Key, Opened, PairError};
use crate::minidump::read::{Dump, Exception, Module, ReadError, Thread, ThreadNotes};
use crate::source::SharedSource;
use crate::{MemoryMap, Warning};

/// Most seconds by which two times of one process's start differ. Linux counts from a time of boot that moves when the
/// clock is set.
const CLOCK_TOLERANCE: u32 = 2;

/// A process whose threads and facts are in one dump, its memory in another, and its modules in one of the two or a third.
#[derive(Clone, Debug)]
pub struct Pair {
    files: Files,
    default: Dump,
    memory: Dump,
    module: Dump,
}

impl Pair {
    /// The process in `opened`. Its parts are looked at only as far as it takes to see that they belong together.
    ///
    /// Dumps belong together when processor, process id, time of start, and the main program's address and identity are
    /// the same, as far as both tell. A reflection on Windows is a process of its own with its own id and start, so there
    /// the program alone counts.
    ///
    /// # Errors
    /// When one of the files is no minidump, they are swapped, lack what is their part, or are of different processes.
    pub fn new(opened: &Opened<SharedSource>) -> Result<Self, PairError> {
        let files = &opened.files;
        let default = parse(&opened.default, Key::Default, files)?;
        let memory = parse(&opened.memory, Key::Memory, files)?;
        let module = match &opened.module {
            ModuleFile::Default => default.clone(),
            ModuleFile::Memory => memory.clone(),
            ModuleFile::Own(bytes) => parse(bytes, Key::Module, files)?,
        };
        check_parts(&default, &memory, files)?;
        same_process(&default, &memory, &files.default, &files.memory)?;
        same_process(&default, &module, &files.default, &files.module)?;
        Ok(Self { files: files.clone(), default, memory, module })
    }

    /// The dump that `default` names. Whatever stands in a dump by its offset in the file, such as the list of
    /// attachments, has to be asked of the dump that it is in.
    #[must_use]
    pub fn default_dump(&self) -> &Dump {
        &self.default
    }

    /// The dump that `memory` names.
    #[must_use]
    pub fn memory_dump(&self) -> &Dump {
        &self.memory
    }

    /// The dump that `module` names.
    #[must_use]
    pub fn module_dump(&self) -> &Dump {
        &self.module
    }

    /// MINIDUMP_TYPE bits: what the dumps together say they hold.
    #[must_use]
    pub fn minidump_type(&self) -> u64 {
        self.default.minidump_type() | self.memory.minidump_type()
    }

    /// When the threads' registers were read, in seconds since 1970.
    #[must_use]
    pub fn captured(&self) -> u32 {
        self.default.captured()
    }

    /// See [`Dump::processor_architecture`].
    #[must_use]
    pub fn processor_architecture(&self) -> Option<u16> {
        self.default.processor_architecture().or(self.memory.processor_architecture())
    }

    /// See [`Dump::streams`]: those of the default dump.
    pub fn streams(&self) -> impl Iterator<Item = u32> + '_ {
        self.default.streams()
    }

    /// See [`Dump::stream`]: of the default dump.
    ///
    /// # Errors
    /// When the stream does not lie inside the file.
    pub fn stream(&self, kind: u32) -> Result<Option<Vec<u8>>, ReadError> {
        self.default.stream(kind)
    }

    /// See [`Dump::threads`].
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn threads(&self) -> Result<Vec<Thread>, ReadError> {
        self.default.threads()
    }

    /// See [`Dump::register_notes`].
    ///
    /// # Errors
    /// When they are cut off.
    pub fn register_notes(&self) -> Result<Vec<ThreadNotes>, ReadError> {
        self.default.register_notes()
    }

    /// See [`Dump::exception`].
    ///
    /// # Errors
    /// When the stream is cut off.
    pub fn exception(&self) -> Result<Option<Exception>, ReadError> {
        self.default.exception()
    }

    /// See [`Dump::modules`].
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn modules(&self) -> Result<Vec<Module>, ReadError> {
        self.module.modules()
    }

    /// The memory: that of the memory dump, and where this has none, that of the default dump.
    ///
    /// # Errors
    /// When a list of memory is cut off.
    pub fn memory(&self) -> Result<MemoryMap, PairError> {
        let of = |dump: &Dump, key| {
            let path = || self.files.get(key).to_owned();
            dump.memory().map_err(|source| PairError::NotDump { key, path: path(), source })
        };
        Ok(of(&self.memory, Key::Memory)?.completed_by(of(&self.default, Key::Default)?))
    }

    /// Where the process has something mapped, by rising address; `None` when neither dump tells.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn regions(&self) -> Result<Option<Vec<AddressRange>>, ReadError> {
        Ok(self.default.regions()?.or(self.memory.regions()?))
    }

    /// The process: everything but its memory. What is damaged is left out and becomes a warning.
    pub fn process(&self, memory: &MemoryMap, warnings: &mut Vec<Warning>) -> Process {
        let mut process = self.default.process(memory, warnings);
        // What the two other dumps have to warn of is not about what is taken from them.
        let other = self.module.process(memory, &mut Vec::new());
        if !other.modules.is_empty() {
            process.modules = other.modules;
        }
        let reflected = self.memory.process(memory, &mut Vec::new());
        if process.regions.is_empty() {
            process.regions = reflected.regions;
        }
        process.gaps.extend(reflected.gaps);
        process
    }

    /// The comment that was stored with the dumps.
    ///
    /// # Errors
    /// When the stream does not lie inside the file.
    pub fn comment(&self) -> Result<Option<String>, ReadError> {
        Ok(self.default.comment()?.or(self.memory.comment()?))
    }

    /// What the writer could not do: a JSON document from each dump that has one, the default dump's first.
    ///
    /// # Errors
    /// When a stream does not lie inside its file, or is no text.
    pub fn soft_errors(&self) -> Result<Vec<String>, ReadError> {
        Ok([self.default.soft_errors()?, self.memory.soft_errors()?].into_iter().flatten().collect())
    }

    /// effigy's own facts about the process: a JSON document.
    ///
    /// # Errors
    /// When the stream does not lie inside the file, or is no text.
    pub fn facts(&self) -> Result<Option<String>, ReadError> {
        self.default.facts()
    }

    /// A stream that is text from one of the kernel's files, as it is.
    ///
    /// # Errors
    /// When the stream does not lie inside the file.
    pub fn kernel_file(&self, kind: u32) -> Result<Option<BString>, ReadError> {
        Ok(self.default.kernel_file(kind)?.or(self.memory.kernel_file(kind)?))
    }
}

fn parse(source: &SharedSource, key: Key, files: &Files) -> Result<Dump, PairError> {
    Dump::open(source.clone()).map_err(|source| PairError::NotDump { key, path: files.get(key).to_owned(), source })
}

/// Whether each dump has what is its part.
fn check_parts(default: &Dump, memory: &Dump, files: &Files) -> Result<(), PairError> {
    let swapped = || PairError::Swapped { default: files.default.clone(), memory: files.memory.clone() };
    if default.is_full() && !memory.is_full() {
        return Err(swapped());
    }
    if !has_memory(memory) {
        return Err(PairError::NoMemory { path: files.memory.clone() });
    }
    if !has_threads(default) {
        let is_swapped = has_threads(memory) && has_memory(default);
        return Err(if is_swapped { swapped() } else { PairError::NoThreads { path: files.default.clone() } });
    }
    Ok(())
}

/// A list that is damaged is one: what is wrong with it is told when it is asked for.
fn has_memory(dump: &Dump) -> bool {
    dump.memory().map_or(true, |memory| memory.ranges().next().is_some())
}

/// Likewise.
fn has_threads(dump: &Dump) -> bool {
    dump.threads().map_or(true, |threads| !threads.is_empty())
}

fn same_process(default: &Dump, other: &Dump, path: &Path, other_path: &Path) -> Result<(), PairError> {
    let paths = || -> (PathBuf, PathBuf) { (path.to_owned(), other_path.to_owned()) };
    let different = |fact, default_value, other_value| {
        let (default, other) = paths();
        PairError::DifferentProcess { default, other, fact, default_value, other_value }
    };
    let processors = default.processor_architecture().zip(other.processor_architecture());
    if let Some((one, two)) = processors.filter(|(one, two)| one != two) {
        return Err(different("processor's number", one.into(), two.into()));
    }
    if !default.is_windows() {
        // A dump whose stream is damaged does not tell.
        let (one, two) = (default.process_key().unwrap_or_default(), other.process_key().unwrap_or_default());
        if let Some((one, two)) = one.id.zip(two.id).filter(|(one, two)| one != two) {
            return Err(different("process id", one, two));
        }
        let starts = one.created.zip(two.created);
        if let Some((one, two)) = starts.filter(|(one, two)| one.abs_diff(*two) > CLOCK_TOLERANCE) {
            return Err(different("time of start, in seconds since 1970,", one, two));
        }
    }
    match main_module(default).zip(main_module(other)) {
        Some((one, two)) if !is_same_program(&one, &two) => {
            let (default, other) = paths();
            let (default_base, other_base) = (one.range.start(), two.range.start());
            Err(PairError::DifferentProgram { default, other, default_base, other_base })
        }
        _ => Ok(()),
    }
}

fn main_module(dump: &Dump) -> Option<Module> {
    dump.modules().ok()?.into_iter().next()
}

fn is_same_program(one: &Module, two: &Module) -> bool {
    let identities = (&one.identity, &two.identity);
    let differ = matches!(identities, (Ok(Some(one)), Ok(Some(two))) if one != two);
    one.range.start() == two.range.start() && one.time_stamp == two.time_stamp && !differ
}
