//! What a watch of a launched program tells: little, as its lines stand beside the program's own. docs/json.md describes the
//! objects.

use std::sync::Arc;

use effigy_live::LiveError;
use effigy_process::Fault;
use effigy_watch::session::{Event, Over, Plan, Reason, Why};
use serde::Serialize;

use super::lines::Lines;
use crate::print;
use crate::watch::{News, Teller};

/// Tells people, or programs.
pub(super) struct RunTeller {
    lines: Arc<Lines>,
    json: bool,
}

/// Something that has happened.
#[derive(Serialize)]
struct Told<'a> {
    event: &'a str,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<u32>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a Fault>,
}

impl RunTeller {
    pub(super) fn new(lines: Arc<Lines>, json: bool) -> Self {
        Self { lines, json }
    }

    fn say(&self, told: &Told<'_>) {
        match serde_json::to_string(told) {
            Ok(text) if self.json => self.lines.say(text),
            _ => {
                let thread = told.thread.map(|thread| format!(", thread {thread}")).unwrap_or_default();
                self.note(&format!("process {}{thread}: {}", told.pid, print::safe(told.text.as_bytes())));
            }
        }
    }

    fn note(&self, text: &str) {
        self.lines.say(format!("effigy: {text}"));
    }
}

impl Teller for RunTeller {
    fn tell(&self, plan: &Plan, news: &News<'_>) {
        match news {
            News::Session(Event::Fired { target, cause, account }) => self.say(&Told {
                event: account.map_or("trigger", |account| account.event),
                pid: target.pid().0,
                thread: cause.thread.map(|thread| thread.0),
                text: &cause.what,
                fault: account.and_then(|account| account.fault.as_ref()),
            }),
            News::Session(Event::Trouble { trouble, .. }) => self.say(&Told {
                event: trouble.event,
                pid: trouble.pid.0,
                thread: Some(trouble.thread.0),
                text: &trouble.why,
                fault: None,
            }),
            // Children may be gone before they are looked at.
            News::Session(Event::Refused {
                error: Some(LiveError::NoSuchProcess(_) | LiveError::Zombie(_) | LiveError::Ended(_)),
                ..
            }) => {}
            News::Session(Event::Refused { pid, error, why }) => {
                let why = error.map_or_else(|| print::safe(why.as_bytes()), |error| print::chain(error));
                self.note(&format!("process {pid} is not watched: {why}"));
            }
            News::Dumped(_, report) => match serde_json::to_string(report) {
                Ok(text) if self.json => self.lines.say(text),
                _ => self.lines.say(report.text()),
            },
            News::NotDumped(_, why) => self.note(why),
            News::Session(Event::Over(ending)) if ending.why == Why::Failed => {
                self.note(&format!("process {} is watched no more, as its dumps fail", ending.pid));
            }
            News::Over(Over { reason: Reason::TimedOut, .. }) if plan.count > 0 => {
                self.note("the time of this watch is over (--within); the program goes on");
            }
            News::Session(_) | News::Dumping(..) | News::Over(_) => {}
        }
    }

    fn complain(&self, text: &str) {
        self.note(text);
    }
}
