//! From a dump to another: of another format or kind, or without its compression.
//!
//! Three roads lead there. Where neither format nor kind changes, the bytes are copied. Where a minidump becomes a smaller
//! one, all that is not memory is carried over as it lies ([`effigy_formats::minidump::carry`]), so that nothing is lost
//! that effigy has no place for. Everything else goes the road of a capture: the dump is a [`snapshot`], of which memory is
//! selected and written as from a live process; what the new dump cannot hold is listed ([`lost`]).

mod described;
pub mod lost;
pub mod snapshot;
mod source_kind;

use std::io::{self, Read};

use effigy_formats::minidump::carry::Carried;
use effigy_formats::minidump::read::ReadError;
use effigy_formats::source::SharedSource;
use effigy_formats::{Attachment, DumpKind, Format, OpenedDump, Prologue};
use effigy_process::{CapturedMemory, Gap, Platform, Process, Snapshot};

use self::lost::Loss;
use self::snapshot::DumpSnapshot;
use crate::attachments::{OpenAttachment, append_attachments};
use crate::kind::{Kind, MinidumpType};
use crate::output::Output;
use crate::redact;
use crate::select::{SelectError, Wish, select};
use crate::write::{Job, MoveError, Progress, move_memory};

pub use self::source_kind::kind_of;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The format.
    pub format: Format,
    /// The kind; `None` to keep what there is.
    pub kind: Option<Kind>,
    /// The comment of a triage dump, in place of that of the dump that it is made of, which may say anything.
    pub triage_comment: String,
}

/// Why a dump cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// It does not hold enough for the kind.
    #[error(
        "a {source_kind} dump does not hold what a {wanted} dump must: {instead}, or take a new dump of the process"
    )]
    NotEnough {
        /// What it is.
        source_kind: Kind,
        /// What it is to become.
        wanted: Kind,
        /// What it can become.
        instead: &'static str,
    },
    /// What the system has cannot be expressed.
    #[error("a new {what} of a process of {} cannot be made: {why}; {instead}", platform.as_str())]
    Platform {
        /// What is to be made.
        what: &'static str,
        /// The process's system.
        platform: Platform,
        /// Why not.
        why: &'static str,
        /// What can be made.
        instead: &'static str,
    },
    /// The minidump's own tables cannot be read.
    #[error("reading the minidump")]
    Minidump(#[from] ReadError),
    /// Memory could not be selected.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Memory could not be moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// The dump could not be read.
    #[error("reading the dump at offset {offset:#x}")]
    Input {
        /// Where, in bytes from the start of what is in the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The new dump could not be written.
    #[error("writing the dump")]
    Output(#[source] io::Error),
}

/// A way from a dump to another.
#[derive(Debug)]
enum Road {
    Copy,
    Carry(Box<Carried>),
    Write,
}

/// A conversion that can be done.
#[derive(Debug)]
pub struct Conversion<'a> {
    dump: &'a OpenedDump,
    wanted: Wanted,
    road: Road,
    kind: Kind,
    minidump_type: u64,
    losses: Vec<Loss>,
}

/// What a conversion came to.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    /// Bytes of memory that the new dump holds.
    pub memory_bytes: u64,
    /// Memory and facts that it does not hold; those of the old dump included.
    pub gaps: Vec<Gap>,
    /// Whether it was ended early.
    pub cut_short: bool,
}

