//! A process at one instant, from a running one.
//!
//! [`Prelude`] is read while the target still runs: whatever does not change, or is lost by stopping it (what a thread
//! waits for in the kernel). [`LiveSnapshot`] is made while it stands still.

mod facts;
mod known;
mod live;
mod pages;
mod prelude;
mod stacks;
mod view;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use effigy_process::{
    Address, AddressRange, Fault, Gap, GapReason, GapSubject, Journal, Module, NotRead, PageRun, Process, ProcessId,
    Region, RegionFlags, Snapshot, ThreadId,
};

pub use live::{CopyError, Frozen, Moment, Precopy};
pub use pages::{PageCopies, PageRoom};
pub(crate) use prelude::Mark;
pub use prelude::{Prelude, PreludeOptions};
pub use stacks::StackCopies;
pub use view::LiveView;

use known::Known;

use crate::remote::{Refused, Twin};
use crate::stop::Stopped;
use crate::{LiveError, LiveMemory};

/// A running process's facts and memory, as long as it stands still.
#[derive(Debug)]
pub struct LiveSnapshot {
    process: Process,
    /// Where pages are read: the target's memory, or a twin's.
    memory: LiveMemory,
    /// The target's memory, when pages are read elsewhere.
    target: Option<LiveMemory>,
    known: Known,
    /// Bytes of the program's code that breakpoints have taken the place of.
    breakpoints: Vec<(Address, u8)>,
    pidfd: Option<OwnedFd>,
    swapped: Mutex<Option<SwappedRuns>>,
}

/// Runs of one region that were in swap before the dump read them.
#[derive(Debug)]
struct SwappedRuns {
    region: AddressRange,
    runs: Vec<AddressRange>,
}

impl LiveSnapshot {
    /// The facts of a target that stands still.
    ///
    /// # Errors
    /// When it has ended, or a file without which there is no dump cannot be read.
    pub fn of_stopped(prelude: Prelude, mut stopped: Stopped) -> Result<Self, LiveError> {
        let breakpoints = std::mem::take(&mut stopped.breakpoints);
        let mut snapshot = facts::assemble(prelude, Some(stopped), None)?;
        snapshot.breakpoints = breakpoints;
        snapshot.hide_breakpoints();
        Ok(snapshot)
    }

    /// Has the program's code read as it would without us.
    fn hide_breakpoints(&mut self) {
        for (address, byte) in &self.breakpoints {
            self.known.patch(AddressRange::sized(*address, 1), vec![*byte]);
        }
    }

    /// The same, with the regions, if they were read since all threads stood still.
    fn of_moment(prelude: Prelude, stopped: Stopped, regions: Option<Vec<Region>>) -> Result<Self, LiveError> {
        facts::assemble(prelude, Some(stopped), regions)
    }

    /// The facts of a target that is not ours to stop: no registers, and memory that may change while it is read.
    ///
    /// # Errors
    /// As for [`of_stopped`](Self::of_stopped).
    pub fn of_unstopped(prelude: Prelude) -> Result<Self, LiveError> {
        facts::assemble(prelude, None, None)
    }

    /// Takes the pages from a twin of the target from now on, which may then go on. What a fork does not copy faithfully
    /// is copied now.
    ///
    /// # Errors
    /// When that is too much, or the twin is gone.
    pub fn onto_twin(mut self, twin: &Twin) -> Result<Self, Refused> {
        let (mut known, gaps) = Known::for_twin(&self.memory, &self.process.regions)?;
        let (range, bytes) = &twin.overwritten;
        known.patch(*range, bytes.clone());
        let twins = LiveMemory::open(twin.dir()?, self.memory.page_size())
            .map_err(|error| Refused::new(format!("the twin's memory: {error}")))?;
        self.add_gaps(gaps);
        self.known = known;
        self.hide_breakpoints();
        self.target = Some(std::mem::replace(&mut self.memory, twins));
        // Pages that the twin reads back from swap are its own.
        self.pidfd = None;
        Ok(self)
    }

