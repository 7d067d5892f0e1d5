//! A dump that was opened, whatever kind of file it is.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use bstr::BString;
use effigy_process::{Gap, GapReason, GapSubject, Process};

use crate::elf_core::read::CoreError;
use crate::source::SharedSource;
use crate::{Attachment, MemoryMap, elf_core};

/// An opened dump: the process, its memory, and what else is known of the file.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedDump {
    /// What kind of file it is.
    pub kind: DumpKind,
    /// How it is compressed.
    pub compression: Option<Compression>,
    /// How much of the process's memory it is meant to hold.
    pub coverage: Coverage,
    /// What the dump says it holds, MINIDUMP_TYPE bits; 0 for cores of others than effigy,
    /// which do not say.
    pub minidump_type: u64,
    /// What the header of the file says: that of a minidump, or of an ELF file.
    pub header: Vec<Field>,
    /// The process.
    pub process: Process,
    /// Its memory.
    pub memory: MemoryMap,
    /// Streams of a minidump, notes of a core, in the file's order.
    pub parts: Vec<Part>,
    /// Files that are embedded in the dump, each with the place of its first byte in the dump.
    pub attachments: Vec<(Attachment, u64)>,
    /// What is wrong with the file, or was passed over.
    pub warnings: Vec<Warning>,
    /// The file's bytes without its compression; of a pair, those of the file with threads and modules. Offsets are in
    /// these.
    pub source: SharedSource,
    /// The files of a reflection pair: that with the threads first, then that with the memory, then that with the modules,
    /// where it is one of its own. Empty for other dumps.
    pub pair: Vec<PairFile>,
}

/// How much of a process's memory a dump is meant to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// All that the process had written: what is mapped and not in it was not wanted or could not be read.
    Full,
    /// All that it lists as memory that may be written to, and why it is not known whether there was more.
    Listed(String),
    /// It is not known, and why.
    Unknown(String),
    /// Not all, and how that is known.
    Partial(String),
}

/// The gap of a dump that was made of one of which it is not known whether it has all, or is known that it has not.
const UNLISTED: &str = "what tells whether this is all memory";
const CUT_OFF: &str = "memory that was cut off";

impl Coverage {
    /// What a dump says of itself. One that was made of another has what was known of that among its gaps, from which it is
    /// taken.
    pub(crate) fn said(full: bool, process: &mut Process) -> Self {
        let mut take = |fact: &str| {
            let is_it = |gap: &Gap| matches!(&gap.subject, GapSubject::Fact(name) if name == fact);
            let place = process.gaps.iter().position(is_it);
            place.map(|place| process.gaps.remove(place).detail)
        };
        let (unlisted, cut_off) = (take(UNLISTED), take(CUT_OFF));
        match (full, cut_off, unlisted) {
            (_, Some(why), _) => Self::Partial(why),
            (false, ..) => Self::Partial("the dump says so itself".into()),
            (true, _, Some(why)) => Self::Listed(why),
            (true, ..) => Self::Full,
        }
    }

    /// Whether it holds all; `None` where that is not known.
    #[must_use]
    pub fn is_full(&self) -> Option<bool> {
        match self {
            Self::Full => Some(true),
            Self::Partial(_) => Some(false),
            Self::Listed(_) | Self::Unknown(_) => None,
        }
    }

    /// Whether there is all that the dump lists as memory that the process may have written.
    #[must_use]
    pub fn has_all_listed(&self) -> bool {
        matches!(self, Self::Full | Self::Listed(_))
    }

    /// How that is known, or why not; empty for a full dump.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Full => "",
            Self::Listed(why) | Self::Unknown(why) | Self::Partial(why) => why,
        }
    }
}

/// A file of a reflection pair.
#[derive(Debug)]
pub struct PairFile {
    /// Its path from the configuration's folder on.
    pub path: PathBuf,
    /// Its bytes without its compression.
    pub source: SharedSource,
    /// How it is compressed.
    pub compression: Option<Compression>,
}

