//! Memory by address.

use effigy_process::{Address, AddressRange};

use super::source::{Block, ListHead};
use super::{Dump, ReadError};
use crate::MemoryMap;
use crate::memory::Found;
use crate::minidump::layout::{
    self, Header, Memory64Header, MemoryDescriptor, MemoryDescriptor64, MemoryInfo, MemoryInfoHeader, memory, stream,
};

impl Dump {
    /// The memory. It is found, not read.
    ///
    /// # Errors
    /// When a list of memory is cut off. Memory that the file is too short for is no error; see
    /// [`MemoryMap::missing`].
    pub fn memory(&self) -> Result<MemoryMap, ReadError> {
        let mut found = Found::new(self.file.source().clone());
        self.collect_wide(&mut found)?;
        if let Some(block) = self.block(stream::MEMORY_LIST)? {
            add_all(&mut found, block.counted::<MemoryDescriptor>("the list of memory")?.into_iter());
        }
        let missing = found.missing;
        // Some dumps hold stacks nowhere else. What is wrong with the list of threads, or of regions, is told when those
        // are asked for; the memory can be read all the same.
        add_all(&mut found, Self::placed_stacks(&self.raw_threads().unwrap_or_default()));
        found.missing = missing;
        Ok(found.finish(self.regions().unwrap_or_default()))
    }

    /// The stacks that a list of threads gives a place to. Windows gives those of a full dump a length, and the offset 0,
    /// where the header is: they are among the memory.
    pub(in crate::minidump) fn placed_stacks(threads: &[layout::Thread]) -> impl Iterator<Item = MemoryDescriptor> {
        let is_placed = |stack: &MemoryDescriptor| stack.location.rva.get() as usize >= size_of::<Header>();
        threads.iter().map(|thread| thread.stack).filter(is_placed)
    }

    /// The lists of memory as they lie in the file; a damaged one is left out.
    pub(in crate::minidump) fn memory_lists(&self) -> (Vec<MemoryDescriptor>, Option<WideList>) {
        let narrow = || self.block(stream::MEMORY_LIST).ok().flatten()?.counted("the list of memory").ok();
        (narrow().unwrap_or_default(), self.wide_list().ok().flatten())
    }

    fn wide_list(&self) -> Result<Option<WideList>, ReadError> {
        let what = "the list of memory";
        let Some(block) = self.block(stream::MEMORY64_LIST)? else { return Ok(None) };
        let header: Memory64Header = block.record(0, what)?;
        let entries = block.records(size_of::<Memory64Header>() as u64, header.count.get(), what)?;
        Ok(Some((header, entries)))
    }

    fn collect_wide(&self, found: &mut Found) -> Result<(), ReadError> {
        let Some((header, entries)) = self.wide_list()? else { return Ok(()) };
        let mut at = header.base.get();
        for entry in entries {
            found.add(entry.start.get(), at, entry.size.get());
            at = at.saturating_add(entry.size.get());
        }
        Ok(())
    }

    /// Where the process has something mapped, by rising address; `None` when the dump does not tell.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn regions(&self) -> Result<Option<Vec<AddressRange>>, ReadError> {
        let Some(entries) = self.memory_info()? else { return Ok(None) };
        let busy = entries.iter().filter(|entry| entry.state.get() != memory::FREE);
        let range = |entry: &MemoryInfo| AddressRange::sized(Address(entry.base.get()), entry.size.get());
        let mut regions: Vec<_> = busy.map(range).collect();
        regions.sort_unstable_by_key(AddressRange::start);
        Ok(Some(regions))
    }

    /// The list of regions as it lies in the file.
    pub(super) fn memory_info(&self) -> Result<Option<Vec<MemoryInfo>>, ReadError> {
        let Some((block, head)) = self.memory_info_head()? else { return Ok(None) };
        block.sized(head, size_of::<MemoryInfo>(), REGIONS).map(Some)
    }

    /// Whether that list can be read. Its entries are not looked at.
    pub(super) fn check_memory_info(&self) -> Result<(), ReadError> {
        let Some((block, head)) = self.memory_info_head()? else { return Ok(()) };
        block.entries(head, size_of::<MemoryInfo>(), REGIONS).map(drop)
    }

    /// The stream, and what its head says.
    fn memory_info_head(&self) -> Result<Option<(Block, ListHead)>, ReadError> {
        let Some(block) = self.block(stream::MEMORY_INFO_LIST)? else { return Ok(None) };
        let head: MemoryInfoHeader = block.record(0, REGIONS)?;
        Ok(Some((block, (head.header_size.get(), head.entry_size.get(), head.count.get()))))
    }
}

/// What the MemoryInfoList is called in messages.
const REGIONS: &str = "the list of regions";

/// Head and entries of a Memory64List.
type WideList = (Memory64Header, Vec<MemoryDescriptor64>);

fn add_all(found: &mut Found, descriptors: impl Iterator<Item = MemoryDescriptor>) {
    for descriptor in descriptors {
        let location = descriptor.location;
        found.add(descriptor.start.get(), location.rva.get().into(), location.size.get().into());
    }
}
