//! 32-bit ARM: the index table that its programs have in place of call frame information (Exception Handling ABI for the
//! Arm Architecture, sections 6 and 10).

use std::sync::Arc;

use effigy_process::{Address, AddressRange, ByteOrder, Memory};

use super::loaded;
use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::Walk;
use super::{Frame, Trust};
use crate::image::Image;

const PT_ARM_EXIDX: u32 = 0x7000_0001;

/// Bytes of an entry of the index.
const ENTRY: usize = 8;
/// Words of instructions that the ABI allows behind the first.
const MOST_WORDS: usize = 255;
/// The second word of an entry for a function that nothing may unwind.
const CANNOT_UNWIND: u32 = 1;
/// The highest bit of a word: instructions of the ABI's own model, not the address of somebody's routine.
const COMPACT: u32 = 1 << 31;

const SP: u16 = 13;
const LR: u16 = 14;
const PC: u16 = 15;

/// The index of a module.
pub(super) struct IndexTable {
    image: Option<Arc<Image>>,
    /// Without an image: what is added to its addresses to have those of the process.
    order: ByteOrder,
    /// The address of the index, of the image where there is one, else of the process.
    address: u64,
    /// The address of the module's start, of the same kind.
    base: u64,
    bytes: Vec<u8>,
}

impl IndexTable {
    /// That of an image.
    pub(super) fn of_image(image: &Arc<Image>) -> Option<Self> {
        let section = image.section(".ARM.exidx")?;
        let bytes = image.data(".ARM.exidx")?.to_vec();
        let (order, address, base) = (image.byte_order(), section.address, image.base());
        Some(Self { image: Some(Arc::clone(image)), order, address, base, bytes })
    }

    /// That of the image that is loaded at a range.
    pub(super) fn in_memory(range: AddressRange, order: ByteOrder, memory: &dyn Memory) -> Option<Self> {
        let segments = loaded::segments(range, order, memory)?;
        let index = segments.iter().find(|segment| segment.kind == PT_ARM_EXIDX)?;
        let bytes = loaded::read(memory, index.address, index.size);
        Some(Self { image: None, order, address: index.address, base: range.start().0, bytes })
    }

    /// The instructions for an offset into the module.
    fn instructions(&self, offset: u64, memory: &dyn Memory) -> Result<Vec<u8>, Failure> {
        let address = self.base.checked_add(offset).ok_or(Failure::Nothing)?;
        let entries = self.bytes.as_chunks::<ENTRY>().0;
        let place = |index: usize| self.address.wrapping_add((index * ENTRY) as u64);
        let (mut low, mut high) = (0, entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = self.word(&entries[middle]).map(|word| relative(place(middle), word));
            if start.is_some_and(|start| start <= address) { low = middle + 1 } else { high = middle }
        }
        let index = low.checked_sub(1).ok_or(Failure::Nothing)?;
        let data = self.word(&entries[index][4..]).ok_or(Failure::Nothing)?;
        match data {
            CANNOT_UNWIND => Err(Failure::End),
            _ if data & COMPACT != 0 => Ok(data.to_be_bytes()[1..].to_vec()),
            _ => self.record(relative(place(index).wrapping_add(4), data), memory),
        }
    }

    /// The instructions of a record in `.ARM.extab`.
    fn record(&self, at: u64, memory: &dyn Memory) -> Result<Vec<u8>, Failure> {
        let word = |index: usize| -> Result<u32, Failure> {
            let mut bytes = [0; 4];
            let at = at.wrapping_add(4 * index as u64);
            let count = match &self.image {
                Some(image) => image.read(at, &mut bytes).unwrap_or(0),
                None => memory.read(Address(at), &mut bytes).unwrap_or(0),
            };
            let word = self.word(&bytes).filter(|_| count == 4);
            word.ok_or_else(|| Failure::Corrupt("a record of .ARM.extab cannot be read".into()))
        };
        let head = word(0)?;
        // Of somebody's own model the ABI's instructions follow the routine's address, as those of C++ do.
        let (first, start, mut bytes) = if head & COMPACT == 0 {
            let next = word(1)?;
            (next >> 24, 2, next.to_be_bytes()[1..].to_vec())
        } else if head >> 24 & 0xf == 0 {
            (0, 1, head.to_be_bytes()[1..].to_vec())
        } else {
            (head >> 16 & 0xff, 1, head.to_be_bytes()[2..].to_vec())
        };
        let more = usize::try_from(first).unwrap_or(0).min(MOST_WORDS);
        for index in start..start + more {
            bytes.extend_from_slice(&word(index)?.to_be_bytes());
        }
        Ok(bytes)
    }

    fn word(&self, bytes: &[u8]) -> Option<u32> {
        self.order.half(bytes)
    }
}

/// An address relative to its own place, in 31 bits.
fn relative(place: u64, word: u32) -> u64 {
    let distance = (word << 1).cast_signed() >> 1;
    place.wrapping_add_signed(i64::from(distance)) & 0xffff_ffff
}

