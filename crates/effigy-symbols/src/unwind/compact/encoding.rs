//! What the 32 bits of a function mean.

/// Where a function's frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FrameLayout {
    /// Two words below its end is the frame pointer's place, where the caller's is saved, and above it the return address.
    WithPointer { saved: Vec<Saved> },
    /// It ends so many bytes above the stack pointer, the return address included where calls push it.
    WithoutPointer { size: u64, saved: Vec<Saved> },
}

/// A register that was saved: its DWARF number, and how many bytes below the frame's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) register: u16,
    pub(super) below: u64,
}

/// `UNWIND_*_MODE_MASK`.
const MODE: u32 = 0x0f00_0000;
const WORD: u64 = 8;

/// rbx, r12, r13, r14, r15 and rbp as the encodings number them from 1 on, by their DWARF numbers.
const X86_64: [u16; 6] = [3, 12, 13, 14, 15, 6];
/// Most registers that a function of x86-64 saves.
const MOST: usize = 6;

/// Pairs of registers of arm64 by the bits that say that they are saved, from the lowest on: x19 to x28.
const ARM64_PAIRS: [u16; 5] = [19, 21, 23, 25, 27];

fn bits(word: u32, lowest: u32, count: u32) -> u32 {
    word >> lowest & ((1 << count) - 1)
}

/// That of a function of x86-64; `None` for what only call frame information tells. `code` gives four bytes of the
/// function from an offset on.
pub(super) fn x86_64(encoding: u32, code: impl Fn(u64) -> Option<u32>) -> Option<FrameLayout> {
    match (encoding & MODE) >> 24 {
        // UNWIND_X86_64_MODE_RBP_FRAME: up to five registers, from so many words below the frame pointer upwards.
        1 => {
            let start = 2 * WORD + WORD * u64::from(bits(encoding, 16, 8));
            let mut saved = Vec::new();
            for place in 0..5 {
                let number = bits(encoding, 3 * place, 3);
                let below = start.checked_sub(WORD * u64::from(place));
                match (number, below) {
                    (0, _) => {}
                    (number, Some(below)) => saved.push(Saved { register: x86_64_register(number)?, below }),
                    (_, None) => return None,
                }
            }
            Some(FrameLayout::WithPointer { saved })
        }
        // UNWIND_X86_64_MODE_STACK_IMMD
        2 => without_pointer(encoding, WORD * u64::from(bits(encoding, 16, 8))),
        // UNWIND_X86_64_MODE_STACK_IND: the size is the operand of the instruction that makes the frame, and what was
        // pushed before that.
        3 => {
            let operand = code(bits(encoding, 16, 8).into())?;
            without_pointer(encoding, u64::from(operand).checked_add(WORD * u64::from(bits(encoding, 13, 3)))?)
        }
        _ => None,
    }
}

fn x86_64_register(number: u32) -> Option<u16> {
    X86_64.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// Registers are pushed below the return address, in an order that is numbered.
fn without_pointer(encoding: u32, size: u64) -> Option<FrameLayout> {
    let count = usize::try_from(bits(encoding, 10, 3)).ok()?;
    let order = order(count, bits(encoding, 0, 10))?;
    let lowest = WORD * (1 + count as u64);
    if size < lowest {
        return None;
    }
    let saved = order.into_iter().zip(0..).map(|(number, place)| {
        let register = x86_64_register(number)?;
        Some(Saved { register, below: lowest - WORD * place })
    });
    Some(FrameLayout::WithoutPointer { size, saved: saved.collect::<Option<_>>()? })
}

/// The numbers of registers, from 1 on, that a permutation of `count` out of six stands for: each digit, of a base that
/// shrinks by one from place to place, is its rank among those that are left.
fn order(count: usize, permutation: u32) -> Option<Vec<u32>> {
    if count > MOST {
        return None;
    }
    let mut rest = permutation;
    let mut ranks = vec![0; count];
    // The last digit first: as many choices as the others leave.
    for (rank, choices) in ranks.iter_mut().rev().zip((1u32..).skip(MOST - count)) {
        *rank = rest % choices;
        rest /= choices;
    }
    let mut left: Vec<u32> = (1..).take(MOST).collect();
    let take = |rank: u32| usize::try_from(rank).ok().filter(|rank| *rank < left.len()).map(|rank| left.remove(rank));
    ranks.into_iter().map(take).collect::<Option<_>>().filter(|_| rest == 0)
}

/// That of a function of arm64; `None` for what only call frame information tells.
pub(super) fn arm64(encoding: u32) -> Option<FrameLayout> {
    match (encoding & MODE) >> 24 {
        // UNWIND_ARM64_MODE_FRAMELESS: the return address is in the link register.
        2 => {
            let size = 16 * u64::from(bits(encoding, 12, 12));
            let saved = arm64_saved(encoding, 0);
            let fits = saved.last().is_none_or(|last| last.below <= size);
            fits.then_some(FrameLayout::WithoutPointer { size, saved })
        }
        // UNWIND_ARM64_MODE_FRAME: registers lie below the frame pointer and the return address.
        4 => Some(FrameLayout::WithPointer { saved: arm64_saved(encoding, 2 * WORD) }),
        _ => None,
    }
}

/// Registers downwards from so many bytes below the frame's end, the first of each pair above the second. Those of
/// vectors come last, and are not followed.
fn arm64_saved(encoding: u32, start: u64) -> Vec<Saved> {
    let mut saved = Vec::new();
    let mut below = start;
    for (bit, first) in ARM64_PAIRS.into_iter().enumerate() {
        if encoding >> bit & 1 == 1 {
            saved.push(Saved { register: first, below: below + WORD });
            saved.push(Saved { register: first + 1, below: below + 2 * WORD });
            below += 2 * WORD;
        }
    }
    saved
}
