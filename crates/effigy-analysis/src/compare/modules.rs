//! Modules loaded, unloaded and changed.

use std::collections::BTreeMap;

use bstr::BStr;
use bstr::ByteSlice;
use effigy_process::Module;
use serde::Serialize;

/// What changed of the modules.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct ModuleDifferences {
    /// Modules that are there no more, by path.
    pub unloaded: Vec<Module>,
    /// Modules that were not there, by path.
    pub loaded: Vec<Module>,
    /// Modules that are there with something changed, by path.
    pub changed: Vec<ModuleChange>,
    /// How many are as they were, as far as is known of both.
    pub unchanged: u64,
}

/// A module that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModuleChange {
    /// What about it.
    pub differences: Vec<ModuleDifference>,
    /// The module before.
    pub before: Module,
    /// The module after.
    pub after: Module,
}

/// What may change about a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleDifference {
    /// It lies elsewhere.
    Moved,
    /// It has another size.
    Resized,
    /// It is another build: its build id, UUID, PDB, or PE time stamp and size differ.
    Replaced,
    /// Its file was deleted or replaced in the meantime, or is back.
    Deleted,
}

pub(super) fn compare(before: &[Module], after: &[Module]) -> ModuleDifferences {
    let mut by_path: BTreeMap<&BStr, (Vec<&Module>, Vec<&Module>)> = BTreeMap::new();
    for module in before {
        by_path.entry(module.path.as_bstr()).or_default().0.push(module);
    }
    for module in after {
        by_path.entry(module.path.as_bstr()).or_default().1.push(module);
    }
    let mut differences = ModuleDifferences::default();
    for (before, after) in by_path.into_values() {
        compare_same_path(&before, after, &mut differences);
    }
    differences
}

/// An image may be there more than once: those at the same address belong together, then the others in their order.
fn compare_same_path(before: &[&Module], after: Vec<&Module>, differences: &mut ModuleDifferences) {
    let mut at: BTreeMap<_, Vec<&Module>> = BTreeMap::new();
    for module in after {
        at.entry(module.range.start()).or_default().push(module);
    }
    let (mut pairs, mut moved) = (Vec::new(), Vec::new());
    for module in before {
        match at.get_mut(&module.range.start()).and_then(Vec::pop) {
            Some(same) => pairs.push((*module, same)),
            None => moved.push(*module),
        }
    }
    let mut rest = at.into_values().flatten();
    for module in moved {
        match rest.next() {
            Some(elsewhere) => pairs.push((module, elsewhere)),
            None => differences.unloaded.push(module.clone()),
        }
    }
    differences.loaded.extend(rest.cloned());
    for (before, after) in pairs {
        let found = differences_of(before, after);
        if found.is_empty() {
            differences.unchanged += 1;
        } else {
            let (before, after) = (before.clone(), after.clone());
            differences.changed.push(ModuleChange { differences: found, before, after });
        }
    }
}

fn differences_of(before: &Module, after: &Module) -> Vec<ModuleDifference> {
    let replaced = differ(&before.build_id, &after.build_id)
        || differ(&before.uuid, &after.uuid)
        || differ(&before.pdb, &after.pdb)
        || differ(&before.pe, &after.pe);
    let found = [
        (ModuleDifference::Moved, before.range.start() != after.range.start()),
        (ModuleDifference::Resized, before.range.size() != after.range.size()),
        (ModuleDifference::Replaced, replaced),
        (ModuleDifference::Deleted, before.deleted != after.deleted),
    ];
    found.into_iter().filter(|(_, differs)| *differs).map(|(difference, _)| difference).collect()
}

/// Whether both are known and not the same.
fn differ<T: PartialEq>(before: &Option<T>, after: &Option<T>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if before != after)
}
