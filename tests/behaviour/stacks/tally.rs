//! How many frames are the same as an oracle's, and which differences are known.

use std::fmt;

use serde_json::Value;

use super::known::{KNOWN, Known};
use crate::harness::{Backtraces, Frame};

/// Of a hundred frames, those that have to be the same at least, the known differences among the others.
const PERCENT: usize = 99;

/// Frames of one program that were compared with those of one oracle.
#[derive(Debug)]
pub(super) struct Tally {
    program: &'static str,
    oracle: &'static str,
    same: usize,
    all: usize,
    different: Vec<Difference>,
}

/// Where a thread's frames become others.
#[derive(Debug)]
struct Difference {
    /// The function of the last frame that is the same, as effigy names it; empty where none is.
    callee: String,
    text: String,
}

/// A frame of effigy's answer as the oracles' are kept.
pub(super) fn frame(frame: &Value) -> Frame {
    let address = frame["address"].as_str().unwrap();
    Frame {
        pc: u64::from_str_radix(address.strip_prefix("0x").unwrap(), 16).unwrap(),
        function: frame["function"].as_str().unwrap_or("??").to_owned(),
        made_up: false,
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, oracle, same, all, different } = self;
        write!(f, "{program} beside {oracle}: {same} of {all} frames are the same")?;
        different.iter().try_for_each(|different| write!(f, "\n{}", different.text))
    }
}

impl Tally {
    pub(super) fn new(program: &'static str, oracle: &'static str) -> Self {
        Self { program, oracle, same: 0, all: 0, different: Vec::new() }
    }

    /// Compares by place, thread by thread. An oracle may give the return address of a caller or the byte before it, and
    /// stop at the first function of the program; a frame too many of effigy's there is none that it could judge.
    pub(super) fn compare(&mut self, ours: &Backtraces, theirs: &Backtraces) {
        for (tid, theirs) in theirs {
            let theirs: Vec<_> = theirs.iter().filter(|frame| !frame.made_up).collect();
            let none = Vec::new();
            let ours = ours.get(tid).unwrap_or(&none);
            self.all += theirs.len();
            let same = ours.iter().zip(&theirs).take_while(|(a, b)| a.pc == b.pc || a.pc == b.pc + 1).count();
            self.same += same;
            if same < theirs.len() {
                let at = |frame: Option<&Frame>| {
                    frame.map_or_else(|| "nothing".to_owned(), |frame| format!("{:#x} {}", frame.pc, frame.function))
                };
                let (our, their) = (at(ours.get(same)), at(theirs.get(same).copied()));
                let callee = same.checked_sub(1).and_then(|last| ours.get(last));
                let callee = callee.map(|frame| frame.function.clone()).unwrap_or_default();
                let text =
                    format!("thread {tid}: frame {same}, which called {callee}: {our}, and by the oracle {their}");
                self.different.push(Difference { callee, text });
            }
        }
    }

    /// Panics unless nearly all frames are the same, and what is not is what is known.
    #[track_caller]
    pub(super) fn expect(&self, at_least: usize) {
        let told = self.to_string();
        assert!(self.all >= at_least, "only {} frames were compared", self.all);
        assert!(self.same * 100 >= self.all * PERCENT, "{told}");
        let of_this = |known: &&Known| known.program == self.program && known.oracle == self.oracle;
        let known: Vec<_> = KNOWN.iter().filter(of_this).collect();
        let is_known = |different: &&Difference| known.iter().any(|known| known.callee == different.callee);
        let new: Vec<_> = self.different.iter().filter(|different| !is_known(different)).collect();
        assert!(new.is_empty(), "not among the differences that are known: {new:#?}\n{told}");
        let is_there = |known: &&&Known| self.different.iter().any(|different| known.callee == different.callee);
        let gone: Vec<_> = known.iter().filter(|known| !is_there(known)).collect();
        assert!(gone.is_empty(), "differences that are known and are no more: {gone:#?}\n{told}");
    }
}
