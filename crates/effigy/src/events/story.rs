//! An event in words, for people and for filters.

use bstr::{BStr, BString, ByteSlice};
use cpp_demangle::Symbol;
use effigy_live::debug::{End, Event, Exception, Function, Privilege, SignalInfo, What, place};
use effigy_process::{Address, Fault, FaultKind};

use crate::print;

/// An event in words.
#[derive(Debug)]
pub(crate) struct Story {
    /// Which kind of event.
    pub(crate) event: &'static str,
    /// What happened, for people.
    pub(crate) text: String,
    /// The signal.
    pub(crate) fault: Option<Fault>,
    /// What filters are held against.
    pub(crate) said: Vec<String>,
    /// Whether the program dies of it.
    pub(crate) last: bool,
}

impl Story {
    /// Of an event. `functions` are those that are waited for.
    pub(crate) fn of(event: &Event, functions: &[Function]) -> Self {
        let mut story = Self { event: "", text: String::new(), fault: None, said: Vec::new(), last: false };
        match &event.what {
            What::Signal { info, kills } => story.signal(event, info, *kills),
            What::ThreadStarted => story.tell("thread-start", "a thread begins".into(), []),
            What::ThreadExiting(status) => {
                story.tell("thread-exit", format!("a thread ends with status {status}"), []);
            }
            What::Executed(path) => story.tell("exec", format!("it becomes {}", safe(path)), [safe(path)]),
            What::Exiting(end) => story.tell("exit", format!("it is about to end {}", ending(*end)), [ending(*end)]),
            What::Libraries { loaded, unloaded } => story.libraries(loaded, unloaded),
            What::Thrown(exception) => story.thrown(exception),
            What::Panicked(message) => {
                let message = message.as_ref().map(safe);
                let text = message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
                story.tell("panic", format!("a thread panics{text}"), message);
            }
            What::Reached(index) => {
                let name =
                    functions.get(*index).map_or_else(String::new, |function| print::safe(function.name.as_bytes()));
                story.tell("reached", format!("{name} is reached"), [name]);
            }
            What::Born { parent } => story.tell("child", format!("process {parent} has started it"), []),
            What::Ended(end) => {
                let how = end.map_or_else(|| "in an unknown way".to_owned(), ending);
                story.tell("ended", format!("it has ended {how}"), [how]);
            }
            What::Withheld { what, path } => story.tell("withheld", withheld(*what, path), []),
            What::NoBreakpoint(why) => story.tell("no-breakpoint", format!("no breakpoint: {why}"), []),
            _ => {}
        }
        story
    }

    fn tell(&mut self, event: &'static str, text: String, said: impl IntoIterator<Item = String>) {
        self.event = event;
        self.text = text;
        self.said.extend(said);
    }

    fn signal(&mut self, event: &Event, info: &SignalInfo, kills: bool) {
        let fault = info.fault(event.thread);
        let mut text = fault.kind.to_string();
        self.said.push(text.clone());
        if let Some(Address(address)) = info.address {
            text.push_str(&format!(" at {address:#x}"));
            self.said.push(format!("{address:#x}"));
        }
        if let Some((pid, _)) = info.sender {
            text.push_str(&format!(", sent by process {pid}"));
        }
        if let Some(place) = event.held.as_ref().and_then(|held| place(held, event.thread)) {
            let file = if place.path.is_empty() { "no file".to_owned() } else { safe(&place.path) };
            text.push_str(&format!(", in {file}+{:#x}", place.offset));
            self.said.push(file);
        }
        text.push_str(if kills { "; the program dies of it" } else { "" });
        self.event = if kills { "crash" } else { "signal" };
        self.text = text;
        self.fault = Some(fault);
        self.last = kills;
    }

    fn libraries(&mut self, loaded: &[BString], unloaded: &[BString]) {
        let names = |all: &[BString]| all.iter().map(safe).collect::<Vec<_>>().join(", ");
        let (event, text) = match (loaded.is_empty(), unloaded.is_empty()) {
            (true, _) => ("unload", format!("unloaded {}", names(unloaded))),
            (false, true) => ("load", format!("loaded {}", names(loaded))),
            (false, false) => ("load", format!("loaded {}, unloaded {}", names(loaded), names(unloaded))),
        };
        self.tell(event, text, loaded.iter().chain(unloaded).map(safe));
    }

    fn thrown(&mut self, exception: &Exception) {
        let name = type_name(exception.mangled.as_bstr());
        let message = exception.message.as_ref().map(safe);
        let text = message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
        self.tell("exception", format!("{name} is thrown{text}"), [name].into_iter().chain(message));
    }

    /// The name of the event and the signal, if it was one: what a dump without private words may say of it.
    pub(crate) fn brief(&self) -> String {
        let kind = self.fault.as_ref().map(|fault| fault.kind);
        kind.map_or_else(|| self.event.to_owned(), |kind: FaultKind| format!("{}: {kind}", self.event))
    }
}

/// The name of a C++ type as people write it.
fn type_name(mangled: &BStr) -> String {
    let name = Symbol::new([b"_ZTS", mangled.as_bytes()].concat()).ok().and_then(|symbol| symbol.demangle().ok());
    let name = name.and_then(|name| name.strip_prefix("typeinfo name for ").map(str::to_owned));
    match name {
        Some(name) => print::safe(name.as_bytes()),
        None if mangled.is_empty() => "an exception of unknown type".to_owned(),
        None => print::safe(mangled),
    }
}

fn ending(end: End) -> String {
    match end {
        End::Exited(status) => format!("with status {status}"),
        End::Killed(signal) => {
            let kind = FaultKind::Signal { number: signal, code: 0 };
            format!("by {}", kind.name().map_or_else(|| format!("signal {signal}"), str::to_owned))
        }
    }
}

/// Privileges that tracing has cost a program.
fn withheld(what: Privilege, path: &BString) -> String {
    let what = match what {
        Privilege::User(id) => format!("the rights of user {id}"),
        Privilege::Group(id) => format!("the rights of group {id}"),
        Privilege::Capabilities => "capabilities".to_owned(),
    };
    format!(
        "{} runs without {what} that its file would give it, as it is traced by somebody without CAP_SYS_PTRACE. Run effigy \
         as root, or this program without effigy",
        safe(path)
    )
}

fn safe(text: &BString) -> String {
    print::safe(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names() {
        assert_eq!(type_name(BStr::new("St13runtime_error")), "std::runtime_error");
        assert_eq!(type_name(BStr::new("i")), "int");
        assert_eq!(type_name(BStr::new("")), "an exception of unknown type");
        assert_eq!(type_name(BStr::new("\x1b[2J")), "\\u{1b}[2J");
    }

    #[test]
    fn ends_have_words() {
        assert_eq!(ending(End::Exited(3)), "with status 3");
        assert_eq!(ending(End::Killed(11)), "by SIGSEGV");
        assert_eq!(ending(End::Killed(60)), "by signal 60");
    }
}
