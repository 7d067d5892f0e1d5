//! Signals that somebody has sent to effigy and to the program that it has launched at once, as `kill` does for a whole
//! process group: they are not to be passed on.
//!
//! A signal does not say whom else it was sent to. But the session sees every signal on its way to the program, and who has
//! sent it. If the same one has sent the same signal to both within a moment, the program needs no second one: of signals
//! like these two that come at the same time count as one to everybody.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::SignalInfo;

/// How far apart the two may be seen, on a machine that is busy.
const LONGEST_APART: Duration = Duration::from_secs(1);
/// How long after effigy the program may get one that is known to be on its way: it may stand still for a dump.
const LONGEST_EXPECTED: Duration = Duration::from_secs(10);
/// Signals that are remembered.
const MOST: usize = 64;

/// A signal that was sent, by whom, and to which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) to: u32,
    pub(super) number: i32,
    /// Process and user.
    pub(super) by: (u32, u32),
}

impl Sent {
    /// What has reached a process, if it was sent by kill(2): what comes from the terminal, a timer or tgkill(2) was meant
    /// for whom it has reached.
    pub(super) fn new(to: u32, info: &SignalInfo) -> Option<Self> {
        /// `SI_USER` of sigaction(2).
        const BY_KILL: i32 = 0;
        let by = info.sender.filter(|_| info.code == BY_KILL)?;
        Some(Self { to, number: info.number, by })
    }
}

/// What was seen on its way to programs, and what effigy has had of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_programs: VecDeque<(Sent, Instant)>,
    /// Those that effigy has been told of while they were on their way.
    expected: VecDeque<(Sent, Instant)>,
}

impl Seen {
    /// A signal is being delivered to a program.
    pub(super) fn by_program(&mut self, sent: Sent, now: Instant) {
        self.expected.retain(|(_, at)| now.duration_since(*at) < LONGEST_EXPECTED);
        if let Some(at) = self.expected.iter().position(|(expected, _)| *expected == sent) {
            self.expected.remove(at);
            return;
        }
        self.by_programs.retain(|(_, at)| now.duration_since(*at) < LONGEST_APART);
        if self.by_programs.len() < MOST {
            self.by_programs.push_back((sent, now));
        }
    }

    /// effigy has got a signal: whether the program has got the same one. Each counts once.
    pub(super) fn by_effigy(&mut self, sent: Sent, now: Instant) -> bool {
        self.by_programs.retain(|(_, at)| now.duration_since(*at) < LONGEST_APART);
        let at = self.by_programs.iter().position(|(other, _)| *other == sent);
        at.and_then(|at| self.by_programs.remove(at)).is_some()
    }

    /// The same, and the program is just getting it, which [`by_program`](Self::by_program) is yet to hear of.
    pub(super) fn expect(&mut self, sent: Sent, now: Instant) {
        if self.expected.len() < MOST {
            self.expected.push_back((sent, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: i32, pid: u32) -> Sent {
        Sent { to: 7, number, by: (pid, 0) }
    }

    #[test]
    fn each_counts_once() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        seen.by_program(sent(15, 1), now);
        assert!(!seen.by_effigy(sent(10, 1), now), "another signal");
        assert!(!seen.by_effigy(sent(15, 2), now), "somebody else's");
        assert!(seen.by_effigy(sent(15, 1), now));
        assert!(!seen.by_effigy(sent(15, 1), now), "a second one");
    }

    #[test]
    fn what_is_long_ago_is_something_else() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        seen.by_program(sent(15, 1), now);
        assert!(!seen.by_effigy(sent(15, 1), now + LONGEST_APART));
    }

    #[test]
    fn what_is_expected_counts_for_no_other() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        seen.expect(sent(15, 1), now);
        seen.by_program(sent(15, 1), now);
        assert!(!seen.by_effigy(sent(15, 1), now));
    }

    #[test]
    fn only_what_kill_has_sent() {
        let info = |code| SignalInfo { number: 15, code, address: None, sender: Some((1, 0)) };
        assert_eq!(Sent::new(7, &info(0)), Some(sent(15, 1)));
        // tgkill(2), and a value with sigqueue(3): to one only.
        assert_eq!((Sent::new(7, &info(-6)), Sent::new(7, &info(-1))), (None, None));
    }
}
