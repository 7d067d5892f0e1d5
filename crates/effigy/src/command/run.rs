//! `effigy run`: starts a program and dumps it when something happens to it, or a number says so.
//!
//! ```text
//! $ effigy run -k mini -- ./server --port 8080
//! effigy: process 4711, thread 4713: SIGSEGV / SEGV_MAPERR at 0x18, in /srv/server+0x1a2c; the program dies of it
//! wrote server_261121_031502.dmp: 112.4 KiB
//! ```

mod lines;
mod passing;
mod telling;

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use effigy_live::debug::{
    End, LaunchError, Passage, end_of, is_stopped, launch, launch_untraced, pass_signals_to, resolve,
};
use effigy_process::ProcessId;
use effigy_watch::session::{Plan, Program};

use self::lines::Lines;
pub(crate) use self::passing::pass_stderr;
use self::passing::{Ends, Passing};
use self::telling::RunTeller;
use super::dump::request;
use crate::cancel::Cancel;
use crate::cli::RunArgs;
use crate::events::check;
use crate::exit::Exit;
use crate::job_control::{IsStopped, JobControl};
use crate::print;
use crate::procdump::Naming;
use crate::watch::{Errand, Meant, Teller, accompany};

/// The shell's answers for a program that cannot be started, and for one that is not there.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Exit {
    run_as(args, None)
}

/// The same with other names of files.
pub(crate) fn run_as(args: &RunArgs, naming: Option<Arc<Naming>>) -> Exit {
    // Before any thread is started, so that all of them leave signals to the program.
    let passage = match Passage::open() {
        Ok(passage) => passage,
        Err(error) => {
            print::failure(&error);
            return Exit::NotPermitted;
        }
    };
    let mut job_control = JobControl::take();
    let Prepared { plan, errand, lines } = match prepare(args, naming) {
        Ok(prepared) => prepared,
        Err((exit, text)) => {
            print::error(&text);
            return exit;
        }
    };
    let lines = Arc::new(lines);
    let teller: Arc<dyn Teller> = Arc::new(RunTeller::new(Arc::clone(&lines), args.json));
    // Signals are held back; this is for limits of files' sizes.
    let cancel = Cancel::listen(None);
    let (mut pid, mut passing) = (None, None);
    let over = accompany(plan.clone(), errand, &teller, &cancel, |session| {
        let mut command = command(args);
        if args.follow_stderr {
            let (passer, Ends { program, copy }) = Passing::start().map_err(LaunchError::Start)?;
            command.stderr(Stdio::from(program));
            session.read_lines(copy).map_err(LaunchError::Start)?;
            passing = Some(passer);
        }
        let started = start(command, &plan, &passage)?;
        pid = Some(started.pid);
        if let Some(job_control) = job_control.take() {
            job_control.exercise(Some(started.is_stopped));
        }
        Ok(started.program)
    });
    let seen = match (over, pid) {
        (Err(error), _) => return not_started(&error, args),
        (Ok(Err(error)), None) => {
            print::error(&format!("watching: {error}"));
            return Exit::Output;
        }
        (Ok(Err(error)), Some(_)) => {
            lines.say(format!("effigy: watching: {error}; the program goes on"));
            None
        }
        (Ok(Ok(over)), _) => over.end,
    };
    let end = seen.or_else(|| pid.and_then(end_of));
    if let Some(passing) = passing {
        passing.finish();
    }
    // Lines may yet wait for their reader, and there is no program left that a signal could be meant for.
    passage.close();
    drop(teller);
    if let Some(lines) = Arc::into_inner(lines) {
        lines.finish(|| cancel.signal().is_none());
    }
    exit(end)
}

fn exit(end: Option<End>) -> Exit {
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

/// Arguments as meant.
struct Prepared {
    plan: Plan,
    errand: Errand,
    lines: Lines,
}

fn prepare(args: &RunArgs, naming: Option<Arc<Naming>>) -> Result<Prepared, (Exit, String)> {
    let usage = |text: String| (Exit::Usage, text);
    if args.options.output.as_deref() == Some(Path::new("-")) {
        return Err(usage("standard output is the program's: give -o a file or a folder".into()));
    }
    let meant = Meant {
        when: &args.when,
        events: &args.events,
        then: &args.then,
        children: args.children,
        stderr: args.follow_stderr,
    };
    let plan = meant.plan_of_program().map_err(usage)?;
    let request = request(&args.options, 1, "Dump by trigger").map_err(usage)?;
    if let Some(events) = &plan.events {
        check(&events.wants)?;
    }
    let log = match &args.log {
        Some(path) => Some(File::create(path).map_err(|error| usage(format!("--log: {error}")))?),
        None => None,
    };
    let lines = Lines::to(log).map_err(|error| usage(format!("a thread for lines: {error}")))?;
    Ok(Prepared { plan, errand: Errand::new(request, naming, &args.options, &args.then), lines })
}

/// A program that runs.
struct Started {
    program: Program,
    pid: ProcessId,
    is_stopped: IsStopped,
}

/// Starts the program: traced, if something that happens to it is waited for.
fn start(command: Command, plan: &Plan, passage: &Passage) -> Result<Started, LaunchError> {
    let (started, passing) = match &plan.events {
        Some(events) => {
            let session = launch(command, passage, events.wants.clone(), Box::new(resolve))?;
            let (pid, passing) = (session.pid(), session.pass_signals());
            let member = session.member(pid);
            let is_stopped: IsStopped = Box::new(move || member.is_stopped());
            (Started { program: Program::Traced(session), pid, is_stopped }, passing)
        }
        None => {
            let pid = launch_untraced(command, passage)?;
            let is_stopped: IsStopped = Box::new(move || is_stopped(pid));
            (Started { program: Program::Untraced(pid), pid, is_stopped }, pass_signals_to(pid))
        }
    };
    if let Err(error) = passing {
        // The program runs, and is to go on.
        print::failure(&error);
    }
    Ok(started)
}

fn command(args: &RunArgs) -> Command {
    let (program, rest) = args.command.split_first().map_or((None, &[][..]), |(program, rest)| (Some(program), rest));
    let program = program.cloned().unwrap_or_default();
    let mut command = Command::new(program);
    command.args(rest);
    command
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
