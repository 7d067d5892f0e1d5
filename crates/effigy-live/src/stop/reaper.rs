//! Someone who takes note of dead threads while the tracer cannot.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::wait::wait;

/// Collects the exits of traced threads while the tracer is stuck in `PTRACE_SEIZE`.
///
/// A thread that calls execve kills the others, sleeps until they are collected, and holds a lock meanwhile that
/// `PTRACE_SEIZE` of it waits for (`cred_guard_mutex`). Traced threads are collected by their tracer, so tracer and
/// target would wait for each other for ever. Any other thread of effigy may collect in the tracer's place: exits alone,
/// which are looked at before they are collected. To wait for a traced thread's exit is to wait for its stops too,
/// whatever the options say (`wait_task_stopped` in kernel/exit.c), and a stop that was taken is one that the tracer never
/// sees, with a signal that is lost.
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
                for tid in seized {
                    // Collects it, if it has ended; the tracer finds out by itself.
                    let _ = wait(tid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    use super::super::wait::{Stop, Waited};
    use super::*;
    use crate::trace;

    /// A signal that a thread has just stopped for is delivered when the tracer dies, though somebody has looked for exits
    /// meanwhile.
    #[test]
    fn stops_are_left_alone() {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let tid = child.id();
        let tracer = std::thread::spawn(move || {
            let reaper = Arc::new(Reaper::default());
            reaper.watched(tid, || trace::seize(tid, 0)).unwrap();
            nix::sys::signal::kill(trace::pid_of(tid), nix::sys::signal::Signal::SIGUSR1).unwrap();
            let stop = Stop { signal: libc::SIGUSR1, job_control: false };
            while !matches!(wait(tid), Waited::Stopped(found) if found == stop) {
                std::thread::yield_now();
            }
            let running = std::thread::spawn({
                let reaper = Arc::clone(&reaper);
                move || reaper.run()
            });
            // A call that takes long.
            let late = || {
                std::thread::sleep(BEFORE_REAPING * 5);
                Err(Errno::EPERM)
            };
            let _ = reaper.watched(tid, late);
            reaper.finish();
            running.join().unwrap();
            assert!(matches!(wait(tid), Waited::Stopped(found) if found == stop), "the stop was taken");
        });
        let seen = tracer.join();
        // Without the signal it would sleep on.
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let _ = child.kill();
        assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGUSR1), "the signal was lost");
        seen.unwrap();
    }
}
