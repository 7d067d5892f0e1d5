//! A row of the table that call frame information stands for: how each register of the caller is found, at one address.

use gimli::{CommonInformationEntry, Register, UnwindExpression, UnwindSection, UnwindTableRow};

use super::section::Slice;

/// The longest expression that is kept, in bytes.
const LONGEST_EXPRESSION: usize = 4096;

/// How the callers' registers are found at an address. It stands alone: expressions are copied out of the section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::unwind) struct Row {
    pub(super) cfa: CfaRule,
    pub(super) rules: Box<[(u16, Rule)]>,
    /// The register that holds the return address, once the caller's registers are known.
    pub(super) return_register: u16,
    /// Whether it is a signal trampoline.
    pub(super) signal: bool,
    /// Bytes of an address in expressions: 4 or 8.
    pub(super) address_size: u8,
}

/// How the canonical frame address is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CfaRule {
    Register(u16, i64),
    Expression(Box<[u8]>),
}

/// How a register is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Undefined,
    Same,
    /// At the CFA and so many bytes on.
    Offset(i64),
    /// The CFA and so many bytes on.
    ValueOffset(i64),
    Register(u16),
    /// Where an expression says.
    Expression(Box<[u8]>),
    /// What an expression says.
    ValueExpression(Box<[u8]>),
    Constant(u64),
}

impl Row {
    pub(super) fn new<'b, S: UnwindSection<Slice<'b>>>(
        row: &UnwindTableRow<usize>,
        head: &CommonInformationEntry<Slice<'b>>,
        section: &S,
    ) -> gimli::Result<Self> {
        let cfa = match row.cfa() {
            gimli::CfaRule::RegisterAndOffset { register: Register(number), offset } => {
                CfaRule::Register(*number, *offset)
            }
            gimli::CfaRule::Expression(expression) => CfaRule::Expression(copied(expression, section)?),
        };
        let rules = row.registers().map(|(register, rule)| Ok((register.0, rule_of(rule, section)?)));
        Ok(Self {
            cfa,
            rules: rules.collect::<gimli::Result<_>>()?,
            return_register: head.return_address_register().0,
            signal: head.is_signal_trampoline(),
            address_size: if head.address_size() == 4 { 4 } else { 8 },
        })
    }

    /// Whether the CFA is found from a register.
    pub(in crate::unwind) fn rests_on(&self, register: u16) -> bool {
        matches!(self.cfa, CfaRule::Register(number, _) if number == register)
    }
}

fn rule_of<'b, S: UnwindSection<Slice<'b>>>(rule: &gimli::RegisterRule<usize>, section: &S) -> gimli::Result<Rule> {
    Ok(match rule {
        gimli::RegisterRule::SameValue => Rule::Same,
        gimli::RegisterRule::Offset(offset) => Rule::Offset(*offset),
        gimli::RegisterRule::ValOffset(offset) => Rule::ValueOffset(*offset),
        gimli::RegisterRule::Register(Register(number)) => Rule::Register(*number),
        gimli::RegisterRule::Expression(expression) => Rule::Expression(copied(expression, section)?),
        gimli::RegisterRule::ValExpression(expression) => Rule::ValueExpression(copied(expression, section)?),
        gimli::RegisterRule::Constant(value) => Rule::Constant(*value),
        // Nobody writes the rule "architectural", and nobody says what it means.
        gimli::RegisterRule::Undefined | gimli::RegisterRule::Architectural => Rule::Undefined,
    })
}

fn copied<'b, S: UnwindSection<Slice<'b>>>(
    expression: &UnwindExpression<usize>,
    section: &S,
) -> gimli::Result<Box<[u8]>> {
    if expression.length > LONGEST_EXPRESSION {
        return Err(gimli::Error::NoUnwindInfoForAddress);
    }
    Ok(expression.get(section)?.0.slice().into())
}
