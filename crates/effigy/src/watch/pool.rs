//! Takes the dumps of a watch, several at a time, each on a thread that stays for the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use effigy_live::debug::Session;
use effigy_live::procfs::{ProcDir, Stat};
use effigy_process::ProcessId;
use effigy_watch::journal;
use effigy_watch::session::{Done, Event, Grip, Hands, Incident, Line, Order, Outcome, Plan};
use effigy_watch::shell::{self, Terms};

use super::{News, Teller};
use crate::cancel::Cancel;
use crate::capture::{Failure, Moment, OutputPlace, Request, capture_at};
use crate::cli::{DumpOptions, ThenArgs};
use crate::exit::Exit;
use crate::print;
use crate::procdump::Naming;

/// Dumps at a time. Each may keep a processor and the disk busy.
const AT_A_TIME: usize = 8;
/// Dumps of moments at a time, besides those: somebody stands still for each. Further ones take their turns.
const MOMENTS_AT_A_TIME: usize = 32;

/// How a dump is taken, and what is done before and after.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) request: Request,
    /// What files are called, when that is not what the request says.
    pub(crate) naming: Option<Arc<Naming>>,
    /// For one dump.
    pub(crate) timeout: Option<Duration>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) command_timeout: Duration,
}

impl Errand {
    /// From arguments as typed, and what was made of them.
    pub(crate) fn new(request: Request, naming: Option<Arc<Naming>>, options: &DumpOptions, then: &ThenArgs) -> Self {
        Self {
            request,
            naming,
            timeout: options.timeout,
            before: then.before.clone(),
            after: then.after.clone(),
            command_timeout: then.command_timeout,
        }
    }
}

/// What all threads of the pool know.
struct Shared {
    errand: Errand,
    plan: Plan,
    teller: Arc<dyn Teller>,
    cancel: Cancel,
    /// Dumps that may still be given up.
    under_way: Mutex<BTreeMap<ProcessId, Cancel>>,
    /// The first thing that went wrong with a dump.
    worst: Mutex<Exit>,
}

/// The threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    jobs: Sender<(Order, Done)>,
    waiting: Receiver<(Order, Done)>,
    threads: Vec<JoinHandle<()>>,
    /// Those that take one dump each.
    moments: Vec<JoinHandle<()>>,
    /// Whether a process that was asked for could not be watched.
    refused: Exit,
}

impl Pool {
    pub(super) fn start(errand: Errand, plan: Plan, teller: Arc<dyn Teller>, cancel: Cancel) -> Self {
        let (jobs, waiting) = unbounded();
        let shared = Shared {
            errand,
            plan,
            teller,
            cancel,
            under_way: Mutex::new(BTreeMap::new()),
            worst: Mutex::new(Exit::Done),
        };
        Self { shared: Arc::new(shared), jobs, waiting, threads: Vec::new(), moments: Vec::new(), refused: Exit::Done }
    }

