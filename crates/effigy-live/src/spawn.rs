//! Programs that effigy starts: what they inherit of its signals.

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};

/// Has a command start with no signal held back and none handled. effigy holds signals back that it passes on to a program
/// or that job control is about, and execve(2) keeps that. What effigy was told to ignore stays ignored.
pub fn with_usual_signals(command: &mut Command) -> &mut Command {
    let restore = || {
        // What comes meanwhile is not for the handlers that effigy has, and that this copy of it still has.
        Signal::iterator().for_each(forget_handler);
        Ok(SigSet::empty().thread_set_mask()?)
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(restore) }
}

/// Has a signal do what it does where nobody handles it. What is ignored stays ignored.
pub(crate) fn forget_handler(signal: Signal) {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it is asked for, not changed; `now` is live and exclusive.
    let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), now.as_mut_ptr()) };
    // SAFETY: all bytes zero is a valid value, and the call has filled it.
    let handler = unsafe { now.assume_init() }.sa_sigaction;
    if asked == 0 && handler != libc::SIG_IGN {
        // SAFETY: the default needs no code and no memory of ours.
        unsafe { libc::signal(signal as i32, libc::SIG_DFL) };
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// The signals that a program holds back when it is started by a thread that holds some back.
    fn blocked(command: &mut Command) -> String {
        command.args(["SigBlk", "/proc/self/status"]).stdin(Stdio::null());
        let before = [Signal::SIGTERM, Signal::SIGTSTP]
            .into_iter()
            .collect::<SigSet>()
            .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
        let output = command.output().unwrap();
        before.unwrap().thread_set_mask().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn nothing_is_held_back() {
        assert_ne!(blocked(&mut Command::new("grep")), "SigBlk:\t0000000000000000\n");
        assert_eq!(blocked(with_usual_signals(&mut Command::new("grep"))), "SigBlk:\t0000000000000000\n");
    }
}
