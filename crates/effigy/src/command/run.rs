//! `effigy run`: starts a program and dumps it when something happens to it.
//!
//! ```text
//! $ effigy run -k mini -- ./server --port 8080
//! effigy: process 4711, thread 4713: SIGSEGV / SEGV_MAPERR at 0x18, in /srv/server+0x1a2c; the program dies of it
//! wrote server_261121_031502.dmp: 112.4 KiB
//! ```

mod lines;

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;

use effigy_live::debug::{End, Event, LaunchError, Passage, Session, What, end_of, launch, resolve};
use effigy_process::ProcessId;

use self::lines::Lines;
use super::dump::request;
use crate::cancel::Cancel;
use crate::capture::{Moment, Request, capture_at};
use crate::cli::RunArgs;
use crate::events::{Selection, Story, check, wants};
use crate::exit::Exit;
use crate::job_control::JobControl;
use crate::print;

/// The shell's answers for a program that cannot be started, and for one that is not there.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Exit {
    // Before any thread is started, so that all of them leave signals to the program.
    let passage = match Passage::open() {
        Ok(passage) => passage,
        Err(error) => return fail(&error, Exit::NotPermitted),
    };
    let job_control = JobControl::take();
    let watch = match Watch::new(args) {
        Ok(watch) => watch,
        Err(text) => {
            print::error(&text);
            return Exit::Usage;
        }
    };
    let wants = wants(&args.events, args.children);
    if let Err((exit, text)) = check(&wants) {
        print::error(&text);
        return exit;
    }
    let session = match launch(command(args), &passage, wants, Box::new(resolve)) {
        Ok(session) => session,
        Err(error) => return not_started(&error, args),
    };
    if let Err(error) = session.pass_signals() {
        // The program runs, and is to go on.
        print::failure(&error);
    }
    if let Some(job_control) = job_control {
        job_control.exercise(Some(session.member(session.pid())));
    }
    let end = watch.follow(session);
    // Lines may yet wait for their reader, and there is no program left that a signal could be meant for.
    passage.close();
    watch.finish();
    match end {
        Some(End::Exited(status)) => Exit::Program(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        Some(End::Killed(signal)) => {
            Exit::Program(u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)))
        }
        None => {
            print::error("the program's end was not seen");
            Exit::NoTarget
        }
    }
}

fn command(args: &RunArgs) -> Command {
    let (program, rest) = args.command.split_first().map_or((None, &[][..]), |(program, rest)| (Some(program), rest));
    let program = program.cloned().unwrap_or_default();
    let mut command = Command::new(program);
    command.args(rest);
    command
}

fn fail(error: &(dyn std::error::Error + 'static), exit: Exit) -> Exit {
    print::failure(error);
    exit
}

fn not_started(error: &LaunchError, args: &RunArgs) -> Exit {
    let program = args.command.first().map(|name| print::safe(name.as_encoded_bytes())).unwrap_or_default();
    print::error(&format!("{program}: {}", print::chain(error)));
    match error {
        LaunchError::Start(error) if error.kind() == io::ErrorKind::NotFound => Exit::Program(NOT_FOUND),
        LaunchError::Trace(error) => Exit::from(error),
        _ => Exit::Program(NOT_EXECUTABLE),
    }
}

/// What is done about events.
struct Watch<'a> {
    args: &'a RunArgs,
    request: Request,
    selection: Selection,
    lines: Lines,
    cancel: Cancel,
}

impl<'a> Watch<'a> {
    fn new(args: &'a RunArgs) -> Result<Self, String> {
        if args.options.output.as_deref() == Some(Path::new("-")) {
            return Err("standard output is the program's: give -o a file or a folder".into());
        }
        let log = match &args.log {
            Some(path) => Some(File::create(path).map_err(|error| format!("--log: {error}"))?),
            None => None,
        };
        Ok(Self {
            request: request(&args.options, 1, "Dump by trigger")?,
            selection: Selection::new(&args.events, &args.include, &args.exclude),
            // Signals are held back; this is for limits of files' sizes.
            cancel: Cancel::listen(None),
            args,
            lines: Lines::to(log).map_err(|error| format!("a thread for lines: {error}"))?,
        })
    }

    /// Takes dumps until all are taken, and waits for the end of the program.
    fn follow(&self, session: Session) -> Option<End> {
        let pid = session.pid();
        let mut left = self.args.count;
        for event in session.events() {
            if let (What::Ended(end), true) = (&event.what, event.process == pid) {
                return *end;
            }
            if self.take(event) && left > 0 {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        let events = session.events().clone();
        // Its end may have been seen meanwhile.
        drop(session);
        let seen = events.try_iter().find_map(|event| match event.what {
            What::Ended(end) if event.process == pid => Some(end),
            _ => None,
        });
        seen.unwrap_or_else(|| end_of(pid))
    }

    /// Tells of an event and, if that counts, takes a dump of it. Whether one was taken.
    fn take(&self, event: Event) -> bool {
        let story = self.selection.story(&event);
        let takes = self.selection.takes(&event, &story);
        let Some(held) = event.held else {
            if matches!(event.what, What::NoBreakpoint(_) | What::Withheld { .. }) {
                self.tell(&story);
            }
            return false;
        };
        if !takes {
            return false;
        }
        self.tell(&story);
        if self.args.count == 0 {
            return false;
        }
        let request = Request {
            comment: format!("{}\n{}", self.request.comment, story.text),
            triage_comment: format!("{}\n{}", self.request.triage_comment, story.brief()),
            ..self.request.clone()
        };
        let moment = Moment::Event { held: held.into(), thread: event.thread, fault: story.fault, last: story.last };
        self.dump(event.process, &request, &moment)
    }

    fn dump(&self, pid: ProcessId, request: &Request, moment: &Moment) -> bool {
        let cancel = self.cancel.within(self.args.options.timeout);
        match capture_at(pid, request, &cancel, Some(moment)) {
            Ok(reports) => {
                for report in &reports {
                    match serde_json::to_string(report) {
                        Ok(text) if self.args.json => self.lines.say(text),
                        _ => self.lines.say(report.text()),
                    }
                }
                true
            }
            Err(failure) => {
                self.lines.say(format!("effigy: {}", print::chain(&failure)));
                false
            }
        }
    }

    fn tell(&self, story: &Story) {
        match serde_json::to_string(story) {
            Ok(text) if self.args.json => self.lines.say(text),
            _ => self.lines.say(format!("effigy: process {}, thread {}: {}", story.pid, story.thread, story.text)),
        }
    }

    /// Waits for what is yet to be written.
    fn finish(self) {
        let Self { lines, cancel, .. } = self;
        lines.finish(|| cancel.signal().is_none());
    }
}
