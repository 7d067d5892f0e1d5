//! ProcDump's options about what happens to a program, in the words of `effigy watch` and `effigy run`.

use super::options::Words;

/// What is asked for besides numbers.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    first_chance: bool,
    /// `-b`: SIGTRAP counts.
    breakpoints: bool,
    /// `-g`, which changes nothing.
    native: bool,
    /// Events by their names.
    on: Vec<&'static str>,
    /// `-sig`
    signals: Vec<String>,
    include: Vec<String>,
    exclude: Vec<String>,
    /// `-f ""`: events are told, and not dumped.
    list_only: bool,
}

/// Signals that are exceptions: those that are raised for what a thread does, and SIGABRT.
const EXCEPTIONS: [&str; 6] = ["SEGV", "BUS", "ILL", "FPE", "SYS", "ABRT"];

impl Happenings {
    /// `-e`, or `-e 1`.
    pub(super) fn exception(&mut self, first_chance: bool) {
        self.on.push("crash");
        self.first_chance |= first_chance;
    }

    /// `-b`, `-g`
    pub(super) fn refine(&mut self, breakpoints: bool) {
        self.breakpoints |= breakpoints;
        self.native |= !breakpoints;
    }

    pub(super) fn on(&mut self, event: &'static str) {
        self.on.push(event);
    }

    /// `-sig 11,6`
    pub(super) fn signals(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        self.signals.extend(words.next_word()?.split(',').map(|signal| signal.trim().to_owned()));
        Ok(())
    }

    /// `-f INCLUDE,…` and `-fx EXCLUDE,…`
    pub(super) fn filter(&mut self, excludes: bool, words: &mut Words<'_>) -> Result<(), String> {
        let list = words.next_word()?;
        let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        if excludes {
            self.exclude.extend(texts);
        } else {
            self.list_only |= list.trim().is_empty();
            self.include.extend(texts);
        }
        Ok(())
    }

    /// Whether something that happens is waited for.
    pub(super) fn are_given(&self) -> bool {
        !(self.on.is_empty() && self.signals.is_empty())
    }

    /// Whether events are told only.
    pub(super) fn are_told_only(&self) -> bool {
        self.list_only
    }

    /// In the words of the other commands, and what is to be said of it. `can_break` tells whether functions can be
    /// watched here.
    pub(super) fn words(
        &self,
        can_break: &dyn Fn() -> Result<(), String>,
    ) -> Result<(Vec<String>, Vec<String>), String> {
        self.check()?;
        let (mut on, mut signals) = (self.on.clone(), self.signals.clone());
        let mut notes = Vec::new();
        if self.first_chance {
            signals.extend(EXCEPTIONS.iter().map(|name| (*name).to_owned()));
            signals.extend(self.breakpoints.then(|| "TRAP".to_owned()));
            match can_break() {
                Ok(()) => on.extend(["exception", "panic"]),
                Err(why) => notes.push(format!("-e 1 sees signals, and not C++ exceptions and Rust panics: {why}")),
            }
        }
        if self.native {
            notes.push("-g changes nothing: every program is watched as a native one".to_owned());
        }
        let mut words = Vec::new();
        words.extend((!on.is_empty()).then(|| format!("--on={}", on.join(","))));
        words.extend((!signals.is_empty()).then(|| format!("--signal={}", signals.join(","))));
        words.extend(self.include.iter().map(|text| format!("--include={text}")));
        words.extend(self.exclude.iter().map(|text| format!("--exclude={text}")));
        if self.list_only {
            words.extend(["-n".to_owned(), "0".to_owned()]);
        }
        Ok((words, notes))
    }

    fn check(&self) -> Result<(), String> {
        if self.native && !self.on.contains(&"crash") {
            return Err("-g goes with -e".into());
        }
        if self.breakpoints && !self.first_chance {
            return Err("-b goes with -e 1".into());
        }
        let filtered = self.list_only || !(self.include.is_empty() && self.exclude.is_empty());
        if filtered && !self.are_given() {
            return Err("-f and -fx go with -e, -t, -ld, -ud, -ct, -et or -sig".into());
        }
        Ok(())
    }
}
