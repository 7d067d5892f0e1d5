//! Someone who takes note of dead threads while the tracer cannot.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::wait::reap;

/// Collects the exits of traced threads while the tracer is stuck in `PTRACE_SEIZE`.
///
/// A thread that calls execve kills the others, sleeps until they are collected, and holds a lock meanwhile that
/// `PTRACE_SEIZE` of it waits for (`cred_guard_mutex`). Traced threads are collected by their tracer, so tracer and
/// target would wait for each other for ever. Any other thread of effigy may collect in the tracer's place.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    state: Mutex<ReaperState>,
}

#[derive(Debug, Default)]
struct ReaperState {
    seized: Vec<u32>,
    busy_since: Option<Instant>,
    done: bool,
}

/// How long a call may take before exits are collected.
pub(super) const BEFORE_REAPING: Duration = Duration::from_millis(20);

impl Reaper {
    fn lock(&self) -> MutexGuard<'_, ReaperState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call that may get stuck.
    pub(super) fn watched(&self, tid: u32, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        self.lock().busy_since = Some(Instant::now());
        let result = call();
        let mut state = self.lock();
        state.busy_since = None;
        if result.is_ok() {
            state.seized.push(tid);
        }
        result
    }

    /// Ends [`run`](Self::run).
    pub(super) fn finish(&self) {
        self.lock().done = true;
    }

    /// Watches over the tracer until [`finish`](Self::finish).
    pub(super) fn run(&self) {
        loop {
            std::thread::sleep(BEFORE_REAPING / 4);
            let state = self.lock();
            if state.done {
                return;
            }
            if state.busy_since.is_some_and(|since| since.elapsed() >= BEFORE_REAPING) {
                let seized = state.seized.clone();
                drop(state);
                seized.into_iter().for_each(reap);
            }
        }
    }
}
