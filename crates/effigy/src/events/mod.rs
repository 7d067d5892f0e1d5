//! What happens to programs: what is to be told of it, how it is told, and which of it counts.

mod filter;
mod story;

use clap::ValueEnum;
use effigy_live::debug::{Event, Function, SignalSet, Wants, What, check_breakpoints};
use effigy_process::FaultKind;
use effigy_watch::session::{Account, Judge, Trouble};

use filter::Filter;
use story::Story;

use crate::cli::{EventArgs, OnArg};
use crate::exit::Exit;

/// Which events count.
#[derive(Debug)]
pub(crate) struct Selection {
    on: Vec<OnArg>,
    functions: Vec<Function>,
    filter: Filter,
}

impl Selection {
    /// From arguments as typed: events, and texts that their descriptions must and must not hold.
    pub(crate) fn new(args: &EventArgs, include: &[String], exclude: &[String]) -> Self {
        Self { on: args.on.clone(), functions: args.at.clone(), filter: Filter::new(include, exclude) }
    }

    /// An event in words.
    fn story(&self, event: &Event) -> Story {
        Story::of(event, &self.functions)
    }

    /// Whether an event is one of those that were asked for.
    fn takes(&self, event: &Event, story: &Story) -> bool {
        // Libraries are seen to come and go together.
        let wanted = match &event.what {
            What::Libraries { loaded, unloaded } => {
                self.on.contains(&OnArg::Load) && !loaded.is_empty()
                    || self.on.contains(&OnArg::Unload) && !unloaded.is_empty()
            }
            _ => true,
        };
        wanted && self.filter.takes(&story.said)
    }
}

impl Judge for Selection {
    fn judge(&self, event: &Event) -> Option<Account> {
        let story = self.story(event);
        let kind = match story.event {
            "crash" | "signal" => "signal",
            "exception" | "panic" => "exception",
            _ => "manual",
        };
        let brief = story.brief();
        self.takes(event, &story).then_some(Account {
            event: story.event,
            kind,
            what: story.text,
            brief,
            fault: story.fault,
            last: story.last,
        })
    }

    fn trouble(&self, event: &Event) -> Trouble {
        let story = self.story(event);
        Trouble { pid: event.process, thread: event.thread, event: story.event, why: story.text }
    }
}

/// What is waited for, as it was asked for; a crash, when nothing was.
pub(crate) fn words(args: &EventArgs) -> Vec<String> {
    let name = |on: &OnArg| on.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let signal = |number: &i32| {
        let kind = FaultKind::Signal { number: *number, code: 0 };
        kind.name().map_or_else(|| format!("signal {number}"), str::to_owned)
    };
    let signals: Vec<String> = args.signals.iter().map(signal).collect();
    if !args.are_given() {
        return vec!["crash".to_owned()];
    }
    let on = args.on.iter().filter(|on| signals.is_empty() || **on != OnArg::Signal).map(name);
    let chances = (!signals.is_empty()).then(|| format!("{} (first chance)", signals.join(", ")));
    let at = args.at.iter().map(|function| match &function.module {
        Some(module) => format!("at {module}!{}", function.name),
        None => format!("at {}", function.name),
    });
    on.chain(chances).chain(at).collect()
}

/// Whether what is to be told can be seen here at all.
pub(crate) fn check(wants: &Wants) -> Result<(), (Exit, String)> {
    if !(wants.exceptions || wants.panics || wants.libraries || !wants.functions.is_empty()) {
        return Ok(());
    }
    check_breakpoints().map_err(|why| {
        (Exit::NotPermitted, format!("exceptions, panics, functions and libraries need breakpoints: {why}"))
    })
}

/// What a session is to tell, from arguments as typed.
pub(crate) fn wants(args: &EventArgs, children: bool) -> Wants {
    let on = |event| args.on.contains(&event);
    let second_chance = if on(OnArg::Fatal) {
        SignalSet::all()
    } else if on(OnArg::Crash) || !args.are_given() {
        SignalSet::with_core()
    } else {
        SignalSet::default()
    };
    let first_chance = if !args.signals.is_empty() {
        args.signals.iter().copied().collect()
    } else if on(OnArg::Signal) {
        SignalSet::of_faults()
    } else {
        SignalSet::default()
    };
    Wants {
        first_chance,
        second_chance,
        thread_start: on(OnArg::ThreadStart),
        thread_exit: on(OnArg::ThreadExit),
        exec: on(OnArg::Exec),
        exit: on(OnArg::Exit),
        libraries: on(OnArg::Load) || on(OnArg::Unload),
        exceptions: on(OnArg::Exception),
        panics: on(OnArg::Panic),
        functions: args.at.clone(),
        children,
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn crashes_are_waited_for_unless_something_else_is() {
        let none = wants(&EventArgs::default(), false);
        assert!(
            none.second_chance.contains(Signal::SIGSEGV as i32) && !none.second_chance.contains(Signal::SIGTERM as i32)
        );
        let exit = wants(&EventArgs { on: vec![OnArg::Exit], ..EventArgs::default() }, false);
        assert!(exit.exit && exit.second_chance.is_empty() && exit.first_chance.is_empty());
        let args = EventArgs { signals: vec![Signal::SIGUSR1 as i32], ..EventArgs::default() };
        assert_eq!(words(&args), ["SIGUSR1 (first chance)"]);
        let named = wants(&args, false);
        assert!(
            named.first_chance.contains(Signal::SIGUSR1 as i32) && !named.first_chance.contains(Signal::SIGSEGV as i32)
        );
    }
}
