//! Sleeping until something happens.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::arrivals::Arrivals;
use crate::Target;

/// What the descriptors that are waited for are known by.
const WAKE: u64 = 0;
const STARTS: u64 = 1;
pub(super) const FIRST_TARGET: u64 = 2;
/// What is told at a time.
const MOST: usize = 64;
/// A signal may have come before it was waited for: it is looked at so often, whatever happens.
const LONGEST: Duration = Duration::from_secs(1);

/// Ends a session's sleep, from any thread or signal handler.
#[derive(Clone, Debug)]
pub struct Waker(Arc<UnixStream>);

impl Waker {
    /// Ends it.
    pub fn wake(&self) {
        // When there is no room, somebody has woken it already.
        let _ = (&*self.0).write(&[1]);
    }

    /// A descriptor to which a byte is written to end it.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn descriptor(&self) -> io::Result<UnixStream> {
        self.0.try_clone()
    }
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Targets that have ended.
    pub(super) ended: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Wait {
    epoll: OwnedFd,
    waker: Waker,
    woken: UnixStream,
}

impl Wait {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        epoll::add(&epoll, &woken, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, waker: Waker(Arc::new(waker)), woken })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn listen(&self, arrivals: &Arrivals) -> io::Result<()> {
        match arrivals.readiness() {
            Some(descriptor) => self.add(descriptor, STARTS, epoll::EventFlags::IN),
            None => Ok(()),
        }
    }

    pub(super) fn watch(&self, target: &Target, token: u64) -> io::Result<()> {
        // Its end is told once, and not again and again while its dump is being finished.
        self.add(target.as_fd(), token, epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    pub(super) fn forget(&self, target: &Target) {
        let _ = epoll::delete(&self.epoll, target);
    }

    fn add(&self, descriptor: BorrowedFd<'_>, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(token), flags)?)
    }

    /// Sleeps until the time comes or something happens.
    pub(super) fn next(&self, until: Instant, arrivals: Option<&Arrivals>) -> io::Result<News> {
        let mut time = until.saturating_duration_since(Instant::now()).min(LONGEST);
        if let Some(soonest) = arrivals.and_then(Arrivals::look_again) {
            time = time.min(soonest);
        }
        let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
        let mut events = Vec::with_capacity(MOST);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut news = News::default();
        for event in &events {
            match event.data.u64() {
                WAKE => {
                    let _ = (&self.woken).read(&mut [0; 64]);
                }
                STARTS => {}
                token => news.ended.push(token),
            }
        }
        Ok(news)
    }
}
