//! How many frames are the same as an oracle's.

use serde_json::Value;

use crate::harness::Backtraces;

/// Frames that were compared, and those that are the same.
#[derive(Debug, Default)]
pub(super) struct Tally {
    same: usize,
    all: usize,
    different: Vec<String>,
}

/// A frame of effigy's answer as the oracles' are kept.
pub(super) fn frame(frame: &Value) -> crate::harness::Frame {
    let address = frame["address"].as_str().unwrap();
    crate::harness::Frame {
        pc: u64::from_str_radix(address.strip_prefix("0x").unwrap(), 16).unwrap(),
        function: frame["function"].as_str().unwrap_or("??").to_owned(),
        made_up: false,
    }
}

impl Tally {
    /// Compares by place, thread by thread. An oracle may give the return address of a caller or the byte before it, and
    /// stop at the first function of the program; a frame too many of effigy's there is none that it could judge.
    pub(super) fn compare(&mut self, what: &str, ours: &Backtraces, theirs: &Backtraces) {
        for (tid, theirs) in theirs {
            let theirs: Vec<_> = theirs.iter().filter(|frame| !frame.made_up).collect();
            let none = Vec::new();
            let ours = ours.get(tid).unwrap_or(&none);
            self.all += theirs.len();
            let same = ours.iter().zip(&theirs).take_while(|(a, b)| a.pc == b.pc || a.pc == b.pc + 1).count();
            self.same += same;
            if same < theirs.len() {
                let at = |frame: Option<String>| frame.unwrap_or_else(|| "nothing".to_owned());
                let our = at(ours.get(same).map(|frame| format!("{:#x} {}", frame.pc, frame.function)));
                let their = at(theirs.get(same).map(|frame| format!("{:#x} {}", frame.pc, frame.function)));
                self.different.push(format!("{what}: thread {tid}: frame {same}: {our}, and by the oracle {their}"));
            }
        }
    }

    /// Panics unless at least so many of a hundred frames are the same.
    #[track_caller]
    pub(super) fn expect(&self, percent: usize, at_least: usize) {
        assert!(self.all >= at_least, "only {} frames were compared", self.all);
        let enough = self.same * 100 >= self.all * percent;
        assert!(enough, "{} of {} frames are the same\n{}", self.same, self.all, self.different.join("\n"));
    }
}
