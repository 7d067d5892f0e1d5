//! Threads.

use std::fmt;
use std::time::{Duration, SystemTime};

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::{Address, AddressRange, GapReason, Registers};

/// A thread's id, as seen from where effigy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadTimes {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub kernel: Duration,
    /// From the system's start to the thread's; `None` when not known.
    pub started: Option<Duration>,
}

/// How a thread is scheduled; `None` for what is not known.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulingFacts {
    /// Policy of sched(7): 0 other, 1 FIFO, 2 RR, 3 batch, 5 idle, 6 deadline.
    pub policy: Option<u32>,
    /// Kernel priority, field 18 of proc_pid_stat(5).
    pub priority: Option<i64>,
    /// Nice value, −20 to 19.
    pub nice: Option<i64>,
    /// Processor that it last ran on.
    pub processor: Option<u32>,
    /// Processors that it may run on, low 64 as a mask.
    pub affinity: Option<u64>,
    /// Times that it gave the processor up by itself.
    pub voluntary_switches: Option<u64>,
    /// Times that it lost the processor.
    pub involuntary_switches: Option<u64>,
    /// Minor page faults (no disk).
    pub minor_faults: Option<u64>,
    /// Major page faults (disk).
    pub major_faults: Option<u64>,
    /// Signals pending for this thread, as a mask: bit 0 is signal 1.
    pub signals_pending: Option<u64>,
    /// Signals blocked, likewise.
    pub signals_blocked: Option<u64>,
}

/// What the kernel says of a thread from its own side; read just before the thread is stopped, as stopping ends the
/// sleep that it describes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// Its state just before it was stopped; `None` when not known.
    pub state: Option<ThreadState>,
    /// Its registers, or why there are none.
    pub registers: Result<Registers, NoRegisters>,
    /// The used part of its stack: from a little below the stack pointer to the stack's end, bounded.
    pub stack: Option<AddressRange>,
    /// How long it has run; `None` when not known.
    pub times: Option<ThreadTimes>,
    /// How it is scheduled.
    pub scheduling: SchedulingFacts,
    /// The kernel's side, where it was asked for.
    pub kernel: Option<KernelFacts>,
    /// What a minidump says of it beyond that, in the terms of Windows.
    pub windows: Option<Box<WindowsThread>>,
}

/// A thread without registers, of which nothing is known.
impl Default for Thread {
    fn default() -> Self {
        Self {
            id: ThreadId(0),
            inner_id: None,
            name: None,
            state: None,
            registers: Err(NoRegisters { reason: GapReason::NotInDump, detail: String::new() }),
            stack: None,
            times: None,
            scheduling: SchedulingFacts::default(),
            kernel: None,
            windows: None,
        }
    }
}

/// What a minidump says of a thread in the terms of Windows (`MINIDUMP_THREAD` and `MINIDUMP_THREAD_INFO`). macOS has some
/// of it too.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct WindowsThread {
    /// The thread environment block (TEB); `None` where there is none. Of other systems than Windows some address of the
    /// thread's own, if any.
    pub environment_block: Option<Address>,
    /// How often it is suspended.
    pub suspend_count: u32,
    /// Priority class of its process; 0 when not known.
    pub priority_class: u32,
    /// Its priority.
    pub priority: u32,
    /// Where it began.
    pub start_address: Option<Address>,
    /// When it began.
    #[serde(serialize_with = "crate::text::unix_seconds_option")]
    pub created: Option<SystemTime>,
    /// When it ended.
    #[serde(serialize_with = "crate::text::unix_seconds_option")]
    pub exited: Option<SystemTime>,
    /// With what status it ended; `None` while it runs, or when not known.
    pub exit_status: Option<u32>,
    /// `MINIDUMP_THREAD_INFO_*` bits: what the writer could not do for it.
    pub dump_flags: Option<u32>,
    /// An HRESULT: why the writer could not; `None` when not known.
    pub dump_error: Option<u32>,
}
