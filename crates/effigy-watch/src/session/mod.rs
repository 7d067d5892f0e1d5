//! A watch: any number of targets, each with the same triggers, until every dump that was asked for is taken.
//!
//! One thread does all of it. It sleeps until the next look is due, a target ends, a process starts, somebody asks for
//! an end, or a dump is finished. Dumps are taken by others ([`Hands`]) on threads of their own; a target is not looked at
//! meanwhile. What happens to a target that is traced ([`traced`]) is a moment like any other; the thread that it happened to
//! stands still until its dump is taken or not wanted.

mod arrivals;
mod hands;
mod plan;
mod program;
mod traced;
mod turns;
mod wait;
mod watched;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use crossbeam_channel::{Receiver, Sender, unbounded};
use effigy_live::procfs::ProcDir;
use effigy_live::{LiveError, debug};
use effigy_process::ProcessId;

use crate::control::Control;
use crate::{Target, control};
use arrivals::Arrivals;
use program::Accompanied;
use traced::{Desk, Report};
use turns::Turn;
use wait::{News, Wait};
use watched::Watched;

pub use hands::{Done, Ending, Event, Hands, Line, Order, Outcome, Over, Reason, Why};
pub use plan::{Awaited, Plan};
pub use program::Program;
pub use traced::{Account, Events, Grip, Incident, Judge, Trouble};
pub use wait::Waker;

/// Failed dumps of a target in a row after which it is given up.
const MOST_FAILURES: u32 = 3;
/// Processes that are remembered before those that are gone are forgotten.
const MOST_SEEN: usize = 8192;
/// Targets whose ends are told one by one; of an open watch there may be any number.
const MOST_ENDS: usize = 10_000;

/// A watch.
#[derive(Debug)]
pub struct Session {
    plan: Plan,
    wait: Wait,
    watched: BTreeMap<u64, Watched>,
    next_token: u64,
    arrivals: Option<Arrivals>,
    control: Option<Control>,
    program: Option<Accompanied>,
    /// Targets that another effigy is dumping.
    turns: Vec<Turn>,
    finish: Sender<(u64, Outcome)>,
    finished: Receiver<(u64, Outcome)>,
    desk: Desk,
    reports: Receiver<Report>,
    /// Lines of the program's standard error that count.
    said: Option<Receiver<String>>,
    endings: Vec<Ending>,
    taken: u32,
    /// Dumps that were begun and are not finished.
    under_way: u32,
    came: u64,
    /// Processes that are or were targets, by when they started: none is one twice, and an id that is used again is another
    /// process.
    seen: BTreeMap<ProcessId, Duration>,
}

