//! A minidump's bytes taken apart.
//!
//! The bytes are somebody else's, and may be hostile: each offset and count is checked, lists are looked at where they
//! lie, and nothing is allocated that the file does not hold many times. What is wrong with one thread or module is
//! told at that thread or module; the others can still be read.

mod context;
mod error;
mod fields;
mod handles;
mod ipt;
mod linkage;
mod listing;
mod memory;
mod misc_info;
mod modules;
mod names;
mod notes;
mod process;
mod protobuf;
mod records;
mod regions;
mod source;
mod stability;
mod system;
mod threads;
mod wow64;

use std::mem::offset_of;
use std::sync::Arc;

use bstr::{BString, ByteSlice};
use effigy_process::{Address, ThreadId};
use zerocopy::little_endian::{U16, U32};

pub use self::error::{FieldName, ReadError};
pub(crate) use self::listing::{Listed, Stream};
pub use self::misc_info::ProcessKey;
pub use self::modules::{Module, ModuleIdentity};
pub use self::notes::ThreadNotes;
use self::source::{Block, Budget, utf16};
pub use self::threads::{Context, Thread};
pub use self::wow64::layer_state;
use crate::source::SharedSource;

use super::layout::{self, Directory, Header, PLATFORM_WIN32_NT, SystemInfo, flag, stream};

/// Most bytes of a text of the kernel that are read. Maps of 65,530 mappings have a few million, and environments less.
const LONGEST_TEXT: u64 = 64 << 20;

/// Most exceptions that are read: one a thread, in dumps of lldb.
const MOST_EXCEPTIONS: usize = 65_536;

/// A minidump.
#[derive(Clone, Debug)]
pub struct Dump {
    file: Block,
    pub(in crate::minidump) header: Header,
    pub(in crate::minidump) directory: Arc<[Directory]>,
    architecture: Option<u16>,
}

/// What the process died of, or which thread the dump was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The thread.
    pub thread: ThreadId,
    /// On Linux the signal's number, or 0xffffffff in a dump that was asked for.
    pub code: u32,
    /// On Linux the signal's `si_code`.
    pub flags: u32,
    /// Where it happened, or which address could not be accessed.
    pub address: Address,
    /// What else the writer says of it (`ExceptionInformation`), up to 15 numbers.
    pub parameters: Vec<u64>,
    /// The thread's registers at that time.
    pub context: Result<Option<Context>, ReadError>,
}

