//! Work on all processors whose results come in the order of the jobs.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

/// Jobs given out or done and not yet delivered, for each worker: enough that none waits while one job takes longer,
/// few enough that their results are small.
const JOBS_AHEAD: usize = 3;

/// As many threads as asked for, or as there are processors.
pub(crate) fn threads_or_all(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// Whether somebody asked for an end.
pub(crate) fn is_set(stop: Option<&AtomicBool>) -> bool {
    stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Does `jobs` on `threads` threads, each with a worker of its own, and calls `deliver` on this thread with each job and
/// its result, in the order of the jobs, until it breaks. At most [`JOBS_AHEAD`] jobs a thread are ahead of delivery.
///
/// A panic of a worker is passed on once the others have ended.
pub(crate) fn in_order<J, R, W>(
    threads: NonZeroUsize,
    mut jobs: impl Iterator<Item = J>,
    new_worker: impl Fn() -> W + Sync,
    mut deliver: impl FnMut(J, R) -> ControlFlow<()>,
) where
    J: Send,
    R: Send,
    W: FnMut(&J) -> R,
{
    let ahead = threads.get() * JOBS_AHEAD;
    let stopped = AtomicBool::new(false);
    let (give, take) = crossbeam_channel::bounded::<(J, mpsc::SyncSender<(J, R)>)>(ahead);
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (take, stopped, new_worker) = (take.clone(), &stopped, &new_worker);
            scope.spawn(move || {
                let mut work = new_worker();
                for (job, reply) in take {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let result = work(&job);
                    // Nobody listens any more when delivery has stopped.
                    let _ = reply.send((job, result));
                }
            });
        }
        drop(take);
        let mut pending = VecDeque::with_capacity(ahead);
        loop {
            while pending.len() < ahead {
                let Some(job) = jobs.next() else { break };
                let (reply, result) = mpsc::sync_channel(1);
                if give.send((job, reply)).is_err() {
                    break;
                }
                pending.push_back(result);
            }
            let Some(next) = pending.pop_front() else { break };
            // No answer: the worker panicked, and the scope passes that on.
            let Ok((job, result)) = next.recv() else { break };
            if deliver(job, result).is_break() {
                break;
            }
        }
        stopped.store(true, Ordering::Relaxed);
        drop(give);
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let mut seen = Vec::new();
        let worker = || {
            |job: &u64| {
                thread::sleep(Duration::from_micros(job % 7 * 100));
                job * 2
            }
        };
        in_order(FOUR, 0..200u64, worker, |job, result| {
            assert_eq!(result, job * 2);
            seen.push(job);
            ControlFlow::Continue(())
        });
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn endless_work_ends_when_delivery_breaks() {
        let mut seen = 0;
        in_order(
            FOUR,
            0u64..,
            || |job: &u64| *job,
            |job, _| {
                seen = job;
                if job == 50 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(seen, 50);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_of_a_worker_is_passed_on_and_nobody_waits_for_it() {
        let worker = || {
            |job: &u64| {
                assert!(*job != 20, "planted");
                *job
            }
        };
        in_order(FOUR, 0u64.., worker, |_, _| ControlFlow::Continue(()));
    }
}
