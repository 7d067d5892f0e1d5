//! Ctrl-Z, and output to a terminal that effigy is in the background of: not while a target stands still.
//!
//! A signal for the whole process stops all of its threads, whichever of them it is delivered to. So all of them hold it
//! back, and one thread waits for it, which lets it do what it is for as soon as nobody holds a target.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};

/// How long a program may take to stop after it was asked to: it may have a terminal to tidy up.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How many targets are held.
static HELD: Mutex<usize> = Mutex::new(0);
/// Told when one is no longer.
static LET_GO: Condvar = Condvar::new();

fn held() -> MutexGuard<'static, usize> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no target is held, and keeps it so.
fn nobody_held() -> MutexGuard<'static, usize> {
    LET_GO.wait_while(held(), |count| *count > 0).unwrap_or_else(PoisonError::into_inner)
}

/// Keeps job control from stopping effigy while it holds a target. A stop that was asked for happens when the last of
/// these is dropped.
pub(crate) struct NoJobControl;

impl NoJobControl {
    /// From here on.
    pub(crate) fn hold() -> Self {
        *held() += 1;
        Self
    }

    /// From here on until the end of effigy.
    pub(crate) fn hold_for_good() {
        std::mem::forget(Self::hold());
    }
}

impl Drop for NoJobControl {
    fn drop(&mut self) {
        let mut count = held();
        *count = count.saturating_sub(1);
        LET_GO.notify_all();
    }
}

/// What stops a process that does nothing about it, and can be held back.
fn stops() -> SigSet {
    [Signal::SIGTSTP, Signal::SIGTTOU, Signal::SIGTTIN].into_iter().collect()
}

/// Takes job control for a command that launches nothing, before any other thread is started.
pub(crate) fn take_over() {
    if let Some(job_control) = JobControl::take() {
        job_control.exercise(None);
    }
}

/// Tells whether a program is stopped.
pub(crate) type IsStopped = Box<dyn Fn() -> bool + Send>;

/// Job control, in our hands: for the calling thread and those that it starts from here on, so before all others.
pub(crate) struct JobControl {
    /// Signals that are not ours to let through: whoever has started effigy holds them back.
    before: SigSet,
}

impl JobControl {
    /// Takes it.
    pub(crate) fn take() -> Option<Self> {
        // Failing leaves things as they are with any other program.
        stops().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok().map(|before| Self { before })
    }

    /// Has effigy stop when it is asked to and holds no target; with a program that it has launched only if that stops
    /// too, and after it. `is_stopped` tells whether the program has.
    pub(crate) fn exercise(self, is_stopped: Option<IsStopped>) {
        let before = self.before;
        let mind = move || {
            while let Ok(signal) = stops().wait() {
                if !before.contains(signal) {
                    match &is_stopped {
                        None => stop_by(signal),
                        Some(is_stopped) => stop_with(is_stopped, signal),
                    }
                }
            }
        };
        if std::thread::Builder::new().name("job control".into()).spawn(mind).is_err() {
            let _ = before.thread_set_mask();
        }
    }
}

/// Stops effigy, if the signal does; returns when it goes on.
fn stop_by(signal: Signal) {
    // From here to the stop nobody begins to hold a target.
    let _nobody = nobody_held();
    let only: SigSet = [signal].into_iter().collect();
    if only.thread_unblock().is_ok() {
        let _ = raise(signal);
    }
    let _ = only.thread_block();
}

/// Stops effigy when the program has stopped. The terminal's signal is for both; what the program does about it is for the
/// program to decide, and whoever waits for effigy is to see the same.
fn stop_with(is_stopped: &IsStopped, signal: Signal) {
    // While a dump is taken the program does not hear of anything.
    drop(nobody_held());
    let began = Instant::now();
    while !is_stopped() {
        if began.elapsed() > LONGEST_WAIT {
            return;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    // Who has both go on (SIGCONT to the process group) does so with the program, too.
    stop_by(signal);
}
