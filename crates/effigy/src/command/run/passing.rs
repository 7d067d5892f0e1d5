//! A program's standard error on its way past us.
//!
//! The program writes into a pipe. Were effigy at its other end, its death would be the program's, by SIGPIPE. So a process of
//! its own is there, a copy of effigy that does nothing else: it passes everything on to the real standard error, then to
//! effigy while that listens, and lives until the last of those has ended who may write into the pipe. What the real standard
//! error does, the program sees: a slow reader holds it up, and one that goes away ends the passing, so that the program's
//! next write fails as it would have.

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::exit::Exit;

/// This program, also when its file has been replaced.
const OURSELVES: &str = "/proc/self/exe";
/// Bytes that are passed on at a time.
const PIECE: usize = 64 << 10;
/// How long effigy, which is only listening, may keep everybody waiting.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// How often it is looked whether everything was passed on.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Looks in a row that find nothing in the pipe: what was in it has been taken, and written in between.
const LOOKS: u32 = 4;
/// How long that is waited for in all: nothing is lost when it takes longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Who passes it on.
pub(super) struct Passing {
    passer: Child,
}

/// The pipes of a program and of who listens.
pub(super) struct Ends {
    /// The program's standard error.
    pub(super) program: PipeWriter,
    /// What was passed on.
    pub(super) copy: PipeReader,
}

impl Passing {
    /// Starts it. To be called when signals are held back, which its process inherits.
    pub(super) fn start() -> io::Result<(Self, Ends)> {
        let (said, program) = pipe()?;
        let (copy, copied) = pipe()?;
        let mut passer = Command::new(OURSELVES);
        // The folder is not to be held by who may live long.
        passer.arg("pass-stderr").current_dir("/").stdin(said).stdout(copied).stderr(Stdio::inherit());
        let passer = passer.spawn()?;
        Ok((Self { passer }, Ends { program, copy }))
    }

    /// Waits until everything that the program has written is passed on, after its end. Others may write on.
    pub(super) fn finish(mut self) {
        let path = format!("/proc/{}/fd/0", self.passer.id());
        let began = Instant::now();
        let mut empty = 0;
        while empty < LOOKS && began.elapsed() < LONGEST_WAIT && matches!(self.passer.try_wait(), Ok(None)) {
            // Not kept open: who writes is to see when the passer is gone.
            let left =
                rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, rustix::fs::Mode::empty())
                    .and_then(rustix::io::ioctl_fionread);
            empty = if left.unwrap_or(0) == 0 { empty + 1 } else { 0 };
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// Passes on what comes, in a process of its own.
pub(crate) fn pass_stderr() -> Exit {
    // Neither Ctrl-C nor the end of a session is for it; a terminal that it is in the background of is written to, too.
    let _ = SigSet::all().thread_block();
    let (input, mut copy) = (io::stdin(), Some(io::stdout()));
    if let Some(copy) = &copy {
        let _ = fcntl_getfl(copy).and_then(|flags| fcntl_setfl(copy, flags | OFlags::NONBLOCK));
    }
    let stderr = io::stderr();
    let mut piece = vec![0; PIECE];
    let mut patient = true;
    loop {
        let count = match rustix::io::retry_on_intr(|| rustix::io::read(&input, &mut piece)) {
            Ok(0) | Err(_) => return Exit::Done,
            Ok(count) => count,
        };
        if write_all(stderr.as_fd(), &piece[..count]) == Err(Errno::PIPE) {
            return Exit::Done;
        }
        let copied = copy.as_ref().map(|copy| copy_all(copy.as_fd(), &piece[..count], &mut patient));
        if copied == Some(false) {
            copy = None;
        }
    }
}

/// Writes to the real standard error, whatever it takes. A full disk loses what is written, as it would have without us.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Has effigy see it, if it takes it in time; false when it is no more. Who has not been in time once is not waited for until
/// it takes something again.
fn copy_all(to: BorrowedFd<'_>, mut bytes: &[u8], patient: &mut bool) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => {
                bytes = &bytes[count..];
                *patient = true;
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if *patient => {
                *patient = poll(&mut [PollFd::new(&to, PollFlags::OUT)], Some(&PATIENCE)).is_ok_and(|ready| ready > 0);
            }
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
    true
}
