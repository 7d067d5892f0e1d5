//! Ctrl-C and SIGTERM as a value: a chore sees them between its steps, so that its guards run and nothing it started stays behind.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Watches for the signals that ask a chore to end.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicUsize>);

/// The error with which an interrupted chore ends.
#[derive(Debug)]
pub(crate) struct Interrupted {
    signal: usize,
}

impl Interrupt {
    /// From here on the signals are only noted down.
    pub(crate) fn watch() -> Result<Self> {
        let seen = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            let value = usize::try_from(signal).context("a signal's number is not negative")?;
            signal_hook::flag::register_usize(signal, Arc::clone(&seen), value).context("cannot watch for Ctrl-C")?;
        }
        Ok(Self(seen))
    }

    /// One that sees no signals but those that a test tells it of.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Arc::default())
    }

    /// As if the signal had come.
    #[cfg(test)]
    pub(crate) fn see(&self, signal: usize) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// An error once a signal has been seen.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Interrupted { signal }),
        }
    }
}

impl Interrupted {
    /// What a shell expects of a program that a signal ended.
    pub(crate) fn exit_code(&self) -> ExitCode {
        u8::try_from(128 + self.signal).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
