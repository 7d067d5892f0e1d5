//! Opening a dump of any kind: a minidump, a core, a reflection pair, each with or without compression.
//!
//! Nothing here opens a file. Whoever has the dump's file gives its bytes as a [`Source`](crate::source::Source), and says by
//! [`Surroundings`] where others are to be found.

use std::fs::File;
use std::io;
use std::path::Path;

use effigy_process::{AddressRange, CapturedMemory, GapReason, GapSubject, NotRead, Process};

use crate::elf_core::read::{Core, CoreError};
use crate::minidump::read::{Dump, ReadError};
use crate::opened::warn;
use crate::reflection::{Configuration, ConfigurationError, LARGEST, Pair, PairError, is_configuration};
use crate::source::{SharedSource, Source};
use crate::unpack::{UnpackError, unpack};
use crate::{Coverage, DumpKind, MemoryMap, OpenedDump, PairFile, Warning};

/// `MiniDumpWithFullMemory` and `MiniDumpWithPrivateReadWriteMemory`: all that the process has written is there.
const FULL: u64 = 0x202;

/// What is around a dump's file.
pub trait Surroundings {
    /// Opens another file that belongs to the dump. A relative path is meant from the folder that the dump's file is in.
    /// Only regular files should be opened: the path comes from a file that may come from anywhere.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&mut self, path: &Path) -> io::Result<SharedSource>;

    /// Makes an empty file without a name, which goes when it is closed.
    ///
    /// # Errors
    /// When it cannot be made.
    fn scratch(&mut self) -> io::Result<File>;

    /// The most bytes that may come out of a file that is unpacked as a whole.
    fn unpacked_limit(&self) -> u64 {
        64 << 30
    }
}