impl Walk<'_, '_> {
    /// By the index table of the module that the frame is in.
    pub(super) fn by_index_table(&mut self, module: usize, frame: &Frame) -> Result<Caller, Failure> {
        let unwinder = self.unwinder;
        let table = unwinder.modules.index_table(module, unwinder.memory).ok_or(Failure::Nothing)?;
        let start = unwinder.modules.module(module).range.start();
        let offset = frame.lookup.0.checked_sub(start.0).ok_or(Failure::Nothing)?;
        let instructions = table.instructions(offset, unwinder.memory)?;
        let sp = frame.registers.get(SP).ok_or(Failure::Nothing)?;
        let mut registers = frame.registers;
        registers.forget(PC);
        let mut machine = Machine { walk: self, registers, sp };
        machine.run(&instructions)?;
        machine.finish()
    }
}

/// The virtual registers that instructions change.
struct Machine<'w, 'u, 'a> {
    walk: &'w mut Walk<'u, 'a>,
    registers: FrameRegisters,
    sp: u64,
}

impl Machine<'_, '_, '_> {
    fn run(&mut self, instructions: &[u8]) -> Result<(), Failure> {
        let mut rest = instructions.iter().copied();
        while let Some(first) = rest.next() {
            let mut next = || rest.next().ok_or_else(|| bad(first));
            let low = u64::from(first & 0x0f);
            match first {
                0x00..=0x3f => self.raise(4 * u64::from(first & 0x3f) + 4),
                0x40..=0x7f => self.raise((4 * u64::from(first & 0x3f) + 4).wrapping_neg()),
                0x80..=0x8f => {
                    let mask = u16::from(first & 0x0f) << 8 | u16::from(next()?);
                    if mask == 0 {
                        // The ABI's word for code that is not to be unwound.
                        return Err(Failure::End);
                    }
                    self.pop(mask << 4)?;
                }
                0x9d | 0x9f => return Err(bad(first)),
                0x90..=0x9f => self.sp = self.registers.get(u16::from(first & 0x0f)).ok_or(Failure::Nothing)?,
                0xa0..=0xa7 => self.pop(0xff0 >> (7 - (first & 7)) & 0xff0)?,
                0xa8..=0xaf => self.pop(0xff0 >> (7 - (first & 7)) & 0xff0 | 1 << LR)?,
                0xb0 => break,
                0xb1 => {
                    let mask = next()?;
                    if mask == 0 || mask > 0x0f {
                        return Err(bad(first));
                    }
                    self.pop(u16::from(mask))?;
                }
                0xb2 => {
                    let mut size = 0;
                    for shift in (0..28).step_by(7) {
                        let byte = next()?;
                        size |= u64::from(byte & 0x7f) << shift;
                        if byte & 0x80 == 0 {
                            break;
                        }
                    }
                    self.raise(0x204 + 4 * size);
                }
                // Registers of floating point and of vectors are not followed; some stores add a word of their own.
                0xb3 => {
                    let count = u64::from(next()? & 0x0f);
                    self.raise(8 * (count + 1) + 4);
                }
                // An authentication code of the return address.
                0xb4 => self.raise(4),
                0xb8..=0xbf => self.raise(8 * (u64::from(first & 7) + 1) + 4),
                0xc6 | 0xc8 | 0xc9 => {
                    let count = u64::from(next()? & 0x0f);
                    self.raise(8 * (count + 1));
                }
                0xc7 => {
                    let mask = next()?;
                    self.raise(4 * u64::from(mask.count_ones()));
                }
                0xc0..=0xc5 => self.raise(8 * (low + 1)),
                0xd0..=0xd7 => self.raise(8 * (low + 1)),
                _ => return Err(bad(first)),
            }
        }
        Ok(())
    }

    fn raise(&mut self, bytes: u64) {
        self.sp = self.sp.wrapping_add(bytes) & 0xffff_ffff;
    }

    /// Pops the registers of a mask, the lowest first.
    fn pop(&mut self, mask: u16) -> Result<(), Failure> {
        let mut popped = None;
        for number in (0..16).filter(|number| mask >> number & 1 == 1) {
            let value = self.walk.pointer(self.sp)?;
            self.raise(4);
            if number == SP {
                popped = Some(value);
            } else {
                self.registers.set(number, value);
            }
        }
        self.sp = popped.unwrap_or(self.sp);
        Ok(())
    }

    fn finish(mut self) -> Result<Caller, Failure> {
        // Where no program counter was popped, the link register holds it.
        let address = self.registers.get(PC).or(self.registers.get(LR)).ok_or(Failure::Nothing)?;
        self.registers = self.registers.kept();
        self.registers.set_pc(address);
        self.registers.set_sp(self.sp);
        Ok(Caller { registers: self.registers, cfa: Some(self.sp), trust: Trust::Cfi, signal: false, exact: true })
    }
}

