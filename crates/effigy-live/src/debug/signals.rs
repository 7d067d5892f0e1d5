//! Signals: what is known of one, and whether it will kill.

use effigy_process::{Address, Fault, ThreadId};

use crate::procfs::Status;

/// A signal on its way to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its number.
    pub number: i32,
    /// `si_code`, see sigaction(2).
    pub code: i32,
    /// `si_addr`: the address that could not be accessed, or the instruction that is at fault.
    pub address: Option<Address>,
    /// Process and user that have sent it, when it was sent.
    pub sender: Option<(u32, u32)>,
}

/// `SI_KERNEL` of sigaction(2): by the kernel, which does not say why.
pub(super) const FROM_KERNEL: i32 = 0x80;

impl SignalInfo {
    pub(super) fn new(info: &libc::siginfo_t) -> Self {
        let (number, code) = (info.si_signo, info.si_code);
        // SAFETY: the kernel fills all of the structure; each field is plain data whatever the signal is.
        let (address, pid, uid) = unsafe { (info.si_addr() as u64, info.si_pid(), info.si_uid()) };
        let raised = code > 0 && code != FROM_KERNEL;
        Self {
            number,
            code,
            address: (raised && is_fault(number)).then_some(Address(address)),
            sender: (code <= 0).then(|| (u32::try_from(pid).unwrap_or(0), uid)),
        }
    }

    /// The signal as what happened to a thread.
    #[must_use]
    pub fn fault(&self, thread: ThreadId) -> Fault {
        Fault::signal(thread, self.number, self.code, self.address)
    }

    /// Whether the processor or the kernel has raised it for what the thread was doing.
    fn is_raised(&self) -> bool {
        self.code > 0 && is_fault(self.number)
    }
}

/// Whether a signal is one that is raised for what a thread does.
fn is_fault(number: i32) -> bool {
    matches!(number, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS)
}

/// Signals that end a program with a core dump unless it handles them: signal(7), "Standard signals".
const WITH_CORE: [i32; 10] = [
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Those that end a program with a core dump unless it handles them.
    #[must_use]
    pub fn with_core() -> Self {
        WITH_CORE.into_iter().collect()
    }

    /// Those that are raised for what a thread does, and SIGABRT.
    #[must_use]
    pub fn of_faults() -> Self {
        (1..=64).filter(|number| is_fault(*number) || *number == libc::SIGABRT).collect()
    }

    /// All.
    #[must_use]
    pub fn all() -> Self {
        Self(u64::MAX)
    }

    /// Adds one, 1 to 64.
    pub fn insert(&mut self, number: i32) {
        self.0 |= bit(number);
    }

    /// Whether it holds one.
    #[must_use]
    pub fn contains(self, number: i32) -> bool {
        self.0 & bit(number) != 0
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<i32> for SignalSet {
    fn from_iter<I: IntoIterator<Item = i32>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

pub(super) fn bit(number: i32) -> u64 {
    number
        .checked_sub(1)
        .and_then(|shift| u32::try_from(shift).ok())
        .and_then(|shift| 1u64.checked_shl(shift))
        .unwrap_or(0)
}

/// Whether a program that does nothing about a signal ends by it: signal(7), "Standard signals".
fn kills_by_default(number: i32) -> bool {
    !matches!(
        number,
        libc::SIGCHLD
            | libc::SIGCONT
            | libc::SIGURG
            | libc::SIGWINCH
            | libc::SIGSTOP
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
    )
}

/// Whether a signal that is just being delivered will kill the process. One that is delivered is not blocked; one that the
/// kernel has raised although it was blocked or ignored has lost its handler before it gets here. `status` is that of the
/// thread.
pub(super) fn will_kill(info: &SignalInfo, status: &Status) -> bool {
    let mask = |name| status.mask(name).unwrap_or(0);
    let handled = (mask("SigCgt") | mask("SigIgn")) & bit(info.number) != 0;
    kills_by_default(info.number) && !handled && (!is_init(status) || info.is_raised())
}

/// Whether the process is the first of its PID namespace: it gets no signal that it has no handler for, and while it is
/// traced not even those that are raised for what it does (`SIGNAL_UNKILLABLE` in kernel/signal.c).
pub(super) fn is_init(status: &Status) -> bool {
    status.numbers("NSpid").last() == Some(&1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(caught: u64, ignored: u64, inner: u32) -> Status {
        Status::parse(format!("SigCgt:\t{caught:016x}\nSigIgn:\t{ignored:016x}\nNSpid:\t70\t{inner}\n").as_bytes())
    }

    fn raised(number: i32) -> SignalInfo {
        SignalInfo { number, code: 1, address: None, sender: None }
    }

    #[test]
    fn only_what_nobody_handles_kills() {
        assert!(will_kill(&raised(libc::SIGSEGV), &status(0, 0, 70)));
        assert!(!will_kill(&raised(libc::SIGSEGV), &status(1 << 10, 0, 70)));
        assert!(!will_kill(&raised(libc::SIGTERM), &status(0, 1 << 14, 70)));
        assert!(!will_kill(&raised(libc::SIGCHLD), &status(0, 0, 70)));
        assert!(will_kill(&raised(64), &status(0, 0, 70)));
    }

    #[test]
    fn the_first_process_of_a_namespace_dies_of_faults_only() {
        let sent = SignalInfo { number: libc::SIGTERM, code: 0, address: None, sender: Some((1, 0)) };
        assert!(!will_kill(&sent, &status(0, 0, 1)));
        assert!(will_kill(&raised(libc::SIGSEGV), &status(0, 0, 1)));
    }

    #[test]
    fn sets_hold_numbers_of_signals_only() {
        let set: SignalSet = [libc::SIGSEGV, 64, 0, -3, 65].into_iter().collect();
        assert!(set.contains(libc::SIGSEGV) && set.contains(64));
        assert!(!set.contains(0) && !set.contains(65) && !set.contains(libc::SIGBUS));
        assert!(SignalSet::default().is_empty());
    }
}
