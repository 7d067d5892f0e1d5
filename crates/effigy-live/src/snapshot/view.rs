//! A process that goes on, looked at as one looks at a dump.

use std::io;
use std::sync::OnceLock;

use effigy_process::{
    Address, AddressRange, CapturedMemory, CapturedRange, Memory, NotRead, PageClass, PageRun, Process, ProcessId,
    Region, RegionFlags, RegionUsage, Snapshot,
};

use super::known::may_be_read;
use super::{LiveSnapshot, Prelude, StackCopies};
use crate::memory::read_padded;
use crate::procfs::ProcDir;
use crate::{LiveError, LiveMemory};

/// A running process: its facts of one time, and its memory as it is when it is read.
///
/// Pages that the process does not have are not touched, as that would make it grow: those of memory without a file are
/// known to read as zeros, and those of files are read from the file.
#[derive(Debug)]
pub struct LiveView {
    snapshot: LiveSnapshot,
    /// Found when somebody asks, as that means to walk all page tables.
    captured: OnceLock<Vec<CapturedRange>>,
    /// Stacks as they were when the process stood still, which it no longer does.
    stacks: StackCopies,
}

impl LiveView {
    /// Looks at the process of a snapshot, which need not stand still.
    #[must_use]
    pub fn new(snapshot: LiveSnapshot) -> Self {
        Self { snapshot, captured: OnceLock::new(), stacks: StackCopies::default() }
    }

    /// The memory alone of a process that is about to be stopped. Its regions are those that the prelude found; of what
    /// is swapped out nothing is pushed out again, as there is no time for that while it stands still.
    ///
    /// # Errors
    /// When the process has ended, or may not be looked into.
    pub fn of_prelude(prelude: &Prelude) -> Result<Self, LiveError> {
        let memory = LiveMemory::open(ProcDir::open(ProcessId(prelude.witness().0))?, prelude.system.page_size)?;
        let regions = prelude.regions.iter().map(|region| Region { swapped: None, ..region.clone() }).collect();
        let process = Process { regions, system: prelude.system.clone(), ..Process::default() };
        Ok(Self::new(LiveSnapshot::new(process, memory)))
    }

    /// The same, with the stacks of an instant before.
    #[must_use]
    pub fn with_stacks(self, stacks: StackCopies) -> Self {
        Self { stacks, ..self }
    }

    /// Its facts.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.snapshot.process()
    }

    /// The pages of `part` of a region that hold something, by rising address.
    fn runs(&self, region: &Region, part: AddressRange) -> io::Result<Vec<PageRun>> {
        let skipped = part.start().0 - region.range.start().0;
        let part = Region { range: part, offset: region.offset.saturating_add(skipped), ..region.clone() };
        let mut runs = Vec::new();
        // Named by its bounds, the file of a shared mapping is found for a whole region only.
        let seen = if region.is_shared() { region } else { &part };
        self.snapshot.memory.scan(seen, &mut |run| runs.push(run))?;
        runs.retain(|run| run.range.intersection(&part.range).is_some());
        Ok(runs)
    }

    /// Reads what the page tables have nothing for.
    fn read_absent(&self, region: &Region, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        // Whoever watches the memory decides what will be there.
        if region.flags.contains(RegionFlags::USERFAULTFD) {
            return Err(NotRead::Unreadable);
        }
        if region.inode == 0 {
            buffer.fill(0);
            return Ok(buffer.len());
        }
        let file = self.snapshot.memory.open_backing(region).map_err(|_| NotRead::Unreadable)?;
        let offset = region.offset.saturating_add(address.0 - region.range.start().0);
        match read_padded(&file, offset, buffer, self.snapshot.memory.page_size()) {
            Ok(0) | Err(_) => Err(NotRead::Unreadable),
            Ok(count) => Ok(count),
        }
    }

    fn find_captured(&self) -> Vec<CapturedRange> {
        let mut captured = Vec::new();
        for region in self.process().regions.iter().filter(|region| may_be_read(region)) {
            // A region that is gone by now has nothing.
            let runs = self.runs(region, region.range).unwrap_or_default();
            let holding = runs.iter().filter(|run| !matches!(run.class, PageClass::Guard | PageClass::Zero));
            let inside = holding.filter_map(|run| run.range.intersection(&region.range));
            captured.extend(inside.map(|range| CapturedRange { range, offset: None }));
        }
        captured
    }
}

