//! Threads.

use std::fmt;
use std::time::Duration;

use bstr::BString;
use serde::Serialize;

use crate::{AddressRange, GapReason, Registers};

/// A thread's id, as seen from where effigy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ThreadId(pub u32);

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The state letter of proc_pid_stat(5): `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ThreadState(pub char);

impl ThreadState {
    /// In uninterruptible sleep.
    #[must_use]
    pub fn is_uninterruptible(self) -> bool {
        self.0 == 'D'
    }

    /// Exited, and not yet (or never to be) reaped.
    #[must_use]
    pub fn is_exited(self) -> bool {
        matches!(self.0, 'Z' | 'X' | 'x')
    }
}

/// How long a thread has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct ThreadTimes {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub kernel: Duration,
    /// From the system's start to the thread's.
    pub started: Duration,
}

/// How a thread is scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct SchedulingFacts {
    /// Policy of sched(7): 0 other, 1 FIFO, 2 RR, 3 batch, 5 idle, 6 deadline.
    pub policy: u32,
    /// Kernel priority, field 18 of proc_pid_stat(5).
    pub priority: i64,
    /// Nice value, −20 to 19.
    pub nice: i64,
    /// Processor that it last ran on.
    pub processor: u32,
    /// Processors that it may run on, low 64 as a mask.
    pub affinity: u64,
    /// Times that it gave the processor up by itself.
    pub voluntary_switches: u64,
    /// Times that it lost the processor.
    pub involuntary_switches: u64,
    /// Minor page faults (no disk).
    pub minor_faults: u64,
    /// Major page faults (disk).
    pub major_faults: u64,
    /// Signals pending for this thread, as a mask: bit 0 is signal 1.
    pub signals_pending: u64,
    /// Signals blocked, likewise.
    pub signals_blocked: u64,
}

/// What the kernel says of a thread from its own side; read just before the thread is stopped, as stopping ends the
/// sleep that it describes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct KernelFacts {
    /// The state letter at that moment.
    pub state: Option<char>,
    /// Kernel function in which it waits (`wchan`); empty when it does not.
    pub wait_channel: String,
    /// Number of the current system call; `None` when it was running or is not in one.
    pub syscall: Option<i64>,
    /// That call's name, where the table knows it.
    pub syscall_name: Option<String>,
    /// That call's six arguments.
    pub arguments: Vec<u64>,
    /// The user-mode stack pointer in that call, where the kernel tells it.
    pub stack_pointer: Option<u64>,
    /// The user-mode program counter in that call, likewise.
    pub program_counter: Option<u64>,
    /// The kernel stack, innermost first, as `/proc/PID/task/TID/stack` prints it.
    pub stack: Vec<String>,
    /// Nanoseconds waited for a processor, from `schedstat`.
    pub run_delay_ns: Option<u64>,
}

/// Why a thread has no registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoRegisters {
    /// The reason, as in the list of gaps.
    #[serde(skip)]
    pub reason: GapReason,
    /// More for a human.
    pub detail: String,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id, from where effigy runs.
    pub id: ThreadId,
    /// Its id inside its own PID namespace, where that differs.
    pub inner_id: Option<ThreadId>,
    /// Its name (`comm`).
    pub name: Option<BString>,
    /// Its state just before it was stopped.
    pub state: ThreadState,
    /// Its registers, or why there are none.
    pub registers: Result<Registers, NoRegisters>,
    /// The used part of its stack: from a little below the stack pointer to the stack's end, bounded.
    pub stack: Option<AddressRange>,
    /// How long it has run.
    pub times: ThreadTimes,
    /// How it is scheduled.
    pub scheduling: SchedulingFacts,
    /// The kernel's side, where it was asked for.
    pub kernel: Option<KernelFacts>,
}
