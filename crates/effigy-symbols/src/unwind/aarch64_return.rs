//! arm64 without tables: the way to the function's return is gone through, as [`to_return`](super::to_return) does for
//! x86, with as little of the instructions as moves the stack pointer and the two registers of a frame's record.

use effigy_process::{Address, ByteOrder};

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::Walk;
use super::{Frame, Trust};

/// The most instructions that are gone through.
const MOST_INSTRUCTIONS: usize = 400;
/// Instructions that are read at once.
const PIECE: usize = 32;
/// The most words that may be stored on the way.
const MOST_STORED: usize = 32;

const FP: u32 = 29;
const LR: u32 = 30;
const SP: u32 = 31;

/// Registers as they will be on the way.
struct Path<'w, 'u, 'a> {
    walk: &'w mut Walk<'u, 'a>,
    registers: FrameRegisters,
    /// What is stored on the way, which memory does not hold: place and value, where that is known.
    stored: Vec<(u64, Option<u64>)>,
}

/// What follows an instruction.
enum Next {
    Behind,
    At(u64),
    Returned,
}

impl Walk<'_, '_> {
    /// The caller to which the way from here leads.
    pub(super) fn by_aarch64_way_to_return(&mut self, frame: &Frame) -> Result<Caller, Failure> {
        let mut path = Path { walk: self, registers: frame.registers, stored: Vec::new() };
        path.follow(frame.address.0)?;
        let mut caller = path.registers.kept();
        let sp = path.get(SP).ok_or(Failure::Nothing)?;
        let address = path.get(LR).ok_or(Failure::Nothing)?;
        self.believable(address)?;
        caller.set_pc(address);
        caller.set_sp(sp);
        Ok(Caller { registers: caller, cfa: Some(sp), trust: Trust::FramePointer, signal: false, exact: true })
    }
}