impl<'a> Conversion<'a> {
    /// Decides how a dump is converted.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn plan(dump: &'a OpenedDump, wanted: Wanted) -> Result<Self, ConvertError> {
        let source_kind = kind_of(dump);
        let kind = wanted.kind.unwrap_or(source_kind);
        if wanted.kind.is_some_and(|wanted| !source_kind::suffices(dump, wanted)) {
            let instead = match source_kind {
                Kind::MiniPlus => "ask for miniplus, mini or triage, or for no kind to keep all that there is",
                Kind::Mini => "ask for mini or triage, or for no kind to keep all that there is",
                _ => "ask for triage, or for no kind to keep all that there is",
            };
            return Err(ConvertError::NotEnough { source_kind, wanted: kind, instead });
        }
        let road = road(dump, &wanted)?;
        let platform = dump.process.system.platform;
        if matches!(road, Road::Write) && wanted.format == Format::Minidump && !platform.is_linux() {
            return Err(no_minidump(dump, platform));
        }
        let minidump_type = source_kind::header_bits(dump, wanted.kind);
        let losses = match &road {
            Road::Copy => Vec::new(),
            Road::Carry(_) => lost::by_carrying(dump),
            Road::Write => lost::by_writing(dump, wanted.format, kind.is_triage() && wanted.kind.is_some()),
        };
        Ok(Self { dump, wanted, road, kind, minidump_type, losses })
    }

    /// What the new dump is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the new dump cannot hold, memory aside.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// How it is done: `copied`, `carried` or `written`.
    #[must_use]
    pub fn manner(&self) -> &'static str {
        match self.road {
            Road::Copy => "copied",
            Road::Carry(_) => "carried",
            Road::Write => "written",
        }
    }

    /// Writes the new dump, all of it.
    ///
    /// # Errors
    /// When the old cannot be read, the new not written, or its format has no room for what it is to hold.
    pub fn write(&self, output: &mut dyn Output, progress: &Progress) -> Result<Converted, ConvertError> {
        let converted = match &self.road {
            Road::Copy => self.copy(output, progress)?,
            Road::Carry(carried) => self.carry(carried, output, progress)?,
            Road::Write => self.rewrite(output, progress)?,
        };
        output.finish().map_err(ConvertError::Output)?;
        Ok(converted)
    }

    fn copy(&self, output: &mut dyn Output, progress: &Progress) -> Result<Converted, ConvertError> {
        use std::sync::atomic::Ordering;
        let source = &self.dump.source;
        progress.total.store(source.size(), Ordering::Relaxed);
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while !progress.is_stopped() {
            let count = source.read_at(offset, &mut buffer).map_err(|source| ConvertError::Input { offset, source })?;
            if count == 0 {
                break;
            }
            output.append(&buffer[..count]).map_err(ConvertError::Output)?;
            offset += count as u64;
            progress.done.store(offset, Ordering::Relaxed);
        }
        Ok(Converted {
            memory_bytes: self.dump.memory.captured_bytes(),
            gaps: self.dump.process.gaps.clone(),
            cut_short: progress.is_stopped(),
        })
    }

    fn carry(
        &self,
        carried: &Carried,
        output: &mut dyn Output,
        progress: &Progress,
    ) -> Result<Converted, ConvertError> {
        let snapshot = DumpSnapshot::new(self.dump).with_images(&carried.image_ranges());
        let process = snapshot.described(snapshot.process());
        self.move_all(&snapshot, &process, carried, output, progress)
    }

    fn rewrite(&self, output: &mut dyn Output, progress: &Progress) -> Result<Converted, ConvertError> {
        let snapshot = DumpSnapshot::new(self.dump);
        let mut process = if self.is_redacted() {
            let mut redacted = snapshot.described(&redact::triage(snapshot.process()));
            redacted.comment.clone_from(&self.wanted.triage_comment);
            redacted
        } else {
            snapshot.described(snapshot.process())
        };
        if self.wanted.format == Format::ElfCore {
            described::for_core(&mut process);
        }
        if self.says_all() {
            process.gaps.extend(self.dump.gap());
        }
        self.move_all(&snapshot, &process, &self.wanted.format, output, progress)
    }

    /// Whether the new dump's header says that it holds all that the process had written.
    fn says_all(&self) -> bool {
        let all = MinidumpType::FULL_MEMORY | MinidumpType::PRIVATE_READ_WRITE;
        self.minidump_type & all.bits() != 0
    }

    /// Whether what a triage dump must not hold is taken out. A triage dump that only changes its format has lost it
    /// already.
    fn is_redacted(&self) -> bool {
        self.wanted.kind.is_some_and(Kind::is_triage)
    }

    fn move_all(
        &self,
        snapshot: &DumpSnapshot<'_>,
        process: &Process,
        format: &dyn Prologue,
        output: &mut dyn Output,
        progress: &Progress,
    ) -> Result<Converted, ConvertError> {
        let wish = Wish {
            // Without a kind everything stays that is there.
            kind: self.wanted.kind.unwrap_or(Kind::Full),
            include_dontdump: true,
            longest_hole: 0,
            most_bytes: None,
        };
        let mut selected = select(snapshot, &wish)?;
        let attached = if self.is_redacted() { Vec::new() } else { attachments(self.dump) };
        if self.is_redacted() {
            selected.gaps.iter_mut().for_each(|gap| gap.detail.clear());
        }
        let job = Job {
            process,
            selected,
            minidump_type: self.minidump_type,
            deface: self.is_redacted(),
            format,
            attachments: attached.iter().map(|attachment| attachment.about.clone()).collect(),
        };
        let moved = move_memory(snapshot, job, output, progress, false)?;
        append_attachments(attached, output, progress).map_err(ConvertError::Output)?;
        Ok(Converted { memory_bytes: moved.memory_bytes, gaps: moved.gaps, cut_short: moved.cut_short })
    }
}

