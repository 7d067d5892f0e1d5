//! One target with its triggers.

use std::fmt;
use std::time::Instant;

use effigy_process::Journal;

use super::{Line, Order, Outcome, Plan};
use crate::Target;
use crate::trigger::{Armed, Cause, Verdict};

/// A trigger of a target.
struct Slot {
    armed: Box<dyn Armed>,
    /// It fired, and is not looked at before.
    rests_until: Option<Instant>,
    /// The dump under way is for it.
    fired: bool,
}

/// A target.
pub(super) struct Watched {
    pub(super) target: Target,
    slots: Vec<Slot>,
    /// Dumps that were taken.
    pub(super) taken: u32,
    /// Failures in a row.
    pub(super) failures: u32,
    /// A dump is under way.
    pub(super) busy: bool,
    /// No dump before.
    earliest: Option<Instant>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("target", &self.target).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Watched {
    pub(super) fn arm(target: Target, plan: &Plan, now: Instant) -> Result<Self, String> {
        let slot = |armed| Slot { armed, rests_until: None, fired: false };
        let slots: Result<Vec<Slot>, String> =
            plan.triggers.iter().map(|spec| spec.arm(&target, now).map(slot)).collect();
        Ok(Self { slots: slots?, target, taken: 0, failures: 0, busy: false, earliest: None })
    }

    /// Looks with every trigger. All of them look each time: their numbers are wanted, whoever fires.
    pub(super) fn look(&mut self, now: Instant, plan: &Plan) -> Option<Cause> {
        if self.busy {
            return None;
        }
        let mut causes = Vec::new();
        for slot in &mut self.slots {
            slot.fired = false;
            let verdict = slot.armed.look(now);
            let rests = slot.rests_until.is_some_and(|until| now < until);
            if let (Verdict::Fired(cause), false) = (verdict, rests) {
                slot.fired = true;
                causes.push(cause);
            }
        }
        let enough = if plan.all_of { causes.len() == self.slots.len() } else { !causes.is_empty() };
        if !enough || self.earliest.is_some_and(|earliest| now < earliest) {
            return None;
        }
        self.busy = true;
        let what: Vec<String> = causes.iter().map(|cause| cause.what.clone()).collect();
        let thread = causes.iter().find_map(|cause| cause.thread);
        let kind = causes.first().map_or("manual", |cause| cause.kind);
        Some(Cause { what: what.join("; "), thread, kind })
    }

    pub(super) fn order(&self, cause: Cause) -> Order {
        let rings = self.slots.iter().filter_map(|slot| slot.armed.ring());
        Order {
            pid: self.target.pid(),
            name: self.target.name().clone(),
            started: self.target.started(),
            number: self.taken + 1,
            journal: Journal { trigger: cause.what.clone(), series: rings.map(|ring| ring.series()).collect() },
            cause,
        }
    }

    /// Goes on after a dump.
    pub(super) fn finish(&mut self, outcome: Outcome, plan: &Plan, now: Instant) {
        self.busy = false;
        match outcome {
            Outcome::Taken => (self.taken, self.failures) = (self.taken + 1, 0),
            Outcome::Failed => self.failures += 1,
            Outcome::GivenUp => {}
        }
        self.earliest = Some(now + plan.spacing);
        for slot in &mut self.slots {
            slot.armed.resume();
            if std::mem::take(&mut slot.fired) {
                slot.armed.rearm();
                slot.rests_until = Some(now + plan.cool_down);
            }
        }
    }

    /// Whether nothing can happen any more: each of its thresholds was for one dump, and all were taken.
    pub(super) fn is_spent(&self) -> bool {
        !self.busy && self.slots.iter().all(|slot| slot.armed.is_spent())
    }

    pub(super) fn line(&self) -> Line {
        Line {
            pid: self.target.pid(),
            name: self.target.name().clone(),
            taken: self.taken,
            busy: self.busy,
            sights: self.slots.iter().map(|slot| slot.armed.sight()).collect(),
        }
    }
}
