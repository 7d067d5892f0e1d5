//! The thread that traces.

mod delivery;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use effigy_process::{ProcessId, ThreadId};
use nix::errno::Errno;

use super::breakpoints::{Armed, Breakpoints};
use super::link::{Command, Held, Link, Member};
use super::privileges::withheld;
use super::process::{Ending, Traced};
use super::sent::Seen;
use super::{End, Event, Resolve, Wants, What};
use crate::procfs::{ProcDir, Status};
use crate::stop::wait::{self, Stop, Waited, keep, reap, wait_for_any};
use crate::stop::{self, StopLimits, ThreadSet, go_on, with_reaper};
use crate::{Haste, LiveError, trace};

/// How often it is looked whether a process that stands still has been killed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// How often it is looked whether somebody else has collected a process.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// Stops between two rounds over all threads, at least.
const SHORTEST_ROUND: usize = 64;

/// What the thread knows.
pub(super) struct State {
    wants: Wants,
    options: i32,
    breakpoints: Breakpoints,
    link: Link,
    commands: Receiver<Command>,
    events: Sender<Event>,
    processes: BTreeMap<u32, Traced>,
    held: Option<Pinned>,
    number: u64,
    /// Stops since all threads were last asked in turn.
    since_round: usize,
    seen: Seen,
}

/// A thread that stands still for an event that was told.
struct Pinned {
    number: u64,
    pid: u32,
    tid: u32,
    then: Then,
}

/// How a thread goes on.
#[derive(Clone, Copy)]
enum Then {
    /// With this signal; 0 for none.
    Continue(i32),
    /// The same, no longer traced.
    Leave(i32),
}

