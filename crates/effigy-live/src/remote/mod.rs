//! System calls made by a thread of the target, on our behalf, that heal themselves.
//!
//! For a moment a stopped thread gets foreign registers: those of a system call. If effigy dies in that moment, the
//! kernel lets the thread go with them. So before anything else a complete signal frame with the thread's true state is
//! written below its stack pointer, and the foreign registers are such that whatever the call does, the thread returns
//! from it into `rt_sigreturn` on that frame and so restores itself, by the kernel's own route, with nobody's help. In
//! the ordinary course the frame is never used: effigy puts the registers back, and the bytes of the stack too.
//!
//! What a call could break is looked at before it is made: seccomp filters that would kill, memory below the stack that
//! is not free, restartable sequences, shadow stacks, a dispatcher of system calls.

mod code;
#[cfg(target_arch = "x86_64")]
mod filter;
#[cfg(target_arch = "x86_64")]
mod frame;
#[cfg(target_arch = "x86_64")]
mod injection;
#[cfg(target_arch = "x86_64")]
mod room;
mod twin;
mod userfault;

pub use code::Code;
pub(crate) use code::find as find_code;
pub use twin::Twin;
pub(crate) use twin::{make_twin, others as other_twins, reap_leftovers, reap_twin};
pub use userfault::Userfault;
pub(crate) use userfault::{open_userfault, own_userfault};

/// Why a call cannot be made inside the target, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    why: String,
    about_thread: bool,
}

impl Refused {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), about_thread: false }
    }

    /// Some other reason why a snapshot of a kind is not possible.
    #[must_use]
    pub fn because(why: String) -> Self {
        Self::new(why)
    }

    /// This thread is not suited; another may be.
    pub(crate) fn thread(why: impl Into<String>) -> Self {
        Self { why: why.into(), about_thread: true }
    }

    pub(crate) fn is_about_thread(&self) -> bool {
        self.about_thread
    }
}

/// What a thread that may be borrowed needs to be judged and used.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The target's directory.
    pub(crate) dir: &'a crate::procfs::ProcDir,
    /// Where to jump.
    pub(crate) code: &'a Code,
    /// The target's regions as they are now, names included.
    pub(crate) regions: &'a [effigy_process::Region],
    /// The options that its threads are traced with otherwise (`PTRACE_O_*`).
    pub(crate) options: i32,
}
