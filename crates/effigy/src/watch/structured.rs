//! What a watch tells programs: one JSON object a line, as docs/json.md describes.

use std::time::SystemTime;

use bstr::{BStr, ByteSlice};
use effigy_process::{Fault, Journal, ProcessId};
use effigy_watch::session::{Event, Order, Over, Plan, Reason, Why};
use serde::Serialize;

use super::{News, Teller};
use crate::print;
use crate::report::Report;

/// Tells programs.
pub(crate) struct JsonTeller;

/// A line.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(serialize_with = "effigy_process::text::unix_seconds")]
    time_unix: SystemTime,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What<'a> {
    Waiting {
        manner: &'a str,
    },
    Watching {
        target: Who,
        triggers: Vec<String>,
        all_of: bool,
        traced: bool,
    },
    Refused {
        pid: u32,
        why: String,
    },
    Held {
        pid: u32,
        tracer: u32,
    },
    Trigger {
        target: Who,
        cause: &'a str,
        thread: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        happened: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<&'a Fault>,
    },
    Trouble {
        target: Who,
        why: &'a str,
    },
    Dump {
        target: Who,
        number: u32,
        journal: &'a Journal,
        dump: &'a Report,
    },
    Failed {
        target: Who,
        number: u32,
        why: &'a str,
    },
    Over {
        target: Who,
        dumps: u32,
        why: &'static str,
    },
    End {
        reason: &'static str,
        dumps: u32,
    },
}

#[derive(Serialize)]
struct Who {
    pid: u32,
    name: String,
}

impl Who {
    fn new(pid: ProcessId, name: &BStr) -> Self {
        Self { pid: pid.0, name: name.to_str_lossy().into_owned() }
    }

    fn of(order: &Order) -> Self {
        Self::new(order.pid, order.name.as_bstr())
    }
}

impl Teller for JsonTeller {
    fn tell(&self, plan: &Plan, news: &News<'_>) {
        let what = match news {
            News::Session(event) => match of_session(plan, event) {
                Some(what) => what,
                None => return,
            },
            News::Dumping(..) => return,
            News::Dumped(order, report) => {
                What::Dump { target: Who::of(order), number: order.number, journal: &order.journal, dump: report }
            }
            News::NotDumped(order, why) => What::Failed { target: Who::of(order), number: order.number, why },
            News::Over(over) => What::End { reason: reason(over), dumps: over.taken },
        };
        match serde_json::to_string(&Entry { time_unix: SystemTime::now(), what }) {
            Ok(text) => print::line(&text),
            Err(error) => print::failure(&error),
        }
    }
}

fn of_session<'a>(plan: &Plan, event: &'a Event<'a>) -> Option<What<'a>> {
    Some(match event {
        Event::Waiting { manner } => What::Waiting { manner },
        Event::Watching(target) => What::Watching {
            target: Who::new(target.pid(), target.name().as_bstr()),
            triggers: plan.describe(),
            all_of: plan.all_of,
            traced: plan.events.is_some(),
        },
        Event::Refused { pid, error, why } => {
            What::Refused { pid: pid.0, why: error.map_or_else(|| (*why).to_owned(), |error| print::chain(error)) }
        }
        Event::Held { pid, tracer } => What::Held { pid: pid.0, tracer: *tracer },
        Event::Fired { target, cause, account } => What::Trigger {
            target: Who::new(target.pid(), target.name().as_bstr()),
            cause: &cause.what,
            thread: cause.thread.map(|thread| thread.0),
            happened: account.map(|account| account.event),
            fault: account.and_then(|account| account.fault.as_ref()),
        },
        Event::Trouble { name, trouble } => What::Trouble { target: Who::new(trouble.pid, name), why: &trouble.why },
        Event::Over(ending) => What::Over {
            target: Who::new(ending.pid, ending.name.as_bstr()),
            dumps: ending.taken,
            why: why(ending.why),
        },
        Event::Looked => return None,
    })
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Done => "done",
        Why::Failed => "failed",
        Why::Ended => "ended",
        Why::Cancelled => "cancelled",
        Why::WatchOver => "watch_over",
    }
}

fn reason(over: &Over) -> &'static str {
    match over.reason {
        Reason::NothingLeft => "nothing_left",
        Reason::TotalTaken => "total_taken",
        Reason::Asked => "asked",
        Reason::TimedOut => "timed_out",
    }
}
