//! What a watch is asked for.

use std::time::Duration;

use effigy_live::select::Query;

use super::Events;
use crate::trigger::Spec;
use crate::wildcard::Filter;

/// What to wait for, and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers and the like to wait for; at least one, or events.
    pub triggers: Vec<Spec>,
    /// Things to wait for that happen to a program. Its targets are traced for them.
    pub events: Option<Events>,
    /// Lines to wait for on the standard error of a program that is launched ([`Session::read_lines`](super::Session::read_lines)).
    pub text: Option<Filter>,
    /// All triggers at the same time, in place of any; of events any, while all others are met.
    pub all_of: bool,
    /// Time between two looks.
    pub interval: Duration,
    /// Dumps of each target after which it is watched no more; with 0, events are only told.
    pub count: u32,
    /// Dumps in all after which the watch ends.
    pub total: Option<u32>,
    /// Shortest time from the end of a target's dump to its next.
    pub spacing: Duration,
    /// How long a trigger rests after it has fired.
    pub cool_down: Duration,
    /// The watch ends after so long.
    pub within: Option<Duration>,
    /// Targets' children are targets, from their start on.
    pub children: bool,
    /// A target is ended with SIGKILL after its last dump.
    pub kill: bool,
}

impl Plan {
    /// What is waited for, in words.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let numbers = self.triggers.iter().map(|trigger| trigger.describe(self.interval));
        let events = self.events.as_ref().map(|events| events.words.clone()).unwrap_or_default();
        // Of events one is enough, also where all numbers have to hold.
        let events = if self.all_of && events.len() > 1 { vec![events.join(" or ")] } else { events };
        let text = self.text.as_ref().map(|_| "text on standard error".to_owned());
        numbers.chain(events).chain(text).collect()
    }

    /// Whether something is waited for that is not looked for, but told. Numbers then only say when it counts, where all
    /// triggers have to be met.
    pub(super) fn is_told(&self) -> bool {
        self.events.is_some() || self.text.is_some()
    }
}

/// Processes that may not be there yet.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Which.
    pub query: Query,
    /// Every one that ever comes, in place of the first.
    pub all: bool,
}
