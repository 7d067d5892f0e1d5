//! Starting a program that is traced from its first instruction on.
//!
//! The child waits until it is traced and then becomes the program. It is traced by `PTRACE_SEIZE` like any other target,
//! not by its own wish (`PTRACE_TRACEME`): that sends it a signal and stops it with job control's stops. Its terminal,
//! process group, descriptors and signals are those that it would have without us in between.

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::bounded;
use effigy_process::ProcessId;
use nix::sys::signal::SigSet;

use super::pass::PASSED;
use super::session::State;
use super::{End, Passage, Resolve, Session, Wants};
use crate::procfs::ProcDir;
use crate::spawn::forget_handler;
use crate::stop::wait::{self, keep, wait_for_end};
use crate::{LiveError, trace};

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The system did not make it.
    #[error("it cannot be started")]
    Start(#[source] io::Error),
    /// It was there and could not be traced.
    #[error(transparent)]
    Trace(#[from] LiveError),
}

/// Starts a program and traces it. Signals that `passage` holds back from effigy are not held back from the program. Its
/// parent is the calling thread, on whose end it may have asked for a signal (`PR_SET_PDEATHSIG`).
///
/// # Errors
/// Why it could not be started, or traced.
pub fn launch(
    command: Command,
    passage: &Passage,
    wants: Wants,
    resolve: Box<dyn Resolve>,
) -> Result<Session, LaunchError> {
    let (told, tell) = pipe().map_err(LaunchError::Start)?;
    let (wait, go) = pipe().map_err(LaunchError::Start)?;
    let closed = go.as_raw_fd();
    let mut command = prepare(command, Child { tell, wait, closed, mask: passage.before() });
    let spawned = Arc::new(AtomicBool::new(false));
    let (begun, outcome) = bounded(1);
    let mut session = Session::start(ProcessId(0), {
        let spawned = Arc::clone(&spawned);
        move |link, commands, events| {
            let mut state = State::new(wants, resolve, link, commands, events);
            let adopted = adopt(&mut state, told, go, spawned);
            let failed = adopted.is_err();
            // Whoever waits for it is there: it waits without end.
            let _ = begun.send(adopted);
            if !failed {
                state.run();
            }
        }
    })?;
    // Returns when it has become the program, or could not.
    let started = command.spawn();
    spawned.store(true, Ordering::SeqCst);
    // Ends of pipes that only the child needs go with it.
    drop(command);
    let adopted = outcome.recv().map_err(|_| LiveError::OwnThread("session"))?;
    match started {
        Ok(_) => session.pid = adopted?,
        // It was not let go on, as it could not be traced.
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => session.pid = adopted?,
        // When there is no child, that is the reason for all the rest.
        Err(error) => return Err(LaunchError::Start(error)),
    }
    Ok(session)
}

/// Starts a program that nobody traces. What is said of signals and of its parent at [`launch`] is true of it, too. Its end
/// is left to [`end_of`], whoever takes a dump of it.
///
/// # Errors
/// Why it could not be started.
pub fn launch_untraced(mut command: Command, passage: &Passage) -> Result<ProcessId, LaunchError> {
    let mask = passage.before();
    let become_program = move || {
        PASSED.into_iter().for_each(forget_handler);
        Ok(mask.thread_set_mask()?)
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(become_program) };
    // Returns when it has become the program, or could not.
    let pid = command.spawn().map(|child| child.id()).map_err(LaunchError::Start)?;
    keep(pid, true);
    Ok(ProcessId(pid))
}

/// What the child has in its hands before it becomes the program.
struct Child {
    tell: PipeWriter,
    wait: PipeReader,
    /// The other end of `wait`, which it has a copy of.
    closed: i32,
    mask: SigSet,
}

fn prepare(mut command: Command, child: Child) -> Command {
    let become_program = move || {
        // SAFETY: the descriptor is a copy that the fork has made, and nobody in this process uses it: with it open, the
        // end of effigy would not end the wait.
        unsafe { libc::close(child.closed) };
        let pid = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
        rustix::io::write(&child.tell, &pid)?;
        match rustix::io::retry_on_intr(|| rustix::io::read(&child.wait, &mut [0u8]))? {
            // effigy is no more, or does not want it any more.
            0 => return Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            _ => {
                // What has come for the program meanwhile is not for the handlers that effigy has, and that this copy
                // of it still has.
                PASSED.into_iter().for_each(forget_handler);
                child.mask.thread_set_mask()?;
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(become_program) };
    command
}

/// Traces the child and has it become the program.
fn adopt(
    state: &mut State,
    mut told: PipeReader,
    mut go: PipeWriter,
    spawned: Arc<AtomicBool>,
) -> Result<ProcessId, LiveError> {
    let mut pid = [0; 4];
    // Closed without a word: there is no child, and whoever has tried to make it says why.
    told.read_exact(&mut pid).map_err(|_| LiveError::OwnThread("session"))?;
    let pid = ProcessId(u32::from_ne_bytes(pid));
    trace::seize(pid.0, state.options()).map_err(|errno| LiveError::Ptrace {
        request: "SEIZE",
        tid: effigy_process::ThreadId(pid.0),
        source: io::Error::from(errno),
    })?;
    state.adopt(ProcDir::open(pid)?, spawned);
    // A child that was killed does not read it, and its end is told like any other.
    let _ = go.write_all(&[1]);
    Ok(pid)
}

/// Waits for the end of a program that was launched and that nobody traces (any more); `None` when it is no child of ours, or
/// its end was collected already.
#[must_use]
pub fn end_of(pid: ProcessId) -> Option<End> {
    loop {
        match wait_for_end(pid.0) {
            Ok(Some(wait::End::Exited(status))) => return Some(End::Exited(status)),
            Ok(Some(wait::End::Killed(signal))) => return Some(End::Killed(signal)),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
}
