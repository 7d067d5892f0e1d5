//! Threads.

use std::collections::HashMap;
use std::mem::offset_of;

use effigy_process::{Address, AddressRange, ThreadId};

use super::error::Wrong;
use super::source::{Budget, List};
use super::{Dump, ReadError};
use crate::minidump::layout::context::{Amd64, Arm, Arm64, Arm64Old, X86};
use crate::minidump::layout::{self, Location, ThreadName, processor, stream};

/// Most bytes of a CONTEXT that are read. One with all that XSAVE knows today, AMX included, takes 13 KiB.
const LONGEST_CONTEXT: u64 = 16 << 10;

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub id: ThreadId,
    /// Its name, where the dump has one that can be read.
    pub name: Option<String>,
    /// Its registers; `None` when the dump does not hold them.
    pub context: Result<Option<Context>, ReadError>,
    /// Its stack, as far as the dump says that it holds it: the memory itself is found by address. Empty, with the
    /// address alone, where it is to be looked up among the memory.
    pub stack: AddressRange,
}

/// A thread's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The CONTEXT as it lies in the file, as far as we take it.
    pub bytes: Vec<u8>,
    /// Where the thread executes; `None` when the CONTEXT is too short, or of an architecture that we do not know.
    pub instruction_pointer: Option<Address>,
    /// The stack pointer, likewise.
    pub stack_pointer: Option<Address>,
}

impl Dump {
    /// The threads, in the dump's order.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn threads(&self) -> Result<Vec<Thread>, ReadError> {
        self.listed_threads(&mut Wrong::default())
    }

    /// The same, with what is wrong with their names.
    pub(super) fn listed_threads(&self, wrong: &mut Wrong) -> Result<Vec<Thread>, ReadError> {
        let mut names = self.thread_names(wrong).unwrap_or_else(|error| {
            wrong.add(error);
            HashMap::new()
        });
        let raw = self.thread_list()?;
        let mut budget = self.file.budget();
        let member = ("ThreadContext", offset_of!(layout::Thread, context));
        let threads = raw.entries.iter().enumerate().map(|(index, entry)| {
            let id = ThreadId(entry.id.get());
            let context = self.context(entry.context, "a thread's context", &mut budget);
            Thread {
                id,
                name: names.remove(&id),
                context: context.map_err(|error| raw.led(error, "ThreadList", index, member)),
                stack: AddressRange::sized(Address(entry.stack.start.get()), entry.stack.location.size.get().into()),
            }
        });
        Ok(threads.collect())
    }

    /// The list of threads as it lies in the file.
    pub(in crate::minidump) fn raw_threads(&self) -> Result<Vec<layout::Thread>, ReadError> {
        self.thread_list().map(|list| list.entries)
    }

    fn thread_list(&self) -> Result<List<layout::Thread>, ReadError> {
        self.block(stream::THREAD_LIST)?.map_or(Ok(List::default()), |block| block.list("the list of threads"))
    }

    /// The threads' names. A name that cannot be read is no reason to do without the threads.
    fn thread_names(&self, wrong: &mut Wrong) -> Result<HashMap<ThreadId, String>, ReadError> {
        let Some(block) = self.block(stream::THREAD_NAMES)? else { return Ok(HashMap::new()) };
        let list: List<ThreadName> = block.list("the list of thread names")?;
        let mut budget = self.file.budget();
        let member = ("RvaOfThreadName", offset_of!(ThreadName, name_rva));
        let named = list.entries.iter().enumerate().filter_map(|(index, entry)| {
            let name = self.file.string(entry.name_rva.get(), "a thread's name", &mut budget);
            let name = name.map_err(|error| wrong.add(list.led(error, "ThreadNames", index, member)));
            Some((ThreadId(entry.id.get()), name.ok()?))
        });
        Ok(named.collect())
    }

    /// The CONTEXT at a location. Its length is not looked at: there are longer ones than winnt.h describes (with XSAVE)
    /// and shorter ones (lldb's), and both hold the pointers.
    pub(super) fn context(
        &self,
        location: Location,
        what: &'static str,
        budget: &mut Budget,
    ) -> Result<Option<Context>, ReadError> {
        let Some(block) = self.file.at(location, what)? else { return Ok(None) };
        let block = block.part(0, block.len().min(LONGEST_CONTEXT), what)?;
        budget.spend(what, block.offset(), block.len())?;
        let bytes = block.bytes(what)?;
        let word = |at: usize| Some(Address(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)));
        let half = |at: usize| Some(Address(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into()));
        let (instruction_pointer, stack_pointer) = match self.architecture {
            Some(processor::AMD64) => (word(offset_of!(Amd64, rip)), word(offset_of!(Amd64, general) + 4 * 8)),
            Some(processor::X86 | processor::X86_ON_64) => (half(offset_of!(X86, eip)), half(offset_of!(X86, esp))),
            Some(processor::ARM64) => (word(offset_of!(Arm64, pc)), word(offset_of!(Arm64, sp))),
            Some(processor::ARM64_OLD) => (word(offset_of!(Arm64Old, pc)), word(offset_of!(Arm64Old, sp))),
            Some(processor::ARM) => (half(offset_of!(Arm, r) + 15 * 4), half(offset_of!(Arm, r) + 13 * 4)),
            _ => (None, None),
        };
        Ok(Some(Context { bytes, instruction_pointer, stack_pointer }))
    }
}
