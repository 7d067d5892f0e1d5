//! Borrowing threads of the target for calls.

use std::time::{Duration, Instant};

use super::StopLimits;
use super::threads::{Hold, ThreadSet};
use super::wait::{Stop, Waited, consume, wait};
use effigy_process::ThreadState;

use crate::procfs::{Stat, parse_maps};
use crate::remote::{Code, Place, Refused, Twin, Userfault, make_twin, open_userfault, reap_leftovers, reap_twin};
use crate::trace;

/// Threads that are tried one after the other.
const MOST_TRIED: usize = 16;
/// How long one is waited for.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// Signals that a thread is let have before it is asked for something.
const MOST_SIGNALS: u32 = 20;

impl ThreadSet {
    /// Makes a twin; all threads stand still.
    pub(super) fn make_twin(&mut self, code: Code) -> Result<Twin, Refused> {
        let regions = parse_maps(self.dir()).map_err(|error| Refused::new(error.to_string()))?;
        let threads = self.standing();
        let place = Place { dir: self.dir(), code: &code, regions: &regions, options: self.options() };
        // What a killed effigy has left is swept up on the way. It is not what was asked for, so its failure is no matter.
        let _ = reap_leftovers(self.dir(), &threads, place);
        let twin = make_twin(&threads, place)?;
        if self.in_session() {
            // It stands still for as long as it lives, which is nothing that the session would have to hear of.
            consume(twin.id);
        }
        self.twin = Some((twin.clone(), code));
        Ok(twin)
    }

    /// Ends the twin, if there is one, and has the target collect it. Says how long a thread stood still.
    pub(super) fn end_twin(&mut self) -> Result<Duration, Refused> {
        let Some((twin, code)) = self.twin.take() else { return Ok(Duration::ZERO) };
        twin.end()?;
        let stat = self.dir().read("stat").ok().and_then(|bytes| Stat::parse(&bytes));
        if stat.is_none_or(|stat| ThreadState(stat.state).is_exited() && stat.threads <= 1) {
            // The target has ended, and whoever inherits its children collects them.
            return Ok(Duration::ZERO);
        }
        // An orphan is collected by whoever collects orphans.
        let Some(inner) = twin.inner_id else { return Ok(Duration::ZERO) };
        if self.in_session() {
            return self.with_all(code, |threads, place| reap_twin(inner, threads, place));
        }
        self.with_one(code, &|| false, |threads, place| reap_twin(inner, threads, place)).map(|(_, paused)| paused)
    }

    /// Makes a userfaultfd. Says how long a thread stood still.
    pub(super) fn open_userfault(
        &mut self,
        code: Code,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(Userfault, Duration), Refused> {
        self.with_one(code, cancelled, |threads, place| {
            let _ = reap_leftovers(place.dir, threads, place);
            open_userfault(threads, place)
        })
    }

    /// Stops one thread after the other until one can do what is asked, and lets it go.
    fn with_one<T>(
        &mut self,
        code: Code,
        cancelled: &dyn Fn() -> bool,
        mut ask: impl FnMut(&[(u32, Stop)], Place<'_>) -> Result<T, Refused>,
    ) -> Result<(T, Duration), Refused> {
        let mut why = Refused::new("the process ended");
        let mut tids = self.dir().numbers("task").map_err(|error| Refused::new(error.to_string()))?;
        let leader = self.dir().id().0;
        tids.sort_unstable_by_key(|tid| (*tid != leader, *tid));
        for tid in tids.into_iter().take(MOST_TRIED) {
            if cancelled() {
                return Err(Refused::new("cancelled"));
            }
            self.free_left();
            if self.state(tid).is_none_or(|state| state.is_uninterruptible() || state.is_exited()) {
                why = Refused::thread("no thread can be stopped at once");
                continue;
            }
            let since = Instant::now();
            let stop = match self.stop_one(tid) {
                Ok(stop) => stop,
                Err(refused) => {
                    why = refused;
                    continue;
                }
            };
            let regions = parse_maps(self.dir()).map_err(|error| Refused::new(error.to_string()));
            let result = regions.and_then(|regions| {
                let place = Place { dir: self.dir(), code: &code, regions: &regions, options: self.options() };
                ask(&[(tid, stop)], place)
            });
            self.detach_all();
            match result {
                Ok(value) => return Ok((value, since.elapsed())),
                Err(refused) if refused.is_about_thread() => why = refused,
                Err(refused) => return Err(refused),
            }
        }
        Err(why)
    }

    /// Stops all threads, has one of them do what is asked, and has them go on. Says how long they stood still.
    fn with_all(
        &mut self,
        code: Code,
        ask: impl FnOnce(&[(u32, Stop)], Place<'_>) -> Result<(), Refused>,
    ) -> Result<Duration, Refused> {
        let since = Instant::now();
        let stopped = self.stop_all(StopLimits::default(), &|| false, &|_| {});
        let result = stopped.and_then(|_| parse_maps(self.dir())).map_err(|error| Refused::new(error.to_string()));
        let result = result.and_then(|regions| {
            let place = Place { dir: self.dir(), code: &code, regions: &regions, options: self.options() };
            ask(&self.standing(), place)
        });
        self.detach_all();
        result.map(|()| since.elapsed())
    }

    fn state(&self, tid: u32) -> Option<ThreadState> {
        let stat = self.dir().read(&format!("task/{tid}/stat")).ok()?;
        Stat::parse(&stat).map(|stat| ThreadState(stat.state))
    }

    fn stop_one(&mut self, tid: u32) -> Result<Stop, Refused> {
        let fail = |what: &str, errno: nix::errno::Errno| Refused::new(format!("{what} thread {tid}: {errno}"));
        self.seize(tid).map_err(|errno| fail("tracing", errno))?;
        let stop = self.interrupt_and_wait(tid);
        match stop {
            Ok(stop) => self.insert(tid, Hold::Stopped(stop)),
            // The end of the tracer frees it; a thread that stops later is let go with the others.
            Err(_) => self.insert(tid, Hold::Interrupted),
        }
        if stop.is_err() {
            self.detach_all();
        }
        stop.map_err(|errno| fail("stopping", errno))
    }

    /// Waits for a thread to stand still with no signal on its way to it.
    fn interrupt_and_wait(&self, tid: u32) -> Result<Stop, nix::errno::Errno> {
        trace::interrupt(tid)?;
        let began = Instant::now();
        let mut signals = 0;
        loop {
            match wait(tid) {
                Waited::Stopped(stop) if stop.signal == 0 || signals == MOST_SIGNALS => return Ok(stop),
                Waited::Stopped(stop) => {
                    signals += 1;
                    deliver(tid, stop.signal)?;
                }
                Waited::Event(_) => trace::detach(tid, 0),
                Waited::Gone => return Err(nix::errno::Errno::ESRCH),
                Waited::Nothing if began.elapsed() > LONGEST_WAIT => return Err(nix::errno::Errno::ETIMEDOUT),
                Waited::Nothing if began.elapsed() < Duration::from_millis(1) => std::thread::yield_now(),
                Waited::Nothing => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }
}

/// Lets a thread have the signal that it stopped for; it stops again before it runs any further.
pub(super) fn deliver(tid: u32, signal: i32) -> Result<(), nix::errno::Errno> {
    trace::interrupt(tid)?;
    trace::resume_with(tid, signal)
}
