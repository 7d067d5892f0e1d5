//! From a frame and its row to the caller.

use effigy_process::ByteOrder;

use super::super::Trust;
use super::super::registers::FrameRegisters;
use super::super::step::{Caller, Failure};
use super::super::window::Window;
use super::expression::Evaluator;
use super::row::{CfaRule, Row, Rule};

/// The caller of a frame, by the row for its address. The program counter is what the row gives, with all bits that a
/// signature or an instruction set may have in it.
pub(in crate::unwind) fn caller(
    row: &Row,
    registers: &FrameRegisters,
    window: &mut Window<'_>,
    order: ByteOrder,
) -> Result<Caller, Failure> {
    let abi = registers.abi();
    let mut evaluator = Evaluator { registers, window, order, address_size: row.address_size };
    let cfa = match &row.cfa {
        CfaRule::Register(number, offset) => {
            let base = registers.get(*number).ok_or(Failure::Nothing)?;
            masked(registers, base.wrapping_add_signed(*offset))
        }
        CfaRule::Expression(bytes) => evaluator.evaluate(bytes, None)?,
    };
    let mut caller = registers.kept();
    if abi.cfa_is_sp {
        caller.set_sp(cfa);
    }
    caller.forget(abi.pc);
    for (number, rule) in &row.rules {
        match value(rule, *number, cfa, &mut evaluator) {
            Ok(Some(value)) => caller.set(*number, value),
            Err(failure) if *number == row.return_register => return Err(failure),
            Ok(None) | Err(_) => caller.forget(*number),
        }
    }
    let address = caller.get(row.return_register).ok_or_else(|| lost(row, registers))?;
    caller.set_pc(address);
    Ok(Caller { registers: caller, cfa: Some(cfa), trust: Trust::Cfi, signal: row.signal, exact: true })
}

/// Why there is no return address: the row says so, which is how a thread's first function is marked, or the register
/// is not known.
fn lost(row: &Row, registers: &FrameRegisters) -> Failure {
    let rule = row.rules.iter().find(|(number, _)| *number == row.return_register);
    match rule {
        Some((_, Rule::Undefined)) => Failure::End,
        None if registers.abi().link.is_none() => Failure::End,
        _ => Failure::Nothing,
    }
}

fn value(rule: &Rule, number: u16, cfa: u64, evaluator: &mut Evaluator<'_, '_>) -> Result<Option<u64>, Failure> {
    let registers = evaluator.registers;
    let at = |evaluator: &mut Evaluator<'_, '_>, address| {
        let size = registers.architecture().word_size();
        evaluator.window.number(masked(registers, address), size).map(Some).map_err(Failure::Missing)
    };
    match rule {
        Rule::Undefined => Ok(None),
        Rule::Same => Ok(registers.get(number)),
        Rule::Offset(offset) => at(evaluator, cfa.wrapping_add_signed(*offset)),
        Rule::ValueOffset(offset) => Ok(Some(cfa.wrapping_add_signed(*offset))),
        Rule::Register(other) => Ok(registers.get(*other)),
        Rule::Expression(bytes) => {
            let address = evaluator.evaluate(bytes, Some(cfa))?;
            at(evaluator, address)
        }
        Rule::ValueExpression(bytes) => evaluator.evaluate(bytes, Some(cfa)).map(Some),
        Rule::Constant(value) => Ok(Some(*value)),
    }
}

fn masked(registers: &FrameRegisters, address: u64) -> u64 {
    if registers.architecture().word_size() == 4 { address & 0xffff_ffff } else { address }
}