impl Session {
    /// A watch without targets yet.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new(plan: Plan) -> io::Result<Self> {
        let (finish, finished) = unbounded();
        let (sender, reports) = unbounded();
        let wait = Wait::new()?;
        Ok(Self {
            plan,
            desk: Desk { reports: sender, waker: wait.waker() },
            reports,
            said: None,
            wait,
            watched: BTreeMap::new(),
            next_token: wait::FIRST_TARGET,
            arrivals: None,
            control: None,
            program: None,
            turns: Vec::new(),
            finish,
            finished,
            endings: Vec::new(),
            taken: 0,
            under_way: 0,
            came: 0,
            seen: BTreeMap::new(),
        })
    }

    /// What wakes it, for signal handlers.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.wait.waker()
    }

    /// Lets others end it by [`control::cancel`].
    ///
    /// # Errors
    /// When there is no place for its socket; the watch can go on without.
    pub fn open_control(&mut self) -> io::Result<()> {
        self.control = Some(Control::open(self.waker())?);
        Ok(())
    }

    /// Watches until there is nothing left to watch.
    ///
    /// # Errors
    /// When starts of processes are needed and cannot be heard of, or waiting fails.
    pub fn run(mut self, targets: &[ProcessId], awaited: Vec<Awaited>, hands: &mut dyn Hands) -> io::Result<Over> {
        if !awaited.is_empty() || self.follows_children() {
            let manner = self.listen(awaited)?;
            hands.tell(&Event::Waiting { manner }, &Vec::new);
        }
        targets.iter().for_each(|pid| self.add(*pid, None, hands));
        let here = self.arrivals.as_mut().map(Arrivals::all_here).unwrap_or_default();
        here.into_iter().for_each(|pid| self.add(pid, None, hands));
        self.watch(hands)
    }

    /// How starts of processes become known from here on.
    fn listen(&mut self, awaited: Vec<Awaited>) -> io::Result<String> {
        let arrivals = Arrivals::listen(awaited)?;
        self.wait.listen(&arrivals)?;
        let manner = arrivals.manner();
        self.arrivals = Some(arrivals);
        Ok(manner)
    }

    /// Watches those that are targets, and those that become some.
    fn watch(mut self, hands: &mut dyn Hands) -> io::Result<Over> {
        let began = Instant::now();
        let mut next = began + self.plan.interval;
        let reason = loop {
            if let Some(reason) = self.reason_to_end(began, hands) {
                break reason;
            }
            let news = self.wait.next(self.next_try(next), self.arrivals.as_ref())?;
            self.take(&news, hands);
            self.try_again(hands);
            let now = Instant::now();
            if now >= next {
                self.round(now, hands);
                // What was missed, as the machine was busy or asleep, is not made up for.
                next = (next + self.plan.interval).max(now + self.plan.interval / 2);
            }
        };
        self.close(hands);
        let nobody_came = self.came == 0;
        let end = self.program.take().and_then(Accompanied::end);
        Ok(Over { reason, endings: self.endings, taken: self.taken, nobody_came, end })
    }

    fn reason_to_end(&self, began: Instant, hands: &dyn Hands) -> Option<Reason> {
        if hands.is_asked_to_end() {
            return Some(Reason::Asked);
        }
        if self.plan.total.is_some_and(|total| self.taken >= total) {
            return Some(Reason::TotalTaken);
        }
        if self.plan.within.is_some_and(|within| began.elapsed() >= within) {
            return Some(Reason::TimedOut);
        }
        if let Some(program) = &self.program
            && (program.ended || program.is_ending())
        {
            return program.ended.then_some(Reason::NothingLeft);
        }
        let awaits = self.arrivals.as_ref().is_some_and(Arrivals::is_open);
        (self.watched.is_empty() && self.turns.is_empty() && !awaits).then_some(Reason::NothingLeft)
    }

    fn take(&mut self, news: &News, hands: &mut dyn Hands) {
        while let Ok((token, outcome)) = self.finished.try_recv() {
            self.finish(token, outcome, hands);
        }
        while let Some(request) = self.control.as_ref().and_then(Control::next) {
            let count = self.cancel(&request, hands);
            let _ = request.answer.send(count);
        }
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report, hands);
        }
        while let Some(line) = self.said.as_ref().and_then(|said| said.try_recv().ok()) {
            self.program_said(line, hands);
        }
        for token in &news.ended {
            self.ended(*token, hands);
        }
        let now = Instant::now();
        let children = self.follows_children();
        let found = self.arrivals.as_mut().map(|arrivals| {
            let watched = &self.watched;
            arrivals.collect(now, children, &|pid| watched.values().any(|one| one.target.pid() == pid))
        });
        found.unwrap_or_default().into_iter().for_each(|pid| self.add(pid, None, hands));
    }

    /// Whether children become known by their start; those of traced targets do by the trace.
    fn follows_children(&self) -> bool {
        self.plan.children && self.plan.events.is_none()
    }

    /// Makes a process a target, unless it is one. A `session` that traces it already is that of its parent.
    fn add(&mut self, pid: ProcessId, session: Option<Arc<debug::Session>>, hands: &mut dyn Hands) {
        self.came += 1;
        self.add_since(pid, session, None, hands);
    }

    /// The same for one that has been waited for since then, as another effigy was dumping it.
    fn add_since(
        &mut self,
        pid: ProcessId,
        session: Option<Arc<debug::Session>>,
        since: Option<Instant>,
        hands: &mut dyn Hands,
    ) {
        let target = match Target::open(pid) {
            Ok(target) => target,
            Err(error) => return self.refuse(pid, &session, Some(&error), "", hands),
        };
        if self.seen.insert(pid, target.started()) == Some(target.started()) {
            return;
        }
        if self.seen.len() > MOST_SEEN {
            self.seen.retain(|pid, _| ProcDir::open(*pid).is_ok());
        }
        let now = Instant::now();
        let mut watched = match Watched::arm(target, &self.plan, now) {
            Ok(watched) => watched,
            Err(why) => {
                let ended = program::has_ended(pid).then_some(LiveError::Ended(pid));
                return self.refuse(pid, &session, ended.as_ref(), &why, hands);
            }
        };
        let token = self.next_token;
        self.next_token += 1;
        if let Err(error) = self.wait.watch(&watched.target, token) {
            return self.refuse(pid, &session, None, &format!("waiting for its end: {error}"), hands);
        }
        if let Some(events) = &self.plan.events {
            match session.map_or_else(|| traced::trace(pid, events, &self.desk), Ok) {
                Ok(session) => watched.session = Some(session),
                // A child of a target, which its parent's session is about to tell of.
                Err(LiveError::AlreadyTraced { tracer, .. }) if tracer == std::process::id() => {
                    self.wait.forget(&watched.target);
                    self.seen.remove(&pid);
                    return;
                }
                Err(error) => {
                    self.wait.forget(&watched.target);
                    return self.wait_or_refuse(pid, error, since, hands);
                }
            }
        }
        hands.tell(&Event::Watching(&watched.target), &Vec::new);
        self.watched.insert(token, watched);
        // One that lives for a moment only is dumped now or never.
        self.look(token, now, hands);
    }

    /// Tells that a process is no target, unless it is a program that was launched and has ended already.
    fn refuse(
        &mut self,
        pid: ProcessId,
        session: &Option<Arc<debug::Session>>,
        error: Option<&LiveError>,
        why: &str,
        hands: &mut dyn Hands,
    ) {
        if !self.program_has_gone(pid, session) {
            hands.tell(&Event::Refused { pid, error, why }, &Vec::new);
        }
    }

    fn round(&mut self, now: Instant, hands: &mut dyn Hands) {
        let tokens: Vec<u64> = self.watched.keys().copied().collect();
        for token in tokens {
            self.look(token, now, hands);
        }
        hands.tell(&Event::Looked, &|| self.watched.values().map(Watched::line).collect());
    }

    fn look(&mut self, token: u64, now: Instant, hands: &mut dyn Hands) {
        // Dumps that are under way are counted: no more are begun than are wanted.
        if self.plan.total.is_some_and(|total| self.taken + self.under_way >= total) {
            return;
        }
        let Some(watched) = self.watched.get_mut(&token) else { return };
        if let Some(cause) = watched.look(now, &self.plan) {
            // What has ended meanwhile cannot be dumped, and its id may be another process's soon.
            if watched.target.has_ended() {
                self.over(token, Why::Ended, hands);
                return;
            }
            hands.tell(&Event::Fired { target: &watched.target, cause: &cause, account: None }, &Vec::new);
            let order = watched.order(cause);
            self.begin(token, order, hands);
        } else if watched.is_spent(&self.plan) {
            self.over(token, Why::Done, hands);
        }
    }

    fn begin(&mut self, token: u64, order: Order, hands: &mut dyn Hands) {
        let done = Done { token, sender: Some(self.finish.clone()), waker: self.wait.waker() };
        self.under_way += 1;
        hands.begin(order, done);
    }

    /// Takes what somebody who traces a target has to say. What has happened goes on when it is dropped here.
    fn hear(&mut self, report: Report, hands: &mut dyn Hands) {
        match report {
            Report::Born(pid, session) => self.add(pid, Some(session), hands),
            Report::Trouble(trouble) => {
                let name = self.token_of(trouble.pid).map(|token| self.watched[&token].target.name().clone());
                // Of a program that lived for a moment only nothing but this may be known.
                if name.is_some() || self.is_traced_program(trouble.pid) {
                    let name = name.unwrap_or_default();
                    hands.tell(&Event::Trouble { name: name.as_bstr(), trouble: &trouble }, &Vec::new);
                }
            }
            Report::Happened(pid, incident) => {
                if let Some(token) = self.token_of(pid) {
                    self.happened(token, incident, hands);
                }
            }
            Report::Ended => self.program_ended(hands),
            Report::LetGo => self.program_let_go(hands),
        }
    }

    /// The target of this id; of two the older one has ended.
    fn token_of(&self, pid: ProcessId) -> Option<u64> {
        self.watched.iter().rev().find(|(_, watched)| watched.target.pid() == pid).map(|(token, _)| *token)
    }

    fn happened(&mut self, token: u64, incident: Incident, hands: &mut dyn Hands) {
        if self.plan.total.is_some_and(|total| self.taken + self.under_way >= total) {
            return;
        }
        let Some(watched) = self.watched.get_mut(&token) else { return };
        if watched.busy {
            // The session tells of nothing else while this stands still.
            watched.waiting = Some(incident);
            return;
        }
        if !watched.takes(incident.account.event, incident.ends, Instant::now(), &self.plan) {
            return;
        }
        let order = watched.order_of(incident);
        let told = order.grip.as_ref().and_then(|grip| grip.incident.as_ref());
        let account = told.map(|incident| &incident.account);
        hands.tell(&Event::Fired { target: &watched.target, cause: &order.cause, account }, &Vec::new);
        if self.plan.count == 0 {
            watched.busy = false;
        } else {
            self.begin(token, order, hands);
        }
    }

    fn finish(&mut self, token: u64, outcome: Outcome, hands: &mut dyn Hands) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(watched) = self.watched.get_mut(&token) else {
            self.taken += u32::from(outcome == Outcome::Taken);
            return;
        };
        watched.finish(outcome, &self.plan, Instant::now());
        match outcome {
            Outcome::Taken => {
                self.taken += 1;
                if watched.taken >= self.plan.count || watched.is_spent(&self.plan) {
                    if self.plan.kill {
                        // It may have ended by itself.
                        let _ = watched.target.kill();
                    }
                    self.over(token, Why::Done, hands);
                    return;
                }
            }
            Outcome::Failed if watched.failures >= MOST_FAILURES => {
                self.over(token, Why::Failed, hands);
                return;
            }
            Outcome::Failed | Outcome::GivenUp => {}
        }
        if watched.target.has_ended() {
            self.over(token, Why::Ended, hands);
        } else if let Some(incident) = watched.waiting.take() {
            self.happened(token, incident, hands);
        } else if let Some(line) = watched.said.take() {
            self.program_said(line, hands);
        }
    }

    fn ended(&mut self, token: u64, hands: &mut dyn Hands) {
        let Some(watched) = self.watched.get(&token) else { return };
        // Who takes a dump of it notices by himself, and may have all of it already. What has happened to a program that was
        // launched is told before its end, by its trace.
        if !watched.busy && !self.is_traced_program(watched.target.pid()) {
            self.over(token, Why::Ended, hands);
        }
    }

    fn over(&mut self, token: u64, why: Why, hands: &mut dyn Hands) {
        let Some(watched) = self.watched.remove(&token) else { return };
        self.wait.forget(&watched.target);
        let pid = watched.target.pid();
        if let (Some(program), Why::Ended) = (self.program.as_mut().filter(|program| program.pid == pid), why) {
            program.ended = true;
        }
        let ending = Ending { pid, name: watched.target.name().clone(), taken: watched.taken, why };
        hands.tell(&Event::Over(&ending), &Vec::new);
        if self.endings.len() < MOST_ENDS {
            self.endings.push(ending);
        }
    }

    /// Ends the watch of what a request names.
    fn cancel(&mut self, request: &control::Request, hands: &mut dyn Hands) -> usize {
        let named = |watched: &Watched| {
            watched.target.pid().to_string() == request.target || *watched.target.name() == *request.target
        };
        let tokens: Vec<u64> =
            self.watched.iter().filter(|(_, watched)| named(watched)).map(|(token, _)| *token).collect();
        for token in &tokens {
            if let Some(watched) = self.watched.get(token).filter(|watched| watched.busy) {
                hands.give_up(watched.target.pid());
            }
            self.over(*token, Why::Cancelled, hands);
        }
        let awaited = self.arrivals.as_mut().map_or(0, |arrivals| arrivals.cancel(&request.target));
        tokens.len() + awaited + self.cancel_turns(&request.target)
    }

    /// Waits for dumps that are under way; those who take them know that it is time to end.
    fn close(&mut self, hands: &mut dyn Hands) {
        // Nobody is to wait for a dump that is not taken any more, nor to be traced for it.
        self.reports = crossbeam_channel::never();
        self.said = None;
        self.watched.values_mut().for_each(Watched::release);
        while self.under_way > 0 {
            match self.finished.recv() {
                Ok((token, outcome)) => self.finish(token, outcome, hands),
                Err(_) => break,
            }
        }
        let tokens: Vec<u64> = self.watched.keys().copied().collect();
        tokens.into_iter().for_each(|token| self.over(token, Why::WatchOver, hands));
    }
}

#[cfg(test)]
mod tests;
