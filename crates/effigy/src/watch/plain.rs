//! What a watch tells people: lines, and on a terminal one live line for each target.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use effigy_process::ProcessId;
use effigy_watch::session::{Ending, Event, Line, Over, Plan, Reason, Why};
use effigy_watch::trigger::Sight;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{News, Teller};
use crate::print;

/// Targets that have a line.
const MOST_LINES: usize = 20;
/// The heights of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Tells people.
pub(crate) struct PlainTeller {
    /// Dumps of each target.
    count: u32,
    live: Option<Live>,
}

/// Lines that change.
#[derive(Clone)]
struct Live {
    all: MultiProgress,
    bars: Arc<Mutex<BTreeMap<ProcessId, ProgressBar>>>,
}

impl Live {
    fn set(&self, pid: ProcessId, text: String) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(pid).or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.all.add(ProgressBar::new(0).with_style(style))
        });
        bar.set_message(text);
    }

    fn remove(&self, pid: ProcessId) {
        let bar = self.bars.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
        bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

impl PlainTeller {
    pub(crate) fn new(plan: &Plan) -> Self {
        let live = std::io::stderr()
            .is_terminal()
            .then(|| Live { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: Arc::default() });
        Self { count: plan.count, live }
    }

    /// Prints while the live lines make room.
    fn print(&self, print: impl FnOnce() + Send + 'static) {
        match self.live.clone() {
            Some(live) => print::later(move || live.all.suspend(print)),
            None => print::later(print),
        }
    }

    fn note(&self, text: &str) {
        let text = format!("effigy: {text}");
        self.print(move || print::note_now(&text));
    }

    fn over(&self, ending: &Ending) {
        let who = who(&ending.name, ending.pid);
        if let Some(live) = self.live.clone() {
            let pid = ending.pid;
            print::later(move || live.remove(pid));
        }
        let taken = format!("{} of {} dumps taken", ending.taken, self.count);
        match ending.why {
            Why::Done => {}
            Why::Failed => self.note(&format!("{who} is watched no more, as its dumps fail; {taken}")),
            Why::Ended => self.note(&format!("{who} has ended; {taken}")),
            Why::Cancelled => self.note(&format!("{who} is watched no more, as was asked for; it goes on; {taken}")),
            Why::WatchOver => self.note(&format!("{who} is watched no more; {taken}")),
        }
    }
}

/// A process, for people.
pub(super) fn who(name: &[u8], pid: ProcessId) -> String {
    format!("{} (pid {pid})", print::safe(name))
}

impl Teller for PlainTeller {
    fn tell(&self, plan: &Plan, news: &News<'_>) {
        match news {
            News::Session(Event::Waiting { manner }) => self.note(&format!("waiting: {manner}")),
            News::Session(Event::Watching(target)) => {
                let triggers: Vec<String> = plan.describe().iter().map(|words| print::safe(words.as_bytes())).collect();
                let traced = if plan.events.is_some() { "; it is traced for that (ptrace)" } else { "" };
                let glue = if plan.all_of { " and " } else { ", or " };
                let triggers = triggers.join(glue);
                self.note(&format!("watching {}: {triggers}{traced}", who(target.name(), target.pid())));
            }
            News::Session(Event::Refused { pid, error, why }) => {
                let why = error.map_or_else(|| print::safe(why.as_bytes()), |error| print::chain(error));
                self.note(&format!("process {pid} is not watched: {why}"));
            }
            News::Session(Event::Held { pid, tracer }) => {
                self.note(&format!("process {pid} is being dumped by another effigy ({tracer}): waiting"));
            }
            News::Session(Event::Fired { target, cause, .. }) => {
                self.note(&format!("{}: {}", who(target.name(), target.pid()), print::safe(cause.what.as_bytes())));
            }
            News::Session(Event::Trouble { name, trouble }) => {
                self.note(&format!("{}: {}", who(name, trouble.pid), print::safe(trouble.why.as_bytes())));
            }
            News::Session(Event::Over(ending)) => self.over(ending),
            News::Session(Event::Looked) | News::Dumping(..) => {}
            News::Dumped(_, report) => {
                let text = report.text();
                self.print(move || print::line_now(&text));
            }
            News::NotDumped(order, why) => self.note(&format!("no dump of {}: {why}", who(&order.name, order.pid))),
            News::Over(Over { reason: Reason::TimedOut, .. }) => self.note("the time of this watch is over (--within)"),
            News::Over(_) => {}
        }
    }

    fn show(&self, lines: &dyn Fn() -> Vec<Line>) {
        let Some(live) = self.live.clone() else { return };
        let lines = lines().into_iter().take(MOST_LINES).map(|line| (line.pid, self.line(&line)));
        let lines: Vec<_> = lines.collect();
        print::later(move || lines.into_iter().for_each(|(pid, text)| live.set(pid, text)));
    }
}

impl PlainTeller {
    fn line(&self, line: &Line) -> String {
        let sights: Vec<String> = line.sights.iter().map(sight).collect();
        let state = if line.busy { ", dumping" } else { "" };
        format!("  {}  {}  {}/{} dumps{state}", who(&line.name, line.pid), sights.join("  "), line.taken, self.count)
    }
}

fn sight(sight: &Sight) -> String {
    let parts = [sight.name.as_str(), &sight.value, &sight.threshold].map(|part| print::safe(part.as_bytes()));
    let text: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{} {}", text.join(" "), sparkline(&sight.recent)).trim_end().to_owned()
}

/// Values as bars from zero to the largest; a gap where there is none.
fn sparkline(values: &[Option<f64>]) -> String {
    let most = values.iter().flatten().fold(0.0_f64, |most, value| most.max(*value));
    let bar = |value: f64| {
        // The height of an eighth that the value reaches.
        let reached = (1..BARS.len()).take_while(|step| most > 0.0 && value / most * 8.0 > *step as f64).count();
        BARS[reached]
    };
    values.iter().map(|value| value.map_or(' ', bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines() {
        assert_eq!(sparkline(&[Some(0.0), Some(50.0), None, Some(100.0)]), "▁▄ █");
        assert_eq!(sparkline(&[Some(0.0)]), "▁");
        assert_eq!(sparkline(&[]), "");
    }
}