/// Why a file cannot be opened as a dump.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is empty.
    #[error("the file is empty")]
    Empty,
    /// It is no dump.
    #[error("the file is no dump: it begins with {}", hexadecimal(start))]
    NotDump {
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// It cannot be read.
    #[error("reading the file")]
    Input(#[source] io::Error),
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It is a minidump that cannot be read.
    #[error("reading the minidump")]
    Minidump(#[from] ReadError),
    /// It is a core that cannot be read.
    #[error("reading the core")]
    Core(#[from] CoreError),
    /// It is the configuration of a reflection pair, and cannot be read.
    #[error("reading the configuration of a reflection pair")]
    Configuration(#[from] ConfigurationError),
    /// The files of a reflection pair do not make one process.
    #[error("opening the reflection pair")]
    Pair(#[from] PairError),
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Opens a dump of any kind. Memory is found, not read.
///
/// # Errors
/// When it is no dump, or nothing of it can be made sense of. What is wrong with a part of it becomes a warning.
pub fn open(source: SharedSource, surroundings: &mut dyn Surroundings) -> Result<OpenedDump, OpenError> {
    let mut warnings = Vec::new();
    let unpacked = unwrap(source, surroundings, &mut warnings)?;
    let mut opened = match Start::of(&unpacked.source)? {
        Start::Minidump => minidump(unpacked.source, warnings)?,
        Start::Elf => core(unpacked.source, warnings)?,
        Start::Configuration => pair(&unpacked.source, surroundings, warnings)?,
    };
    opened.compression = unpacked.compression;
    Ok(opened)
}

/// Takes a file's compression off, and says so where that took a copy.
fn unwrap(
    source: SharedSource,
    surroundings: &mut dyn Surroundings,
    warnings: &mut Vec<Warning>,
) -> Result<crate::unpack::Unpacked, UnpackError> {
    let limit = surroundings.unpacked_limit();
    let unpacked = unpack(source, limit, &mut || surroundings.scratch())?;
    if let Some(compression) = unpacked.compression.filter(|_| unpacked.copied) {
        warnings.push(Warning::remark(format!(
            "the file is compressed as a whole ({}): its {} bytes were unpacked into a temporary file first",
            compression.as_str(),
            unpacked.source.size()
        )));
    }
    if let Some(cut) = &unpacked.cut {
        let reason = std::error::Error::source(cut).map(|source| format!(": {source}")).unwrap_or_default();
        // Offsets are counted in what is in the file: it is there that it ends.
        let text = format!("{cut}{reason}; what comes behind these is not there");
        warnings.push(Warning::at(unpacked.source.size(), text));
    }
    Ok(unpacked)
}

/// What a file is by its beginning.
enum Start {
    Minidump,
    Elf,
    Configuration,
}

impl Start {
    fn of(source: &dyn Source) -> Result<Self, OpenError> {
        let mut start = [0; 512];
        let count = source.read_at(0, &mut start).map_err(OpenError::Input)?;
        match &start[..count] {
            [] => Err(OpenError::Empty),
            [b'M', b'D', b'M', b'P', ..] => Ok(Self::Minidump),
            [0x7f, b'E', b'L', b'F', ..] => Ok(Self::Elf),
            start if is_configuration(start) => Ok(Self::Configuration),
            start => Err(OpenError::NotDump { start: start[..count.min(8)].to_vec() }),
        }
    }
}

fn minidump(source: SharedSource, mut warnings: Vec<Warning>) -> Result<OpenedDump, OpenError> {
    let dump = Dump::open(source.clone())?;
    let memory = dump_memory(&dump, &mut warnings);
    let mut process = dump.process(&memory.buffered(), &mut warnings);
    let parts = dump.parts(&mut warnings);
    let attachments = dump.attached(&mut warnings);
    Ok(OpenedDump {
        kind: DumpKind::Minidump,
        compression: None,
        coverage: Coverage::said(dump.is_full(), &mut process),
        minidump_type: dump.minidump_type(),
        header: dump.header_fields(),
        memory: explained(memory, source.size(), &process, &mut warnings),
        process,
        parts,
        attachments,
        warnings,
        source,
        pair: Vec::new(),
    })
}

/// The memory of a minidump; none when its list is damaged.
fn dump_memory(dump: &Dump, warnings: &mut Vec<Warning>) -> MemoryMap {
    dump.memory().unwrap_or_else(|error| {
        warn(Warning::of(&error), warnings);
        MemoryMap::default()
    })
}

fn core(source: SharedSource, mut warnings: Vec<Warning>) -> Result<OpenedDump, OpenError> {
    let core = Core::open(source.clone())?;
    warnings.extend(core.cut_headers());
    let mut read = core.process(&mut warnings);
    Ok(OpenedDump {
        kind: DumpKind::ElfCore,
        compression: None,
        // A core of effigy says so itself: pages that were never touched are in none.
        coverage: match read.minidump_type {
            0 => read.coverage,
            said => Coverage::said(said & FULL != 0, &mut read.process),
        },
        minidump_type: read.minidump_type,
        header: core.header_fields(),
        memory: explained(core.memory().clone(), source.size(), &read.process, &mut warnings),
        process: read.process,
        parts: read.parts,
        attachments: read.attachments,
        warnings,
        source,
        pair: Vec::new(),
    })
}

fn pair(
    source: &dyn Source,
    surroundings: &mut dyn Surroundings,
    mut warnings: Vec<Warning>,
) -> Result<OpenedDump, OpenError> {
    let mut text = vec![0; usize::try_from(source.size().min(LARGEST + 1)).unwrap_or(0)];
    source.read_exact_at(0, &mut text).map_err(OpenError::Input)?;
    let files = Configuration::parse(&text)?.files(Path::new(""));
    let mut members = Vec::new();
    let opened = files.open(|path| {
        let source = surroundings.open(path)?;
        let unpacked = unwrap(source, surroundings, &mut warnings).map_err(io::Error::other)?;
        let source = unpacked.source.clone();
        members.push(PairFile { path: path.to_owned(), source, compression: unpacked.compression });
        Ok(unpacked.source)
    })?;
    let pair = Pair::new(&opened)?;
    let memory = pair.memory()?;
    let mut process = pair.process(&memory.buffered(), &mut warnings);
    let attachments = pair.default_dump().attached(&mut warnings);
    Ok(OpenedDump {
        kind: DumpKind::ReflectionPair,
        compression: None,
        coverage: Coverage::said(pair.memory_dump().is_full(), &mut process),
        minidump_type: pair.minidump_type(),
        header: pair.default_dump().header_fields(),
        memory: explained(memory, pair.memory_dump().source().size(), &process, &mut warnings),
        process,
        parts: pair.default_dump().parts(&mut warnings),
        attachments,
        warnings,
        source: pair.default_dump().source().clone(),
        pair: members,
    })
}

/// The memory, with what the process says of what is missing. The file that should hold it ends at `end`.
fn explained(memory: MemoryMap, end: u64, process: &Process, warnings: &mut Vec<Warning>) -> MemoryMap {
    if memory.missing() > 0 {
        let (missing, there) = (memory.missing(), memory.captured_bytes());
        let text = format!(
            "the file is truncated: it ends at {end:#x}, and of the memory that it lists {missing} bytes are missing and \
             {there} are there"
        );
        warnings.push(Warning::at(end, text));
    }
    if memory.repeated() > 0 {
        let (repeated, there) = (memory.repeated(), memory.captured_bytes());
        let text = format!(
            "the memory that the file lists lies over itself: {repeated} bytes of it are left out, and {there} are there"
        );
        warnings.push(Warning::new(text));
    }
    let reasons = process.gaps.iter().filter_map(|gap| match (&gap.subject, gap.reason) {
        (GapSubject::Memory(range), GapReason::Redacted) => Some((*range, NotRead::Redacted)),
        (GapSubject::Memory(range), GapReason::Unreadable | GapReason::NotPermitted) => {
            Some((*range, NotRead::Unreadable))
        }
        _ => None,
    });
    let memory = memory.with_reasons(reasons.collect());
    let mapped: Vec<AddressRange> = process.regions.iter().map(|region| region.range).collect();
    if mapped.is_empty() { memory } else { memory.with_mapped(mapped) }
}

#[cfg(test)]
pub(crate) mod tests;
