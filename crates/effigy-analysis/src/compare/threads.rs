//! Threads gone, new and changed.

use std::collections::BTreeMap;

use bstr::BString;
use effigy_process::{Registers, Thread, ThreadId, ThreadState, note};
use serde::Serialize;

/// What changed of the threads.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct ThreadDifferences {
    /// Threads that are no more, by id.
    pub gone: Vec<ThreadFacts>,
    /// Threads that were not, by id.
    pub new: Vec<ThreadFacts>,
    /// Threads of which something changed, or could not be compared, by id.
    pub changed: Vec<ThreadChange>,
    /// How many have the same name, state and registers.
    pub unchanged: u64,
}

/// Which thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadFacts {
    /// Its id.
    pub id: ThreadId,
    /// Its name.
    #[serde(serialize_with = "effigy_process::text::lossy_option")]
    pub name: Option<BString>,
    /// Its state; `None` when not known.
    pub state: Option<ThreadState>,
}

/// What changed of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadChange {
    /// The thread before.
    pub before: ThreadFacts,
    /// The thread after.
    pub after: ThreadFacts,
    /// Whether the registers are the same.
    pub registers: RegisterComparison,
    /// General registers that have another value, in the architecture's order.
    pub changed_registers: Vec<RegisterChange>,
    /// Other register sets that have other contents, by note type ([`note`]).
    pub changed_sets: Vec<u32>,
}

/// Whether two threads' registers are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterComparison {
    /// All that is known of both is.
    Same,
    /// Some are not.
    Different,
    /// Not known: they are missing before, after, or both, or are of two architectures.
    NotCompared,
}

/// A general register that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterChange {
    /// Its name.
    pub name: &'static str,
    /// Its value before.
    pub before: u64,
    /// Its value after.
    pub after: u64,
}

pub(super) fn compare(before: &[Thread], after: &[Thread]) -> ThreadDifferences {
    let mut differences = ThreadDifferences::default();
    for (before, after) in pairs(before, after) {
        match (before, after) {
            (Some(before), Some(after)) if is_same_thread(before, after) => match change(before, after) {
                Some(change) => differences.changed.push(change),
                None => differences.unchanged += 1,
            },
            (before, after) => {
                differences.gone.extend(before.map(facts));
                differences.new.extend(after.map(facts));
            }
        }
    }
    differences
}

/// Threads with the same id, by id. A damaged dump may have several with one: those belong together in their order.
fn pairs<'a>(before: &'a [Thread], after: &'a [Thread]) -> Vec<(Option<&'a Thread>, Option<&'a Thread>)> {
    let mut by_id: BTreeMap<ThreadId, (Vec<&Thread>, Vec<&Thread>)> = BTreeMap::new();
    for thread in before {
        by_id.entry(thread.id).or_default().0.push(thread);
    }
    for thread in after {
        by_id.entry(thread.id).or_default().1.push(thread);
    }
    let mut pairs = Vec::with_capacity(before.len().max(after.len()));
    for (before, after) in by_id.into_values() {
        let at = |list: &[&'a Thread], index: usize| list.get(index).copied();
        pairs.extend((0..before.len().max(after.len())).map(|index| (at(&before, index), at(&after, index))));
    }
    pairs
}

/// Ids are used again: a thread that started at another time is another one.
fn is_same_thread(before: &Thread, after: &Thread) -> bool {
    let started = |thread: &Thread| thread.times.and_then(|times| times.started);
    match (started(before), started(after)) {
        (Some(before), Some(after)) => before == after,
        _ => true,
    }
}

fn facts(thread: &Thread) -> ThreadFacts {
    ThreadFacts { id: thread.id, name: thread.name.clone(), state: thread.state }
}

/// `None` when nothing changed and all was compared.
fn change(before: &Thread, after: &Thread) -> Option<ThreadChange> {
    let mut change = ThreadChange {
        before: facts(before),
        after: facts(after),
        registers: RegisterComparison::NotCompared,
        changed_registers: Vec::new(),
        changed_sets: Vec::new(),
    };
    if let (Ok(before), Ok(after)) = (&before.registers, &after.registers)
        && before.architecture == after.architecture
        && before.set(note::PRSTATUS).is_some()
        && after.set(note::PRSTATUS).is_some()
    {
        change.changed_registers = changed_registers(before, after);
        change.changed_sets = changed_sets(before, after);
        let same = change.changed_registers.is_empty() && change.changed_sets.is_empty();
        change.registers = if same { RegisterComparison::Same } else { RegisterComparison::Different };
    }
    let unchanged = change.before == change.after && change.registers == RegisterComparison::Same;
    (!unchanged).then_some(change)
}

/// Those whose values are known of both.
fn changed_registers(before: &Registers, after: &Registers) -> Vec<RegisterChange> {
    let (Some(before), Some(after)) = (before.general(), after.general()) else { return Vec::new() };
    let after: BTreeMap<_, _> = after.named().collect();
    let both = before.named().filter_map(|(name, before)| Some((name, before, *after.get(name)?)));
    both.filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| RegisterChange { name, before, after })
        .collect()
}

/// Sets that both have. The general registers are told by name, but for architectures of which effigy has no names.
fn changed_sets(before: &Registers, after: &Registers) -> Vec<u32> {
    let named = before.general().is_some_and(|general| general.named().next().is_some());
    let sets = before.sets.iter().filter(|set| !named || set.note != note::PRSTATUS);
    let after: BTreeMap<_, _> = after.sets.iter().map(|set| (set.note, &set.bytes)).collect();
    sets.filter(|set| after.get(&set.note).is_some_and(|bytes| **bytes != set.bytes)).map(|set| set.note).collect()
}
