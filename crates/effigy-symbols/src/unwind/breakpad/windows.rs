//! Callers by `STACK WIN` records: what a PDB tells of a frame of 32-bit x86 (FPO_DATA and FrameData).

use std::collections::HashMap;

use effigy_process::Architecture;

use super::super::registers::FrameRegisters;
use super::super::step::{Caller, Failure};
use super::super::walk::{Nature, Walk};
use super::super::{Frame, Trust};
use super::program::{Machine, Variables};
use super::records::{BreakpadUnwind, LONGEST_TEXT, WindowsFrame, WindowsWay};

/// Bytes of a word.
const WORD: u64 = 4;
/// Words among which the return address is sought, where its place is not exact.
const SEARCHED: u64 = 40;
/// The same for a thread's innermost frame, which may be in the middle of pushing arguments.
const SEARCHED_AT_FIRST: u64 = 160;

/// Registers that programs may set besides the program counter and the stack pointer.
const REGISTERS: [(&str, u16); 4] = [("$ebx", 3), ("$ebp", 5), ("$esi", 6), ("$edi", 7)];

/// The variables of a program, registers included.
struct Named {
    given: HashMap<&'static str, u64>,
    assigned: HashMap<String, u64>,
}

impl Variables for Named {
    fn get(&self, name: &str) -> Option<u64> {
        self.assigned.get(name).or_else(|| self.given.get(name)).copied()
    }

    fn set(&mut self, name: &str, value: u64) {
        self.assigned.insert(name.to_owned(), value);
    }
}

impl Walk<'_, '_> {
    pub(super) fn by_stack_win(
        &mut self,
        records: &BreakpadUnwind,
        offset: u64,
        frame: &Frame,
        nature: Nature,
    ) -> Result<Caller, Failure> {
        if frame.registers.architecture() != Architecture::X86 {
            return Err(Failure::Nothing);
        }
        let record = records.windows_at(offset).ok_or(Failure::Nothing)?;
        let text = match &record.way {
            WindowsWay::Program(range) if range.len() > LONGEST_TEXT => return Err(Failure::Nothing),
            WindowsWay::Program(range) => records.text(range),
            WindowsWay::Sizes { uses_frame_pointer: true } => {
                "$eip .raSearch ^ = $ebp $esp .cbCalleeParams + .cbSavedRegs + 8 - ^ = $esp .raSearch 4 + ="
            }
            WindowsWay::Sizes { uses_frame_pointer: false } if record.kind == 0 => {
                "$eip .raSearch ^ = $esp .raSearch 4 + ="
            }
            WindowsWay::Sizes { .. } => "$eip $ebp 4 + ^ = $esp $ebp 8 + = $ebp $ebp ^ =",
        };
        let mut variables = self.variables(record, frame, text.contains('@'), nature)?;
        Machine { window: &mut self.window, word: 4 }.execute(text, &mut variables)?;
        self.next_parameters = record.parameters;
        assembled(&variables, frame)
    }

    /// What a program finds when it begins.
    fn variables(
        &mut self,
        record: &WindowsFrame,
        frame: &Frame,
        aligns: bool,
        nature: Nature,
    ) -> Result<Named, Failure> {
        let registers = &frame.registers;
        let sp = registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        let sizes = [self.parameters, record.locals, record.saved].into_iter().fold(0, u64::wrapping_add);
        // Above a frame that was aligned only the frame pointer knows the way.
        let start = match registers.frame_pointer().filter(|_| aligns) {
            Some(fp) => fp.0.wrapping_add(WORD),
            None => sp.wrapping_add(sizes),
        };
        let return_at = self.search(start & 0xffff_ffff, nature);
        let mut known = HashMap::from([
            (".cbParams", record.parameters),
            (".cbCalleeParams", self.parameters),
            (".cbSavedRegs", record.saved),
            (".cbLocals", record.locals),
            (".raSearch", return_at),
            (".raSearchStart", return_at),
            ("$esp", sp),
            ("$eip", frame.address.0),
        ]);
        known.extend(REGISTERS.iter().filter_map(|(name, number)| Some((*name, registers.get(*number)?))));
        Ok(Named { given: known, assigned: HashMap::new() })
    }

    /// Where the return address is, from its place by the sizes on: arguments may be on top of it.
    fn search(&mut self, start: u64, nature: Nature) -> u64 {
        let words = if nature.interrupted { SEARCHED_AT_FIRST } else { SEARCHED };
        let mut places = (0..words).map(|index| start.wrapping_add(index * WORD));
        places.find(|at| self.pointer(*at).is_ok_and(|word| self.looks_like_return(word))).unwrap_or(start)
    }
}

/// The caller, from what the program assigned.
fn assembled(variables: &Named, frame: &Frame) -> Result<Caller, Failure> {
    let assigned = |name: &str| variables.assigned.get(name).copied().ok_or(Failure::Nothing);
    let mut caller: FrameRegisters = frame.registers.kept();
    for (name, number) in REGISTERS {
        if let Ok(value) = assigned(name) {
            caller.set(number, value);
        }
    }
    let sp = assigned("$esp")?;
    caller.set_sp(sp);
    caller.set_pc(assigned("$eip")?);
    Ok(Caller { registers: caller, cfa: Some(sp), trust: Trust::Breakpad, signal: false, exact: true })
}
