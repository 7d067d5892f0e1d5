//! Precedence for the threads of ours that the target waits for, and the opposite for those that it does not.

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{Pid, gettid};

/// The highest precedence of ordinary threads (setpriority(2)).
const FIRST: i32 = -20;

/// The calling thread, and those that it starts meanwhile, come before others as long as this lives. Needs CAP_SYS_NICE;
/// without it nothing happens.
#[derive(Debug)]
pub struct Haste {
    thread: Pid,
    /// The thread's own precedence; `None` when it was not changed.
    before: Option<i32>,
}

impl Haste {
    /// From here on.
    #[must_use]
    pub fn begin() -> Self {
        let thread = gettid();
        let before = getpriority_process(Some(thread)).ok();
        let before = before.filter(|_| setpriority_process(Some(thread), FIRST).is_ok());
        Self { thread, before }
    }
}

impl Drop for Haste {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // On Linux it is a thread's, whatever the call's name says. Giving precedence up is never refused.
            let _ = setpriority_process(Some(self.thread), before);
        }
    }
}

/// How far a thread steps back: the kernel gives it a tenth of what it gives an ordinary one where both want to run, and
/// all where nobody else does.
const BACK: i32 = 10;

/// The calling thread lets others come first from here on, for good: who may not step forward cannot take this back.
pub fn step_back() {
    let thread = Some(gettid());
    // One that was made to stand further back yet stays there.
    if getpriority_process(thread).is_ok_and(|now| now < BACK) {
        let _ = setpriority_process(thread, BACK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haste_ends() {
        let before = getpriority_process(Some(gettid())).unwrap();
        drop(Haste::begin());
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }

    #[test]
    fn stepping_back_is_for_one_thread() {
        let before = getpriority_process(Some(gettid())).unwrap();
        let there = std::thread::spawn(|| {
            step_back();
            getpriority_process(Some(gettid())).unwrap()
        });
        assert_eq!(there.join().unwrap(), BACK.max(before));
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }
}