    /// Adds gaps for regions that have none of that reason yet.
    fn add_gaps(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            if !self.process.gaps.iter().any(|had| had.subject == gap.subject && had.reason == gap.reason) {
                self.process.gaps.push(gap);
            }
        }
    }

    /// Sets the text that says who took the dump and why.
    pub fn set_comment(&mut self, comment: String) {
        self.process.comment = comment;
    }

    /// Says to which thread something has happened, and what if it was a signal: the dump is about that.
    pub fn set_cause(&mut self, thread: ThreadId, fault: Option<Fault>) {
        self.process.selected = Some(thread);
        self.process.fault = fault;
    }

    /// Has debuggers show this thread first, if it is there with its registers.
    pub fn select(&mut self, thread: ThreadId) {
        if self.process.thread(thread).is_some_and(|thread| thread.registers.is_ok()) {
            self.process.selected = Some(thread);
        }
    }

    /// Sets what was measured before the dump.
    pub fn set_journal(&mut self, journal: Option<Journal>) {
        self.process.journal = journal;
    }

    /// Whether the program has excluded memory from dumps (MADV_DONTDUMP) that this snapshot takes for included. It may
    /// have done so just before it was stopped. For after it goes on; a process that has ended has excluded nothing.
    #[must_use]
    pub fn newly_excluded(&self) -> bool {
        let Ok(now) = self.target.as_ref().unwrap_or(&self.memory).regions() else { return false };
        let excluded = now.iter().filter(|region| region.flags.contains(RegionFlags::DONT_DUMP));
        excluded.into_iter().any(|region| {
            self.process
                .region_at(region.range.start())
                .is_some_and(|before| before.range == region.range && !before.flags.contains(RegionFlags::DONT_DUMP))
        })
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> ProcessId {
        // Whoever makes a snapshot of a process knows its id; see `facts::identity`.
        self.process.identity.pid.unwrap_or(ProcessId(0))
    }

    /// Whether the process's memory is no more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.memory.is_gone()
    }

    fn new(process: Process, memory: LiveMemory) -> Self {
        let pidfd = process.identity.pid.and_then(pidfd);
        Self {
            process,
            memory,
            target: None,
            known: Known::default(),
            breakpoints: Vec::new(),
            pidfd,
            swapped: Mutex::new(None),
        }
    }

    /// Pushes what was in swap before `read` out again.
    fn restore_swap(&self, region: &Region, read: AddressRange) {
        let Some(pidfd) = &self.pidfd else { return };
        let kept = self.swapped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let runs = kept.iter().filter(|kept| kept.region == region.range).flat_map(|kept| &kept.runs);
        for run in runs.filter_map(|run| run.intersection(&read)) {
            self.memory.page_out(pidfd, run);
        }
    }

    fn note_swap(&self, region: &Region) {
        let mut kept = self.swapped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.region != region.range) {
            *kept = Some(SwappedRuns { region: region.range, runs: self.memory.swapped(region) });
        }
    }
}

fn pidfd(pid: ProcessId) -> Option<OwnedFd> {
    let pid = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// The gap for pages that hold something and can only be seen by those who may open the file behind them.
fn out_of_reach(region: &Region, error: &io::Error) -> Gap {
    Gap {
        subject: GapSubject::Memory(region.range),
        reason: GapReason::NotPermitted,
        detail: format!(
            "pages of shared memory {} that this process itself has not touched: {error} (needs \
             CAP_CHECKPOINT_RESTORE)",
            region.name
        ),
    }
}

impl Snapshot for LiveSnapshot {
    fn process(&self) -> &Process {
        &self.process
    }

    fn scan(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> io::Result<Vec<Gap>> {
        if self.known.scan(region, visit).is_some() {
            return Ok(Vec::new());
        }
        let out_of_reach = self.memory.scan(region, visit)?;
        Ok(out_of_reach.map(|error| self::out_of_reach(region, &error)).into_iter().collect())
    }

    fn read(&self, region: &Region, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        match self.known.read(address, buffer) {
            Some(0) => return Err(NotRead::Unreadable),
            Some(count) => return Ok(count),
            None => {}
        }
        if region.swapped > Some(0) {
            self.note_swap(region);
        }
        let result = match self.memory.read_region(region, address, buffer) {
            Ok(0) => Err(if self.memory.is_gone() { NotRead::Ended } else { NotRead::Unreadable }),
            Ok(count) => {
                self.known.amend(address, &mut buffer[..count]);
                Ok(count)
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(NotRead::Ended),
            Err(_) => Err(NotRead::Unreadable),
        };
        if region.swapped > Some(0)
            && let Ok(count) = result
        {
            self.restore_swap(region, AddressRange::sized(address, count as u64));
        }
        result
    }

    fn open_image(&self, module: &Module) -> io::Result<Box<dyn Read + Send>> {
        let region = self
            .process
            .region_at(module.range.start())
            .filter(|region| region.inode != 0)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(self.memory.open_backing(region)?))
    }
}