impl Memory for LiveView {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        if let Some(copied) = self.stacks.at(address) {
            let count = copied.len().min(buffer.len());
            buffer[..count].copy_from_slice(&copied[..count]);
            return Ok(count);
        }
        let region = self.process().region_at(address).ok_or(NotRead::Unmapped)?;
        match region.usage() {
            // Code of the kernel, which takes no memory of the process.
            RegionUsage::Vdso => return Snapshot::read(&self.snapshot, region, address, buffer),
            _ if !may_be_read(region) => return Err(NotRead::Unreadable),
            _ => {}
        }
        let page_size = self.process().system.page_size;
        let wanted = AddressRange::sized(address, buffer.len() as u64).intersection(&region.range);
        let wanted = wanted.ok_or(NotRead::Unreadable)?;
        let wanted = match self.stacks.next_start(address) {
            Some(start) => wanted.intersection(&AddressRange::new(address, start)).unwrap_or(wanted),
            None => wanted,
        };
        let pages = AddressRange::new(wanted.start().page_floor(page_size), wanted.end().page_ceil(page_size));
        let runs = self.runs(region, pages.intersection(&region.range).unwrap_or(wanted));
        let runs = runs.map_err(|_| if self.snapshot.is_gone() { NotRead::Ended } else { NotRead::Unreadable })?;
        let (class, end) = match runs.iter().find(|run| run.range.end() > address) {
            Some(run) if run.range.contains(address) => (Some(run.class), run.range.end()),
            Some(next) => (None, next.range.start()),
            None => (None, wanted.end()),
        };
        let length = usize::try_from(end.min(wanted.end()).0 - address.0).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        match class {
            None => self.read_absent(region, address, buffer),
            Some(PageClass::Guard) => Err(NotRead::Unreadable),
            Some(PageClass::Zero) => {
                buffer.fill(0);
                Ok(length)
            }
            Some(PageClass::Private | PageClass::File | PageClass::Shared) => {
                Snapshot::read(&self.snapshot, region, address, buffer)
            }
        }
    }
}

/// What there is are the pages that hold something, in memory or in swap. Other addresses can be read as well: see
/// [`LiveView`].
impl CapturedMemory for LiveView {
    fn captured(&self) -> &[CapturedRange] {
        self.captured.get_or_init(|| self.find_captured())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use effigy_process::Protection;

    use super::*;
    use crate::snapshot::PreludeOptions;

    /// A program that does nothing, and ends with the test.
    struct Idle(Child);

    impl Idle {
        fn start() -> Self {
            let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // It has begun when it answers.
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
            io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            Self(child)
        }

        fn look(&self) -> LiveView {
            let prelude = Prelude::read(ProcessId(self.0.id()), PreludeOptions::default()).unwrap();
            LiveView::new(LiveSnapshot::of_unstopped(prelude).unwrap())
        }
    }

    impl Drop for Idle {
        fn drop(&mut self) {
            // It may have ended already.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn all_that_is_mapped_is_read_and_nothing_grows() {
        let idle = Idle::start();
        let view = idle.look();
        let captured = view.captured();
        assert!(captured.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start()));
        let regions = &view.process().regions;
        for region in regions.iter().filter(|region| may_be_read(region)) {
            let mut at = region.range.start();
            let mut buffer = vec![0; 1 << 20];
            while at < region.range.end() {
                match view.read(at, &mut buffer) {
                    Ok(count) => at = at.saturating_add(count as u64),
                    Err(reason) => panic!("{region}: {at}: {reason}"),
                }
            }
        }
        let resident =
            |view: &LiveView| view.process().regions.iter().map(|region| region.resident).collect::<Vec<_>>();
        assert_eq!(resident(&idle.look()), resident(&view));
        assert_eq!(view.read(Address(0x10), &mut [0; 4]), Err(NotRead::Unmapped));
    }

    #[test]
    fn files_are_read_where_the_process_has_not_touched_them() {
        let idle = Idle::start();
        let view = idle.look();
        let main = view.process().modules.iter().find(|module| module.is_main).unwrap();
        let file = std::fs::read(std::path::Path::new(&main.path.to_string())).unwrap();
        let code = |region: &&Region| region.path().0 == main.path && region.protection.contains(Protection::EXECUTE);
        for region in view.process().regions.iter().filter(code) {
            let from = usize::try_from(region.offset).unwrap();
            let size = usize::try_from(region.range.size()).unwrap().min(file.len() - from);
            let mut bytes = vec![0; size];
            view.read_exact(region.range.start(), &mut bytes).unwrap();
            assert!(bytes == file[from..from + size], "{region}");
        }
    }
}