impl Dump {
    /// A minidump from a copy of the bytes of its file; see [`open`](Self::open).
    ///
    /// # Errors
    /// When they are not a minidump's.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        Self::open(Arc::new(bytes.to_vec()))
    }

    /// A minidump from its file. Only header, directory and architecture are looked at.
    ///
    /// # Errors
    /// When these are not a minidump's, or cannot be read.
    pub fn open(source: SharedSource) -> Result<Self, ReadError> {
        let file = Block::file(source);
        let header: Header = file.record(0, "the header")?;
        if header.signature.get() != layout::SIGNATURE {
            return Err(ReadError::Signature { found: header.signature.get() });
        }
        if header.version.get() & 0xffff != layout::VERSION {
            return Err(ReadError::Version { found: header.version.get() });
        }
        let directory = read_directory(&file, &header)?;
        let mut dump = Self { file, header, directory: directory.into(), architecture: None };
        dump.architecture = dump.read_architecture();
        Ok(dump)
    }

    /// The bytes of its file.
    #[must_use]
    pub fn source(&self) -> &SharedSource {
        self.file.source()
    }

    /// MINIDUMP_TYPE bits: what the dump says it holds.
    #[must_use]
    pub fn minidump_type(&self) -> u64 {
        self.header.flags.get()
    }

    /// Whether it is meant to hold the process's memory, and not only what its threads' stacks need.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = flag::FULL_MEMORY | flag::PRIVATE_READ_WRITE_MEMORY;
        self.minidump_type() & full != 0 || self.streams().any(|kind| kind == stream::MEMORY64_LIST)
    }

    /// When the dump was taken, in seconds since 1970.
    #[must_use]
    pub fn captured(&self) -> u32 {
        self.header.captured.get()
    }

    /// Types of the streams that there are, in the directory's order.
    pub fn streams(&self) -> impl Iterator<Item = u32> + '_ {
        self.directory.iter().map(|entry| entry.kind.get()).filter(|kind| *kind != stream::UNUSED)
    }

    /// The bytes of the first stream of type `kind`; `None` when there is none.
    ///
    /// # Errors
    /// When the stream does not lie inside the file.
    pub fn stream(&self, kind: u32) -> Result<Option<Vec<u8>>, ReadError> {
        self.block(kind)?.map(|block| block.bytes("a stream")).transpose()
    }

    /// The processor's architecture, `PROCESSOR_ARCHITECTURE_*`; `None` when the dump does not tell.
    #[must_use]
    pub fn processor_architecture(&self) -> Option<u16> {
        self.architecture
    }

    /// Whether a Windows wrote it, or somebody for it: `VER_PLATFORM_WIN32_NT` or an older one.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let Ok(Some(block)) = self.block(stream::SYSTEM_INFO) else { return false };
        let platform = block.record::<U32>(offset_of!(SystemInfo, platform) as u64, "the platform");
        platform.is_ok_and(|platform| platform.get() <= PLATFORM_WIN32_NT)
    }

    /// What happened; `None` when nothing did and no thread is pointed out.
    ///
    /// # Errors
    /// When the stream is cut off.
    pub fn exception(&self) -> Result<Option<Exception>, ReadError> {
        let mut budget = self.file.budget();
        self.block(stream::EXCEPTION)?.map(|block| self.read_exception(&block, &mut budget)).transpose()
    }

    /// All exceptions, in the directory's order. There should be one at most.
    ///
    /// # Errors
    /// When a stream is cut off.
    pub fn exceptions(&self) -> Result<Vec<Exception>, ReadError> {
        let entries = self.directory.iter().enumerate().filter(|(_, entry)| entry.kind.get() == stream::EXCEPTION);
        let blocks = entries.map(|(index, _)| self.stream_block(index));
        let mut budget = self.file.budget();
        blocks.take(MOST_EXCEPTIONS).map(|block| self.read_exception(&block?, &mut budget)).collect()
    }

    fn read_exception(&self, block: &Block, budget: &mut Budget) -> Result<Exception, ReadError> {
        let raw: layout::Exception = block.record(0, "the exception")?;
        let at = block.offset() + offset_of!(layout::Exception, context) as u64;
        let context = self.context(raw.context, "the exception's context", budget);
        let count = usize::try_from(raw.parameter_count.get()).unwrap_or(usize::MAX).min(raw.parameters.len());
        Ok(Exception {
            thread: ThreadId(raw.thread_id.get()),
            code: raw.code.get(),
            flags: raw.flags.get(),
            address: Address(raw.address.get()),
            parameters: raw.parameters[..count].iter().map(|parameter| parameter.get()).collect(),
            context: context.map_err(|error| error.led_by("Exception", None, "ThreadContext", at)),
        })
    }

    /// The comment that was stored with the dump.
    ///
    /// # Errors
    /// When the stream does not lie inside the file.
    pub fn comment(&self) -> Result<Option<String>, ReadError> {
        if let Some(block) = self.block(stream::COMMENT_W)? {
            let units: Vec<U16> = block.records(0, block.len() / 2, "the comment")?;
            return Ok(Some(utf16(&units)));
        }
        let text = self.stream(stream::COMMENT_A)?;
        Ok(text.map(|text| text.split_str(b"\0").next().unwrap_or_default().to_str_lossy().into_owned()))
    }

    /// What the writer could not do: a JSON document.
    ///
    /// # Errors
    /// When the stream does not lie inside the file, or is no text.
    pub fn soft_errors(&self) -> Result<Option<String>, ReadError> {
        self.text(stream::MOZ_SOFT_ERRORS, "the list of soft errors")
    }

    /// effigy's own facts about the process: a JSON document.
    ///
    /// # Errors
    /// When the stream does not lie inside the file, or is no text.
    pub fn facts(&self) -> Result<Option<String>, ReadError> {
        self.text(stream::EFFIGY_FACTS, "effigy's facts")
    }

    /// effigy's list of the files that are attached behind the memory: a JSON document.
    ///
    /// # Errors
    /// When the stream does not lie inside the file, or is no text.
    pub fn attachments(&self) -> Result<Option<String>, ReadError> {
        self.text(stream::EFFIGY_ATTACHMENTS, "the list of attachments")
    }

    /// A stream that is text from one of the kernel's files, as it is.
    ///
    /// # Errors
    /// When the stream does not lie inside the file, or is longer than any such text.
    pub fn kernel_file(&self, kind: u32) -> Result<Option<BString>, ReadError> {
        let (what, Some(block)) = ("a text of the kernel", self.block(kind)?) else { return Ok(None) };
        if block.len() > LONGEST_TEXT {
            return Err(ReadError::TooLarge { what, offset: block.offset(), size: block.len() });
        }
        block.bytes(what).map(|text| Some(text.into()))
    }

    /// Only the beginning of the stream is looked at: what follows differs between processors and writers.
    fn read_architecture(&self) -> Option<u16> {
        let block = self.block(stream::SYSTEM_INFO).ok()??;
        block
            .record::<U16>(offset_of!(SystemInfo, architecture) as u64, "the architecture")
            .ok()
            .map(|number| number.get())
    }

    fn text(&self, kind: u32, what: &'static str) -> Result<Option<String>, ReadError> {
        let Some(block) = self.block(kind)? else { return Ok(None) };
        let text = String::from_utf8(block.bytes(what)?);
        text.map(Some).map_err(|_| ReadError::Text { what, offset: block.offset() })
    }

    /// The first stream of a type. There should be one at most; lldb writes several exceptions, of which the first is
    /// the one that made the process stop.
    fn block(&self, kind: u32) -> Result<Option<Block>, ReadError> {
        let Some(index) = self.directory.iter().position(|entry| entry.kind.get() == kind) else { return Ok(None) };
        self.stream_block(index).map(Some)
    }

    /// The stream of an entry of the directory.
    fn stream_block(&self, index: usize) -> Result<Block, ReadError> {
        let Directory { kind, location } = self.directory[index];
        let what = names::of(kind.get()).unwrap_or("a stream");
        let place = index * size_of::<Directory>() + offset_of!(Directory, location);
        let at = u64::from(self.header.directory_rva.get()) + place as u64;
        let block = self.file.part(location.rva.get().into(), location.size.get().into(), what);
        block.map_err(|error| error.led_by("Directory", Some(index as u64), "Location", at))
    }
}

/// The directory, which the header counts and places.
fn read_directory(file: &Block, header: &Header) -> Result<Vec<Directory>, ReadError> {
    let (start, count) = (u64::from(header.directory_rva.get()), u64::from(header.stream_count.get()));
    let (what, at) = ("the directory", offset_of!(Header, stream_count) as u64);
    let block = file.part(start, count * size_of::<Directory>() as u64, what);
    block.map_err(|error| error.led_by("Header", None, "NumberOfStreams", at))?.records(0, count, what)
}

#[cfg(test)]
mod tests;