    /// Waits for the threads, and tells how the dumps and the targets went.
    pub(super) fn finish(self) -> (Exit, Exit) {
        let Self { shared, jobs, waiting, threads, moments, refused } = self;
        drop((jobs, waiting));
        for thread in threads.into_iter().chain(moments) {
            // A thread that has panicked has told so by its dump's failure.
            let _ = thread.join();
        }
        let worst = *lock(&shared.worst);
        (worst, refused)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hands for Pool {
    fn begin(&mut self, order: Order, done: Done) {
        let part = self.shared.cancel.part();
        let busy = {
            let mut under_way = lock(&self.shared.under_way);
            under_way.insert(order.pid, part);
            under_way.len()
        };
        self.moments.retain(|thread| !thread.is_finished());
        let waits = order.grip.as_ref().is_some_and(|grip| grip.incident.is_some());
        if waits && self.moments.len() < MOMENTS_AT_A_TIME {
            let shared = Arc::clone(&self.shared);
            // Without a thread, the order is dropped: whoever stands still goes on, and the dump has failed.
            self.moments
                .extend(std::thread::Builder::new().name("moment".into()).spawn(move || shared.take(order, done)));
            return;
        }
        if busy > self.threads.len() && self.threads.len() < AT_A_TIME {
            let (shared, waiting) = (Arc::clone(&self.shared), self.waiting.clone());
            let work = move || waiting.iter().for_each(|(order, done)| shared.take(order, done));
            // Without a further thread, the others take their turns; without any, this dump fails and says so.
            self.threads.extend(std::thread::Builder::new().name("dump".into()).spawn(work));
        }
        if self.threads.is_empty() {
            drop(done);
        } else {
            let _ = self.jobs.send((order, done));
        }
    }

    fn give_up(&mut self, pid: ProcessId) {
        if let Some(cancel) = lock(&self.shared.under_way).get(&pid) {
            cancel.give_up();
        }
    }

    fn is_asked_to_end(&self) -> bool {
        self.shared.cancel.signal().is_some()
    }

    fn tell(&mut self, event: &Event<'_>, lines: &dyn Fn() -> Vec<Line>) {
        match event {
            Event::Looked => self.shared.teller.show(lines),
            event => {
                if let Event::Refused { error, .. } = event {
                    self.refused = self.refused.and(error.map_or(Exit::NotPossible, Exit::from));
                }
                self.shared.teller.tell(&self.shared.plan, &News::Session(event));
            }
        }
    }
}

impl Shared {
    /// Takes one dump.
    fn take(&self, mut order: Order, done: Done) {
        let asked = lock(&self.under_way).get(&order.pid).cloned().unwrap_or_else(|| self.cancel.clone());
        let cancel = asked.within(self.errand.timeout);
        let occasion = order.grip.take().map(|grip| Occasion::new(order.pid, grip));
        let outcome = match self.attempt(&order, occasion.as_ref(), &cancel) {
            Ok(()) => Outcome::Taken,
            Err(failure) => {
                self.teller.tell(&self.plan, &News::NotDumped(&order, &print::chain(&failure)));
                // That a target has ended is seen by the session, which knows whether that matters.
                if Exit::from(&failure) != Exit::NoTarget {
                    self.note(Exit::from(&failure));
                }
                if matches!(failure, Failure::Cancelled { .. }) { Outcome::GivenUp } else { Outcome::Failed }
            }
        };
        // First of all the target goes on, and is traced no longer if that was the last.
        drop(occasion);
        lock(&self.under_way).remove(&order.pid);
        done.tell(outcome);
    }

    fn attempt(&self, order: &Order, occasion: Option<&Occasion>, cancel: &Cancel) -> Result<(), Failure> {
        cancel.check()?;
        // It may have waited for its turn, and its id may be another process's by now.
        if started(order.pid) != Some(order.started) {
            return Err(Failure::Ended(order.pid));
        }
        let exception = occasion.map_or(0, |occasion| occasion.exception);
        let path = self.errand.naming.as_ref().map(|naming| naming.path(order, exception));
        self.teller.tell(&self.plan, &News::Dumping(order, path.as_deref()));
        let variables = |dump: &str| {
            vec![
                ("EFFIGY_PID", order.pid.to_string()),
                ("EFFIGY_NAME", order.name.to_string()),
                ("EFFIGY_TRIGGER", order.cause.what.clone()),
                ("EFFIGY_DUMP", dump.to_owned()),
            ]
        };
        self.command("before", self.errand.before.as_deref(), &variables(""), cancel);
        let mut request = self.errand.request.clone();
        request.comment = format!("{}\n{}", request.comment, journal::text(&order.journal));
        request.journal = Some(order.journal.clone());
        request.selected = order.cause.thread;
        if let Some(brief) = occasion.and_then(|occasion| occasion.brief.as_ref()) {
            request.triage_comment = format!("{}\n{brief}", request.triage_comment);
        }
        if path.is_some() {
            request.output = OutputPlace::Path(path);
        }
        let moment = occasion.map(|occasion| &occasion.moment);
        for report in &capture_at(order.pid, &request, cancel, moment)? {
            self.teller.tell(&self.plan, &News::Dumped(order, report));
            if report.is_partial() {
                self.note(Exit::Partial);
            }
            self.command("after", self.errand.after.as_deref(), &variables(&report.path.to_string_lossy()), cancel);
        }
        Ok(())
    }

    /// Runs a command of the user's. What becomes of it is told, and changes nothing.
    fn command(&self, name: &str, command: Option<&str>, variables: &[(&str, String)], cancel: &Cancel) {
        let Some(command) = command else { return };
        let terms = Terms { variables, timeout: self.errand.command_timeout, heard: true };
        if let Err(why) = shell::run(command, terms, &|| cancel.signal().is_none()) {
            self.teller.complain(&format!("the command {name} the dump {why}"));
        }
    }

    fn note(&self, exit: Exit) {
        let mut worst = lock(&self.worst);
        *worst = worst.and(exit);
    }
}

/// What a dump of a traced target is taken through. Dropped, what stands still for it goes on.
struct Occasion {
    moment: Moment,
    /// The signal's number.
    exception: u32,
    /// What has happened, without words of the program's own.
    brief: Option<String>,
    /// Who traces it; the last of it to be dropped.
    _session: Arc<Session>,
}

impl Occasion {
    fn new(pid: ProcessId, grip: Grip) -> Self {
        let Grip { session, incident } = grip;
        let Some(Incident { thread, account, held, .. }) = incident else {
            let moment = Moment::Any(session.member(pid));
            return Self { moment, exception: 0, brief: None, _session: session };
        };
        let exception = account.fault.as_ref().map_or(0, |fault| fault.kind.numbers().0);
        let moment = Moment::Event { held: held.into(), thread, fault: account.fault, last: account.last };
        Self { moment, exception, brief: Some(account.brief), _session: session }
    }
}

fn started(pid: ProcessId) -> Option<Duration> {
    Some(Stat::parse(&ProcDir::open(pid).ok()?.read("stat").ok()?)?.started)
}
