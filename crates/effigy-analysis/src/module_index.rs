//! Which module an address lies in.

use effigy_process::{Address, AddressRange, Module};

/// Modules by address, to be asked again and again.
#[derive(Clone, Debug, Default)]
pub struct ModuleIndex {
    /// Each with the one that reaches highest of those up to it, as images may lie within another's range.
    by_start: Vec<(Placed, Placed)>,
}

/// A module's range and its place in the list of modules.
type Placed = (AddressRange, usize);

impl ModuleIndex {
    /// Takes note of where modules lie, in any order.
    #[must_use]
    pub fn new(modules: &[Module]) -> Self {
        let mut sorted: Vec<_> = modules.iter().enumerate().map(|(index, module)| (module.range, index)).collect();
        sorted.sort_unstable();
        let mut highest: Option<Placed> = None;
        let by_start = sorted.into_iter().map(|module| {
            let reaches = highest.filter(|highest| highest.0.end() > module.0.end()).unwrap_or(module);
            highest = Some(reaches);
            (module, reaches)
        });
        Self { by_start: by_start.collect() }
    }

    /// The place in the list of the module that holds an address: of those that begin before it the nearest, else the one
    /// that reaches highest.
    #[must_use]
    pub fn at(&self, address: Address) -> Option<usize> {
        let next = self.by_start.partition_point(|((range, _), _)| range.start() <= address);
        let (nearest, highest) = *self.by_start.get(next.checked_sub(1)?)?;
        [nearest, highest].into_iter().find(|(range, _)| range.contains(address)).map(|(_, index)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_module_is_found() {
        let module =
            |start, end| Module { range: AddressRange::new(Address(start), Address(end)), ..Module::default() };
        let index = ModuleIndex::new(&[module(50, 60), module(0, 40), module(10, 20)]);
        let found: Vec<_> = [0, 15, 25, 45, 55, 60].map(|at| index.at(Address(at))).into();
        assert_eq!(found, [Some(1), Some(2), Some(1), None, Some(0), None]);
    }
}
