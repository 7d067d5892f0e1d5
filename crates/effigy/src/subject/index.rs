//! What is asked for again and again, and would take long if all modules or faults were looked at each time.

use std::collections::HashMap;

use effigy_analysis::ModuleIndex;
use effigy_process::{Address, Fault, Module, Process, Registers, ThreadId};

/// Modules by address, faults by thread.
#[derive(Debug)]
pub(super) struct Index {
    modules: ModuleIndex,
    /// The place of each thread's first fault that has registers, among all faults.
    faults: HashMap<ThreadId, usize>,
}

impl Index {
    /// Looks at a process once.
    pub(super) fn of(process: &Process) -> Self {
        let mut index = Self { modules: ModuleIndex::new(&process.modules), faults: HashMap::new() };
        for (place, fault) in faults(process).enumerate().filter(|(_, fault)| fault.registers.is_some()) {
            index.faults.entry(fault.thread).or_insert(place);
        }
        index
    }

    /// The module that holds an address.
    pub(super) fn module_at<'a>(&self, process: &'a Process, address: Address) -> Option<&'a Module> {
        process.modules.get(self.modules.at(address)?)
    }

    /// The registers of the moment of a thread's fault.
    pub(super) fn at_fault<'a>(&self, process: &'a Process, thread: ThreadId) -> Option<&'a Registers> {
        // The first fault is not one of the further ones.
        let place = *self.faults.get(&thread)?;
        let first = usize::from(process.fault.is_some());
        let fault = if place < first { process.fault.as_ref() } else { process.further_faults.get(place - first) };
        fault?.registers.as_deref()
    }
}

fn faults(process: &Process) -> impl Iterator<Item = &Fault> {
    process.fault.iter().chain(&process.further_faults)
}
