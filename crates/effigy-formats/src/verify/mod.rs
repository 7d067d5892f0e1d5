//! Is a dump whole? Everything that it says of itself is held against what is in the file.
//!
//! Opening a dump makes the best of what there is and warns; here each thing that is wrong is a defect, with its place.
//! What no reader of dumps minds is none: padding, streams of unknown types, notes that nobody knows.

mod elf_core;
mod minidump;
mod process;
mod ranges;

use effigy_process::NotRead;
use serde::Serialize;

use crate::source::Source;
use crate::{Compression, DumpKind, OpenError, OpenedDump};

/// Most defects that are kept; a damaged list may have one in each of a million entries.
const MOST_DEFECTS: usize = 1000;
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// How bad a defect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Unusual: the dump is whole, but some reader may stumble, or shows less than it could.
    Odd,
    /// Something that the dump promises is not there, or contradicts something else.
    Broken,
}

/// Something that is wrong with a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// How bad it is.
    pub severity: Severity,
    /// Where, in bytes from the start of the file (of what is in it, where it is compressed); `None` where the defect has no
    /// one place.
    pub offset: Option<u64>,
    /// Which file of a reflection pair it is in; `None` for other dumps, and where it is about all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Which part and field of the format it is about, such as `Memory64List[3]`. Empty where the text says it.
    pub field: String,
    /// What is wrong.
    pub text: String,
}

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The dump.
    pub dump: OpenedDump,
    /// Defects, in the order of the checks.
    pub defects: Vec<Defect>,
    /// How many more there are, beyond those that are kept.
    pub more: u64,
}

impl Verdict {
    /// Whether the dump is whole; what is odd does not count.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.more == 0 && self.defects.iter().all(|defect| defect.severity == Severity::Odd)
    }
}

/// Collects defects.
#[derive(Debug, Default)]
pub(crate) struct Defects {
    /// Which file of a pair is looked at.
    file: Option<String>,
    found: Vec<Defect>,
    more: u64,
}

impl Defects {
    pub(crate) fn broken(&mut self, offset: impl Into<Option<u64>>, field: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Broken, offset.into(), field.into(), text.into());
    }

    pub(crate) fn odd(&mut self, offset: impl Into<Option<u64>>, field: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Odd, offset.into(), field.into(), text.into());
    }

    fn add(&mut self, severity: Severity, offset: Option<u64>, field: String, text: String) {
        if self.found.len() < MOST_DEFECTS {
            self.found.push(Defect { severity, file: self.file.clone(), offset, field, text });
        } else if severity == Severity::Broken {
            self.more += 1;
        }
    }
}

/// Checks an opened dump. `thorough` reads all of a compressed file, so that its checksums are checked; memory is not read
/// else.
///
/// # Errors
/// When it cannot be read any more. What is damaged is no error.
pub fn verify(dump: OpenedDump, thorough: bool) -> Result<Verdict, OpenError> {
    let mut defects = Defects::default();
    for warning in dump.warnings.iter().filter(|warning| !warning.harmless) {
        defects.broken(warning.offset, "", warning.text.clone());
    }
    match dump.kind {
        DumpKind::ElfCore => elf_core::check(&dump, &mut defects)?,
        DumpKind::Minidump => minidump::check(&dump.source, &mut defects)?,
        DumpKind::ReflectionPair => pair(&dump, &mut defects)?,
    }
    attachments(&dump, &mut defects);
    process::check(&dump, &mut defects);
    if thorough {
        all_frames(&dump, &mut defects);
    }
    Ok(Verdict { dump, defects: defects.found, more: defects.more })
}

/// Checks each file of a reflection pair.
fn pair(dump: &OpenedDump, defects: &mut Defects) -> Result<(), OpenError> {
    for (index, file) in dump.pair.iter().enumerate() {
        defects.file = Some(file.path.to_string_lossy().into_owned());
        // What is wrong with the streams of the first was told when the pair was opened.
        if index > 0 {
            minidump::streams(&file.source, defects)?;
        }
        minidump::check(&file.source, defects)?;
    }
    defects.file = None;
    Ok(())
}

/// Reads all frames of a dump's files, which comes last: what a container gives for one opening is bounded.
fn all_frames(dump: &OpenedDump, defects: &mut Defects) {
    let is_container = |compression: Option<Compression>| compression == Some(Compression::SeekableZstd);
    if is_container(dump.compression) {
        frames(&*dump.source, defects);
    }
    for file in dump.pair.iter().filter(|file| is_container(file.compression)) {
        defects.file = Some(file.path.to_string_lossy().into_owned());
        frames(&*file.source, defects);
    }
    defects.file = None;
}

/// Reads all frames of a container. Each has a checksum, which unpacking checks.
fn frames(source: &dyn Source, defects: &mut Defects) {
    const FIELD: &str = "compressed frame";
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < source.size() {
        let error = match source.read_at(offset, &mut buffer) {
            Ok(count) if count > 0 => {
                offset += count as u64;
                continue;
            }
            Ok(_) => break,
            Err(error) => error,
        };
        let mut text = error.to_string();
        let cause = error.get_ref().and_then(|inner| inner.source());
        cause.into_iter().for_each(|cause| text = format!("{text}: {cause}"));
        match source.unreadable(offset, CHUNK as u64) {
            Some(rest) if rest.reason == NotRead::NotUnpacked => {
                let text = format!("not checked from here on, of {} bytes: {text}", source.size());
                defects.odd(rest.range.start, FIELD, text);
                break;
            }
            Some(damage) => {
                defects.broken(damage.range.start, FIELD, text);
                offset = damage.range.end;
            }
            None => {
                defects.broken(offset, FIELD, text);
                offset += CHUNK as u64;
            }
        }
    }
}

/// Embedded files lie in the file.
fn attachments(dump: &OpenedDump, defects: &mut Defects) {
    let size = dump.source.size();
    for (attachment, offset) in &dump.attachments {
        if offset.checked_add(attachment.length).is_none_or(|end| end > size) {
            let text =
                format!("{} bytes of {} reach beyond the file's end at {size:#x}", attachment.length, attachment.name);
            defects.broken(*offset, "embedded file", text);
        }
    }
}

#[cfg(test)]
mod tests;
