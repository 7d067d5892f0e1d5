//! Being asked to end: SIGINT, SIGTERM, SIGHUP, and a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

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
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // Failing to listen leaves the default: effigy dies and the kernel lets the target go.
            let _ =
                signal_hook::flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or(0));
        }
        // A file-size limit is to be an error of write(2), not our end.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
        Self { signal, deadline: timeout.map(|timeout| (Instant::now() + timeout, timeout)) }
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
