//! One target with its triggers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use effigy_live::debug;
use effigy_process::Journal;

use super::traced::{Grip, Incident};
use super::{Line, Order, Outcome, Plan};
use crate::Target;
use crate::trigger::{Armed, Cause, Verdict};

/// The kind of event that a line of text is.
pub(super) const TEXT: &str = "text";

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
    /// All numbers were beyond their thresholds at the last look.
    met: bool,
    /// Who traces it, if somebody does.
    pub(super) session: Option<Arc<debug::Session>>,
    /// What has happened while a dump was under way, and stands still until that is done.
    pub(super) waiting: Option<Incident>,
    /// A line that it has said meanwhile.
    pub(super) said: Option<String>,
    /// The kind of event that the dump under way is for.
    happened: Option<&'static str>,
    /// Kinds of events that rest after a dump.
    resting: BTreeMap<&'static str, Instant>,
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
        Ok(Self {
            slots: slots?,
            target,
            taken: 0,
            failures: 0,
            busy: false,
            earliest: None,
            met: false,
            session: None,
            waiting: None,
            said: None,
            happened: None,
            resting: BTreeMap::new(),
        })
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
        self.met = causes.len() == self.slots.len();
        // With those, numbers only say when they count.
        let enough = if plan.all_of { self.met && !plan.is_told() } else { !causes.is_empty() };
        if !enough || self.earliest.is_some_and(|earliest| now < earliest) {
            return None;
        }
        self.busy = true;
        let what: Vec<String> = causes.iter().map(|cause| cause.what.clone()).collect();
        let thread = causes.iter().find_map(|cause| cause.thread);
        let kind = causes.first().map_or("manual", |cause| cause.kind);
        Some(Cause { what: what.join("; "), thread, kind })
    }

    /// Whether something that has happened is a moment for a dump: an event of this kind, after which nothing can come if it
    /// `ends` the target.
    pub(super) fn takes(&self, event: &'static str, ends: bool, now: Instant, plan: &Plan) -> bool {
        let early = self.earliest.is_some_and(|earliest| now < earliest);
        let rests = self.resting.get(event).is_some_and(|until| now < *until);
        // What ends it comes once, and never too soon after something else.
        (self.met || !plan.all_of) && (ends || !(early || rests))
    }

    /// The dump for a line that it has said.
    pub(super) fn order_of_text(&mut self, line: &str) -> Order {
        self.busy = true;
        self.happened = Some(TEXT);
        self.order(Cause { what: format!("text on standard error: {line}"), thread: None, kind: TEXT })
    }

    /// The dump for something that has happened.
    pub(super) fn order_of(&mut self, incident: Incident) -> Order {
        self.busy = true;
        self.happened = Some(incident.account.event);
        let account = &incident.account;
        let cause = Cause { what: account.what.clone(), thread: Some(incident.thread), kind: account.kind };
        let order = self.order(cause);
        Order { grip: order.grip.map(|grip| Grip { incident: Some(incident), ..grip }), ..order }
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
            grip: self.session.clone().map(|session| Grip { session, incident: None }),
        }
    }

    /// Ends the trace, if there is one: at once, or with the dump that is under way.
    pub(super) fn release(&mut self) {
        (self.waiting, self.said, self.session) = (None, None, None);
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
        if let Some(event) = self.happened.take() {
            self.resting.insert(event, now + plan.cool_down);
        }
        for slot in &mut self.slots {
            slot.armed.resume();
            if std::mem::take(&mut slot.fired) {
                slot.armed.rearm();
                slot.rests_until = Some(now + plan.cool_down);
            }
        }
    }

    /// Whether nothing can happen any more: each of its thresholds was for one dump, and all were taken.
    pub(super) fn is_spent(&self, plan: &Plan) -> bool {
        !self.busy && !plan.is_told() && self.slots.iter().all(|slot| slot.armed.is_spent())
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
