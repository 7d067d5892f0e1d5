//! Being asked to end: SIGINT, SIGTERM, SIGHUP, SIGQUIT, and a deadline. Being asked to stop: not while a target does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};

use crate::capture::Failure;

/// Knows whether effigy was asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    signal: Arc<AtomicUsize>,
    deadline: Option<(Instant, Duration)>,
}

impl Cancel {
    /// Takes over the signals. From here on they end effigy only through [`check`](Self::check).
    pub(crate) fn listen(timeout: Option<Duration>) -> Self {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            // Failing to listen leaves the default: effigy dies and the kernel lets the target go.
            let _ =
                signal_hook::flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or(0));
        }
        // A file-size limit is to be an error of write(2), not our end.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
        Self { signal, deadline: timeout.map(|timeout| (Instant::now() + timeout, timeout)) }
    }

    /// One for a piece of work with a deadline of its own that begins now.
    pub(crate) fn part(&self, timeout: Option<Duration>) -> Self {
        Self { signal: Arc::clone(&self.signal), deadline: timeout.map(|timeout| (Instant::now() + timeout, timeout)) }
    }

    /// One that never is.
    pub(crate) fn never() -> Self {
        Self { signal: Arc::default(), deadline: None }
    }

    /// An error when it is time to end.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let signal = self.signal.load(Ordering::Relaxed);
        if signal != 0 {
            return Err(Failure::Cancelled { signal: i32::try_from(signal).unwrap_or(0) });
        }
        match self.deadline {
            Some((deadline, timeout)) if Instant::now() >= deadline => {
                Err(Failure::TimedOut { seconds: timeout.as_secs_f64() })
            }
            _ => Ok(()),
        }
    }
}

/// Keeps job control from stopping effigy while it holds a target: Ctrl-Z, or output to a terminal that effigy is in the
/// background of. A stop that was asked for happens when this is dropped. For the calling thread and those that it
/// starts.
pub(crate) struct NoJobControl;

impl NoJobControl {
    /// From here on.
    pub(crate) fn hold() -> Self {
        // Failing leaves things as they are with any other program.
        let _ = stops().thread_block();
        Self
    }
}

impl Drop for NoJobControl {
    fn drop(&mut self) {
        let _ = stops().thread_unblock();
    }
}

fn stops() -> SigSet {
    [Signal::SIGTSTP, Signal::SIGTTOU, Signal::SIGTTIN].into_iter().collect()
}
