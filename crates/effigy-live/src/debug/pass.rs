//! Signals that somebody sends to effigy and means for the program that it has launched.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use effigy_process::ProcessId;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};

use super::SignalInfo;
use super::link::Link;
use super::sent::Sent;
use super::signals::FROM_KERNEL;
use crate::LiveError;

/// What is passed on. What stops, continues or resizes comes from the terminal and reaches the program by itself.
pub(super) const PASSED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Time in which a signal that is on its way comes to be seen there.
const UNTIL_SEEN: Duration = Duration::from_millis(10);

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

    /// Lets the calling thread have signals again: there is nobody left to pass them on to.
    pub fn close(&self) {
        // Failing leaves effigy deaf to requests to end, and nobody harmed.
        let _ = self.before.thread_set_mask();
    }

    /// The mask of signals as it was.
    pub(super) fn before(&self) -> SigSet {
        self.before
    }
}

/// Passes on to a process that is not traced, for as long as effigy runs, what somebody sends to effigy. What comes from the
/// terminal it gets itself, being in effigy's process group; what somebody else sends to the whole group it gets twice,
/// as nobody sees what it has got.
///
/// # Errors
/// When no thread can be started for it.
pub fn pass_signals_to(pid: ProcessId) -> Result<(), LiveError> {
    lead_to(pid, None)
}

/// Starts the thread that passes signals on to a process. `link` leads to the session that has launched it, if one has.
pub(super) fn lead_to(pid: ProcessId, link: Option<Link>) -> Result<(), LiveError> {
    let Some(number) = i32::try_from(pid.0).ok().and_then(Pid::from_raw) else { return Ok(()) };
    // By a descriptor, so that nobody else gets them who has its id later.
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        process => process.ok(),
    };
    let pass = move || {
        loop {
            match next() {
                Ok(info) if info.code != FROM_KERNEL && !gets_it_itself(pid, &info, link.as_ref()) => {
                    pass_on(&info, number, process.as_ref());
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("passage".into()).spawn(pass).map_err(|_| LiveError::OwnThread("passage"))?;
    Ok(())
}

fn pass_on(info: &SignalInfo, number: Pid, process: Option<&OwnedFd>) {
    let Some(signal) = rustix::process::Signal::from_named_raw(info.number) else { return };
    // A process that has ended needs no signals.
    let _ = match process {
        Some(process) => pidfd_send_signal(process, signal),
        // Before Linux 5.3.
        None => kill_process(number, signal),
    };
}

/// Whether a process gets what was sent to effigy by itself, as far as is known.
fn gets_it_itself(pid: ProcessId, info: &SignalInfo, link: Option<&Link>) -> bool {
    let Some(link) = link else { return false };
    let Some(sent) = Sent::new(pid.0, info) else { return false };
    // Of those that are sent to a group, effigy may be the first to get one.
    link.has_got(sent) || {
        std::thread::sleep(UNTIL_SEEN);
        link.has_got(sent)
    }
}

fn passed() -> SigSet {
    PASSED.into_iter().collect()
}

/// Waits for one of the signals.
fn next() -> Result<SignalInfo, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the set lives for the call, and the kernel writes to `info`, which is live and exclusive.
    Errno::result(unsafe { libc::sigwaitinfo(passed().as_ref(), info.as_mut_ptr()) })?;
    // SAFETY: all bytes zero is a valid siginfo_t, and the call has filled it.
    Ok(SignalInfo::new(&unsafe { info.assume_init() }))
}
