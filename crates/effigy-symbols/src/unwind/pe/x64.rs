//! x64: `RUNTIME_FUNCTION` and `UNWIND_INFO`, undone as `RtlVirtualUnwind` does.

use effigy_process::Memory;

use super::super::registers::FrameRegisters;
use super::super::step::{Caller, Failure};
use super::super::walk::Walk;
use super::super::{Frame, Trust};
use super::epilogue;
use super::image::{PeImage, half};

/// How many pieces of unwind information one function may chain.
const LONGEST_CHAIN: usize = 32;

/// `UNW_FLAG_CHAININFO`: another function's entry follows the codes.
const CHAINED: u8 = 4;

/// The lowest bit of an entry's third field: it is no unwind information, but leads to another entry.
const INDIRECT: u32 = 1;

/// DWARF's numbers of the registers, by those in unwind codes.
pub(super) const REGISTERS: [u16; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
const RSP: u16 = 7;

/// A `RUNTIME_FUNCTION`: offsets into the image.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) start: u32,
    pub(super) end: u32,
    unwind: u32,
}

impl Function {
    fn parse(bytes: &[u8; 12]) -> Option<Self> {
        Some(Self { start: half(bytes, 0)?, end: half(bytes, 4)?, unwind: half(bytes, 8)? })
    }

    #[cfg(test)]
    pub(super) fn at_for_tests(table: &[u8]) -> Self {
        table.first_chunk().and_then(Self::parse).unwrap()
    }

    /// The function that holds an offset.
    fn at(image: &PeImage, offset: u32, memory: &dyn Memory) -> Option<Self> {
        let function = Self::parse(&image.entry(offset)?).filter(|function| offset < function.end)?;
        if function.unwind & INDIRECT == 0 {
            return Some(function);
        }
        let primary = Self::parse(&image.exactly(function.unwind & !INDIRECT, memory)?)?;
        Some(Self { unwind: primary.unwind, ..function }).filter(|function| function.unwind & INDIRECT == 0)
    }
}

/// `UNWIND_INFO` with its codes.
struct Info {
    version: u8,
    flags: u8,
    prologue: u8,
    frame_register: u8,
    frame_offset: u8,
    /// Codes of two bytes each, then the entry that is chained.
    codes: [u8; 2 * 256 + 12],
    count: usize,
}

impl Info {
    fn read(image: &PeImage, at: u32, memory: &dyn Memory) -> Option<Self> {
        let head: [u8; 4] = image.exactly(at, memory)?;
        let (version, flags) = (head[0] & 7, head[0] >> 3);
        // Version 3 is for registers that no processor has yet.
        if !matches!(version, 1 | 2) {
            return None;
        }
        let count = usize::from(head[2]);
        let mut info = Self {
            version,
            flags,
            prologue: head[1],
            frame_register: head[3] & 0x0f,
            frame_offset: head[3] >> 4,
            codes: [0; 2 * 256 + 12],
            count,
        };
        let size = 2 * count.next_multiple_of(2) + if flags & CHAINED != 0 { 12 } else { 0 };
        let buffer = info.codes.get_mut(..size)?;
        (image.read(at.checked_add(4)?, buffer, memory) == size).then_some(info)
    }

    fn chained(&self) -> Option<Function> {
        let at = 2 * self.count.next_multiple_of(2);
        let bytes = self.codes.get(at..)?.first_chunk()?;
        Function::parse(bytes).filter(|_| self.flags & CHAINED != 0)
    }
}

/// Registers on their way to the caller's.
struct Unwound<'w, 'u, 'a> {
    walk: &'w mut Walk<'u, 'a>,
    registers: FrameRegisters,
    /// Set by a machine frame: the processor itself saved where it was.
    interrupted: Option<u64>,
}

