//! What changed from one process to another: as a rule the same one, captured twice.
//!
//! [`Comparison::of`] compares what is known of the two: threads, modules, regions. [`compare_memory`] compares their
//! memory. Nothing is said to be equal that is not known of both.

mod memory;
#[cfg(test)]
mod memory_tests;
mod modules;
mod regions;
#[cfg(test)]
mod tests;
mod threads;

use effigy_process::Process;
use serde::Serialize;

pub use self::memory::{
    Count, Difference, DifferentRange, MemoryComparison, MemoryOptions, MemorySide, compare_memory,
};
pub use self::modules::{ModuleChange, ModuleDifference, ModuleDifferences};
pub use self::regions::{RegionChange, RegionChangeKind, RegionDifference, RegionDifferences, RegionFacts};
pub use self::threads::{RegisterChange, RegisterComparison, ThreadChange, ThreadDifferences, ThreadFacts};

/// What changed from one process to another, memory aside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Threads.
    pub threads: ThreadDifferences,
    /// Modules; `None` when one of the two has none, which a process has not and a dump may.
    pub modules: Option<ModuleDifferences>,
    /// Regions; `None` when one of the two lists none.
    pub regions: Option<RegionDifferences>,
}

impl Comparison {
    /// Compares two processes.
    #[must_use]
    pub fn of(before: &Process, after: &Process) -> Self {
        let both_modules = !before.modules.is_empty() && !after.modules.is_empty();
        let both_regions = !before.regions.is_empty() && !after.regions.is_empty();
        Self {
            threads: threads::compare(&before.threads, &after.threads),
            modules: both_modules.then(|| modules::compare(&before.modules, &after.modules)),
            regions: both_regions.then(|| regions::compare(&before.regions, &after.regions)),
        }
    }
}
