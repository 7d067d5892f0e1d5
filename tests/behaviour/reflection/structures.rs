//! The rules that the targets `tree` and `moves` keep at every instant, looked for in dumps of them.

use crate::harness::{Dump, Marker, MarkerKind, Target};

const PAGE: usize = 4096;

/// Words of memory, if all of it is in the dump.
fn words(dump: &Dump, address: u64, count: usize) -> Option<Vec<u64>> {
    let bytes = dump.memory(address, 8 * count)?;
    Some(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect())
}

/// Numbers of a fact, between colons.
fn numbers(text: &str) -> Vec<u64> {
    let number = |word: &str| word.strip_prefix("0x").map_or_else(|| word.parse(), |hex| u64::from_str_radix(hex, 16));
    text.split(':').map(|word| number(word).unwrap()).collect()
}

/// A tree whose nodes are never changed while they are in it.
pub(super) struct Tree {
    root: u64,
    pool: u64,
    nodes: usize,
    leaves: u64,
    total: u64,
}

/// The pool of nodes as it is in a dump, and what was seen in it.
struct Walk {
    pool: Vec<u64>,
    base: u64,
    version: u64,
    leaves: Vec<u64>,
}

impl Tree {
    pub(super) fn of(target: &Target) -> Self {
        let [root, pool, nodes, leaves, total] = numbers(&target.facts["tree"])[..] else { panic!("fact tree") };
        Self { root, pool, nodes: usize::try_from(nodes).unwrap(), leaves, total }
    }

    /// What breaks the rule.
    pub(super) fn complaints(&self, dump: &Dump) -> Vec<String> {
        let (Some(root), Some(pool)) = (words(dump, self.root, 1), words(dump, self.pool, self.nodes * (PAGE / 8)))
        else {
            return vec!["nodes are missing".into()];
        };
        let mut walk = Walk { pool, base: self.pool, version: u64::MAX, leaves: Vec::new() };
        let result = walk.visit(root[0]).and_then(|total| {
            let in_order: Vec<u64> = (0..self.leaves).collect();
            if walk.leaves != in_order {
                return Err(format!("leaves {:?}", walk.leaves));
            }
            if total != self.total { Err(format!("a total of {total}, and not of {}", self.total)) } else { Ok(()) }
        });
        result.err().map(|wrong| format!("the tree is not of one instant: {wrong}")).into_iter().collect()
    }
}

impl Walk {
    /// Looks at a node and those below it; gives their sum.
    fn visit(&mut self, node: u64) -> Result<u64, String> {
        let place = usize::try_from(node.wrapping_sub(self.base)).unwrap_or(usize::MAX);
        let Some(words) = self.pool.get(place / 8..).filter(|_| place % PAGE == 0) else {
            return Err(format!("{node:#x} is no node"));
        };
        let [check, version, sum, leaf, left, right] = *words.first_chunk().unwrap();
        let again = words[PAGE / 8 - 1];
        let found = [version, sum, leaf, left, right, node].into_iter().fold(0, mix);
        if check != found || version != again {
            return Err(format!("node {node:#x} of version {version} is mixed with another, of {again}"));
        }
        // The root is the first that is looked at, and the newest.
        if self.version == u64::MAX {
            self.version = version;
        }
        if version > self.version {
            return Err(format!("a node of version {version} below a root of {}", self.version));
        }
        if left == 0 {
            self.leaves.push(leaf);
            return Ok(sum);
        }
        let below = self.visit(left)?.wrapping_add(self.visit(right)?);
        if below == sum { Ok(sum) } else { Err(format!("node {node:#x}: a sum of {sum} over {below}")) }
    }
}

fn mix(state: u64, word: u64) -> u64 {
    let state = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^ state >> 29
}

/// Memory that comes, goes and moves, and the words that say what it holds.
pub(super) struct Slots(Vec<(String, u64)>);

impl Slots {
    pub(super) fn of(target: &Target) -> Self {
        let slots = target
            .facts
            .iter()
            .filter_map(|(name, address)| Some((name.strip_prefix("slot.")?.to_owned(), numbers(address)[0])));
        let slots = Self(slots.collect());
        assert_eq!(slots.0.len() as u64, target.number("ways"));
        slots
    }

    /// What breaks the rule.
    pub(super) fn complaints(&self, dump: &Dump) -> Vec<String> {
        let complaint = |(name, slot): &(String, u64)| Some(format!("{name}: {}", slot_complaint(dump, *slot)?));
        self.0.iter().filter_map(complaint).collect()
    }
}

const FULL: u64 = 1;
const EMPTY: u64 = 2;

fn slot_complaint(dump: &Dump, slot: u64) -> Option<String> {
    let Some(slot) = words(dump, slot, 6) else { return Some("the slot is missing".into()) };
    let [state, address, length, seed, gone, gone_length] = slot[..] else { return None };
    let length = usize::try_from(length).unwrap();
    if gone != 0 && !reads_as_nothing(dump, gone, usize::try_from(gone_length).unwrap()) {
        return Some(format!("{gone_length:#x} bytes at {gone:#x} are in the dump, but were gone"));
    }
    match state {
        FULL => {
            let marker = Marker { kind: MarkerKind::Random, name: String::new(), address, length, seed };
            let wrong = match dump.memory(address, length) {
                None => "missing",
                Some(found) if found != marker.bytes() => "other than they were",
                Some(_) => return None,
            };
            Some(format!("{length:#x} bytes at {address:#x} are {wrong}"))
        }
        EMPTY if !reads_as_nothing(dump, address, length) => {
            Some(format!("{length:#x} bytes at {address:#x} hold something, but were empty"))
        }
        _ => None,
    }
}

/// Whether every page is zeros or not in the dump.
fn reads_as_nothing(dump: &Dump, address: u64, length: usize) -> bool {
    (0..length / PAGE)
        .filter_map(|page| dump.memory(address + (page * PAGE) as u64, PAGE))
        .all(|page| page.iter().all(|byte| *byte == 0))
}
