//! Callers by `STACK CFI` records.

use effigy_process::Architecture;

use super::super::registers::FrameRegisters;
use super::super::step::{Caller, Failure};
use super::super::walk::Walk;
use super::super::{Frame, Trust};
use super::program::{Machine, Variables};
use super::records::{BreakpadUnwind, LONGEST_TEXT, Rules};

/// Most records that are read for one address.
const MOST_RECORDS: usize = 4096;
/// Most registers that the rules for one address may be about.
const MOST_RULES: usize = 128;

/// The registers of a frame, and its CFA once that is known.
struct Known<'f> {
    registers: &'f FrameRegisters,
    cfa: Option<u64>,
}

impl Variables for Known<'_> {
    fn get(&self, name: &str) -> Option<u64> {
        if name == ".cfa" { self.cfa } else { self.registers.by_name(register(self.registers.architecture(), name)) }
    }

    /// Rules assign nothing.
    fn set(&mut self, _: &str, _: u64) {}
}

impl Walk<'_, '_> {
    pub(super) fn by_stack_cfi(
        &mut self,
        records: &BreakpadUnwind,
        offset: u64,
        frame: &Frame,
    ) -> Result<Caller, Failure> {
        let rules = records
            .cfi_at(offset)
            .filter(|rules| rules.count() <= MOST_RECORDS && rules.size() <= LONGEST_TEXT)
            .ok_or(Failure::Nothing)?;
        let rules = merged(&rules);
        let rule = |wanted: &str| rules.iter().find(|(name, _)| *name == wanted).map(|(_, text)| text.as_str());
        let registers = &frame.registers;
        let word = registers.architecture().word_size();
        let mut machine = Machine { window: &mut self.window, word };
        let mut known = Known { registers, cfa: None };
        let cfa = machine.evaluate(rule(".cfa").ok_or(Failure::Nothing)?, &mut known)?;
        known.cfa = Some(cfa);
        let address = machine.evaluate(rule(".ra").ok_or(Failure::Nothing)?, &mut known)?;
        let mut caller = registers.kept();
        caller.set_sp(cfa);
        for (name, text) in rules.iter().filter(|(name, _)| !name.starts_with('.')) {
            let name = register(registers.architecture(), name);
            match machine.evaluate(text, &mut known) {
                Ok(value) => _ = caller.set_by_name(name, value),
                // What cannot be read is not known, and the return address could be.
                Err(_) => caller.forget_by_name(name),
            }
        }
        caller.set_pc(address);
        Ok(Caller { registers: caller, cfa: Some(cfa), trust: Trust::Breakpad, signal: false, exact: true })
    }
}

/// The rules for an address: of two for one register the later.
fn merged(rules: &Rules<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for text in rules.texts() {
        let mut current = None;
        for word in text.split_ascii_whitespace() {
            if let Some(name) = word.strip_suffix(':') {
                let position = all.iter().position(|(known, _)| known == name);
                if position.is_none() && all.len() < MOST_RULES {
                    all.push((name.to_owned(), String::new()));
                }
                current = position.or_else(|| all.iter().position(|(known, _)| known == name));
                if let Some(index) = current {
                    all[index].1.clear();
                }
            } else if let Some(index) = current {
                all[index].1.push_str(word);
                all[index].1.push(' ');
            }
        }
    }
    all
}

/// The name of a register that these files call otherwise.
fn register(architecture: Architecture, name: &str) -> &str {
    let name = name.strip_prefix('$').unwrap_or(name);
    match (architecture, name) {
        (Architecture::Aarch64, "lr") => "x30",
        (Architecture::Aarch64, "fp") => "x29",
        (Architecture::Arm, "fp") => "r11",
        (Architecture::Arm, "ip") => "r12",
        (Architecture::Arm, "r13") => "sp",
        (Architecture::Arm, "r14") => "lr",
        (Architecture::Arm, "r15") => "pc",
        _ => name,
    }
}