impl State {
    pub(super) fn new(
        wants: Wants,
        resolve: Box<dyn Resolve>,
        link: Link,
        commands: Receiver<Command>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            options: options(&wants),
            breakpoints: Breakpoints::new(&wants, resolve),
            wants,
            link,
            commands,
            events,
            processes: BTreeMap::new(),
            held: None,
            number: 0,
            since_round: 0,
            seen: Seen::default(),
        }
    }

    /// The options that threads are traced with.
    pub(super) fn options(&self) -> i32 {
        self.options
    }

    /// Takes a running process.
    pub(super) fn attach(&mut self, dir: ProcDir) -> Result<(), LiveError> {
        // Reading the tables of all its files takes time, in which a traced thread would wait for us. Untraced, whoever
        // reaches a breakpoint gets a signal that it ignores.
        let mut armed = Armed::default();
        let mut troubles = self.breakpoints.arm(&mut armed, &dir);
        let mut set = ThreadSet::of_session(dir, self.options);
        with_reaper(&mut set, ThreadSet::seize_all)?;
        if self.wants.breakpoints() {
            // What was loaded meanwhile, and what a program has that it has just become.
            troubles.extend(self.breakpoints.look(&mut armed, set.dir()).2);
            let none = self.breakpoints.not_found().into_iter();
            troubles.extend(none.map(|name| format!("no file of the program has a function {name} so far")));
        }
        set.set_breakpoints(armed.bytes());
        let pid = self.take(set);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.armed = armed;
        }
        for trouble in troubles {
            self.tell(pid, pid, What::NoBreakpoint(trouble));
        }
        Ok(())
    }

    /// Takes a process that has been traced from its birth, before it becomes the program that was asked for.
    /// `spawned` says whether whoever has made it still minds its end.
    pub(super) fn adopt(&mut self, dir: ProcDir, spawned: Arc<AtomicBool>) {
        let tid = dir.id().0;
        let mut set = ThreadSet::of_session(dir, self.options);
        set.insert(tid, stop::Hold::Seized);
        let pid = self.take(set);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.launching = Some(spawned);
        }
    }

    fn take(&mut self, set: ThreadSet) -> u32 {
        let process = Traced::new(set);
        let pid = process.pid().0;
        keep(pid, true);
        self.processes.insert(pid, process);
        pid
    }

    /// Works until nothing is traced any more, or it is asked to end.
    pub(super) fn run(&mut self) {
        // It sleeps unless the target waits for it.
        let _haste = Haste::begin();
        while !self.processes.is_empty() {
            if self.stands() {
                match self.commands.recv_timeout(BETWEEN_LOOKS) {
                    Ok(Command::End) | Err(RecvTimeoutError::Disconnected) => return self.let_all_go(),
                    Ok(command) => self.obey(command),
                    Err(RecvTimeoutError::Timeout) => self.look_for_deaths(),
                }
                continue;
            }
            match self.link.sleep(&self.commands, wait_for_any) {
                None | Some(Ok(None)) => {}
                Some(Ok(Some((tid, Ok(stop))))) => {
                    self.stopped(tid, stop);
                    self.ask_in_turn();
                }
                Some(Ok(Some((tid, Err(end))))) => self.ended(tid, end),
                // Nobody is traced any more.
                Some(Err(_)) => {
                    self.nobody_left();
                    self.wait_for_listeners();
                }
            }
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::End) {
                    return;
                }
                self.obey(command);
            }
        }
    }

    /// Of several threads that have stopped the kernel tells of the same one first, always; one that stops all the time would
    /// keep others from being heard.
    fn ask_in_turn(&mut self) {
        self.since_round += 1;
        let threads: Vec<u32> = self.processes.values().flat_map(|process| process.set.ids()).collect();
        if self.since_round < threads.len().max(SHORTEST_ROUND) {
            return;
        }
        self.since_round = 0;
        for tid in threads {
            if self.stands() {
                return;
            }
            match wait::wait(tid) {
                Waited::Nothing => {}
                // The end of a process is left to be seen; that of a thread has been collected.
                Waited::Gone => {
                    for process in self.processes.values_mut().filter(|process| process.pid().0 != tid) {
                        process.set.remove(tid);
                    }
                }
                stop => self.stopped(tid, stop),
            }
        }
    }

    /// Whether threads stand still that are to stay so until somebody asks for something else.
    fn stands(&self) -> bool {
        self.held.is_some() || self.processes.values().any(|process| process.set.stands())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Task(pid, task) => {
                // Whoever asks about a process that has ended hears that nobody answers.
                if let Some(process) = self.processes.get_mut(&pid.0) {
                    task(&mut process.set);
                }
            }
            Command::Listen(pid, listener) => match (self.processes.get_mut(&pid.0), listener) {
                (Some(process), None) if process.gone => drop(self.processes.remove(&pid.0)),
                (Some(process), listener) => process.listener = listener,
                (None, Some(listener)) => {
                    let _ = listener.try_send(stop::Event::Ended);
                }
                (None, None) => {}
            },
            Command::GoOn(number) => self.let_go_on(number),
            Command::Got(sent, answer) => {
                // Nobody may be waiting any more.
                let _ = answer.send(self.has_got(sent));
            }
            Command::Stopped(pid, answer) => {
                let _ = answer.send(self.processes.get(&pid.0).is_some_and(|process| process.stopped));
            }
            Command::End => {}
        }
    }

    fn let_go_on(&mut self, number: u64) {
        let Some(pinned) = self.held.take_if(|held| held.number == number) else { return };
        let Some(process) = self.processes.get_mut(&pinned.pid) else { return };
        process.set.unpin();
        // First of all it: the others may have to die of it, and are not to run before that.
        match pinned.then {
            // ESRCH: it was killed meanwhile.
            Then::Continue(signal) => ignore_gone(trace::resume_with(pinned.tid, signal)),
            Then::Leave(signal) => {
                process.set.remove(pinned.tid);
                ignore_gone(trace::release(pinned.tid, signal));
            }
        }
        process.set.detach_all();
    }

    /// Has everything go on that stands still. The kernel would, when this thread ends; system calls that were interrupted
    /// are begun anew by us only.
    fn let_all_go(&mut self) {
        if let Some(number) = self.held.as_ref().map(|held| held.number) {
            self.let_go_on(number);
        }
        self.processes.values_mut().for_each(|process| process.set.detach_all());
    }

    /// A process that stands still may be killed.
    fn look_for_deaths(&mut self) {
        let pinned = self.held.as_ref().map(|pinned| pinned.pid);
        for (pid, process) in &mut self.processes {
            if process.set.stands() && process.set.has_ended() {
                process.tell_end();
                // Its threads are dead: there is nobody to go on.
                process.set.unpin();
                process.set.detach_all();
                if pinned == Some(*pid) {
                    self.held = None;
                }
            }
        }
    }

    fn nobody_left(&mut self) {
        let left = self.processes.iter().filter(|(_, process)| !process.gone).map(|(pid, _)| *pid);
        for pid in left.collect::<Vec<_>>() {
            self.depart(pid, pid, None);
        }
    }

    /// Someone may still be reading a clone of a process that has ended.
    fn wait_for_listeners(&mut self) {
        if !self.processes.is_empty()
            && let Ok(command) = self.commands.recv_timeout(BETWEEN_LOOKS)
        {
            match command {
                Command::End => self.processes.clear(),
                command => self.obey(command),
            }
        }
    }

    /// A process has ended.
    fn depart(&mut self, pid: u32, tid: u32, end: Option<End>) {
        keep(pid, false);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.gone = true;
            process.tell_end();
            if process.listener.is_none() {
                self.processes.remove(&pid);
            }
        }
        if self.processes.values().all(|process| process.gone) {
            for name in self.breakpoints.not_found() {
                self.tell(pid, tid, What::NoBreakpoint(format!("no file of the program has a function {name}")));
            }
        }
        self.tell(pid, tid, What::Ended(end));
    }

    /// The process that a thread belongs to.
    fn process_of(&self, tid: u32) -> Option<u32> {
        let of = |(pid, process): &(&u32, &Traced)| !process.gone && (**pid == tid || process.set.has(tid));
        self.processes.iter().find(of).map(|(pid, _)| *pid)
    }

    fn stopped(&mut self, tid: u32, stop: Waited) {
        let Some(pid) = self.process_of(tid).or_else(|| self.newborn(tid)) else { return };
        match stop {
            Waited::Stopped(stop) if stop.signal == 0 => {
                self.processes.entry(pid).and_modify(|process| process.stopped = stop.job_control);
                ignore_gone(go_on(tid, stop));
            }
            Waited::Stopped(Stop { signal, .. }) => self.signal(pid, tid, signal),
            Waited::Event(libc::PTRACE_EVENT_EXEC) => self.executed(pid, tid),
            Waited::Event(libc::PTRACE_EVENT_EXIT) => self.exiting(pid, tid),
            Waited::Event(_) => ignore_gone(trace::resume_with(tid, 0)),
            Waited::Nothing | Waited::Gone => {}
        }
    }

    /// A thread that was born under our trace stands at its first instruction. `None` when it was dealt with.
    fn newborn(&mut self, tid: u32) -> Option<u32> {
        let read = ProcDir::open(ProcessId(tid)).and_then(|dir| Ok((Status::parse(&dir.require("status")?), dir)));
        let Ok((status, dir)) = read else {
            // It has died since; or there are no descriptors left to look at it, and it is not to wait for some.
            ignore_gone(trace::release(tid, 0));
            return None;
        };
        let pid = status.number("Tgid").and_then(|pid| u32::try_from(pid).ok()).unwrap_or(tid);
        if let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.gone) {
            process.set.insert(tid, stop::Hold::Seized);
            if !self.wants.thread_start {
                return Some(pid);
            }
            self.hold(pid, tid, What::ThreadStarted, Then::Continue(0), false);
            return None;
        }
        if !self.wants.children || pid != tid {
            // A process of its own, made by clone(2).
            ignore_gone(trace::release(tid, 0));
            return None;
        }
        let mut set = ThreadSet::of_session(dir, self.options);
        set.insert(tid, stop::Hold::Seized);
        self.take(set);
        self.arm(tid, tid);
        let parent = status.number("PPid").and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        self.tell(tid, tid, What::Born { parent: ProcessId(parent) });
        Some(pid)
    }

    fn ended(&mut self, tid: u32, end: wait::End) {
        let launching = self.processes.get(&tid).and_then(|process| process.launching.as_ref());
        if launching.is_some_and(|spawned| !spawned.load(Ordering::SeqCst)) {
            // The standard library collects a child of its that did not become the program, and insists on it.
            return std::thread::sleep(BETWEEN_TRIES);
        }
        reap(tid);
        let Some(pid) = self.process_of(tid) else { return };
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.set.remove(tid);
        if tid != pid && process.set.ids().next().is_some() {
            return;
        }
        let end = match end {
            wait::End::Exited(status) => End::Exited(status),
            wait::End::Killed(signal) => End::Killed(signal),
        };
        // The status of a thread is not that of the process.
        self.depart(pid, tid, (tid == pid).then_some(end));
    }

    fn executed(&mut self, pid: u32, tid: u32) {
        // A thread that has taken the first one's id with its execve answers no request before somebody has heard of that
        // (`looks_like_a_spurious_pid` in kernel/ptrace.c). There is no signal that could be lost.
        wait::consume(tid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.set.keep_only(tid);
        let launched = process.launching.take().is_some();
        let withheld = withheld(process.set.dir());
        let path = process.set.dir().read_link("exe").unwrap_or_default();
        self.arm(pid, tid);
        if let Some(what) = withheld {
            self.tell(pid, tid, What::Withheld { what, path: path.clone() });
        }
        if self.wants.exec && !launched {
            self.hold(pid, tid, What::Executed(path), Then::Continue(0), false);
        } else {
            ignore_gone(trace::resume_with(tid, 0));
        }
    }

    fn exiting(&mut self, pid: u32, tid: u32) {
        let (Some(process), Ok(status)) = (self.processes.get_mut(&pid), trace::event_message(tid)) else {
            return ignore_gone(trace::resume_with(tid, 0));
        };
        let what = match process.ends_with(tid, status) {
            // Before the launched program was begun, there was nothing of it.
            Ending::Process if process.launching.is_none() && !process.ending => {
                process.ending = true;
                self.wants.exit.then(|| What::Exiting(End::from_wait(status)))
            }
            Ending::Thread => self.wants.thread_exit.then(|| What::ThreadExiting(status_of(status))),
            Ending::Process | Ending::Nothing => None,
        };
        match what {
            Some(what) => self.hold(pid, tid, what, Then::Continue(0), false),
            None => ignore_gone(trace::resume_with(tid, 0)),
        }
    }

    /// Sets the breakpoints in a process whose thread `tid` is at hand.
    fn arm(&mut self, pid: u32, tid: u32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let troubles = self.breakpoints.arm(&mut process.armed, process.set.dir());
        process.set.set_breakpoints(process.armed.bytes());
        for trouble in troubles {
            self.tell(pid, tid, What::NoBreakpoint(trouble));
        }
    }

    fn tell(&self, pid: u32, tid: u32, what: What) {
        // Nobody may be listening any more.
        let _ = self.events.send(Event { process: ProcessId(pid), thread: ThreadId(tid), what, held: None });
    }

    /// Tells of something and keeps the thread as it is until it may go on; with `together` all others, too, as soon as
    /// they stand still.
    fn hold(&mut self, pid: u32, tid: u32, what: What, then: Then, together: bool) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.set.pin(tid, together);
        if together {
            // What is wrong with the program is not to spread while it is looked at. Threads that do not stop run on.
            let _ = with_reaper(&mut process.set, |set| set.stop_all(StopLimits::default(), &|| false, &|_| {}));
        }
        self.number += 1;
        self.held = Some(Pinned { number: self.number, pid, tid, then });
        let held = Held::new(Member::new(ProcessId(pid), self.link.clone()), self.number);
        // When nobody is listening any more, dropping it says that it may go on.
        let event = Event { process: ProcessId(pid), thread: ThreadId(tid), what, held: Some(held) };
        let _ = self.events.send(event);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.processes.keys().for_each(|pid| keep(*pid, false));
    }
}

/// A thread that was killed does not go on, and there is nothing to be done about that.
fn ignore_gone(result: Result<(), Errno>) {
    let _ = result;
}

/// The exit status in a status as wait(2) gives it.
fn status_of(status: u32) -> i32 {
    match End::from_wait(status) {
        End::Exited(status) | End::Killed(status) => status,
    }
}

fn options(wants: &Wants) -> i32 {
    let mut options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC;
    if wants.exit || wants.thread_exit {
        options |= libc::PTRACE_O_TRACEEXIT;
    }
    if wants.children {
        options |= libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;
    }
    options
}
