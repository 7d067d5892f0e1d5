//! System calls that a stop would end with a spurious `EINTR`.
//!
//! Most blocking calls are restarted by the kernel when a thread was stopped and no signal was handled. A few are not
//! (signal(7), "Interruption of system calls and library functions by stop signals"): the program would see `EINTR`
//! although no signal came. For these the tracer does at the very end what the kernel does for the others: it sets the
//! thread back onto its `syscall` instruction. A timeout then begins anew.
//!
//! Not when a signal is waiting for the thread: then `EINTR` is the truth, and a program may rely on it to wake up. Not
//! for calls that swap the signal mask, whose promise is just that. Should effigy die before this, the thread sees
//! `EINTR`, as it would with any other debugger.

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::restart_if_interrupted;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use other::restart_if_interrupted;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use nix::sys::ptrace;
    use nix::unistd::Pid;

    use crate::procfs::{ProcDir, Status};

    /// `__USER_CS`: 64-bit code. A 32-bit program numbers its calls otherwise.
    const USER_CS: u64 = 0x33;
    /// `syscall`.
    const SYSCALL: i64 = 0x050f;

    /// Sets a stopped thread back onto its system call, if that is one that the stop alone has ended.
    pub(in super::super) fn restart_if_interrupted(dir: &ProcDir, tid: Pid) {
        let Ok(mut registers) = ptrace::getregs(tid) else { return };
        let call = registers.orig_rax;
        if registers.rax != (-i64::from(libc::EINTR)).cast_unsigned()
            || registers.cs != USER_CS
            || !is_never_restarted(call, &registers)
            || signal_waits(dir, tid)
        {
            return;
        }
        let instruction = registers.rip.wrapping_sub(2);
        let Ok(code) = ptrace::read(tid, instruction as ptrace::AddressType) else { return };
        if code & 0xffff != SYSCALL {
            return;
        }
        registers.rax = call;
        registers.rip = instruction;
        // As the kernel does: no longer in a system call, so that it does not restart anything itself.
        registers.orig_rax = u64::MAX;
        let _ = ptrace::setregs(tid, registers);
    }

    /// Calls that return `EINTR` after a stop, with numbers of arch/x86/entry/syscalls/syscall_64.tbl.
    fn is_never_restarted(call: u64, registers: &libc::user_regs_struct) -> bool {
        const EVER: [i64; 5] = [
            libc::SYS_epoll_wait,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_io_getevents,
            libc::SYS_rt_sigtimedwait,
        ];
        // With a signal mask as fifth argument the mask's promise counts.
        const WITHOUT_MASK: [i64; 3] = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_io_uring_enter];
        let call = call.cast_signed();
        EVER.contains(&call) || WITHOUT_MASK.contains(&call) && registers.r8 == 0
    }

    /// Whether a signal that the thread does not block is pending for it or for the process. When that cannot be told,
    /// one is assumed.
    fn signal_waits(dir: &ProcDir, tid: Pid) -> bool {
        let Ok(text) = dir.read(&format!("task/{tid}/status")) else { return true };
        let status = Status::parse(&text);
        let mask = |name| status.mask(name);
        match (mask("SigPnd"), mask("ShdPnd"), mask("SigBlk")) {
            (Some(own), Some(shared), Some(blocked)) => (own | shared) & !blocked != 0,
            _ => true,
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod other {
    use nix::unistd::Pid;

    use crate::procfs::ProcDir;

    /// Other architectures do not show the tracer the call's first argument any more; the thread sees `EINTR`.
    pub(in super::super) fn restart_if_interrupted(_dir: &ProcDir, _tid: Pid) {}
}
