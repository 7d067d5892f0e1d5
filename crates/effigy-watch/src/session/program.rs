//! The program that was launched for a watch. Its end is the watch's end.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::bounded;
use effigy_live::LiveError;
use effigy_live::debug::{self, What};
use effigy_live::procfs::{ProcDir, Stat};
use effigy_process::{ProcessId, ThreadState};

use super::traced::{Desk, Events, Report, listen};
use super::watched::TEXT;
use super::{Event, Hands, Over, Session};
use crate::lines::{Lines, quote};

/// Lines that count and wait to be heard. Further ones are left out: there is a dump to come.
const MOST_LINES: usize = 64;
/// Bytes of them that are read at a time.
const PIECE: usize = 64 << 10;

/// A program that was launched.
#[derive(Debug)]
pub enum Program {
    /// It is traced, from its first instruction on.
    Traced(debug::Session),
    /// Nobody traces it.
    Untraced(ProcessId),
}

/// The program of a watch.
#[derive(Debug)]
pub(super) struct Accompanied {
    pub(super) pid: ProcessId,
    /// Whether its trace tells of its end.
    pub(super) traced: bool,
    pub(super) ended: bool,
    /// Its trace, when it was too short-lived to be a target.
    ending: Option<Arc<debug::Session>>,
    /// Who listens to its trace.
    listener: Option<JoinHandle<()>>,
    /// How its trace has seen it end.
    end: Arc<OnceLock<Option<debug::End>>>,
}

impl Accompanied {
    pub(super) fn untraced(pid: ProcessId) -> Self {
        Self { pid, traced: false, ended: false, ending: None, listener: None, end: Arc::default() }
    }

    /// Takes over its trace.
    pub(super) fn adopt(session: &Arc<debug::Session>, events: &Events, desk: &Desk) -> Result<Self, LiveError> {
        let pid = session.pid();
        let (end, told) = (Arc::new(OnceLock::new()), desk.clone());
        let seen = Arc::clone(&end);
        let also = move |event: Option<&debug::Event>| match event.map(|event| (event.process == pid, &event.what)) {
            Some((true, What::Ended(how))) => {
                let _ = seen.set(*how);
                told.put(Report::Ended);
            }
            Some(_) => {}
            None => told.put(Report::LetGo),
        };
        let listener = Some(listen(session, events, desk, also)?);
        Ok(Self { pid, traced: true, ended: false, ending: None, listener, end })
    }

    /// Whether it has ended, and its trace is about to say so.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some() && self.traced
    }

    /// How it has ended, where its trace has seen that. To be called when nobody has a part in that any more.
    pub(super) fn end(mut self) -> Option<debug::End> {
        self.ending = None;
        // The trace may have seen it just before it was over.
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.end.get().copied().flatten()
    }
}

impl Session {
    /// Hears from here on of processes that a program starts which is about to be launched, if its children are targets.
    ///
    /// # Errors
    /// When starts of processes cannot be heard of.
    pub fn listen_for_children(&mut self) -> io::Result<()> {
        if self.follows_children() { self.listen(Vec::new()).map(|_| ()) } else { Ok(()) }
    }

    /// Looks at all lines that come, until the end of it: what the program that is about to be launched writes to its standard
    /// error.
    ///
    /// # Errors
    /// When no thread can be started for it.
    pub fn read_lines(&mut self, mut from: impl Read + Send + 'static) -> io::Result<()> {
        let Some(filter) = self.plan.text.clone() else { return Ok(()) };
        let (sender, said) = bounded(MOST_LINES);
        let waker = self.wait.waker();
        let read = move || {
            let (mut lines, mut piece) = (Lines::default(), vec![0; PIECE]);
            loop {
                let count = match from.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(0) | Err(_) => return,
                    Ok(count) => count,
                };
                lines.take(&piece[..count], &mut |line| {
                    if filter.passes(line) && sender.try_send(quote(line)).is_ok() {
                        waker.wake();
                    }
                });
            }
        };
        std::thread::Builder::new().name("text".into()).spawn(read)?;
        self.said = Some(said);
        Ok(())
    }

    /// Watches a program that was just launched, until it ends or there is nothing left to wait for. A plan with events is
    /// for one that is traced.
    ///
    /// # Errors
    /// When its trace cannot be listened to, or waiting fails. The program goes on, untraced.
    pub fn accompany(mut self, program: Program, hands: &mut dyn Hands) -> io::Result<Over> {
        let (program, session) = match (program, &self.plan.events) {
            (Program::Traced(session), Some(events)) => {
                let session = Arc::new(session);
                let program = Accompanied::adopt(&session, events, &self.desk).map_err(io::Error::other)?;
                (program, Some(session))
            }
            (Program::Traced(session), None) => (Accompanied::untraced(session.pid()), None),
            (Program::Untraced(pid), _) => (Accompanied::untraced(pid), None),
        };
        let pid = program.pid;
        self.program = Some(program);
        self.add(pid, session, hands);
        self.watch(hands)
    }

    /// Whether a process is the program that was launched, and its trace is to tell of its end.
    pub(super) fn is_traced_program(&self, pid: ProcessId) -> bool {
        self.program.as_ref().is_some_and(|program| program.pid == pid && program.traced && !program.ended)
    }

    /// Whether a process that cannot be made a target is the program, and has ended already. Its trace is kept until it has
    /// told of that, and of what was before.
    pub(super) fn program_has_gone(&mut self, pid: ProcessId, session: &Option<Arc<debug::Session>>) -> bool {
        let Some(program) = self.program.as_mut().filter(|program| program.pid == pid && has_ended(pid)) else {
            return false;
        };
        match session {
            Some(session) => program.ending = Some(Arc::clone(session)),
            None => program.ended = true,
        }
        true
    }

    /// The program has written a line that counts.
    pub(super) fn program_said(&mut self, line: String, hands: &mut dyn Hands) {
        let Some(token) = self.program.as_ref().and_then(|program| self.token_of(program.pid)) else { return };
        if self.plan.total.is_some_and(|total| self.taken + self.under_way >= total) {
            return;
        }
        let Some(watched) = self.watched.get_mut(&token) else { return };
        if watched.busy {
            watched.said.get_or_insert(line);
            return;
        }
        if !watched.takes(TEXT, false, Instant::now(), &self.plan) || watched.target.has_ended() {
            return;
        }
        let order = watched.order_of_text(&line);
        hands.tell(&Event::Fired { target: &watched.target, cause: &order.cause, account: None }, &Vec::new);
        self.begin(token, order, hands);
    }

    /// The trace of the program has seen its end.
    pub(super) fn program_ended(&mut self, hands: &mut dyn Hands) {
        let Some(program) = &mut self.program else { return };
        program.ended = true;
        let pid = program.pid;
        if let Some(token) = self.token_of(pid) {
            self.ended(token, hands);
        }
    }

    /// The program is traced no more.
    pub(super) fn program_let_go(&mut self, hands: &mut dyn Hands) {
        let Some(program) = &mut self.program else { return };
        program.traced = false;
        let pid = program.pid;
        // Its end may have come before, and was left to its trace to tell.
        if let Some(token) = self.token_of(pid).filter(|token| self.watched[token].target.has_ended()) {
            self.ended(token, hands);
        }
    }
}

/// Whether nothing of a process is left but its exit status, if that.
pub(super) fn has_ended(pid: ProcessId) -> bool {
    let stat = ProcDir::open(pid).and_then(|dir| dir.require("stat")).ok();
    stat.and_then(|stat| Stat::parse(&stat)).is_none_or(|stat| ThreadState(stat.state).is_exited() && stat.threads <= 1)
}