impl OpenedDump {
    /// How much of the process's memory it holds: a file that was cut short does not hold what it was meant to.
    #[must_use]
    pub fn held(&self) -> Cow<'_, Coverage> {
        match (self.memory.missing(), self.memory.repeated()) {
            (0, 0) => Cow::Borrowed(&self.coverage),
            (0, _) => {
                Cow::Owned(Coverage::Partial("its memory lies over itself in the file, and some is left out".into()))
            }
            _ => Cow::Owned(Coverage::Partial("the file is truncated".into())),
        }
    }

    /// What a dump that is made of this one is to have among its gaps, if its header says that it holds all.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        let held = self.held();
        let (fact, reason) = match *held {
            Coverage::Listed(_) => (UNLISTED, GapReason::NotInDump),
            Coverage::Partial(_) => (CUT_OFF, GapReason::Damaged),
            Coverage::Full | Coverage::Unknown(_) => return None,
        };
        Some(Gap { subject: GapSubject::Fact(fact.into()), reason, detail: held.why().to_owned() })
    }

    /// What a part of this dump says, field by field. Those of a core's notes are read from the file.
    ///
    /// # Errors
    /// When the file cannot be read any more, or the note is longer than any.
    pub fn fields_of<'p>(&self, part: &'p Part) -> Result<Cow<'p, [Field]>, CoreError> {
        match self.kind {
            DumpKind::ElfCore => elf_core::read::fields_of(&self.source, part).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(&part.fields)),
        }
    }
}

/// A kind of dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DumpKind {
    /// A minidump.
    Minidump,
    /// An ELF core.
    ElfCore,
    /// Two or three minidumps of one process, named by a configuration file.
    ReflectionPair,
}

/// A way in which a dump is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// zstd with a table of its frames: any part is read in place.
    SeekableZstd,
    /// Ordinary zstd.
    Zstd,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
}

impl Compression {
    /// Its name, as people know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SeekableZstd => "zstd, seekable",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
        }
    }
}

/// A part of a dump's file: a stream of a minidump, or a note of a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its type's number.
    pub number: u32,
    /// Who says what the number means, for notes: `CORE`, `LINUX`, …; empty for streams.
    pub owner: BString,
    /// The type's name; `None` when it has none that is known.
    pub name: Option<&'static str>,
    /// Where its contents begin, from the start of the file, in bytes.
    pub offset: u64,
    /// Their length in bytes.
    pub size: u64,
    /// What a stream says that has no place in the process. A note's fields are read when they are asked for:
    /// [`OpenedDump::fields_of`].
    pub fields: Vec<Field>,
}

/// Something that a part of a dump says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as the format's description has it.
    pub name: &'static str,
    /// What it says.
    pub value: FieldValue,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A number.
    Number(u64),
    /// A number that may be below zero.
    Signed(i64),
    /// Text.
    Text(String),
    /// Records, each with fields of its own.
    List(Vec<Vec<Field>>),
}

impl Field {
    pub(crate) fn number(name: &'static str, value: impl Into<u64>) -> Self {
        Self { name, value: FieldValue::Number(value.into()) }
    }

    pub(crate) fn signed(name: &'static str, value: impl Into<i64>) -> Self {
        Self { name, value: FieldValue::Signed(value.into()) }
    }

    pub(crate) fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: FieldValue::Text(value.into()) }
    }

    pub(crate) fn list(name: &'static str, records: Vec<Vec<Self>>) -> Self {
        Self { name, value: FieldValue::List(records) }
    }

    /// The beginning of what has no fields that are known, and why.
    pub(crate) fn undecoded(why: &str, bytes: &[u8]) -> Vec<Self> {
        let shown = &bytes[..bytes.len().min(MOST_CONTENT)];
        vec![Self::text("NotDecoded", why), Self::text("Content", hexadecimal(shown))]
    }
}

