//! Threads that do the same.

use std::collections::HashMap;

use effigy_process::Address;

use super::ThreadStack;

/// Threads whose frames are the same code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Indices of their stacks, rising.
    pub stacks: Vec<usize>,
}

/// Puts stacks with equal frames together, the largest group first, then by the first of their stacks. Stacks of which
/// nothing is known are each a group of their own, as they need not be doing the same; and so are those of Python, whose
/// frames are the interpreter's whatever it runs.
#[must_use]
pub fn group(stacks: &[ThreadStack]) -> Vec<Group> {
    let mut known: HashMap<Vec<Address>, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (index, stack) in stacks.iter().enumerate() {
        let key: Vec<_> = stack.frames.iter().map(|frame| frame.frame.address).collect();
        let is_empty = key.is_empty() || !stack.python.is_empty();
        let next = groups.len();
        let group = if is_empty { next } else { *known.entry(key).or_insert(next) };
        match groups.get_mut(group) {
            Some(group) => group.stacks.push(index),
            None => groups.push(Group { stacks: vec![index] }),
        }
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.stacks.len()), group.stacks[0]));
    groups
}

#[cfg(test)]
mod tests {
    use effigy_process::{Architecture, ThreadId};
    use effigy_symbols::unwind::{Frame, FrameRegisters, Stop, Trust};

    use super::*;
    use crate::stacks::NamedFrame;

    fn stack(thread: u32, addresses: &[u64]) -> ThreadStack {
        let frame = |address: &u64| NamedFrame {
            frame: Frame {
                registers: FrameRegisters::empty(Architecture::X86_64).unwrap(),
                address: Address(*address),
                lookup: Address(*address),
                cfa: None,
                trust: Trust::Context,
                module: None,
                signal: false,
            },
            offset: None,
            names: [].into(),
            symbol: None,
        };
        ThreadStack {
            thread: ThreadId(thread),
            frames: addresses.iter().map(frame).collect(),
            stop: Stop::End,
            python: Vec::new(),
        }
    }

    #[test]
    fn equal_stacks_are_together_and_unknown_ones_are_not() {
        let stacks =
            [stack(1, &[]), stack(2, &[1, 2]), stack(3, &[3]), stack(4, &[1, 2]), stack(5, &[]), stack(6, &[1])];
        let groups: Vec<_> = group(&stacks).into_iter().map(|group| group.stacks).collect();
        assert_eq!(groups, [vec![1, 3], vec![0], vec![2], vec![4], vec![5]]);
    }
}
