//! Postfix programs: the expressions of STACK CFI rules, and the programs of STACK WIN records.

use super::super::step::Failure;
use super::super::window::Window;

/// The most words that one program may have.
const MOST_WORDS: usize = 1000;
/// The most operands that may wait at once.
const DEEPEST: usize = 64;

/// What a program works on.
pub(super) trait Variables {
    /// The value of a variable or register.
    fn get(&self, name: &str) -> Option<u64>;
    /// Assigns to one.
    fn set(&mut self, name: &str, value: u64);
}

/// A waiting operand. A name is looked up when its value is needed: `=` wants the name itself.
#[derive(Clone, Copy)]
enum Operand<'t> {
    Value(u64),
    Name(&'t str),
}

/// Runs programs.
pub(super) struct Machine<'w, 'm> {
    pub(super) window: &'w mut Window<'m>,
    /// Bytes of a word of the target: 4 or 8.
    pub(super) word: usize,
}

impl Machine<'_, '_> {
    /// The one value that an expression leaves.
    pub(super) fn evaluate(&mut self, text: &str, variables: &mut impl Variables) -> Result<u64, Failure> {
        match self.run(text, variables)?[..] {
            [operand] => value(operand, variables),
            _ => Err(bad(text)),
        }
    }

    /// Runs a program for its assignments.
    pub(super) fn execute(&mut self, text: &str, variables: &mut impl Variables) -> Result<(), Failure> {
        if self.run(text, variables)?.is_empty() { Ok(()) } else { Err(bad(text)) }
    }

    fn run<'t>(&mut self, text: &'t str, variables: &mut impl Variables) -> Result<Vec<Operand<'t>>, Failure> {
        let mut stack = Vec::new();
        for (index, word) in text.split_ascii_whitespace().enumerate() {
            if index >= MOST_WORDS || stack.len() >= DEEPEST {
                return Err(bad(text));
            }
            let mut pop = || stack.pop().ok_or_else(|| bad(text));
            let operand = match word {
                "+" | "-" | "*" | "/" | "%" | "@" => {
                    let (right, left) = (pop()?, pop()?);
                    let result = arithmetic(word, value(left, variables)?, value(right, variables)?);
                    Operand::Value(self.narrow(result.ok_or_else(|| bad(text))?))
                }
                "^" => {
                    let address = self.narrow(value(pop()?, variables)?);
                    Operand::Value(self.window.number(address, self.word).map_err(Failure::Missing)?)
                }
                "=" => {
                    let (right, left) = (pop()?, pop()?);
                    let Operand::Name(name) = left else { return Err(bad(text)) };
                    let right = value(right, variables)?;
                    variables.set(name, right);
                    continue;
                }
                word => number(word).map_or(Operand::Name(word), |number| Operand::Value(self.narrow(number))),
            };
            stack.push(operand);
        }
        Ok(stack)
    }

    fn narrow(&self, value: u64) -> u64 {
        if self.word == 4 { value & 0xffff_ffff } else { value }
    }
}

fn value(operand: Operand<'_>, variables: &impl Variables) -> Result<u64, Failure> {
    match operand {
        Operand::Value(value) => Ok(value),
        // A register whose value was lost.
        Operand::Name(name) => variables.get(name).ok_or(Failure::Nothing),
    }
}

fn arithmetic(operator: &str, left: u64, right: u64) -> Option<u64> {
    match operator {
        "+" => Some(left.wrapping_add(right)),
        "-" => Some(left.wrapping_sub(right)),
        "*" => Some(left.wrapping_mul(right)),
        "/" => left.checked_div(right),
        "%" => left.checked_rem(right),
        // Down to a multiple.
        "@" => Some(left - left.checked_rem(right)?),
        _ => None,
    }
}

/// Decimal, with a sign or without; or hexadecimal behind `0x`.
fn number(word: &str) -> Option<u64> {
    if let Some(digits) = word.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    let signed = || word.parse::<i64>().ok().map(i64::cast_unsigned);
    word.parse::<u64>().ok().or_else(signed)
}

fn bad(text: &str) -> Failure {
    let short: String = text.chars().take(80).collect();
    Failure::Corrupt(format!("the symbol file's program for a frame makes no sense: {short}"))
}
