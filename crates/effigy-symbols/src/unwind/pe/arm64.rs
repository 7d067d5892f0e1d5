//! arm64: entries of `.pdata`, packed or with a record in `.xdata`.

use effigy_process::{Address, Memory};

use super::super::registers::FrameRegisters;
use super::super::step::{Caller, Failure};
use super::super::walk::Walk;
use super::super::{Frame, Trust};
use super::arm64_codes::{Code, decode};
use super::arm64_packed;
use super::image::{PeImage, half};

const FP: u16 = 29;
const LR: u16 = 30;
const SP: u16 = 31;

/// Most bytes of unwind codes: 255 words in an extended header.
const MOST_CODES: usize = 4 * 255;

/// Most epilogues of one function that are looked at.
const MOST_EPILOGUES: usize = 1024;

/// What of a function's prologue or epilogue is to be undone: codes, of which the first ones were not executed.
pub(super) struct Plan {
    pub(super) codes: Vec<Code>,
    pub(super) skipped: usize,
}

impl Walk<'_, '_> {
    pub(super) fn by_pe_arm64(&mut self, image: &PeImage, frame: &Frame) -> Result<Caller, Failure> {
        let memory = self.unwinder.memory;
        let offset_of = |address: Address| {
            address.0.checked_sub(image.start().0).and_then(|offset| u32::try_from(offset).ok()).ok_or(Failure::Nothing)
        };
        let interrupted = frame.lookup == frame.address;
        let (lookup, pc) = (offset_of(frame.lookup)?, offset_of(frame.address)?);
        let plan = match plan(image, lookup, pc, memory) {
            Some(plan) => plan?,
            // A function without an entry is a leaf: it called nothing and moved no register.
            None if interrupted => Plan { codes: Vec::new(), skipped: 0 },
            None => return Err(Failure::Nothing),
        };
        let mut registers = frame.registers.kept();
        registers.set(SP, frame.registers.get(SP).ok_or(Failure::Nothing)?);
        let mut undone = Undone { walk: self, registers, interrupted: None };
        for code in plan.codes.iter().skip(plan.skipped) {
            if !undone.undo(*code)? {
                break;
            }
        }
        undone.finish()
    }
}

/// The plan for the function that holds an offset; `None` where there is no such function.
fn plan(image: &PeImage, lookup: u32, pc: u32, memory: &dyn Memory) -> Option<Result<Plan, Failure>> {
    let entry: [u8; 8] = image.entry(lookup)?;
    let (start, data) = (half(&entry, 0)?, half(&entry, 4)?);
    let into = lookup - start;
    let position = pc.saturating_sub(start) / 4;
    match data & 3 {
        0 => match Record::read(image, data, memory) {
            Some(record) if into < record.length => Some(Ok(record.plan(position, lookup == pc))),
            Some(_) => None,
            None => Some(Err(Failure::Corrupt("a record of .xdata cannot be read".into()))),
        },
        1 | 2 => {
            let length = (data >> 2 & 0x7ff) * 4;
            (into < length).then(|| Ok(arm64_packed::plan(data, position, lookup == pc)))
        }
        _ => None,
    }
}

/// A record of `.xdata`.
struct Record {
    /// Length of the function in bytes.
    length: u32,
    /// Where epilogues begin, in instructions from the function's start, and their codes.
    epilogues: Vec<(u32, usize)>,
    codes: Vec<u8>,
}

