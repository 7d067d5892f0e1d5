//! System calls that a stop would end with a spurious `EINTR`.
//!
//! Most blocking calls are restarted by the kernel when a thread was stopped and no signal was handled. A few are not
//! (signal(7), "Interruption of system calls and library functions by stop signals"): the program would see `EINTR`
//! although no signal came. A stopped thread is still on its way out of the call, so the tracer can put the answer that
//! other calls give, `ERESTARTNOHAND`, in its place: the kernel then restarts the call, or, should a signal have come
//! that the program handles, turns it into `EINTR` after all.
//!
//! Only for calls that wait without a timeout: one with a timeout would begin it anew, and a program that is dumped
//! every second would never see it pass. Not for calls that swap the signal mask. There, and if effigy dies before this,
//! the thread sees `EINTR`, as it would with any debugger.

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::restart_if_interrupted;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use other::restart_if_interrupted;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use nix::sys::ptrace;
    use nix::unistd::Pid;

    /// `__USER_CS`: 64-bit code. A 32-bit program numbers its calls otherwise.
    const USER_CS: u64 = 0x33;
    /// `ERESTARTNOHAND` of include/linux/errno.h.
    const RESTART_UNLESS_HANDLED: i64 = 514;

    /// Lets the kernel restart a stopped thread's system call, if that is one that the stop alone has ended.
    pub(in super::super) fn restart_if_interrupted(tid: Pid) {
        let Ok(mut registers) = ptrace::getregs(tid) else { return };
        if registers.rax.cast_signed() == -i64::from(libc::EINTR)
            && registers.cs == USER_CS
            && waits_for_ever(&registers)
        {
            registers.rax = (-RESTART_UNLESS_HANDLED).cast_unsigned();
            let _ = ptrace::setregs(tid, registers);
        }
    }

    /// Whether the call is one that returns `EINTR` after a stop (numbers of arch/x86/entry/syscalls/syscall_64.tbl),
    /// with no timeout and no signal mask among its arguments.
    fn waits_for_ever(registers: &libc::user_regs_struct) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the argument is an int")]
        let milliseconds = registers.r10 as i32;
        match registers.orig_rax.cast_signed() {
            libc::SYS_epoll_wait => milliseconds < 0,
            libc::SYS_epoll_pwait => milliseconds < 0 && registers.r8 == 0,
            libc::SYS_epoll_pwait2 => registers.r10 == 0 && registers.r8 == 0,
            libc::SYS_semop => true,
            libc::SYS_semtimedop => registers.r10 == 0,
            libc::SYS_io_getevents | libc::SYS_io_uring_enter => registers.r8 == 0,
            libc::SYS_rt_sigtimedwait => registers.rdx == 0,
            _ => false,
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod other {
    use nix::unistd::Pid;

    /// Only written for x86-64; elsewhere the thread sees `EINTR`.
    pub(in super::super) fn restart_if_interrupted(_tid: Pid) {}
}
