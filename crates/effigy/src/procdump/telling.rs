//! What is told, in the form that ProcDump's output has: a banner, and a line with the time for everything that happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effigy_dump::sink::size;
use effigy_process::ProcessId;
use effigy_watch::session::{Ending, Event, Plan, Why};
use jiff::Zoned;

use super::Naming;
use crate::print;
use crate::watch::{News, Teller};

/// Tells people who know ProcDump.
pub(super) struct ProcdumpTeller {
    /// The number of the next dump, and those of dumps that are under way.
    numbers: Mutex<(u32, BTreeMap<ProcessId, u32>)>,
}

impl ProcdumpTeller {
    pub(super) fn new(plan: &Plan, naming: &Naming) -> Self {
        print::line(&format!(
            "effigy {} - process dump utility, with the options of ProcDump\n",
            env!("CARGO_PKG_VERSION")
        ));
        for words in plan.describe() {
            row("Trigger", &words);
        }
        row("Polling interval (ms)", &plan.interval.as_millis().to_string());
        row("Number of dumps", &plan.count.to_string());
        let folder = naming.place.clone().unwrap_or_else(|| PathBuf::from("."));
        row("Dump folder or file", &folder.display().to_string());
        row("Dump format", if naming.like_windows { "minidump" } else { "ELF core" });
        print::line("\nPress Ctrl-C to end monitoring without terminating the process.\n");
        Self { numbers: Mutex::new((0, BTreeMap::new())) }
    }

    /// Dumps are counted over all processes, from 1.
    fn number(&self, pid: ProcessId) -> u32 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, under_way) = &mut *numbers;
        *under_way.entry(pid).or_insert_with(|| {
            *last += 1;
            *last
        })
    }

    fn forget(&self, pid: ProcessId) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&pid);
    }
}

fn row(name: &str, value: &str) {
    print::line(&format!("{:<24}{}", format!("{name}:"), print::safe(value.as_bytes())));
}

fn stamped(text: &str) {
    print::line(&format!("[{}] {text}", Zoned::now().strftime("%H:%M:%S")));
}

impl Teller for ProcdumpTeller {
    fn tell(&self, _plan: &Plan, news: &News<'_>) {
        match news {
            News::Session(Event::Waiting { manner }) => {
                stamped(&format!("Waiting for the process to start ({})", print::safe(manner.as_bytes())));
            }
            News::Session(Event::Watching(target)) => {
                stamped(&format!("Process: {} ({})", print::safe(target.name()), target.pid()));
            }
            News::Session(Event::Refused { pid, error, why }) => {
                let why = error.map_or_else(|| (*why).to_owned(), |error| print::chain(error));
                stamped(&format!("Process {pid} is not monitored: {}", print::safe(why.as_bytes())));
            }
            News::Session(Event::Held { pid, tracer }) => {
                stamped(&format!("Process {pid} is being dumped by another effigy ({tracer}): waiting"));
            }
            News::Session(Event::Fired { cause, account, .. }) => {
                let what = match account.map(|account| account.event) {
                    Some("crash") => "Unhandled",
                    Some("signal" | "exception" | "panic") => "Exception",
                    _ => "Trigger",
                };
                stamped(&format!("{what}: {}", print::safe(cause.what.as_bytes())));
            }
            News::Session(Event::Trouble { trouble, .. }) => stamped(&print::safe(trouble.why.as_bytes())),
            News::Session(Event::Over(ending)) => over(ending),
            News::Dumping(order, path) => {
                let path = path.map(|path| print::safe(path.as_os_str().as_encoded_bytes())).unwrap_or_default();
                stamped(&format!("Dump {} initiated: {path}", self.number(order.pid)));
            }
            News::Dumped(order, report) => {
                let path = print::safe(report.path.as_os_str().as_encoded_bytes());
                let seconds = Duration::from_micros(report.wall_us).as_secs_f64();
                let partial = if report.is_partial() { " (partial)" } else { "" };
                stamped(&format!(
                    "Dump {} complete: {path}: {} written in {seconds:.1} seconds{partial}",
                    self.number(order.pid),
                    size(report.bytes)
                ));
                self.forget(order.pid);
            }
            News::NotDumped(order, why) => {
                stamped(&format!("Dump {} failed: {why}", self.number(order.pid)));
                self.forget(order.pid);
            }
            News::Session(Event::Looked) | News::Over(_) => {}
        }
    }
}

fn over(ending: &Ending) {
    match ending.why {
        Why::Done => stamped("Dump count reached."),
        Why::Ended => {
            stamped("The process has exited.");
            stamped("Dump count not reached.");
        }
        Why::Failed => stamped("Dumps fail; monitoring ends."),
        Why::Cancelled | Why::WatchOver => stamped("Monitoring ends; the process goes on."),
    }
}
