//! Directory and memory as they are listed in the file, for those who check them.

use effigy_process::{Address, AddressRange};

use super::{Dump, names};
use crate::minidump::layout::{Location, flag, stream};

/// An entry of the directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) number: u32,
    pub(crate) name: Option<&'static str>,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Whether it is made of numbers, and not text.
    pub(crate) is_structured: bool,
}

impl Stream {
    /// Its name or number.
    pub(crate) fn field(&self) -> String {
        self.name.map_or_else(|| format!("stream {:#x}", self.number), str::to_owned)
    }
}

/// An entry of a list of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    list: &'static str,
    index: usize,
    pub(crate) range: AddressRange,
    pub(crate) offset: u64,
    /// Length in bytes that is claimed.
    pub(crate) size: u64,
}

impl Listed {
    fn new(list: &'static str, index: usize, start: u64, offset: u64, size: u64) -> Self {
        Self { list, index, range: AddressRange::sized(Address(start), size), offset, size }
    }

    /// Which entry it is.
    pub(crate) fn field(&self) -> String {
        format!("{}[{}]", self.list, self.index)
    }
}

impl Dump {
    /// The directory without unused entries.
    pub(crate) fn directory_entries(&self) -> Vec<Stream> {
        let used = self.directory.iter().filter(|entry| entry.kind.get() != stream::UNUSED);
        let entry = |number: u32, location: Location| Stream {
            number,
            name: names::of(number),
            offset: location.rva.get().into(),
            size: location.size.get().into(),
            is_structured: (stream::THREAD_LIST..=stream::THREAD_NAMES).contains(&number),
        };
        used.map(|used| entry(used.kind.get(), used.location)).collect()
    }

    /// All memory that is listed, and stacks that have a place.
    pub(crate) fn listed_memory(&self) -> Vec<Listed> {
        let (narrow, wide) = self.memory_lists();
        let place = |list, index, start: u64, location: Location| {
            Listed::new(list, index, start, location.rva.get().into(), location.size.get().into())
        };
        let mut listed: Vec<Listed> = narrow
            .iter()
            .enumerate()
            .map(|(index, entry)| place("MemoryList", index, entry.start.get(), entry.location))
            .collect();
        let threads = self.raw_threads().unwrap_or_default();
        let known: std::collections::HashSet<u64> = listed.iter().map(|entry| entry.range.start().0).collect();
        let stacks = threads.iter().enumerate().filter(|(_, thread)| {
            let location = thread.stack.location;
            location.size.get() > 0
                && location.rva.get() > 0
                && wide.is_none()
                && !known.contains(&thread.stack.start.get())
        });
        listed.extend(
            stacks.map(|(index, thread)| {
                place("ThreadList stack", index, thread.stack.start.get(), thread.stack.location)
            }),
        );
        if let Some((header, entries)) = wide {
            let mut offset = header.base.get();
            for (index, entry) in entries.iter().enumerate() {
                let size = entry.size.get();
                listed.push(Listed::new("Memory64List", index, entry.start.get(), offset, size));
                offset = offset.saturating_add(size);
            }
        }
        listed
    }

    /// Whether the header says that all memory is there.
    pub(crate) fn says_full(&self) -> bool {
        self.minidump_type() & flag::FULL_MEMORY != 0
    }
}
