//! DWARF expressions, as far as call frame information may use them (DWARF 5, section 6.4.2).

use effigy_process::ByteOrder;
use gimli::{Encoding, EndianSlice, EvaluationResult, Expression, Format, Location, RunTimeEndian, Value};

use super::super::registers::FrameRegisters;
use super::super::step::Failure;
use super::super::window::Window;

/// The most operations that one expression may execute.
const MOST_OPERATIONS: u32 = 1000;

/// What an expression is about.
pub(super) struct Evaluator<'e, 'm> {
    pub(super) registers: &'e FrameRegisters,
    pub(super) window: &'e mut Window<'m>,
    pub(super) order: ByteOrder,
    /// Bytes of an address: 4 or 8.
    pub(super) address_size: u8,
}

impl Evaluator<'_, '_> {
    /// The value of an expression; `cfa` is on its stack when it begins, where there is one already.
    pub(super) fn evaluate(&mut self, expression: &[u8], cfa: Option<u64>) -> Result<u64, Failure> {
        let endian = match self.order {
            ByteOrder::Little => RunTimeEndian::Little,
            ByteOrder::Big => RunTimeEndian::Big,
        };
        let encoding = Encoding { address_size: self.address_size, format: Format::Dwarf32, version: 5 };
        let mut evaluation = Expression(EndianSlice::new(expression, endian)).evaluation(encoding);
        evaluation.set_max_iterations(MOST_OPERATIONS);
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut result = evaluation.evaluate().map_err(damaged)?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register.0).ok_or(Failure::Nothing)?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresMemory { address, size, space: None, .. } => {
                    let value = self.window.number(address, usize::from(size)).map_err(Failure::Missing)?;
                    evaluation.resume_with_memory(Value::Generic(value))
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    evaluation.resume_with_call_frame_cfa(cfa.ok_or(Failure::Nothing)?)
                }
                _ => return Err(unsuited()),
            }
            .map_err(damaged)?;
        }
        let mask = if self.address_size == 4 { 0xffff_ffff } else { u64::MAX };
        match evaluation.as_result() {
            [piece] => match piece.location {
                Location::Address { address } => Ok(address),
                Location::Value { value } => value.to_u64(mask).map_err(damaged),
                _ => Err(unsuited()),
            },
            _ => Err(unsuited()),
        }
    }
}

fn damaged(error: gimli::Error) -> Failure {
    Failure::Corrupt(format!("an expression of the call frame information: {error}"))
}

fn unsuited() -> Failure {
    Failure::Corrupt("an expression of the call frame information asks for what no frame has".into())
}
