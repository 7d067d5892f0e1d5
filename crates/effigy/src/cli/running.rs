//! Arguments about what happens to programs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use effigy_live::debug::Function;
use effigy_process::FaultKind;

use super::{DumpOptions, ThenArgs, TriggerArgs};

/// Arguments of `effigy run`.
#[derive(Debug, Args)]
#[command(
    after_help = "\
Numbers are those of `effigy watch`. Without a trigger a crash is waited for (--on crash). The program is traced for --on,
--signal and --at only, and while a dump is taken; for other triggers it is started as by a shell, and left alone.

Exit codes: those of the program; 128 and the signal's number when a signal ended it; 126 or 127 when it cannot be started
or is not there; before it is started 1 for usage and 3 when something is not permitted. Whether dumps were written does
not change them.",
    mut_arg("count", |arg| arg.help(
        "Dumps to take, after which the program runs on and is not traced [default: 1, or as many as thresholds]; 0 to tell \
         of events only"
    )),
    mut_arg("total", |arg| arg.help("Dumps in all, where -n is to count those of each process (--children)")),
    mut_arg("within", |arg| arg.help("Wait for triggers no longer than this; the program goes on")),
    mut_arg("kill", |arg| arg.help("End the program with SIGKILL after its last dump"))
)]
pub(crate) struct RunArgs {
    /// Processes that the program starts, too
    #[arg(long)]
    pub(crate) children: bool,

    /// A new line of text on the program's standard error; which one, --include and --exclude say. The program has a pipe
    /// there then, also on a terminal, from which everything is passed on at once
    #[arg(long, help_heading = "Triggers")]
    pub(crate) follow_stderr: bool,

    /// Where effigy's own lines go [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// Tell of events and dumps as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) when: TriggerArgs,

    #[command(flatten, next_help_heading = "Triggers for which the program is traced")]
    pub(crate) events: EventArgs,

    #[command(flatten)]
    pub(crate) then: ThenArgs,

    #[command(flatten, next_help_heading = "The dump")]
    pub(crate) options: DumpOptions,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

/// What is waited for.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EventArgs {
    /// Something that happens to the program; may be given more than once ["run" without any: crash]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "EVENT")]
    pub(crate) on: Vec<OnArg>,

    /// Signals that count for "--on signal", by name or number [default: the signals of faults, and SIGABRT]
    #[arg(long = "signal", value_delimiter = ',', value_name = "NAME", value_parser = parse_signal)]
    pub(crate) signals: Vec<i32>,

    /// A function that is reached, by its name and that of its file
    #[arg(long, value_name = "[MODULE!]FUNCTION", value_parser = parse_function)]
    pub(crate) at: Vec<Function>,
}

impl EventArgs {
    /// Whether anything was asked for.
    pub(crate) fn are_given(&self) -> bool {
        !(self.on.is_empty() && self.signals.is_empty() && self.at.is_empty())
    }
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnArg {
    /// A signal that kills and dumps core, such as SIGSEGV or SIGABRT (second chance)
    Crash,
    /// Any signal that kills, SIGTERM and Ctrl-C included; not SIGKILL
    Fatal,
    /// A signal that is about to be delivered, whether or not the program handles it (first chance)
    Signal,
    /// A C++ exception that is thrown
    Exception,
    /// A Rust panic
    Panic,
    /// A library that is loaded
    Load,
    /// A library that is unloaded
    Unload,
    /// A thread that begins
    ThreadStart,
    /// A thread that ends while the program goes on
    ThreadExit,
    /// The program becomes another one (execve)
    Exec,
    /// The program ends, by any way but SIGKILL; its memory is still there
    Exit,
}

fn parse_signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err("signals have numbers from 1 to 64".into()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let is = |number: &i32| FaultKind::Signal { number: *number, code: 0 }.name() == Some(name.as_str());
    (1..=64).find(is).ok_or_else(|| "no signal has this name".to_owned())
}

fn parse_function(text: &str) -> Result<Function, String> {
    let (module, name) = match text.split_once('!') {
        Some((module, name)) => (Some(module), name),
        None => (None, text),
    };
    if name.is_empty() || module.is_some_and(str::is_empty) {
        return Err("a function is given as MODULE!FUNCTION or FUNCTION".into());
    }
    Ok(Function { module: module.map(str::to_owned), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_functions() {
        assert_eq!(parse_signal("segv"), Ok(11));
        assert_eq!(parse_signal("SIGUSR1"), Ok(10));
        assert_eq!(parse_signal("64"), Ok(64));
        assert!(parse_signal("65").is_err() && parse_signal("SIGNONE").is_err());
        let function =
            |module: Option<&str>, name: &str| Function { module: module.map(str::to_owned), name: name.to_owned() };
        assert_eq!(parse_function("libc!malloc"), Ok(function(Some("libc"), "malloc")));
        assert_eq!(parse_function("space::run"), Ok(function(None, "space::run")));
        assert!(parse_function("libc!").is_err() && parse_function("!x").is_err());
    }
}
