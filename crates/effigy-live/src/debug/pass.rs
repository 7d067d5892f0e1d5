//! Signals that somebody sends to effigy and means for the program that it has launched.

use std::mem::MaybeUninit;

use effigy_process::ProcessId;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::signals::FROM_KERNEL;
use crate::LiveError;
use crate::trace::pid_of;

/// What is passed on. What stops, continues or resizes comes from the terminal and reaches the program by itself.
const PASSED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Holds signals back from effigy, so that they can be passed on.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    before: SigSet,
}

impl Passage {
    /// Holds them back from the calling thread and those that it starts from here on: from all threads, if this comes
    /// before the first one is started.
    ///
    /// # Errors
    /// When the mask of signals cannot be changed.
    pub fn open() -> Result<Self, LiveError> {
        let before = passed().thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|_| LiveError::OwnThread("main"))?;
        Ok(Self { before })
    }

    /// The mask of signals as it was.
    pub(super) fn before(&self) -> SigSet {
        self.before
    }

    /// Passes on to a process, for as long as effigy runs, what somebody sends to effigy. What comes from the terminal the
    /// process gets itself, as it is in effigy's process group.
    ///
    /// # Errors
    /// When no thread can be started for it.
    pub fn lead_to(&self, pid: ProcessId) -> Result<(), LiveError> {
        let pass = move || {
            loop {
                match next() {
                    // A process that has ended needs no signals.
                    Ok((number, code)) if code != FROM_KERNEL => {
                        let _ =
                            Signal::try_from(number).and_then(|signal| nix::sys::signal::kill(pid_of(pid.0), signal));
                    }
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
        };
        std::thread::Builder::new().name("passage".into()).spawn(pass).map_err(|_| LiveError::OwnThread("passage"))?;
        Ok(())
    }
}

fn passed() -> SigSet {
    PASSED.into_iter().collect()
}

/// Waits for one of the signals; its number and `si_code`.
fn next() -> Result<(i32, i32), Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the set lives for the call, and the kernel writes to `info`, which is live and exclusive.
    let number = Errno::result(unsafe { libc::sigwaitinfo(passed().as_ref(), info.as_mut_ptr()) })?;
    // SAFETY: all bytes zero is a valid siginfo_t, and the call has filled it.
    Ok((number, unsafe { info.assume_init() }.si_code))
}