/// Why no minidump of another system's process is written, and what can be made.
fn no_minidump(dump: &OpenedDump, platform: Platform) -> ConvertError {
    let (what, why, instead) = if dump.kind == DumpKind::ElfCore {
        let why = "effigy writes minidumps of Linux only, and a core has not all that one of another system's must";
        ("minidump", why, "use the minidump that the core was made of")
    } else {
        let why = "effigy writes minidumps of Linux only, and what it carries over from others has nothing taken out";
        ("minidump of kind triage", why, "ask for a triage dump in the form of a core, or for kind mini")
    };
    ConvertError::Platform { what, platform, why, instead }
}

fn road(dump: &OpenedDump, wanted: &Wanted) -> Result<Road, ConvertError> {
    let format = match dump.kind {
        DumpKind::ElfCore => Format::ElfCore,
        _ => Format::Minidump,
    };
    if format != wanted.format || wanted.kind.is_some_and(Kind::is_triage) {
        return Ok(Road::Write);
    }
    match (format, wanted.kind) {
        // Memory that comes from elsewhere is in no file that could be copied.
        (_, None) if dump.kind != DumpKind::ReflectionPair && !is_filled(dump) => Ok(Road::Copy),
        (Format::ElfCore, _) => Ok(Road::Write),
        (Format::Minidump, _) => {
            let ends = dump.attachments.iter().map(|(about, start)| (*start, start.saturating_add(about.length)));
            let attached = ends.reduce(|one, two| (one.0.min(two.0), one.1.max(two.1)));
            Ok(Road::Carry(Box::new(Carried::new(dump.source.clone(), attached)?)))
        }
    }
}

/// Whether some of a dump's memory comes from elsewhere, such as from image files.
fn is_filled(dump: &OpenedDump) -> bool {
    dump.memory.captured().iter().any(|captured| captured.offset.is_none())
}

/// The files that are embedded in a dump.
fn attachments(dump: &OpenedDump) -> Vec<OpenAttachment> {
    let open = |(about, start): &(Attachment, u64)| {
        let file = Section { source: dump.source.clone(), at: *start, end: start.saturating_add(about.length) };
        OpenAttachment::new(about.clone(), Box::new(file))
    };
    dump.attachments.iter().map(open).collect()
}

/// A part of a source as a stream.
struct Section {
    source: SharedSource,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read_at(self.at, &mut buffer[..left])?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