fn bad(byte: u8) -> Failure {
    Failure::Corrupt(format!("unwind instruction {byte:#x} of ARM is not known or is cut off"))
}

#[cfg(test)]
mod tests {
    use effigy_process::Architecture;
    use proptest::prelude::*;

    use super::super::testing::{Bytes, NoImages, process, thread};
    use super::super::{Stack, Stop, Unwinder};
    use super::*;

    const BASE: u64 = 0x1_0000;
    const STACK: u64 = 0x7000;

    /// An image in memory with one function at 0x1000, whose index entry is this word; the record is at 0x400.
    fn stack(data: u32, record: &[u32], words: &[u32], registers: &[(&str, u64)]) -> Stack {
        let mut image = vec![0; 0x3000];
        image[..5].copy_from_slice(b"\x7fELF\x01");
        image[28] = 52;
        image[42..46].copy_from_slice(&[32, 0, 2, 0]);
        let mut put = |at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(52, 1);
        put(52 + 20, 0x3000);
        put(84, PT_ARM_EXIDX);
        put(84 + 8, 0x200);
        put(84 + 20, 16);
        put(0x200, 0x1000 - 0x200);
        put(0x204, data);
        put(0x208, 0x2000 - 0x208);
        put(0x20c, CANNOT_UNWIND);
        for (index, word) in record.iter().enumerate() {
            put(0x400 + 4 * index, *word);
        }
        let regions = [(STACK, 0x1000, false), (BASE, 0x3000, true)];
        let process = process(Architecture::Arm, &[(BASE, 0x3000)], &regions);
        let memory = Bytes::new(&[(BASE, image), Bytes::halves(STACK, words)]);
        let mut all = vec![("pc", BASE + 0x1010), ("sp", STACK)];
        all.extend_from_slice(registers);
        Unwinder::new(&process, &memory, &NoImages::default()).unwind(&thread(Architecture::Arm, &all), 3)
    }

    fn found(stack: &Stack, name: &str) -> Option<u64> {
        stack.frames.get(1).and_then(|frame| frame.registers.by_name(name))
    }

    const BACK: u32 = 0x1_2010;

    #[test]
    fn instructions_pop_and_move() {
        // pop {r4, r5, lr}; finish. Thumb code is returned to.
        let one = stack(0x80a9_b0b0, &[], &[4, 5, BACK | 1], &[]);
        let names = ["r4", "r5", "pc", "sp"].map(|name| found(&one, name));
        assert_eq!(names, [Some(4), Some(5), Some(BACK.into()), Some(STACK + 12)]);
        assert_eq!(one.frames[1].trust, Trust::Cfi);
        assert_eq!(one.stop, Stop::End);
        // vsp += 8; pop {r4, lr} by mask
        let two = stack(0x8001_8401, &[], &[0, 0, 4, BACK], &[]);
        assert_eq!((found(&two, "r4"), found(&two, "sp")), (Some(4), Some(STACK + 16)));
        // vsp = r7; vsp -= 4; the link register is still there
        let three = stack(0x8097_40b0, &[], &[0; 8], &[("r7", STACK + 20), ("lr", BACK.into())]);
        assert_eq!((found(&three, "sp"), found(&three, "pc")), (Some(STACK + 16), Some(BACK.into())));
        // vpush {d8, d9}; vsp += 0x204 and 4
        let four = stack(0x80d1_b201, &[], &[0; 256], &[("lr", BACK.into())]);
        assert_eq!(found(&four, "sp"), Some(STACK + 16 + 0x208));
    }

    #[test]
    fn records_hold_longer_programs() {
        let at = 0x400 - 0x204;
        // Personality 1 with one more word: pop {r0, r1}; pop {r4, lr}; finish
        let one = stack(at, &[0x8101_b103, 0xa8b0_b0b0], &[1, 2, 4, BACK], &[]);
        assert_eq!((found(&one, "r4"), found(&one, "sp")), (Some(4), Some(STACK + 16)));
        // A routine of C++'s.
        let two = stack(at, &[0x0000_1000, 0x00a8_b0b0], &[4, BACK], &[]);
        assert_eq!(found(&two, "sp"), Some(STACK + 8));
    }

    #[test]
    fn what_may_not_be_unwound_is_the_end() {
        assert_eq!(stack(CANNOT_UNWIND, &[], &[], &[]).stop, Stop::End);
        assert_eq!(stack(0x8080_00b0, &[], &[], &[]).stop, Stop::End);
        assert!(matches!(stack(0x80ff_b0b0, &[], &[], &[]).stop, Stop::Corrupt(_)));
    }

    proptest! {
        #[test]
        fn any_instructions_end(data in any::<u32>(), record in prop::collection::vec(any::<u32>(), 0..8)) {
            for data in [data, 0x400 - 0x204] {
                let stack = stack(data, &record, &[BACK; 64], &[("lr", BACK.into()), ("r7", STACK)]);
                prop_assert!(stack.frames.len() <= 3);
            }
        }
    }
}