/// Bytes in hexadecimal digits, in the order of the file.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Most bytes that are shown of a part whose fields are not known.
pub(crate) const MOST_CONTENT: usize = 256;
/// Most bytes of a text that is shown whole.
pub(crate) const LONGEST_TEXT: usize = 64 << 10;
/// Most records of a list that are taken. Lists of dumps have dozens; the number that a list claims is among its fields.
pub(crate) const MOST_RECORDS: usize = 4096;

/// Something that is wrong with a dump's file, or was passed over. The rest could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where in the file, in bytes from its start; `None` where that means nothing.
    pub offset: Option<u64>,
    /// What is wrong, naming the part and the field.
    pub text: String,
    /// Whether nothing is wrong with the file: it is said because it bears on what is seen.
    pub harmless: bool,
}

impl Warning {
    /// A warning about the file as a whole.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { offset: None, text: text.into(), harmless: false }
    }

    /// A remark about a file that nothing is wrong with.
    pub(crate) fn remark(text: impl Into<String>) -> Self {
        Self { harmless: true, ..Self::new(text) }
    }

    /// A warning about a place in the file.
    pub(crate) fn at(offset: u64, text: impl Into<String>) -> Self {
        Self { offset: Some(offset), text: text.into(), harmless: false }
    }

    /// What an error says, with its place.
    pub(crate) fn of(error: &impl Placed) -> Self {
        Self { offset: error.place(), text: error.to_string(), harmless: false }
    }
}

/// `offset 0x1234: what is wrong there`; of a text that names the offset itself, just that.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset.filter(|offset| !names_offset(&self.text, *offset)) {
            write!(f, "offset {offset:#x}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// Whether a text about something that is wrong says itself that it is at this offset, or that something ends there.
#[must_use]
pub fn names_offset(text: &str, offset: u64) -> bool {
    ["at offset", "ends at"].iter().any(|words| {
        let named = format!("{words} {offset:#x}");
        text.match_indices(&named).any(|(at, _)| {
            let behind = &text[at + named.len()..];
            !behind.starts_with(|next: char| next.is_ascii_hexdigit())
        })
    })
}

/// An error that knows where in the file it is.
pub(crate) trait Placed: std::error::Error {
    /// Offset in bytes from the file's start; `None` where the error is about no one place.
    fn place(&self) -> Option<u64>;
}

/// Most warnings that are kept.
pub(crate) const MOST_WARNINGS: usize = 1000;

/// The value of what could be read; what could not becomes a warning, and the value is the type's default.
pub(crate) fn or_warn<T: Default>(outcome: Result<T, impl Placed>, warnings: &mut Vec<Warning>) -> T {
    outcome.unwrap_or_else(|error| {
        warn(Warning::of(&error), warnings);
        T::default()
    })
}

/// Adds a warning. What is asked for twice is told once, and of what is damaged in each of a million entries the first.
pub(crate) fn warn(warning: Warning, warnings: &mut Vec<Warning>) {
    if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_said_once() {
        let shown = |offset, text: &str| Warning::at(offset, text).to_string();
        assert_eq!(shown(0x20, "the end"), "offset 0x20: the end");
        assert_eq!(shown(0x20, "a name at offset 0x20 is no text"), "a name at offset 0x20 is no text");
        assert_eq!(shown(0x20, "the file ends at 0x20, too early"), "the file ends at 0x20, too early");
        assert_eq!(shown(0x20, "a name at offset 0x200"), "offset 0x20: a name at offset 0x200");
        assert_eq!(Warning::new("all").to_string(), "all");
    }

    #[test]
    fn what_is_said_is_not_said_again() {
        let mut warnings = Vec::new();
        for offset in [1, 2, 1] {
            warn(Warning::at(offset, "x"), &mut warnings);
        }
        assert_eq!(warnings.len(), 2);
    }
}