impl Record {
    fn read(image: &PeImage, at: u32, memory: &dyn Memory) -> Option<Self> {
        let head = u32::from_le_bytes(image.exactly(at, memory)?);
        let length = (head & 0x3_ffff) * 4;
        let one_epilogue = head >> 21 & 1 == 1;
        let (mut count, mut words, mut next) = (head >> 22 & 0x1f, head >> 27, at.checked_add(4)?);
        if count == 0 && words == 0 {
            let extended = u32::from_le_bytes(image.exactly(next, memory)?);
            (count, words, next) = (extended & 0xffff, extended >> 16 & 0xff, next.checked_add(4)?);
        }
        let scopes = if one_epilogue { 0 } else { count };
        let mut bytes = vec![0; 4 * usize::try_from(scopes).ok()?.min(MOST_EPILOGUES)];
        let read = image.read(next, &mut bytes, memory);
        let mut epilogues = Vec::new();
        for scope in bytes[..read].chunks_exact(4).filter_map(|bytes| half(bytes, 0)) {
            epilogues.push((scope & 0x3_ffff, usize::try_from(scope >> 22).ok()?));
        }
        next = next.checked_add(4 * scopes)?;
        let mut codes = vec![0; usize::try_from(words).ok()?.saturating_mul(4).min(MOST_CODES)];
        let read = image.read(next, &mut codes, memory);
        codes.truncate(read);
        if one_epilogue {
            // It ends where the function does; the count is the index of its codes.
            let index = usize::try_from(count).ok()?;
            let instructions = u32::try_from(decode(codes.get(index..)?).len()).ok()?;
            epilogues.push(((length / 4).saturating_sub(instructions + 1), index));
        }
        Some(Self { length, epilogues, codes })
    }

    /// What to undo at a position, in instructions from the function's start.
    fn plan(&self, position: u32, interrupted: bool) -> Plan {
        let all = decode(&self.codes);
        if interrupted {
            for (start, index) in &self.epilogues {
                let into = position.checked_sub(*start).and_then(|into| usize::try_from(into).ok());
                let Some(into) = into.filter(|into| *into <= self.codes.len()) else { continue };
                let codes = decode(self.codes.get(*index..).unwrap_or_default());
                // The return itself belongs to it.
                if into <= codes.len() {
                    return Plan { codes, skipped: into };
                }
            }
        }
        let prologue = all.iter().take_while(|code| !matches!(code, Code::EndOfPrologue)).count();
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Plan { skipped: prologue.saturating_sub(position), codes: all }
    }
}

/// Registers on their way to the caller's.
struct Undone<'w, 'u, 'a> {
    walk: &'w mut Walk<'u, 'a>,
    registers: FrameRegisters,
    /// Set by a machine frame: the processor itself saved where it was.
    interrupted: Option<u64>,
}

impl Undone<'_, '_, '_> {
    /// Undoes one instruction; says whether to go on.
    fn undo(&mut self, code: Code) -> Result<bool, Failure> {
        let sp = self.registers.get(SP).ok_or(Failure::Nothing)?;
        match code {
            Code::Raise(bytes) => self.registers.set(SP, sp.wrapping_add(bytes)),
            Code::Save { first, second, offset, writes_back } => {
                // Where the store moved the stack pointer, the registers are on top.
                let at = if writes_back { sp } else { sp.wrapping_add(offset) };
                for (index, register) in [first, second].into_iter().enumerate() {
                    if let Some(number) = register {
                        let value = self.walk.pointer(at.wrapping_add(8 * index as u64))?;
                        self.registers.set(number, value);
                    }
                }
                if writes_back {
                    self.registers.set(SP, sp.wrapping_add(offset));
                }
            }
            Code::SetFrame(offset) => {
                let fp = self.registers.get(FP).ok_or(Failure::Nothing)?;
                self.registers.set(SP, fp.wrapping_sub(offset));
            }
            Code::Nothing | Code::Next | Code::EndOfPrologue => {}
            Code::MachineFrame => {
                self.interrupted = Some(self.walk.pointer(sp.wrapping_add(8))?);
                let before = self.walk.pointer(sp)?;
                self.registers.set(SP, before);
                return Ok(false);
            }
            Code::Unknown(byte) => {
                return Err(Failure::Corrupt(format!("unwind code {byte:#x} of arm64 is not known")));
            }
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<Caller, Failure> {
        let signal = self.interrupted.is_some();
        let address = self.interrupted.or(self.registers.get(LR)).ok_or(Failure::Nothing)?;
        self.registers.set_pc(address);
        let cfa = self.registers.get(SP);
        Ok(Caller { registers: self.registers, cfa, trust: Trust::Pe, signal, exact: true })
    }
}
