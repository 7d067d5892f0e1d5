//! A process that is watched: held by a pidfd, so that its id cannot come to mean another one unnoticed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bstr::BString;
use effigy_live::LiveError;
use effigy_live::procfs::{ProcDir, Stat};
use effigy_process::{ProcessId, ThreadState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process.
#[derive(Debug)]
pub struct Target {
    pid: ProcessId,
    dir: ProcDir,
    pidfd: OwnedFd,
    name: BString,
    started: Duration,
}

impl Target {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// When there is none of that id, it has ended, or it is a kernel thread.
    pub fn open(pid: ProcessId) -> Result<Self, LiveError> {
        let number = i32::try_from(pid.0).ok().and_then(Pid::from_raw).ok_or(LiveError::NoSuchProcess(pid))?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|error| match error {
            // EINVAL is for a thread that is no process.
            rustix::io::Errno::SRCH | rustix::io::Errno::INVAL => LiveError::NoSuchProcess(pid),
            error => LiveError::Proc { pid, file: "pidfd".into(), source: error.into() },
        })?;
        let dir = ProcDir::open(pid)?;
        let stat = Stat::parse(&dir.require("stat")?).ok_or_else(|| dir.form("stat", "no line of fields"))?;
        if stat.is_kernel_thread() {
            return Err(LiveError::KernelThread(pid, stat.name.to_string()));
        }
        if ThreadState(stat.state).is_exited() && stat.threads <= 1 {
            return Err(LiveError::Zombie(pid));
        }
        let target = Self { pid, dir, pidfd, name: stat.name, started: stat.started };
        // The directory may be that of a successor: it is not if the process of the pidfd lives on.
        if target.has_ended() { Err(LiveError::Ended(pid)) } else { Ok(target) }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> ProcessId {
        self.pid
    }

    /// Its short name when it was opened.
    #[must_use]
    pub fn name(&self) -> &BString {
        &self.name
    }

    /// From the system's start to its own: with the id, this is who it is.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.started
    }

    /// Its directory in `/proc`.
    #[must_use]
    pub fn dir(&self) -> &ProcDir {
        &self.dir
    }

    /// Whether all of it has ended; a zombie has.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Ends it with SIGKILL; never another process that has got its id.
    ///
    /// # Errors
    /// As `pidfd_send_signal(2)`.
    pub fn kill(&self) -> std::io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }
}

impl AsFd for Target {
    /// The pidfd: readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_held_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let target = Target::open(ProcessId(child.id())).unwrap();
        assert!(!target.has_ended());
        target.kill().unwrap();
        child.wait().unwrap();
        assert!(target.has_ended());
        assert!(target.kill().is_err());
        assert!(matches!(Target::open(ProcessId(child.id())), Err(LiveError::NoSuchProcess(_))));
    }

    #[test]
    fn zombies_are_refused() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = ProcessId(child.id());
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(Target::open(pid).is_err());
        child.wait().unwrap();
    }
}
