//! A watch at work: the session says when, the pool takes the dumps, a teller says what happens. `effigy watch` and
//! `procdump` differ in what they are asked and in how they tell it.

mod plain;
mod plan;
mod pool;
mod structured;

use std::io;
use std::path::Path;
use std::sync::Arc;

use effigy_process::ProcessId;
use effigy_watch::session::{Awaited, Event, Line, Order, Over, Plan, Program, Reason, Session, Why};

use crate::cancel::Cancel;
use crate::exit::Exit;
use crate::job_control::NoJobControl;
use crate::print;
use crate::report::Report;

pub(crate) use plain::PlainTeller;
pub(crate) use plan::Meant;
pub(crate) use pool::Errand;
use pool::Pool;
pub(crate) use structured::JsonTeller;

/// What is watched and what is done then.
pub(crate) struct Watching {
    pub(crate) plan: Plan,
    pub(crate) targets: Vec<ProcessId>,
    pub(crate) awaited: Vec<Awaited>,
    pub(crate) errand: Errand,
}

/// Something to tell.
pub(crate) enum News<'a> {
    /// What the session has to say.
    Session(&'a Event<'a>),
    /// A dump begins, into a file of this name when it has been chosen.
    Dumping(&'a Order, Option<&'a Path>),
    /// A dump was taken.
    Dumped(&'a Order, &'a Report),
    /// A dump was not taken.
    NotDumped(&'a Order, &'a str),
    /// It is over.
    Over(&'a Over),
}

/// Tells people, or programs. Called from any thread.
pub(crate) trait Teller: Send + Sync {
    /// Tells it.
    fn tell(&self, plan: &Plan, news: &News<'_>);

    /// Tells of something that has gone wrong beside the dumps.
    fn complain(&self, text: &str) {
        print::error(text);
    }

    /// Shows how things stand; `lines` makes a line for each target.
    fn show(&self, lines: &dyn Fn() -> Vec<Line>) {
        let _ = lines;
    }
}

/// Watches until it is over.
pub(crate) fn watch(watching: Watching, teller: &Arc<dyn Teller>) -> Exit {
    let Watching { plan, targets, awaited, errand } = watching;
    let cancel = Cancel::listen(None);
    // Who traces a target must neither be stopped nor wait for a terminal: the target would wait too.
    let traces = plan.events.is_some();
    if traces {
        NoJobControl::hold_for_good();
    }
    let background = traces.then(print::Background::begin);
    let outcome = Begun::new(plan.clone(), errand, teller, &cancel).and_then(|mut begun| {
        if let Err(error) = begun.session.open_control() {
            print::note(&format!("effigy: this watch cannot be ended with --cancel: {error}"));
        }
        let over = begun.session.run(&targets, awaited.clone(), &mut begun.pool)?;
        Ok((over, begun.pool.finish()))
    });
    let exit = match outcome {
        Ok((over, (dumps, refused))) => {
            teller.tell(&plan, &News::Over(&over));
            let open = awaited.iter().any(|awaited| awaited.all);
            // Where nothing is to be dumped, an end is no failure.
            let counts = |pid: ProcessId| {
                !open && plan.count > 0 && (!plan.children || targets.contains(&pid) || targets.is_empty())
            };
            exit(&over, dumps, if open { Exit::Done } else { refused }, counts, &cancel)
        }
        Err(error) => {
            print::error(&format!("watching: {error}"));
            Exit::Output
        }
    };
    if let Some(background) = background {
        background.finish(cancel.signal().is_some());
    }
    exit
}

/// A watch that has nothing to watch yet.
struct Begun {
    session: Session,
    pool: Pool,
}

impl Begun {
    fn new(plan: Plan, errand: Errand, teller: &Arc<dyn Teller>, cancel: &Cancel) -> io::Result<Self> {
        let session = Session::new(plan.clone())?;
        // Without being woken, a signal is noticed a second later.
        let _ = session.waker().descriptor().and_then(|descriptor| cancel.wake(&descriptor));
        Ok(Self { session, pool: Pool::start(errand, plan, Arc::clone(teller), cancel.clone()) })
    }
}

/// Watches a program that `launch` starts, until it ends or nothing is left to be done about it.
pub(crate) fn accompany<E>(
    plan: Plan,
    errand: Errand,
    teller: &Arc<dyn Teller>,
    cancel: &Cancel,
    launch: impl FnOnce(&mut Session) -> Result<Program, E>,
) -> Result<io::Result<Over>, E> {
    let begun = Begun::new(plan.clone(), errand, teller, cancel).and_then(|mut begun| {
        begun.session.listen_for_children()?;
        Ok(begun)
    });
    let Begun { mut session, mut pool } = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(error)),
    };
    let program = launch(&mut session)?;
    // Where there is no place for that, nobody can ask for the end of this watch from outside.
    let _ = session.open_control();
    let over = session.accompany(program, &mut pool);
    pool.finish();
    if let Ok(over) = &over {
        teller.tell(&plan, &News::Over(over));
    }
    Ok(over)
}

/// How it all went. `counts` tells of targets whose early end is a failure.
fn exit(over: &Over, dumps: Exit, refused: Exit, counts: impl Fn(ProcessId) -> bool, cancel: &Cancel) -> Exit {
    let ended = over.endings.iter().filter(|ending| counts(ending.pid)).map(|ending| match ending.why {
        // Failures of other kinds were noted with the dump that failed.
        Why::Ended | Why::Failed => Exit::NoTarget,
        // As by the signal that would have ended the watch.
        Why::Cancelled => Exit::Cancelled(signal_hook::consts::SIGTERM),
        _ => Exit::Done,
    });
    let of_targets = ended.fold(dumps.and(refused), Exit::and);
    match over.reason {
        Reason::Asked => Exit::Cancelled(cancel.signal().unwrap_or(signal_hook::consts::SIGTERM)),
        Reason::TimedOut => of_targets.and(Exit::TimedOut),
        Reason::TotalTaken => dumps,
        Reason::NothingLeft if over.nobody_came => of_targets.and(Exit::Cancelled(signal_hook::consts::SIGTERM)),
        Reason::NothingLeft => of_targets,
    }
}
