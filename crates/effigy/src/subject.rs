//! What a command that reads looks at: an opened dump, or a running process. Both are a process at one instant and memory
//! that is read by address.

mod expression;
mod file;
mod images;
mod index;
mod live;
mod python;
mod servers;
mod symbols;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use effigy_formats::{DumpKind, OpenedDump};
use effigy_process::{Address, CapturedMemory, Process, ProcessId, Registers, Thread, ThreadId};
use serde::Serialize;

pub(crate) use self::expression::matches_pattern;
pub(crate) use self::file::open as open_file;
pub(crate) use self::images::{FromImage, Images, Places};
use self::index::Index;
use self::live::Looked;
pub(crate) use self::python::missing as missing_of_python;
pub(crate) use self::symbols::Symbols;
use crate::cli::SymbolArgs;
use crate::exit::Exit;
use crate::{print, target};

/// How effigy ends, and what it says.
pub(crate) type Refused = (Exit, String);

/// How closely a running process is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Without stopping it.
    Passing,
    /// The same, and what each thread does in the kernel, which also tells where its stack is.
    Threads,
    /// It is stopped while its registers are read.
    Registers,
    /// It is stopped while its registers are read and its stacks copied.
    Stacks,
}

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Subject {
    /// As it was named on the command line.
    name: PathBuf,
    seen: Seen,
    index: OnceCell<Index>,
    images: Option<Images>,
}

#[derive(Debug)]
enum Seen {
    Dump(Box<OpenedDump>),
    Live(Looked),
}

/// What is looked at, for JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Source<'a> {
    /// `minidump`, `core`, `reflection_pair` or `live`.
    kind: &'static str,
    /// The dump's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    pid: Option<u32>,
    /// How the file is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<&'static str>,
    /// Whether it holds all that the process had written.
    /// `None` where the dump does not tell.
    full: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    full_reason: String,
    /// How long the process stood still, in microseconds, where it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_us: Option<u128>,
    /// Bytes of memory that are taken from image files, where these were looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_bytes: Option<u64>,
    warnings: Vec<Warning<'a>>,
}

/// What is wrong with a dump's file.
#[derive(Debug, Serialize)]
struct Warning<'a> {
    offset: Option<u64>,
    text: &'a str,
}

/// An answer as JSON: of what, and what it is.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a, T: Serialize> {
    source: Source<'a>,
    #[serde(flatten)]
    answer: T,
}

impl Subject {
    /// Opens what a word on the command line means: a file where there is one of that name, else a running process.
    pub(crate) fn open(word: &OsStr, look: Look) -> Result<Self, Refused> {
        let seen = match running(word)? {
            Some(pid) => Seen::Live(live::look(pid, look, None)?),
            None => Seen::Dump(Box::new(file::open(Path::new(word))?)),
        };
        Ok(Self::of(word, seen))
    }

    /// Opens what is to be unwound. Where a running process is one of Python's, it is looked at twice: what is read while
    /// it stands still must be known before.
    pub(crate) fn open_stacks(word: &OsStr, args: &SymbolArgs) -> Result<Self, Refused> {
        let Some(pid) = running(word)? else { return Self::open(word, Look::Stacks) };
        let interpreter = match live::may_run_python(pid).then(|| live::look(pid, Look::Passing, None)) {
            Some(Ok(looked)) => Self::of(word, Seen::Live(looked)).symbols(args)?.interpreter(),
            // Why not, the second look will tell.
            Some(Err(_)) | None => None,
        };
        Ok(Self::of(word, Seen::Live(live::look(pid, Look::Stacks, interpreter)?)))
    }

    fn of(word: &OsStr, seen: Seen) -> Self {
        let subject = Self { name: word.into(), seen, index: OnceCell::new(), images: None };
        subject.say_pause();
        subject
    }

    fn say_pause(&self) {
        if let Seen::Live(Looked { pause: Some(pause), .. }) = &self.seen {
            print::note(&format!("effigy: the process stood still for {}", print::duration(*pause)));
        }
    }

    /// Says on standard error what is wrong with the file. For commands whose answer does not say it.
    pub(crate) fn say_warnings(&self) {
        for text in self.warnings() {
            print::note(&format!("effigy: warning: {text}"));
        }
    }

