//! effigy's own lines beside those of the program that it runs.
//!
//! A terminal that was stopped with Ctrl-S, a pipe that nobody reads and a dead disk take them when they like. The program
//! stands still while it is told of, so they are written by a thread that it does not wait for.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::print;

/// How often it is looked whether the lines are still wanted.
const TICK: Duration = Duration::from_millis(50);

/// Lines that wait for their reader; what is more is left out.
const MOST: usize = 1 << 16;

/// Lines on their way.
pub(super) struct Lines {
    sender: Sender<String>,
    left_out: Arc<AtomicU64>,
    /// Closes when all are written.
    written: Receiver<()>,
}

impl Lines {
    /// Lines for a file, else for standard error.
    pub(super) fn to(log: Option<File>) -> std::io::Result<Self> {
        let (sender, lines) = bounded::<String>(MOST);
        let (done, written) = bounded(0);
        let left_out = Arc::new(AtomicU64::new(0));
        let write = {
            let left_out = Arc::clone(&left_out);
            move || {
                for line in lines {
                    put(log.as_ref(), &line);
                    let count = left_out.swap(0, Ordering::Relaxed);
                    if count > 0 {
                        put(log.as_ref(), &format!("effigy: {count} lines were left out, as nobody took them in time"));
                    }
                }
                drop(done);
            }
        };
        std::thread::Builder::new().name("lines".into()).spawn(write)?;
        Ok(Self { sender, left_out, written })
    }

    /// Has a line written, some time.
    pub(super) fn say(&self, text: impl Into<String>) {
        // The thread ends after this end of the channel.
        if self.sender.try_send(text.into()).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all are written, or nobody wants them any more.
    pub(super) fn finish(self, is_wanted: impl Fn() -> bool) {
        let Self { sender, written, .. } = self;
        drop(sender);
        while is_wanted() && written.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {}
    }
}

fn put(log: Option<&File>, line: &str) {
    match log {
        // A full disk is no reason to end the program.
        Some(mut log) => drop(writeln!(log, "{line}")),
        None => print::note(line),
    }
}
