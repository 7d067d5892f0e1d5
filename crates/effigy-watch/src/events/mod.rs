//! Processes that start, as they do.
//!
//! The kernel's process connector tells of every fork and execve at once, in the first PID and user namespaces and, before
//! Linux 6.6, to CAP_NET_ADMIN. Elsewhere the newest process id of `/proc/loadavg` is looked at many times a second.

mod connector;
mod newest;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use effigy_process::ProcessId;

use connector::Connector;
use newest::Newest;

/// Something that has happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was made, by another one; its name is still that one's.
    Forked {
        /// The new one.
        pid: ProcessId,
        /// Who made it.
        parent: ProcessId,
    },
    /// It has become a program (execve), or has another name.
    Named(ProcessId),
    /// Some were missed: whoever wants to know all has to look at all.
    Missed,
}

/// How starts become known.
#[derive(Debug)]
enum Source {
    Connector(Connector),
    Newest(Newest),
}

/// Hears of processes that start.
#[derive(Debug)]
pub struct Starts {
    source: Source,
    /// Why not by the better way.
    fallback: Option<String>,
}

impl Starts {
    /// Listens from now on.
    ///
    /// # Errors
    /// When neither way is open.
    pub fn listen() -> std::io::Result<Self> {
        match Connector::listen() {
            Ok(connector) => Ok(Self { source: Source::Connector(connector), fallback: None }),
            Err(error) => Ok(Self { source: Source::Newest(Newest::listen()?), fallback: Some(error.to_string()) }),
        }
    }

    /// Polls, whatever else would be possible.
    ///
    /// # Errors
    /// When `/proc/loadavg` cannot be read.
    pub fn by_polling() -> std::io::Result<Self> {
        Ok(Self { source: Source::Newest(Newest::listen()?), fallback: Some("as asked".into()) })
    }

    /// How they become known, for people.
    #[must_use]
    pub fn manner(&self) -> String {
        match &self.fallback {
            None => "the kernel tells of new processes".into(),
            Some(why) => format!(
                "new processes are looked for every {} ms (the kernel's process connector cannot be used: {why})",
                newest::EVERY.as_millis()
            ),
        }
    }

    /// Whether the kernel tells.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.fallback.is_none()
    }

    /// What is readable when there is news; `None` when one has to look every so often.
    #[must_use]
    pub fn readiness(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Connector(connector) => Some(connector.readiness()),
            Source::Newest(_) => None,
        }
    }

    /// Time until one has to look again, where nobody tells.
    #[must_use]
    pub fn look_again(&self) -> Option<Duration> {
        matches!(self.source, Source::Newest(_)).then_some(newest::EVERY)
    }

    /// Adds what has happened since the last time. Never waits.
    pub fn collect(&mut self, now: Instant, into: &mut Vec<Started>) {
        match &mut self.source {
            Source::Connector(connector) => connector.collect(into),
            Source::Newest(newest) => newest.collect(now, into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn hears(mut starts: Starts) {
        let mut heard = Vec::new();
        starts.collect(Instant::now(), &mut heard);
        heard.clear();
        let mut child = Command::new("sleep").arg("5").spawn().unwrap();
        let pid = ProcessId(child.id());
        let deadline = Instant::now() + Duration::from_secs(5);
        let mine = |started: &Started| match started {
            Started::Forked { pid: one, .. } | Started::Named(one) => *one == pid,
            Started::Missed => true,
        };
        while !heard.iter().any(mine) {
            assert!(Instant::now() < deadline, "{}: {heard:?}", starts.manner());
            std::thread::sleep(Duration::from_millis(5));
            starts.collect(Instant::now(), &mut heard);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_start_is_heard_of() {
        hears(Starts::listen().unwrap());
        hears(Starts::by_polling().unwrap());
    }
}
