//! Precedence for the threads of ours that the target waits for.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haste_ends() {
        let before = getpriority_process(Some(gettid())).unwrap();
        drop(Haste::begin());
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }
}
