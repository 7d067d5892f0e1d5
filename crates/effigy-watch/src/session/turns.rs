//! Targets that another effigy is dumping at the moment, which is soon over: a process has one tracer.

use std::time::{Duration, Instant};

use effigy_live::LiveError;
use effigy_process::ProcessId;

use super::{Event, Hands, Session};

/// How often it is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
/// How long: as a dump waits for another one of the same process.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// What one is called that takes a dump. One that waits for something to happen is called otherwise, and may stay for ever.
const EFFIGY: &str = "effigy";

/// A target that is waited for.
#[derive(Debug)]
pub(super) struct Turn {
    pid: ProcessId,
    since: Instant,
}

impl Session {
    /// Tries it again later when another effigy traces a target, for a time since the first try.
    pub(super) fn wait_or_refuse(
        &mut self,
        pid: ProcessId,
        error: LiveError,
        since: Option<Instant>,
        hands: &mut dyn Hands,
    ) {
        let is_long = since.is_some_and(|since| since.elapsed() >= LONGEST_WAIT);
        match &error {
            LiveError::AlreadyTraced { tracer, tracer_name, .. } if tracer_name == EFFIGY && !is_long => {
                if since.is_none() {
                    hands.tell(&Event::Held { pid, tracer: *tracer }, &Vec::new);
                }
                self.seen.remove(&pid);
                self.turns.push(Turn { pid, since: since.unwrap_or_else(Instant::now) });
            }
            _ => hands.tell(&Event::Refused { pid, error: Some(&error), why: "" }, &Vec::new),
        }
    }

    /// When there is something to be done: at this time, or before.
    pub(super) fn next_try(&self, next: Instant) -> Instant {
        if self.turns.is_empty() { next } else { next.min(Instant::now() + BETWEEN_TRIES) }
    }

    pub(super) fn try_again(&mut self, hands: &mut dyn Hands) {
        for Turn { pid, since } in std::mem::take(&mut self.turns) {
            self.add_since(pid, None, Some(since), hands);
        }
    }

    /// Waits no longer for a process of this id; tells for how many that was.
    pub(super) fn cancel_turns(&mut self, target: &str) -> usize {
        let before = self.turns.len();
        self.turns.retain(|turn| turn.pid.to_string() != target);
        before - self.turns.len()
    }
}
