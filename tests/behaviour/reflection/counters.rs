//! The rule that the target `instant` keeps at every instant, looked for in a dump of it.

use crate::harness::{Dump, Registers, Target};

/// One thread's counters, which it raises one after the other, over and over.
pub(super) struct Sequence {
    name: String,
    base: u64,
    stride: u64,
    count: u64,
    step: u64,
    thread: u32,
    /// Where the thread keeps the number that it is writing, on its stack.
    slot: u64,
}

impl Sequence {
    /// Reads `BASE:STRIDE:COUNT:STEP:TID:SLOT`.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text
            .split(':')
            .map(|word| word.strip_prefix("0x").map_or_else(|| word.parse(), |hex| u64::from_str_radix(hex, 16)))
            .collect::<Result<_, _>>()
            .ok()?;
        let [base, stride, count, step, thread, slot] = numbers[..] else { return None };
        Some(Self { name: name.to_owned(), base, stride, count, step, thread: u32::try_from(thread).ok()?, slot })
    }

    /// Address of the counter that is raised as number `index`.
    fn address(&self, index: u64) -> u64 {
        self.base + (index * self.step % self.count) * self.stride + index * 136 % 4096
    }

    /// What breaks the rule.
    fn complaint(&self, dump: &Dump, with_registers: bool) -> Option<String> {
        let read = |address| Some(u64::from_le_bytes(dump.memory(address, 8)?.try_into().ok()?));
        let counters: Option<Vec<u64>> = (0..self.count).map(|index| read(self.address(index))).collect();
        let (Some(counters), Some(slot)) = (counters, read(self.slot)) else {
            return Some(format!("{}: counters are missing", self.name));
        };
        // Memory shared with others may change meanwhile, if the dump says so.
        if dump.gap_at(self.base).is_some_and(|gap| gap["reason"] == "not_frozen") {
            return None;
        }
        let told = if with_registers {
            let Some(registers) = dump.registers(self.thread) else {
                return Some(format!("{}: thread {} has no registers", self.name, self.thread));
            };
            explain(&counters, slot, registers)
        } else {
            fall(&counters).map(|_| ())
        };
        told.err().map(|wrong| format!("{}: {wrong}", self.name))
    }
}

/// How many counters are one ahead of the rest, which are all the same.
fn fall(counters: &[u64]) -> Result<usize, String> {
    let (first, last) = (counters[0], counters[counters.len() - 1]);
    let ahead = counters.iter().take_while(|counter| **counter == first).count();
    let even = counters[ahead..].iter().all(|counter| *counter == last);
    if even && (ahead == counters.len() || first == last + 1) {
        Ok(ahead % counters.len())
    } else {
        Err(format!("memory is not of one instant: {counters:?}"))
    }
}

/// Whether the counters, the number on the stack and the registers can have been so at once. The thread raises r12, puts
/// it on its stack, sets r15 to zero, and then writes a counter and raises r15 by turns.
fn explain(counters: &[u64], slot: u64, registers: Registers) -> Result<(), String> {
    let Registers { r12: number, r15: index, pc, .. } = registers;
    let length = counters.len() as u64;
    let ahead = fall(counters)? as u64;
    let last = counters[counters.len() - 1];
    let fits = if index == length {
        // Between two rounds: r12 may have been raised already, the stack may have it already.
        ahead == 0 && (last == number && slot == number || last + 1 == number && (slot == number || slot == last))
    } else if ahead == 0 && last == number {
        // The last counter is written, r15 does not know it yet.
        slot == number && index + 1 == length
    } else {
        slot == number && last + 1 == number && (ahead == index || ahead == index + 1)
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "memory and registers are not of one instant: r12 {number}, r15 {index}, pc {pc:#x}, on the stack {slot}, \
         {ahead} of {length} counters ahead of {last}"
    ))
}

/// The sequences of a target.
pub(super) fn sequences(target: &Target) -> Vec<Sequence> {
    let told = target.facts.iter();
    let found: Vec<_> =
        told.filter_map(|(name, text)| Sequence::parse(name.strip_prefix("sequence.")?, text)).collect();
    assert_eq!(found.len() as u64, target.number("sequences"));
    found
}

/// What breaks the rule in a dump.
pub(super) fn complaints(sequences: &[Sequence], dump: &Dump) -> Vec<String> {
    sequences.iter().filter_map(|sequence| sequence.complaint(dump, true)).collect()
}

/// The same for a dump without registers.
pub(super) fn complaints_of_memory(sequences: &[Sequence], dump: &Dump) -> Vec<String> {
    sequences.iter().filter_map(|sequence| sequence.complaint(dump, false)).collect()
}

/// What can be and what cannot, of three counters.
#[test]
fn the_rule_of_counters() {
    let fits =
        |counters: [u64; 3], slot, r12, r15| explain(&counters, slot, Registers { r12, r15, sp: 0, pc: 0 }).is_ok();
    let can_be = [
        ([7, 7, 7], 7, 7, 3), // a round is over
        ([7, 7, 7], 7, 8, 3), // the number was raised
        ([7, 7, 7], 8, 8, 3), // and put on the stack
        ([7, 7, 7], 8, 8, 0),
        ([8, 7, 7], 8, 8, 0), // written, the index not raised yet
        ([8, 7, 7], 8, 8, 1),
        ([8, 8, 7], 8, 8, 1),
        ([8, 8, 8], 8, 8, 2),
    ];
    for (counters, slot, r12, r15) in can_be {
        assert!(fits(counters, slot, r12, r15), "{counters:?} {slot} {r12} {r15}");
    }
    let cannot_be = [
        ([8, 7, 8], 8, 8, 2),
        ([7, 8, 8], 8, 8, 2),
        ([9, 7, 7], 9, 9, 1),
        ([8, 7, 7], 8, 8, 2), // memory older than the registers
        ([8, 8, 7], 8, 8, 0), // memory newer than the registers
        ([8, 8, 8], 7, 8, 2), // a stack older than memory
        ([7, 7, 7], 7, 9, 3),
        ([7, 7, 7], 7, 8, 0),
        ([8, 8, 8], 8, 8, 1),
    ];
    for (counters, slot, r12, r15) in cannot_be {
        assert!(!fits(counters, slot, r12, r15), "{counters:?} {slot} {r12} {r15}");
    }
}
