//! What happens to programs: what is to be told of it, how it is told, and which of it counts.

mod filter;
mod story;

use effigy_live::debug::{SignalSet, Wants};

pub(crate) use filter::Filter;
pub(crate) use story::Story;

use crate::cli::{EventArgs, OnArg};

/// What a session is to tell, from arguments as typed.
pub(crate) fn wants(args: &EventArgs) -> Wants {
    let on = |event| args.on.contains(&event);
    let nothing = args.on.is_empty() && args.at.is_empty() && args.signals.is_empty();
    let second_chance = if on(OnArg::Fatal) {
        SignalSet::all()
    } else if on(OnArg::Crash) || nothing {
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
        children: args.children,
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn crashes_are_waited_for_unless_something_else_is() {
        let none = wants(&EventArgs::default());
        assert!(
            none.second_chance.contains(Signal::SIGSEGV as i32) && !none.second_chance.contains(Signal::SIGTERM as i32)
        );
        let exit = wants(&EventArgs { on: vec![OnArg::Exit], ..EventArgs::default() });
        assert!(exit.exit && exit.second_chance.is_empty() && exit.first_chance.is_empty());
        let named = wants(&EventArgs { signals: vec![Signal::SIGUSR1 as i32], ..EventArgs::default() });
        assert!(
            named.first_chance.contains(Signal::SIGUSR1 as i32) && !named.first_chance.contains(Signal::SIGSEGV as i32)
        );
    }
}
