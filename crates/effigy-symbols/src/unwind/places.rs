//! What an address of code alone tells: its module and how its callers are found. Threads that wait in the same place have
//! the same return addresses in the same order, so that of all their frames the first thread's are looked up, and those
//! of the others are but followed, from each place to the one that called it last.
//!
//! What a frame's caller *is* never comes from here: its address and registers are worked out from the thread's own
//! words by the rules of the place. Where the words lead elsewhere than before, the other place is looked up. So the
//! frames are the same as if nothing was known.

use std::collections::HashMap;
use std::sync::Arc;

use effigy_process::{Address, Architecture};

use super::dwarf::Row;
use super::walk::Walk;

/// Places that are kept. A frame whose place is not kept is looked up each time.
const MOST: usize = 1 << 16;

/// Index of a place.
pub(super) type PlaceId = usize;

/// Where a frame executes.
pub(super) struct Place {
    address: Address,
    /// Whether it made no call: then the address is that of the instruction, not of the one behind the call.
    interrupted: bool,
    pub(super) lookup: Address,
    pub(super) module: Option<usize>,
    /// The call frame information, where that is the first way that knows anything of this place.
    pub(super) row: Option<Arc<Row>>,
    /// The place that the last frame here was called from.
    caller: Option<PlaceId>,
}

/// All places that were met, by one worker.
pub(super) struct Places {
    list: Vec<Place>,
    known: HashMap<(Address, bool), PlaceId>,
    most: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashMap::new(), most: MOST }
    }
}

impl Places {
    pub(super) fn get(&self, id: PlaceId) -> Option<&Place> {
        self.list.get(id)
    }

    /// The place of an address, where it was met before; first among those that called `callee`.
    pub(super) fn find(&mut self, address: Address, interrupted: bool, callee: Option<PlaceId>) -> Option<PlaceId> {
        let is_it = |place: &&Place| place.address == address && place.interrupted == interrupted;
        let guess = callee.and_then(|callee| self.list.get(callee)?.caller);
        if let Some(id) = guess.filter(|id| self.list.get(*id).filter(is_it).is_some()) {
            return Some(id);
        }
        let id = *self.known.get(&(address, interrupted))?;
        self.link(callee, id);
        Some(id)
    }

    fn link(&mut self, callee: Option<PlaceId>, caller: PlaceId) {
        if let Some(callee) = callee.and_then(|callee| self.list.get_mut(callee)) {
            callee.caller = Some(caller);
        }
    }

    fn keep(&mut self, place: Place, callee: Option<PlaceId>) -> Option<PlaceId> {
        if self.list.len() >= self.most {
            return None;
        }
        let id = self.list.len();
        self.known.insert((place.address, place.interrupted), id);
        self.list.push(place);
        self.link(callee, id);
        Some(id)
    }
}

impl Walk<'_, '_> {
    /// The place of a frame that was found to be the caller of `callee`'s, or the first; `None` where no more are kept.
    pub(super) fn place(&mut self, address: Address, interrupted: bool, callee: Option<PlaceId>) -> Option<PlaceId> {
        if let Some(known) = self.places.find(address, interrupted, callee) {
            return Some(known);
        }
        let lookup = looked_up(address, interrupted);
        let modules = &self.unwinder.modules;
        let module = modules.at(lookup);
        let row = module.filter(|module| !self.has_kernels_trampolines(*module) && !modules.is_pe(*module));
        let row = row.and_then(|module| modules.row(module, lookup, self.unwinder.memory, &mut self.context));
        self.places.keep(Place { address, interrupted, lookup, module, row, caller: None }, callee)
    }

    /// Whether the kernel put this module into the process, and its trampolines are looked at before its tables.
    pub(super) fn has_kernels_trampolines(&self, module: usize) -> bool {
        let needed = matches!(self.unwinder.process.architecture, Architecture::Aarch64 | Architecture::Riscv64);
        let name = self.unwinder.modules.module(module).name();
        needed && (name == b"linux-gate.so" || name == b"[vdso]")
    }
}

