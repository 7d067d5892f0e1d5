//! Threads.

use std::collections::HashMap;
use std::mem::offset_of;

use effigy_process::{Address, AddressRange, ThreadId};
use zerocopy::little_endian::{U32, U64};

use super::{Dump, ReadError, Text};
use crate::minidump::layout::context::{Amd64, Arm, Arm64, X86};
use crate::minidump::layout::{self, Location, ThreadName, processor, stream};

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread<'a> {
    /// Its id.
    pub id: ThreadId,
    /// Its name, where the dump has one that can be read.
    pub name: Option<Text<'a>>,
    /// Its registers; `None` when the dump does not hold them.
    pub context: Result<Option<Context<'a>>, ReadError>,
    /// Its stack, as far as the dump says that it holds it: the memory itself is found by address. Empty, with the
    /// address alone, where it is to be looked up among the memory.
    pub stack: AddressRange,
}

/// A thread's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// The CONTEXT as it lies in the file.
    pub bytes: &'a [u8],
    /// Where the thread executes; `None` when the CONTEXT is too short, or of an architecture that we do not know.
    pub instruction_pointer: Option<Address>,
    /// The stack pointer, likewise.
    pub stack_pointer: Option<Address>,
}

impl<'a> Dump<'a> {
    /// The threads, in the dump's order.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn threads(&self) -> Result<Vec<Thread<'a>>, ReadError> {
        let mut names = self.thread_names();
        let threads = self.raw_threads()?.iter().map(|raw| {
            let id = ThreadId(raw.id.get());
            Thread {
                id,
                name: names.remove(&id),
                context: self.context(raw.context, "a thread's context"),
                stack: AddressRange::sized(Address(raw.stack.start.get()), raw.stack.location.size.get().into()),
            }
        });
        Ok(threads.collect())
    }

    /// The list of threads as it lies in the file.
    pub(super) fn raw_threads(&self) -> Result<&'a [layout::Thread], ReadError> {
        self.block(stream::THREAD_LIST)?.map_or(Ok(&[]), |block| block.counted("the list of threads"))
    }

    /// The threads' names. A name that cannot be read is no reason to do without the threads.
    fn thread_names(&self) -> HashMap<ThreadId, Text<'a>> {
        let Ok(Some(block)) = self.block(stream::THREAD_NAMES) else { return HashMap::new() };
        let entries: &[ThreadName] = block.counted("the list of thread names").unwrap_or_default();
        let named = entries.iter().filter_map(|entry| {
            let name = self.file.string(entry.name_rva.get(), "a thread's name").ok()?;
            Some((ThreadId(entry.id.get()), name))
        });
        named.collect()
    }

    /// The CONTEXT at a location. Its length is not looked at: there are longer ones than winnt.h describes (with XSAVE)
    /// and shorter ones (lldb's), and both hold the pointers.
    pub(super) fn context(&self, location: Location, what: &'static str) -> Result<Option<Context<'a>>, ReadError> {
        let Some(block) = self.file.at(location, what)? else { return Ok(None) };
        let word = |at: usize| Some(Address(block.record::<U64>(at as u64, what).ok()?.get()));
        let half = |at: usize| Some(Address(block.record::<U32>(at as u64, what).ok()?.get().into()));
        let (instruction_pointer, stack_pointer) = match self.architecture {
            Some(processor::AMD64) => (word(offset_of!(Amd64, rip)), word(offset_of!(Amd64, general) + 4 * 8)),
            Some(processor::X86 | processor::X86_ON_64) => (half(offset_of!(X86, eip)), half(offset_of!(X86, esp))),
            Some(processor::ARM64) => (word(offset_of!(Arm64, pc)), word(offset_of!(Arm64, sp))),
            Some(processor::ARM) => (half(offset_of!(Arm, r) + 15 * 4), half(offset_of!(Arm, r) + 13 * 4)),
            _ => (None, None),
        };
        Ok(Some(Context { bytes: block.bytes(), instruction_pointer, stack_pointer }))
    }
}
