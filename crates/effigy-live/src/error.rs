//! What can go wrong with a running process.

use std::io;

use effigy_process::{ProcessId, ThreadId};

use crate::permission::Refusal;

/// Why a running process could not be looked at or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// There is no process of that id.
    #[error("there is no process {0}")]
    NoSuchProcess(ProcessId),
    /// It was there and has ended.
    #[error("process {0} ended while it was being captured")]
    Ended(ProcessId),
    /// It is a zombie: it has ended and its parent has not asked for its status yet.
    #[error("process {0} has already ended (a zombie, waiting for its parent to collect it); it has no memory left")]
    Zombie(ProcessId),
    /// A kernel thread has no memory of its own.
    #[error("process {0} ({1}) is a kernel thread; it has no user memory to dump")]
    KernelThread(ProcessId, String),
    /// effigy itself, or a thread of it.
    #[error("process {0} is effigy itself; a program cannot stop itself to be dumped")]
    Ourselves(ProcessId),
    /// The system refused.
    #[error("{0}")]
    NotPermitted(#[from] Box<Refusal>),
    /// Someone else traces it.
    #[error(
        "process {pid} is already traced by process {tracer}{}; only one tracer can hold a process. End that one, or \
         ask for a dump of the memory without registers (--no-registers)",
        if tracer_name.is_empty() { String::new() } else { format!(" ({tracer_name})") }
    )]
    AlreadyTraced {
        /// The target.
        pid: ProcessId,
        /// Its tracer.
        tracer: u32,
        /// The tracer's name; empty when not known.
        tracer_name: String,
    },
    /// It has replaced its program with another one (execve) between being looked at and being stopped.
    #[error("process {0} has become another program (execve) while it was being captured")]
    Replaced(ProcessId),
    /// The program has excluded memory from dumps at the moment of the dump.
    #[error("process {0} has excluded memory from dumps (MADV_DONTDUMP) while it was being captured")]
    Excluded(ProcessId),
    /// `/proc` is not that of our PID namespace.
    #[error(
        "/proc shows another PID namespace than the one that effigy runs in, so process ids would mean other processes. \
         Mount one that fits (mount -t proc proc /proc), or enter the namespace with its /proc (nsenter -p -m)"
    )]
    ForeignProc,
    /// Not all threads stopped in time, and not because they are in uninterruptible sleep.
    #[error("{running} of {all} threads of process {pid} did not stop within {seconds:.1} s")]
    DidNotStop {
        /// The target.
        pid: ProcessId,
        /// Threads that still run.
        running: usize,
        /// All threads.
        all: usize,
        /// How long was waited.
        seconds: f64,
    },
    /// The kernel does not answer a request about it.
    #[error(
        "process {0} could not be stopped: the kernel holds the request back, as it does during an execve, which may wait \
         for a file on a network"
    )]
    Unanswered(ProcessId),
    /// This way of freezing the target is not possible; another may be.
    #[error("no snapshot of this kind is possible: {0}")]
    NoSnapshot(#[from] crate::remote::Refused),
    /// Stopping was given up because someone asked for it.
    #[error("cancelled")]
    Cancelled,
    /// A file of `/proc` could not be read.
    #[error("reading /proc/{pid}/{file}")]
    Proc {
        /// The target.
        pid: ProcessId,
        /// Path below its directory.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file of `/proc` has a form that this version does not understand.
    #[error("/proc/{pid}/{file} has an unexpected form: {what}")]
    Form {
        /// The target.
        pid: ProcessId,
        /// Path below its directory.
        file: String,
        /// What was found.
        what: String,
    },
    /// A ptrace request failed for a reason that is not about rights.
    #[error("ptrace {request} of thread {tid}")]
    Ptrace {
        /// The request.
        request: &'static str,
        /// The thread.
        tid: ThreadId,
        /// Why.
        source: io::Error,
    },
    /// A thread of effigy's own could not be started or has panicked.
    #[error("effigy's own {0} thread failed")]
    OwnThread(&'static str),
}