/// The address that tells what a frame is executing.
pub(super) fn looked_up(address: Address, interrupted: bool) -> Address {
    if interrupted { address } else { address.saturating_sub(1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Bytes, Cfi, NoImages, process, thread};
    use super::super::{Stack, Stop, Unwinder};
    use super::*;

    const BASE: u64 = 0x40_0000;
    const SIZE: usize = 0x4000;
    const STACKS: u64 = 0x7000_0000;
    const APART: u64 = 0x1_0000;
    const WORDS: usize = 64;

    /// Functions of 0x100 bytes from 0x1000 on; behind 0x1800 nothing is described. Calls end at multiples of 0x100.
    fn image() -> (u64, Vec<u8>) {
        let mut cfi = Cfi::new(false, 16, 1, -8, &[0x0c, 7, 8, 0x80 | 16, 1]);
        // The CFA is so many words above the stack pointer; the frame pointer is saved, or is where the CFA comes from.
        for (index, code) in [
            &[0x0e, 16][..],
            &[0x0e, 24, 0x80 | 6, 2],
            &[0x0c, 6, 16, 0x80 | 6, 2],
            &[0x0e, 8],
            &[0x0e, 40, 0x80 | 3, 3],
            &[0x07, 16],
        ]
        .into_iter()
        .enumerate()
        {
            cfi.entry(BASE + 0x1000 + 0x100 * index as u64, 0x100, code);
        }
        // A trampoline, which has all of rip, rsp and rbp from the stack.
        cfi.head(true, 16, 1, -8, &[0x0c, 7, 8, 0x80 | 16, 1]);
        cfi.entry(BASE + 0x1600, 0x100, &[0x10, 7, 2, 0x77, 8, 0x10, 6, 2, 0x77, 16]);
        let (start, mut bytes) = cfi.image(BASE, SIZE);
        for call in (0x1000..SIZE).step_by(0x100) {
            bytes[call - 5] = 0xe8;
        }
        (start, bytes)
    }

    /// A word of a stack: mostly a return address, or an address of the stack itself.
    #[derive(Clone, Debug)]
    enum Word {
        Code(u64),
        Stack(u64),
        Any(u64),
    }

    fn word() -> impl Strategy<Value = Word> {
        prop_oneof![
            6 => (0u64..0x12).prop_map(|function| Word::Code(BASE + 0x1000 + 0x100 * function)),
            1 => (0..SIZE as u64).prop_map(|offset| Word::Code(BASE + offset)),
            3 => (0..WORDS as u64).prop_map(|word| Word::Stack(8 * word)),
            1 => (0u64..100).prop_map(Word::Any),
        ]
    }

    fn value(word: &Word, stack: u64) -> u64 {
        match word {
            Word::Code(value) | Word::Any(value) => *value,
            Word::Stack(offset) => stack + offset,
        }
    }

    /// A thread: the words of its stack, its program counter, the words below its stack pointer, its frame pointer.
    type Shape = (Vec<Word>, Word, u64, Word);

    fn shape() -> impl Strategy<Value = Shape> {
        (prop::collection::vec(word(), WORDS), word(), 0..8u64, word())
    }

    /// The stacks of threads by one worker, and those of each by a worker who keeps no places.
    fn unwound(shapes: &[Shape]) -> (Vec<Stack>, Vec<Stack>, usize) {
        let at = |index: usize| STACKS + APART * index as u64;
        let mut regions = vec![(BASE, SIZE as u64, true)];
        regions.extend((0..shapes.len()).map(|index| (at(index), 8 * WORDS as u64, false)));
        let process = process(Architecture::X86_64, &[(BASE, SIZE as u64)], &regions);
        let words = shapes.iter().enumerate().map(|(index, (words, ..))| {
            let words: Vec<u64> = words.iter().map(|word| value(word, at(index))).collect();
            Bytes::words(at(index), &words)
        });
        let memory = Bytes::new(&[vec![image()], words.collect()].concat());
        let images = NoImages::default();
        let unwinder = Unwinder::new(&process, &memory, &images);
        let registers = shapes.iter().enumerate().map(|(index, (_, pc, sp, fp))| {
            let (pc, fp) = (value(pc, at(index)), value(fp, at(index)));
            thread(
                Architecture::X86_64,
                &[("rip", pc), ("rsp", at(index) + 8 * sp), ("rbp", fp), ("rbx", index as u64)],
            )
        });
        let registers: Vec<_> = registers.collect();
        let mut worker = Walk::new(&unwinder);
        let together = registers.iter().map(|registers| worker.walk(registers, 40)).collect();
        let alone = registers.iter().map(|registers| {
            let mut walk = Walk::new(&unwinder);
            walk.places.most = 0;
            walk.walk(registers, 40)
        });
        (together, alone.collect(), worker.places.list.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// Threads with equal, similar and other stacks, in any order.
        #[test]
        fn frames_are_the_same_as_if_nothing_was_known(
            shapes in prop::collection::vec(shape(), 1..4),
            order in prop::collection::vec((any::<prop::sample::Index>(), 0..WORDS, word()), 1..12),
        ) {
            let threads: Vec<Shape> = order
                .iter()
                .map(|(which, changed, word)| {
                    let mut shape = which.get(&shapes).clone();
                    shape.0[*changed] = word.clone();
                    shape
                })
                .chain(shapes.iter().cloned())
                .collect();
            let (together, alone, _) = unwound(&threads);
            prop_assert_eq!(together, alone);
        }
    }

    #[test]
    fn equal_stacks_need_no_more_places_than_one() {
        let code = |function: u64| Word::Code(BASE + 0x1000 + 0x100 * function);
        let mut words = vec![Word::Any(7); WORDS];
        // The byte before a return address is in the function that is returned to.
        for (at, function) in [(1, 1), (4, 2), (6, 4), (11, 5)] {
            words[at] = code(function + 1);
        }
        // The third function's CFA comes from the frame pointer, which the second one saved.
        words[3] = Word::Stack(8 * 5);
        let shape: Shape = (words, code(0), 0, Word::Any(0));
        let (one, _, places) = unwound(std::slice::from_ref(&shape));
        assert_eq!((one[0].frames.len(), &one[0].stop), (places, &Stop::End), "{one:?}");
        assert!(places > 4, "{one:?}");
        let (together, alone, shared) = unwound(&vec![shape; 200]);
        assert_eq!(shared, places);
        assert_eq!(together, alone);
        assert_eq!(together[199].frames[1].registers.by_name("rbx"), Some(199), "registers are each thread's own");
    }
}