impl Walk<'_, '_> {
    pub(super) fn by_pe_x64(&mut self, image: &PeImage, frame: &Frame) -> Result<Caller, Failure> {
        let memory = self.unwinder.memory;
        let offset_of = |address: effigy_process::Address| {
            address.0.checked_sub(image.start().0).and_then(|offset| u32::try_from(offset).ok()).ok_or(Failure::Nothing)
        };
        let (lookup, pc) = (offset_of(frame.lookup)?, offset_of(frame.address)?);
        let interrupted = frame.lookup == frame.address;
        let mut unwound = Unwound { walk: self, registers: frame.registers.kept_on_windows(), interrupted: None };
        if let Some(sp) = frame.registers.get(RSP) {
            unwound.registers.set(RSP, sp);
        }
        match Function::at(image, lookup, memory) {
            Some(function) => {
                let all = frame.registers;
                unwound.function(image, function, pc, &all, memory)?;
            }
            // A function without an entry is a leaf: it called nothing and moved no register.
            None if interrupted => {}
            None => return Err(Failure::Nothing),
        }
        unwound.finish()
    }
}

impl Unwound<'_, '_, '_> {
    fn function(
        &mut self,
        image: &PeImage,
        function: Function,
        pc: u32,
        all: &FrameRegisters,
        memory: &dyn Memory,
    ) -> Result<(), Failure> {
        let read = |at| Info::read(image, at, memory).ok_or_else(|| corrupt("unwind information cannot be read"));
        let mut info = read(function.unwind)?;
        let into = pc.saturating_sub(function.start);
        let in_prologue = into < u32::from(info.prologue);
        if !in_prologue && pc < function.end && self.epilogue(image, &info, function, pc)? {
            return Ok(());
        }
        // The frame register need not be one that calls keep.
        let frame_register = REGISTERS[usize::from(info.frame_register)];
        if let Some(value) = all.get(frame_register).filter(|_| info.frame_register != 0) {
            self.registers.set(frame_register, value);
        }
        self.codes(&info, if in_prologue { into } else { u32::MAX })?;
        for _ in 0..LONGEST_CHAIN {
            let Some(chained) = info.chained() else { return Ok(()) };
            info = read(chained.unwind)?;
            self.codes(&info, u32::MAX)?;
        }
        Err(corrupt("unwind information is chained without end"))
    }

    /// Undoes the instructions of a prologue that were executed: those that end at or below `into`, in bytes.
    fn codes(&mut self, info: &Info, into: u32) -> Result<(), Failure> {
        let codes = &info.codes[..2 * info.count];
        let slot = |index: usize| Some(u16::from_le_bytes([*codes.get(2 * index)?, *codes.get(2 * index + 1)?]));
        let base = self.base(info, into)?;
        let mut index = 0;
        while let Some(code) = slot(index) {
            let [at, operation] = code.to_le_bytes();
            let (operation, operand) = (operation & 0x0f, operation >> 4);
            let near = slot(index + 1).map(u64::from);
            let far = || Some(near? | u64::from(slot(index + 2)?) << 16);
            let executed = u32::from(at) <= into;
            let register = REGISTERS[usize::from(operand)];
            let (size, ()) = match operation {
                // UWOP_PUSH_NONVOL, UWOP_ALLOC_SMALL, UWOP_SET_FPREG, of which the last is undone by the base
                0 => (
                    1,
                    if executed {
                        self.pop(register)?
                    },
                ),
                2 => (
                    1,
                    if executed {
                        self.raise(u64::from(operand) * 8 + 8)?
                    },
                ),
                3 => (1, ()),
                // UWOP_ALLOC_LARGE
                1 => {
                    let (size, bytes) = if operand == 0 { (2, near.map(|size| size * 8)) } else { (3, far()) };
                    (
                        size,
                        if executed {
                            self.raise(bytes.ok_or_else(cut_off)?)?
                        },
                    )
                }
                // UWOP_SAVE_NONVOL and its far kind
                4 => (
                    2,
                    if executed {
                        self.load(register, base, near.ok_or_else(cut_off)? * 8)?
                    },
                ),
                5 => (
                    3,
                    if executed {
                        self.load(register, base, far().ok_or_else(cut_off)?)?
                    },
                ),
                // UWOP_EPILOG of version 2 tells where epilogues are; UWOP_SPARE is nothing; registers of floating
                // point are not followed
                6 if info.version == 2 => (1, ()),
                6 | 8 => (2, ()),
                7 | 9 => (3, ()),
                // UWOP_PUSH_MACHFRAME
                10 => (
                    1,
                    if executed {
                        self.machine_frame(operand != 0)?
                    },
                ),
                _ => return Err(corrupt(format!("unwind operation {operation} is not known"))),
            };
            index += size;
        }
        Ok(())
    }

    /// The stack pointer as it was after the fixed part of the frame was made, relative to which registers are saved. It
    /// is found from the frame register once that is set.
    fn base(&mut self, info: &Info, into: u32) -> Result<u64, Failure> {
        let set = || {
            let codes = info.codes[..2 * info.count].chunks_exact(2);
            codes.into_iter().any(|code| code[1] & 0x0f == 3 && u32::from(code[0]) <= into)
        };
        if info.frame_register != 0 && (into == u32::MAX || set()) {
            let value = self.registers.get(REGISTERS[usize::from(info.frame_register)]).ok_or(Failure::Nothing)?;
            self.registers.set(RSP, value.wrapping_sub(16 * u64::from(info.frame_offset)));
        }
        self.registers.get(RSP).ok_or(Failure::Nothing)
    }

    /// Whether the program counter is in an epilogue; if so, that is gone through to its end.
    fn epilogue(&mut self, image: &PeImage, info: &Info, function: Function, pc: u32) -> Result<bool, Failure> {
        let mut code = [0; epilogue::LONGEST];
        let address = image.start().saturating_add(u64::from(pc));
        let count = self.walk.unwinder.code(address, &mut code);
        let Some(steps) = epilogue::decode(&code[..count], pc, function, info.frame_register) else {
            return Ok(false);
        };
        for step in steps.iter() {
            match *step {
                epilogue::Step::Raise(bytes) => self.raise(bytes)?,
                epilogue::Step::Pop(register) => self.pop(REGISTERS[usize::from(register)])?,
                epilogue::Step::FromFrame(offset) => {
                    let register = REGISTERS[usize::from(info.frame_register)];
                    let value = self.registers.get(register).ok_or(Failure::Nothing)?;
                    self.registers.set(RSP, value.wrapping_add_signed(offset));
                }
            }
        }
        Ok(true)
    }

    fn pop(&mut self, register: u16) -> Result<(), Failure> {
        let sp = self.registers.get(RSP).ok_or(Failure::Nothing)?;
        let value = self.walk.pointer(sp)?;
        self.registers.set(register, value);
        self.raise(8)
    }

    fn raise(&mut self, bytes: u64) -> Result<(), Failure> {
        let sp = self.registers.get(RSP).ok_or(Failure::Nothing)?;
        self.registers.set(RSP, sp.wrapping_add(bytes));
        Ok(())
    }

    fn load(&mut self, register: u16, base: u64, offset: u64) -> Result<(), Failure> {
        let value = self.walk.pointer(base.wrapping_add(offset))?;
        self.registers.set(register, value);
        Ok(())
    }

    /// rip, cs, eflags, rsp and ss, as the processor pushes them, above an error code where it pushes one.
    fn machine_frame(&mut self, has_error_code: bool) -> Result<(), Failure> {
        let sp = self.registers.get(RSP).ok_or(Failure::Nothing)?;
        let at = sp.wrapping_add(if has_error_code { 8 } else { 0 });
        self.interrupted = Some(self.walk.pointer(at)?);
        let before = self.walk.pointer(at.wrapping_add(24))?;
        self.registers.set(RSP, before);
        Ok(())
    }

    fn finish(mut self) -> Result<Caller, Failure> {
        let signal = self.interrupted.is_some();
        let address = match self.interrupted {
            Some(address) => address,
            None => {
                let sp = self.registers.get(RSP).ok_or(Failure::Nothing)?;
                let address = self.walk.pointer(sp)?;
                self.raise(8)?;
                address
            }
        };
        let cfa = self.registers.get(RSP);
        self.registers.set_pc(address);
        Ok(Caller { registers: self.registers, cfa, trust: Trust::Pe, signal, exact: true })
    }
}

fn corrupt(what: impl Into<String>) -> Failure {
    Failure::Corrupt(what.into())
}

fn cut_off() -> Failure {
    corrupt("unwind codes are cut off")
}