impl Path<'_, '_, '_> {
    fn follow(&mut self, start: u64) -> Result<(), Failure> {
        let (mut code, mut code_at, mut count) = ([0; 4 * PIECE], start, 0);
        let mut at = start;
        for _ in 0..MOST_INSTRUCTIONS {
            let mut into = at.checked_sub(code_at).and_then(|into| usize::try_from(into).ok());
            if into.is_none_or(|into| into >= count) {
                (code_at, into) = (at, Some(0));
                count = self.walk.unwinder.code(Address(at), &mut code);
            }
            let word = into.and_then(|into| code[..count].get(into..)).and_then(|rest| ByteOrder::Little.half(rest));
            match self.step(word.ok_or(Failure::Nothing)?, at)? {
                Next::Behind => at = at.wrapping_add(4),
                Next::At(target) => at = target,
                Next::Returned => return Ok(()),
            }
        }
        Err(Failure::Nothing)
    }

    /// Encodings are those of the Arm ARM, chapter C4.1.
    fn step(&mut self, word: u32, at: u64) -> Result<Next, Failure> {
        match word {
            // RET by the link register, RETAA, RETAB
            0xd65f_03c0 | 0xd65f_0bff | 0xd65f_0fff => return Ok(Next::Returned),
            // BL, BLR and its kin: what functions may use is lost, and the link register with it
            _ if word & 0xfc00_0000 == 0x9400_0000 || word & 0xfeff_f000 == 0xd63f_0000 => {
                let sp = self.get(SP);
                self.registers = self.registers.kept();
                self.set(SP, sp);
                self.set(LR, None);
            }
            // B
            _ if word & 0xfc00_0000 == 0x1400_0000 => {
                let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
                return Ok(Next::At(at.wrapping_add_signed(distance)));
            }
            // Other branches to registers, exceptions, and words that are no instruction
            _ if word & 0xfe00_0000 == 0xd600_0000 || word & 0xff00_0000 == 0xd400_0000 && word & 0x1f != 1 => {
                return Err(Failure::Nothing);
            }
            _ if word >> 16 == 0 => return Err(Failure::Nothing),
            // ADD and SUB with a number
            _ if word & 0xbf80_0000 == 0x9100_0000 => self.add(word)?,
            // Pairs that are loaded and stored, and single registers by a number
            _ if word & 0x3a00_0000 == 0x2800_0000 => self.pair(word)?,
            _ if word & 0x3b00_0000 == 0x3800_0000 && word >> 21 & 1 == 0 => self.single(word)?,
            _ if word & 0x3b00_0000 == 0x3900_0000 => self.single_far(word)?,
            _ => self.other(word)?,
        }
        Ok(Next::Behind)
    }

    /// `ADD`, `SUB` of a register and twelve bits.
    fn add(&mut self, word: u32) -> Result<(), Failure> {
        let (to, from) = (word & 31, word >> 5 & 31);
        let amount = u64::from(word >> 10 & 0xfff) << if word >> 22 & 1 == 1 { 12 } else { 0 };
        let amount = if word >> 30 & 1 == 1 { amount.wrapping_neg() } else { amount };
        self.assign(to, self.get(from).map(|from| from.wrapping_add(amount)))
    }

    /// `LDP`, `STP` of every kind of register.
    fn pair(&mut self, word: u32) -> Result<(), Failure> {
        let (first, base, second) = (word & 31, word >> 5 & 31, word >> 10 & 31);
        let (kind, is_vector, mode, loads) = (word >> 30, word >> 26 & 1 == 1, word >> 23 & 3, word >> 22 & 1 == 1);
        let scale = if is_vector { 2 + kind } else { 2 + (kind >> 1) };
        let offset = i64::from((word << 10).cast_signed() >> 25) << scale;
        let at = self.moved(base, offset, mode == 1, mode & 1 == 1)?;
        if is_vector {
            return Ok(());
        }
        for (index, register) in [first, second].into_iter().enumerate() {
            self.move_word(register, at.map(|at| at.wrapping_add((index << scale) as u64)), loads, kind == 2)?;
        }
        Ok(())
    }

    /// `LDR`, `STR` with nine bits.
    fn single(&mut self, word: u32) -> Result<(), Failure> {
        let offset = i64::from((word << 11).cast_signed() >> 23);
        let mode = word >> 10 & 3;
        let at = self.moved(word >> 5 & 31, offset, mode == 1, mode & 1 == 1)?;
        self.one(word, at)
    }

    /// `LDR`, `STR` with twelve bits.
    fn single_far(&mut self, word: u32) -> Result<(), Failure> {
        let offset = i64::from(word >> 10 & 0xfff) << (word >> 30);
        let at = self.moved(word >> 5 & 31, offset, false, false)?;
        self.one(word, at)
    }

    fn one(&mut self, word: u32, at: Option<u64>) -> Result<(), Failure> {
        let is_vector = word >> 26 & 1 == 1;
        if is_vector {
            return Ok(());
        }
        self.move_word(word & 31, at, word >> 22 & 3 != 0, word >> 30 == 3)
    }

    /// The address that a load or store goes to, relative to the stack or frame pointer. It may move its base: `after`
    /// says whether that is done afterwards.
    fn moved(&mut self, base: u32, offset: i64, after: bool, moves: bool) -> Result<Option<u64>, Failure> {
        let start = self.get(base);
        let target = start.map(|start| start.wrapping_add_signed(offset));
        if moves {
            self.assign(base, target)?;
        }
        let at = if after { start } else { target };
        Ok(at.filter(|_| base == SP || base == FP))
    }

    fn move_word(&mut self, register: u32, at: Option<u64>, loads: bool, is_word: bool) -> Result<(), Failure> {
        if loads {
            // 31 is the register that is always zero.
            let value = if register == SP { return Ok(()) } else { at.filter(|_| is_word) };
            let value = value.map(|at| self.load(at)).transpose()?.flatten();
            return self.assign(register, value);
        }
        if let Some(at) = at {
            if self.stored.len() == MOST_STORED {
                self.stored.remove(0);
            }
            let value = if register == SP { Some(0) } else { self.get(register) };
            self.stored.push((at, value.filter(|_| is_word)));
        }
        Ok(())
    }

    fn load(&mut self, at: u64) -> Result<Option<u64>, Failure> {
        if let Some((_, value)) = self.stored.iter().rev().find(|(place, _)| *place == at) {
            return Ok(*value);
        }
        self.walk.pointer(at).map(Some)
    }

    /// Any other instruction: the register in its lowest bits is lost, if it writes one.
    fn other(&mut self, word: u32) -> Result<(), Failure> {
        let is_data = matches!(word >> 25 & 0xf, 0b1000 | 0b1001 | 0b0101 | 0b1101);
        // A store is taken for a load here: that only loses more.
        let is_load = word >> 25 & 0b0101 == 0b0100 && word >> 26 & 1 == 0;
        let is_from_vector = word & 0x5f20_fc00 == 0x1e20_0000 || word & 0xbfe0_ec00 == 0x0e00_2c00;
        match word & 31 {
            // Of these only the logical ones with a number, and those that extend a register, know the stack pointer.
            SP if word & 0x7f80_0000 == 0x1200_0000 || word & 0x3fe0_0000 == 0x0b20_0000 => Err(Failure::Nothing),
            SP => Ok(()),
            to if is_data || is_load || is_from_vector => self.assign(to, None),
            _ => Ok(()),
        }
    }

    fn get(&self, register: u32) -> Option<u64> {
        self.registers.get(u16::try_from(register).ok()?)
    }

    fn set(&mut self, register: u32, value: Option<u64>) {
        let Ok(number) = u16::try_from(register) else { return };
        match value {
            Some(value) => self.registers.set(number, value),
            None => self.registers.forget(number),
        }
    }

    /// Sets a register; the way is lost with the stack pointer.
    fn assign(&mut self, register: u32, value: Option<u64>) -> Result<(), Failure> {
        if register == SP && value.is_none() {
            return Err(Failure::Nothing);
        }
        self.set(register, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use effigy_process::Architecture;
    use proptest::prelude::*;

    use super::super::testing::{Bytes, NoImages, process, thread};
    use super::super::{Stack, Unwinder};
    use super::*;

    const BASE: u64 = 0x40_0000;
    const STACK: u64 = 0x7000;
    const BACK: u64 = BASE + 0x800;

    fn stack(code: &[u32], words: &[u64], registers: &[(&str, u64)]) -> Stack {
        let process =
            process(Architecture::Aarch64, &[(BASE, 0x1000)], &[(STACK, 0x1000, false), (BASE, 0x1000, true)]);
        let mut image = vec![0; 0x1000];
        for (index, word) in code.iter().enumerate() {
            image[0x100 + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
        }
        image[0x7fc..0x800].copy_from_slice(&0x9400_0001u32.to_le_bytes());
        let memory = Bytes::new(&[(BASE, image), Bytes::words(STACK, words)]);
        let mut all = vec![("pc", BASE + 0x100), ("sp", STACK)];
        all.extend_from_slice(registers);
        Unwinder::new(&process, &memory, &NoImages::default()).unwind(&thread(Architecture::Aarch64, &all), 2)
    }

    /// Code, stack and registers, and where the caller's stack pointer and x19 are to be.
    type Case<'c> = (&'c [u32], &'c [u64], &'c [(&'c str, u64)], u64, u64);

    #[test]
    fn ways_to_a_return() {
        let stp = 0xa9be_7bfd; // stp x29, x30, [sp, -32]!
        let ldp = 0xa8c2_7bfd; // ldp x29, x30, [sp], 32
        let ret = 0xd65f_03c0;
        let link = [("x30", BACK), ("x29", 0xf9), ("x19", 0x19)];
        let record = [("x30", 5), ("x29", STACK), ("x19", 0x19)];
        let saved = [0xf9, BACK, 0x91, 0];
        let cases: [Case<'_>; 8] = [
            // A leaf, with room for variables: str x0, [sp, 16]; add sp, sp, 32
            (&[ret], &[], &link, 0, 0x19),
            (&[0xf900_0be0, 0x9100_83ff, ret], &[], &link, 32, 0x19),
            // At the beginning, and once the record is stored: mov x29, sp; bl; ldp
            (&[stp, 0x9100_03fd, 0x9400_0040, ldp, ret], &[], &link, 0, 0x19),
            (&[0x9100_03fd, 0x9400_0040, ldp, ret], &saved, &[("x30", BACK), ("x29", 7), ("x19", 0x19)], 32, 0x19),
            (&[ldp, 0xd503_23bf, ret], &saved, &record, 32, 0x19),
            // ldr x19, [sp, 16]; cbz; ldp
            (&[0xf940_0bf3, 0xb400_0040, ldp, ret], &saved, &record, 32, 0x91),
            // mov sp, x29; b over a word that is none
            (&[0x9100_03bf, 0x1400_0002, 0, ldp, ret], &saved, &record, 32, 0x19),
            // stp x19, x20, [sp, -16]!; mov w19, 1; ldp x19, x20, [sp], 16
            (&[0xa9bf_53f3, 0x5280_0033, 0xa8c1_53f3, ret], &[], &link, 0, 0x19),
        ];
        for (code, words, registers, above, x19) in cases {
            let found = stack(code, words, registers);
            let caller = found.frames.get(1).unwrap_or_else(|| panic!("{code:x?}: {found:?}"));
            assert_eq!((caller.address, caller.trust), (Address(BACK), Trust::FramePointer), "{code:x?}");
            let registers = ["sp", "x19", "x29"].map(|name| caller.registers.by_name(name));
            assert_eq!(registers, [Some(STACK + above), Some(x19), Some(0xf9)], "{code:x?}");
        }
        // A call that takes the link register along, a jump through a register, a loop, nothing.
        for code in [&[0x9400_0040, ret][..], &[0xd61f_0100], &[0x1400_0000], &[]] {
            let found = stack(code, &[], &link[1..]);
            assert!(found.frames.get(1).is_none_or(|caller| caller.trust != Trust::FramePointer), "{code:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_code_ends(code in prop::collection::vec(any::<u32>(), 0..100), sp in any::<u64>()) {
            let stack = stack(&code, &[BACK; 32], &[("x30", BACK), ("x29", sp)]);
            prop_assert!(stack.frames.len() <= 2);
        }
    }
}