    /// What is wrong with the file, for people.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.dump().map_or(&[][..], |dump| &dump.warnings);
        let text = |warning: &effigy_formats::Warning| print::safe(warning.to_string().as_bytes());
        let images = self.images.as_ref().map_or(&[][..], Images::warnings);
        warnings.iter().map(text).chain(images.iter().cloned()).collect()
    }

    /// As it was named.
    pub(crate) fn name(&self) -> String {
        print::safe(self.name.as_os_str().as_encoded_bytes())
    }

    /// The process.
    pub(crate) fn process(&self) -> &Process {
        match &self.seen {
            Seen::Dump(dump) => &dump.process,
            Seen::Live(looked) => looked.view.process(),
        }
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> &dyn CapturedMemory {
        match &self.seen {
            Seen::Dump(dump) => self.filled().unwrap_or(&dump.memory),
            Seen::Live(looked) => looked.view.as_ref(),
        }
    }

    /// The dump; `None` for a running process.
    pub(crate) fn dump(&self) -> Option<&OpenedDump> {
        match &self.seen {
            Seen::Dump(dump) => Some(dump),
            Seen::Live(_) => None,
        }
    }

    /// Whether what lies between the listed regions is free. A core that a debugger wrote may leave regions out.
    pub(crate) fn lists_all(&self) -> bool {
        self.dump().is_none_or(|dump| match dump.kind {
            DumpKind::ElfCore => dump.parts.iter().any(|part| part.owner == "EFFIGY"),
            _ => !dump.process.regions.is_empty(),
        })
    }

    /// The thread with an id, or the one that is shown first.
    pub(crate) fn thread(&self, id: Option<u32>) -> Result<&Thread, Refused> {
        let process = self.process();
        match id.map(ThreadId).or(process.selected).or_else(|| process.threads.first().map(|thread| thread.id)) {
            Some(id) => process.thread(id).ok_or_else(|| {
                let text = format!("{} has no thread {id} ({:#x}); `effigy threads` lists them", self.name(), id.0);
                (Exit::Usage, text)
            }),
            None => Err((Exit::Usage, format!("{} has no threads", self.name()))),
        }
    }

    /// Where in which module an address lies: `libc.so.6+0x8e52d`.
    pub(crate) fn place(&self, address: Address) -> Option<String> {
        let module = self.index().module_at(self.process(), address)?;
        Some(format!("{}+{:#x}", print::safe(module.name()), address.0.saturating_sub(module.range.start().0)))
    }

    /// The registers that tell what a thread was doing: those of the moment of the fault, where a dump has them.
    pub(crate) fn registers_of<'a>(&'a self, thread: &'a Thread) -> Option<&'a Registers> {
        self.index().at_fault(self.process(), thread.id).or(thread.registers.as_ref().ok())
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.process()))
    }

    /// An answer as JSON.
    pub(crate) fn document<T: Serialize>(&self, answer: T) -> Document<'_, T> {
        Document { source: self.source(), answer }
    }

    /// What is looked at, for JSON.
    pub(crate) fn source(&self) -> Source<'_> {
        let dump = self.dump();
        let pause = match &self.seen {
            Seen::Live(looked) => looked.pause,
            Seen::Dump(_) => None,
        };
        let images = self.images.as_ref().map_or(&[][..], Images::warnings);
        Source {
            kind: dump.map_or("live", |dump| match dump.kind {
                DumpKind::Minidump => "minidump",
                DumpKind::ElfCore => "core",
                _ => "reflection_pair",
            }),
            path: dump.map(|_| self.name.to_string_lossy()),
            pid: self.process().identity.pid.map(|pid| pid.0),
            compression: dump.and_then(|dump| dump.compression).map(effigy_formats::Compression::as_str),
            full: dump.map_or(Some(true), |dump| dump.held().is_full()),
            full_reason: dump.map_or_else(String::new, |dump| dump.held().why().to_owned()),
            pause_us: pause.map(|pause| pause.as_micros()),
            image_bytes: self.images.as_ref().filter(|images| images.is_used()).map(Images::bytes),
            warnings: dump
                .map_or(&[][..], |dump| &dump.warnings)
                .iter()
                .map(|warning| Warning { offset: warning.offset, text: &warning.text })
                .chain(images.iter().map(|text| Warning { offset: None, text }))
                .collect(),
        }
    }
}

/// The running process that a word on the command line means; `None` where it means a file.
fn running(word: &OsStr) -> Result<Option<ProcessId>, Refused> {
    if Path::new(word).symlink_metadata().is_ok() || word.as_encoded_bytes().contains(&b'/') {
        return Ok(None);
    }
    target::one(&word.to_string_lossy()).map(Some)
}

fn find_bytes(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
