//! Printing in the background: while a target is traced, nobody who has it in his hands may wait for a terminal that was
//! stopped with Ctrl-S, or for a reader of a pipe who takes his time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::note_now;

/// Something to be printed.
type Job = Box<dyn FnOnce() + Send>;

/// Lines that may wait. Further ones are lost, and counted.
const MOST_WAITING: usize = 10_000;
/// How long lines are waited for by one who was asked to end.
const LONGEST_END: Duration = Duration::from_secs(2);

static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);
static LOST: AtomicU64 = AtomicU64::new(0);

fn jobs() -> MutexGuard<'static, Option<Sender<Job>>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints at once, or in the background while there is one.
pub(crate) fn later(print: impl FnOnce() + Send + 'static) {
    let sender = jobs().clone();
    match sender {
        None => print(),
        Some(sender) => {
            if sender.try_send(Box::new(print)).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// From its beginning until it is finished, all is printed by a thread that nobody waits for.
#[derive(Debug)]
pub(crate) struct Background {
    over: Option<Receiver<()>>,
}

impl Background {
    /// Begins it. Without a thread for it, all is printed by whoever has something to print.
    pub(crate) fn begin() -> Self {
        let (sender, receiver) = bounded::<Job>(MOST_WAITING);
        let (end, over) = bounded(1);
        let print = move || {
            for job in receiver {
                job();
                match LOST.swap(0, Ordering::Relaxed) {
                    0 => {}
                    lost => note_now(&format!("effigy: {lost} lines were not printed, as nobody took them")),
                }
            }
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("printer".into()).spawn(print);
        if thread.is_ok() {
            *jobs() = Some(sender);
        }
        Self { over: thread.is_ok().then_some(over) }
    }

    /// Ends it when everything is printed; `hurry` is for one who was asked to end, and does not wait for ever.
    pub(crate) fn finish(self, hurry: bool) {
        *jobs() = None;
        let Some(over) = self.over else { return };
        if hurry {
            let _ = over.recv_timeout(LONGEST_END);
        } else {
            let _ = over.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn everything_is_printed_in_its_order() {
        let background = Background::begin();
        let count = Arc::new(AtomicUsize::new(0));
        for expected in 0..100 {
            let count = Arc::clone(&count);
            later(move || {
                let _ = count.compare_exchange(expected, expected + 1, Ordering::SeqCst, Ordering::SeqCst);
            });
        }
        background.finish(false);
        assert_eq!(count.load(Ordering::SeqCst), 100);
        let after = Arc::clone(&count);
        later(move || after.store(0, Ordering::SeqCst));
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }
}
