//! Signals on their way to the threads that a session traces.

use std::time::Instant;

use super::{State, Then, ignore_gone};
use crate::debug::What;
use crate::debug::breakpoints::Hit;
use crate::debug::sent::Sent;
use crate::debug::signals::{SignalInfo, bit, is_init, will_kill};
use crate::stop::wait::{self, Waited};
use crate::trace;

impl State {
    pub(super) fn signal(&mut self, pid: u32, tid: u32, signal: i32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Ok(info) = trace::signal_info(tid).map(|info| SignalInfo::new(&info)) else {
            return ignore_gone(trace::resume_with(tid, signal));
        };
        if let Some(sent) = Sent::new(pid, &info) {
            self.seen.by_program(sent, Instant::now());
        }
        if let Some(hit) = self.breakpoints.hit(&process.armed, tid, &info, process.set.dir()) {
            return self.reached(pid, tid, hit);
        }
        let wanted = self.wants.second_chance.contains(signal);
        let status = (wanted || self.wants.exit).then(|| process.status(tid));
        let kills = status.as_ref().is_some_and(|status| will_kill(&info, status));
        if kills {
            process.culprit = Some(tid);
        }
        if !(kills && wanted || self.wants.first_chance.contains(signal)) {
            return ignore_gone(trace::resume_with(tid, signal));
        }
        // Under a tracer the first process of a namespace outlives its faults, and would have the same one for ever.
        let leave = kills && status.as_ref().is_some_and(is_init);
        let then = if leave { Then::Leave(signal) } else { Then::Continue(signal) };
        self.hold(pid, tid, What::Signal { info, kills }, then, kills);
    }

    fn reached(&mut self, pid: u32, tid: u32, hit: Hit) {
        let what = match hit {
            Hit::Libraries => {
                let Some(process) = self.processes.get_mut(&pid) else { return };
                let (loaded, unloaded, troubles) = self.breakpoints.look(&mut process.armed, process.set.dir());
                process.set.set_breakpoints(process.armed.bytes());
                for trouble in troubles {
                    self.tell(pid, tid, What::NoBreakpoint(trouble));
                }
                let changed = !loaded.is_empty() || !unloaded.is_empty();
                (changed && self.wants.libraries).then_some(What::Libraries { loaded, unloaded })
            }
            Hit::Told(what) => Some(what),
            Hit::Nothing => None,
        };
        match what {
            // The signal is ours, and nobody else's.
            Some(what) => self.hold(pid, tid, what, Then::Continue(0), false),
            None => ignore_gone(trace::resume_with(tid, 0)),
        }
    }

    /// Whether a process has got, or is just getting, a signal that effigy has got too.
    pub(super) fn has_got(&mut self, sent: Sent) -> bool {
        if self.seen.by_effigy(sent, Instant::now()) {
            return true;
        }
        let Some(process) = self.processes.get(&sent.to) else { return false };
        let gets = |tid: &u32| {
            matches!(wait::peek(*tid), Some(Waited::Stopped(stop)) if stop.signal == sent.number)
                && trace::signal_info(*tid).is_ok_and(|info| Sent::new(sent.to, &SignalInfo::new(&info)) == Some(sent))
        };
        // What is told of at the moment has been seen.
        let told = self.held.as_ref().map(|held| held.tid);
        let on_its_way = process.set.ids().filter(|tid| Some(*tid) != told).any(|tid| gets(&tid));
        // One that is pending is the only one of its kind, whoever else sends it.
        let is_pending = || process.status(sent.to).mask("ShdPnd").unwrap_or(0) & bit(sent.number) != 0;
        let gets_it = on_its_way || is_pending();
        if gets_it {
            self.seen.expect(sent, Instant::now());
        }
        gets_it
    }
}
