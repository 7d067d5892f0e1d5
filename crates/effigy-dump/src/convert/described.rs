//! How a process is described so that a core can express it.

use std::collections::BTreeMap;

use effigy_process::{Address, AddressRange, Module, Process, Region, Registers, Thread};

/// Brings a process into the form that a core has for it: modules are mapped files, and the thread at fault has the
/// registers that it had then.
pub(super) fn for_core(process: &mut Process) {
    if let Some(fault) = &process.fault
        && let Some(registers) = &fault.registers
    {
        let (id, registers) = (fault.thread, (**registers).clone());
        if let Some(thread) = process.threads.iter_mut().find(|thread| thread.id == id && lacks(thread, &registers)) {
            thread.registers = Ok(registers);
        }
    }
    if process.regions.iter().all(|region| region.inode == 0) {
        // The vdso is no file, and what has no name was found in memory.
        let files: Vec<&Module> = process
            .modules
            .iter()
            .filter(|module| !module.range.is_empty() && !module.path.is_empty() && module.path != "linux-gate.so")
            .collect();
        process.regions = with_files(std::mem::take(&mut process.regions), &files);
    }
}

/// Whether a thread's general registers are others than those. What a CONTEXT does not tell is no difference.
pub(super) fn lacks(thread: &Thread, registers: &Registers) -> bool {
    let Some(then) = registers.general() else { return false };
    let own = thread.registers.as_ref().ok().and_then(Registers::general);
    own.is_none_or(|own| then.named().any(|(name, value)| own.get(name) != Some(value)))
}

/// Regions of which those in modules are mappings of the modules' files: cut at the modules' bounds, with regions of unknown
/// protection where a module has none. Offsets are those in memory, as the dump knows no others.
fn with_files(regions: Vec<Region>, modules: &[&Module]) -> Vec<Region> {
    // By first address; modules of a damaged dump may overlap, then the one that begins later ends the other.
    let starts: BTreeMap<Address, &Module> = modules.iter().map(|module| (module.range.start(), *module)).collect();
    let mut ranges: Vec<(AddressRange, &Module)> = Vec::with_capacity(starts.len());
    for (start, module) in starts {
        if let Some((last, _)) = ranges.last_mut() {
            *last = AddressRange::new(last.start(), last.end().min(start));
        }
        ranges.push((module.range, module));
    }
    let mut made = Vec::with_capacity(regions.len() + ranges.len());
    let mut modules = ranges.into_iter().peekable();
    for region in regions {
        let mut at = region.range.start();
        while modules
            .next_if(|(range, module)| {
                let behind = range.end() <= at;
                if behind {
                    fill(&mut made, *range, module);
                }
                behind
            })
            .is_some()
        {}
        while at < region.range.end() {
            let next = modules.peek().filter(|(range, _)| range.start() < region.range.end()).copied();
            let Some((range, module)) = next else {
                made.push(part(&region, at, region.range.end()));
                break;
            };
            if at < range.start() {
                made.push(part(&region, at, range.start()));
            }
            let start = at.max(range.start());
            fill(&mut made, AddressRange::new(range.start(), start), module);
            let end = range.end().min(region.range.end());
            made.push(of_file(part(&region, start, end), range, module));
            at = end;
            if range.end() <= region.range.end() {
                modules.next();
            }
        }
    }
    modules.for_each(|(range, module)| fill(&mut made, range, module));
    made
}

fn part(region: &Region, start: Address, end: Address) -> Region {
    region.part(AddressRange::new(start, end))
}

fn of_file(region: Region, module: AddressRange, about: &Module) -> Region {
    // Any inode but 0 says that there is a file.
    Region { offset: region.range.start().0 - module.start().0, inode: 1, name: about.path.clone(), ..region }
}

/// Adds what of a module's range lies behind all regions so far.
fn fill(made: &mut Vec<Region>, range: AddressRange, module: &Module) {
    let start = made.last().map_or(range.start(), |last| last.range.end().max(range.start()));
    if start < range.end() {
        let region = Region { range: AddressRange::new(start, range.end()), ..Region::default() };
        made.push(of_file(region, range, module));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(regions: &[Region]) -> Vec<(u64, u64, u64, &str)> {
        let name = |region: &Region| if region.inode == 0 { "" } else { "m" };
        regions.iter().map(|each| (each.range.start().0, each.range.end().0, each.offset, name(each))).collect()
    }

    fn region(start: u64, end: u64) -> Region {
        Region { range: AddressRange::new(Address(start), Address(end)), ..Region::default() }
    }

    fn module(start: u64, end: u64) -> Module {
        Module { range: AddressRange::new(Address(start), Address(end)), path: "m".into(), ..Module::default() }
    }

    #[test]
    fn modules_become_mapped_files() {
        let made = with_files(vec![region(10, 20), region(30, 40)], &[&module(15, 35), &module(50, 60), &module(5, 8)]);
        assert_eq!(
            bounds(&made),
            [
                (5, 8, 0, "m"),
                (10, 15, 0, ""),
                (15, 20, 0, "m"),
                (20, 30, 5, "m"),
                (30, 35, 15, "m"),
                (35, 40, 0, ""),
                (50, 60, 0, "m")
            ]
        );
        assert_eq!(bounds(&with_files(Vec::new(), &[&module(5, 8)])), [(5, 8, 0, "m")]);
        assert_eq!(bounds(&with_files(vec![region(0, 9)], &[&module(2, 8), &module(4, 6)])).len(), 4);
    }
}
