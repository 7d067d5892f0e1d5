//! Addresses as people write them: `7ffe1a2b3c40`, `0x7ffe1a2b3c40`, ``00007ffe`1a2b3c40``, `libc.so.6+0x10`, `@rsp`,
//! `@rsp-0x20`, and ranges of them.

use effigy_process::{Address, AddressRange, Module, Process};

use super::{Refused, Subject};
use crate::exit::Exit;
use crate::print;

impl Subject {
    /// The address that `text` means. `thread` is the thread whose registers are meant.
    pub(crate) fn address(&self, text: &str, thread: Option<u32>) -> Result<Address, Refused> {
        let text = text.trim();
        if let Some(address) = self.term(text, thread)? {
            return Ok(address);
        }
        // Names of modules may hold either sign: the last one that makes sense counts.
        let signs = text.char_indices().rev().filter(|(at, letter)| *at > 0 && matches!(letter, '+' | '-'));
        for (at, sign) in signs {
            let (left, right) = (text[..at].trim(), text[at + 1..].trim());
            if let (Some(base), Some(offset)) = (self.term(left, thread)?, number(right)) {
                let sum = if sign == '+' { base.0.checked_add(offset) } else { base.0.checked_sub(offset) };
                return sum.map(Address).ok_or_else(|| (Exit::Usage, format!("{text} is beyond all addresses")));
            }
        }
        Err((
            Exit::Usage,
            format!(
                "{} is no address: give hexadecimal digits, MODULE+0x10 with a module that `effigy modules` lists, or a \
                 register such as @rsp",
                print::safe(text.as_bytes())
            ),
        ))
    }

    /// The range that `text` means: `START-END`, both hexadecimal, or a module.
    pub(crate) fn range(&self, text: &str) -> Option<AddressRange> {
        if let Some((start, end)) = text.split_once('-')
            && let (Some(start), Some(end)) = (number(start.trim()), number(end.trim()))
            && start < end
        {
            return Some(AddressRange::new(Address(start), Address(end)));
        }
        find_module(self.process(), text).map(|module| module.range)
    }

    /// A number, a register, or a module's beginning.
    fn term(&self, text: &str, thread: Option<u32>) -> Result<Option<Address>, Refused> {
        if let Some(name) = text.strip_prefix('@') {
            return if name.contains(['+', '-']) { Ok(None) } else { self.register(name, thread).map(Some) };
        }
        if let Some(number) = number(text) {
            return Ok(Some(Address(number)));
        }
        Ok(find_module(self.process(), text).map(|module| module.range.start()))
    }

    fn register(&self, name: &str, thread: Option<u32>) -> Result<Address, Refused> {
        let thread = self.thread(thread)?;
        let usage = |text: String| (Exit::Usage, text);
        let registers = self.registers_of(thread).ok_or_else(|| {
            usage(format!("the registers of thread {} are not known: {}", thread.id, no_registers(thread)))
        })?;
        let general = registers.general().ok_or_else(|| usage("the thread has no general registers".into()))?;
        let alias = || match name {
            "pc" | "ip" => general.instruction_pointer(),
            "sp" | "csp" => general.stack_pointer(),
            _ => None,
        };
        general.get(name).map(Address).or_else(alias).ok_or_else(|| {
            let known: Vec<_> = general.named().map(|(name, _)| name).collect();
            let name = print::safe(name.as_bytes());
            usage(format!("thread {} has no register {name}; it has {}", thread.id, known.join(" ")))
        })
    }
}

/// Why a thread has no registers.
fn no_registers(thread: &effigy_process::Thread) -> String {
    match &thread.registers {
        Err(missing) if missing.detail.is_empty() => missing.reason.to_string(),
        Err(missing) => print::safe(missing.detail.as_bytes()),
        Ok(_) => String::new(),
    }
}

/// Hexadecimal digits, with or without 0x, with WinDbg's mark in the middle or without.
fn number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text).replace('`', "");
    let only_digits = digits.bytes().all(|letter| letter.is_ascii_hexdigit());
    u64::from_str_radix(&digits, 16).ok().filter(|_| only_digits)
}

/// The module that a name means: its file's name, also without its ending (`ntdll`, `libc`), whatever the case.
fn find_module<'a>(process: &'a Process, name: &str) -> Option<&'a Module> {
    let wanted = name.to_lowercase();
    let name_of = |module: &Module| String::from_utf8_lossy(module.name()).to_lowercase();
    let whole = process.modules.iter().find(|module| name_of(module) == wanted);
    whole.or_else(|| {
        let starts_so = |name: &str| name.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.'));
        process.modules.iter().find(|module| !wanted.is_empty() && starts_so(&name_of(module)))
    })
}

/// Whether a name fits a pattern, in which `*` stands for any letters and `?` for one; case does not matter.
pub(crate) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut at, mut seen) = (0, 0);
    // Where to try again: behind the last star, with one letter more.
    let mut again: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                again = Some((at, seen));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match again {
                Some((star, from)) => {
                    again = Some((star, from + 1));
                    (at, seen) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_debuggers_write_them() {
        assert_eq!(number("00007ffe`1a2b3c40"), Some(0x7ffe_1a2b_3c40));
        assert_eq!((number("0x10"), number("10"), number("+10"), number("")), (Some(16), Some(16), None, None));
    }

    #[test]
    fn modules_by_name() {
        let module = |path: &str| Module { path: path.into(), ..Module::default() };
        let modules = vec![module("/lib/libc.so.6"), module("/usr/lib/libstdc++.so.6"), module("/bin/A")];
        let process = Process { modules, ..Process::default() };
        let found = |name: &str| find_module(&process, name).map(|module| module.path.to_string());
        assert_eq!(found("libc"), Some("/lib/libc.so.6".into()));
        assert_eq!(found("LIBSTDC++"), Some("/usr/lib/libstdc++.so.6".into()));
        assert_eq!((found("a"), found("lib"), found("")), (Some("/bin/A".into()), None, None));
    }

    #[test]
    fn patterns() {
        assert!(matches_pattern("lib*.SO*", "libc.so.6") && matches_pattern("?t*ll", "ntdll"));
        assert!(!matches_pattern("libc", "libc.so.6") && !matches_pattern("*x", "abc"));
        // Two nested loops at the most, however many stars there are.
        assert!(!matches_pattern(&"a*".repeat(500), &format!("{}b", "c".repeat(50_000))));
    }
}
