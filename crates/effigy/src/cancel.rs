//! Being asked to end: SIGINT, SIGTERM, SIGHUP, SIGQUIT, and a deadline.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};

use crate::capture::Failure;

/// Signals that ask for an end.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

fn deadline(timeout: Option<Duration>) -> Option<(Instant, Duration)> {
    timeout.map(|timeout| (Instant::now() + timeout, timeout))
}

/// Those that effigy does not ignore (proc_pid_status(5), `SigIgn`). Whoever has started it may have asked for that: nohup
/// for SIGHUP, a shell without job control for what it starts in the background.
fn ending() -> impl Iterator<Item = i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ENDING.into_iter().filter(move |number| ignored & 1 << (number - 1) == 0)
}

/// Knows whether effigy was asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    signal: Arc<AtomicUsize>,
    /// The same for this one piece of work.
    own: Arc<AtomicUsize>,
    deadline: Option<(Instant, Duration)>,
}

impl Cancel {
    /// Takes over the signals. From here on they end effigy only through [`check`](Self::check).
    pub(crate) fn listen(timeout: Option<Duration>) -> Self {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in ending() {
            // Failing to listen leaves the default: effigy dies and the kernel lets the target go.
            let _ =
                signal_hook::flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or(0));
        }
        // A file-size limit is to be an error of write(2), not our end.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
        Self { signal, own: Arc::default(), deadline: deadline(timeout) }
    }

    /// One for a piece of work that may be given up by itself.
    pub(crate) fn part(&self) -> Self {
        Self { signal: Arc::clone(&self.signal), own: Arc::default(), deadline: self.deadline }
    }

    /// The same piece of work, with a deadline that begins now.
    pub(crate) fn within(&self, timeout: Option<Duration>) -> Self {
        Self { deadline: deadline(timeout), ..self.clone() }
    }

    /// Gives this piece of work up, as SIGTERM would all of it.
    pub(crate) fn give_up(&self) {
        self.own.store(usize::try_from(SIGTERM).unwrap_or(1), Ordering::Relaxed);
    }

    /// Has signals write a byte, so that who sleeps wakes.
    pub(crate) fn wake(&self, descriptor: &UnixStream) -> std::io::Result<()> {
        for number in ending() {
            signal_hook::low_level::pipe::register(number, descriptor.try_clone()?)?;
        }
        Ok(())
    }

    /// The signal by which an end was asked for, if it was.
    pub(crate) fn signal(&self) -> Option<i32> {
        let signal = self.signal.load(Ordering::Relaxed).max(self.own.load(Ordering::Relaxed));
        i32::try_from(signal).ok().filter(|signal| *signal != 0)
    }

    /// One that never is.
    pub(crate) fn never() -> Self {
        Self { signal: Arc::default(), own: Arc::default(), deadline: None }
    }

    /// An error when it is time to end.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let Some(signal) = self.signal() {
            return Err(Failure::Cancelled { signal });
        }
        match self.deadline {
            Some((deadline, timeout)) if Instant::now() >= deadline => {
                Err(Failure::TimedOut { seconds: timeout.as_secs_f64() })
            }
            _ => Ok(()),
        }
    }
}
