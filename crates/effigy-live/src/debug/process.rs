//! A process that a session traces.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::Sender;
use effigy_process::{GeneralRegisters, ProcessId};
use nix::errno::Errno;

use super::Place;
use super::breakpoints::Armed;
use crate::procfs::{ProcDir, Status, parse_maps};
use crate::stop::registers::read_registers;
use crate::stop::{self, ThreadSet};
use crate::trace::pid_of;

/// A process and what is known of it.
pub(super) struct Traced {
    pub(super) set: ThreadSet,
    /// Who takes a dump of it at the moment.
    pub(super) listener: Option<Sender<stop::Event>>,
    /// Whether it has ended, and is kept for that.
    pub(super) gone: bool,
    /// The breakpoints in it.
    pub(super) armed: Armed,
    /// The thread that has got a signal that kills.
    pub(super) culprit: Option<u32>,
    /// Whether its end was told.
    pub(super) ending: bool,
    /// Whether job control keeps it from running.
    pub(super) stopped: bool,
    /// While it is yet to become the program that was asked for: whether the making of it is over.
    pub(super) launching: Option<Arc<AtomicBool>>,
}

impl Traced {
    pub(super) fn new(set: ThreadSet) -> Self {
        Self {
            set,
            listener: None,
            gone: false,
            armed: Armed::default(),
            culprit: None,
            ending: false,
            stopped: false,
            launching: None,
        }
    }

    pub(super) fn pid(&self) -> ProcessId {
        self.set.dir().id()
    }

    /// Its status, or that of one of its threads.
    pub(super) fn status(&self, tid: u32) -> Status {
        Status::parse(&self.set.dir().read(&format!("task/{tid}/status")).unwrap_or_default())
    }

    /// Tells whoever takes a dump that there is nothing left to dump.
    pub(super) fn tell_end(&mut self) {
        if let Some(listener) = &self.listener {
            // It has room for more than one can be told.
            let _ = listener.try_send(stop::Event::Ended);
        }
    }

    /// What ends with a thread that is about to. `status` is what it ends with, in the form of wait(2).
    ///
    /// When a process ends, all of its threads are about to, and each is told of; only one of them has brought it about.
    pub(super) fn ends_with(&self, tid: u32, status: u32) -> Ending {
        let signal = status & 0x7f;
        if signal != 0 {
            // SIGKILL is nobody's doing, and leaves no time. Of other signals it is known who got them.
            let culprit = self.culprit.is_none_or(|culprit| culprit == tid) && signal != libc::SIGKILL.unsigned_abs();
            return if culprit { Ending::Process } else { Ending::Nothing };
        }
        match last_call(tid) {
            Some(Exit::All) => Ending::Process,
            Some(Exit::One) if self.is_last(tid) => Ending::Process,
            Some(Exit::One) => Ending::Thread,
            // Ended by another thread's exit_group or execve.
            None => Ending::Nothing,
        }
    }

    fn is_last(&self, tid: u32) -> bool {
        use effigy_process::ThreadState;
        let lives = |other: &u32| {
            let stat = self.set.dir().read(&format!("task/{other}/stat")).ok();
            stat.and_then(|bytes| crate::procfs::Stat::parse(&bytes))
                .is_some_and(|stat| !ThreadState(stat.state).is_exited())
        };
        let tids = self.set.dir().numbers("task").unwrap_or_default();
        !tids.iter().any(|other| *other != tid && lives(other))
    }
}

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process.
    Process,
    /// The thread alone.
    Thread,
    /// The thread, for a reason that is another's.
    Nothing,
}

/// Calls that end.
enum Exit {
    /// exit_group(2)
    All,
    /// exit(2), of a thread
    One,
}

/// The call of the two that a thread is in.
#[cfg(target_arch = "x86_64")]
fn last_call(tid: u32) -> Option<Exit> {
    /// What tells a 32-bit program, and its numbers of the two calls.
    const USER32_CS: u64 = 0x23;
    const EXIT_32: u64 = 1;
    const EXIT_GROUP_32: u64 = 252;
    let registers = crate::trace::registers(tid).ok()?;
    let (all, one) = if registers.cs == USER32_CS {
        (EXIT_GROUP_32, EXIT_32)
    } else {
        (libc::SYS_exit_group.unsigned_abs(), libc::SYS_exit.unsigned_abs())
    };
    match registers.orig_rax {
        call if call == all => Some(Exit::All),
        call if call == one => Some(Exit::One),
        _ => None,
    }
}

/// Only written for x86-64; elsewhere the last thread to end tells of the end of the process.
#[cfg(not(target_arch = "x86_64"))]
fn last_call(_tid: u32) -> Option<Exit> {
    Some(Exit::One)
}

/// General registers of a thread that stands still.
pub(super) fn general(tid: u32) -> Result<GeneralRegisters, Errno> {
    read_registers(pid_of(tid))?.general().ok_or(Errno::ENODATA)
}

/// Where a thread that stands still is.
pub(super) fn place(dir: &ProcDir, tid: u32) -> Option<Place> {
    let address = general(tid).ok()?.instruction_pointer()?;
    let regions = parse_maps(dir).ok()?;
    let region = regions.iter().find(|region| region.range.contains(address) && region.inode != 0);
    Some(region.map_or_else(
        || Place { address, path: <_>::default(), offset: 0 },
        |region| Place {
            address,
            path: region.path().0.to_owned(),
            offset: region.offset + (address.0 - region.range.start().0),
        },
    ))
}
