//! What `/proc/PID/task/TID` says of a thread.

use bstr::{BString, ByteSlice};
use effigy_process::{KernelFacts, SchedulingFacts, ThreadId, ThreadState, ThreadTimes};

use super::{ProcDir, Stat, Status};

/// Everything about a thread but its registers.
#[derive(Clone, Debug)]
pub struct ThreadFacts {
    /// Its name.
    pub name: Option<BString>,
    /// Its state.
    pub state: ThreadState,
    /// Its id in its own PID namespace, where that is another.
    pub inner_id: Option<ThreadId>,
    /// How long it has run.
    pub times: ThreadTimes,
    /// How it is scheduled.
    pub scheduling: SchedulingFacts,
    /// The process that traces it; 0 for none.
    pub tracer: u32,
}

/// Reads a thread's `stat` and `status`; `None` when it is gone.
#[must_use]
pub fn thread_facts(dir: &ProcDir, tid: ThreadId) -> Option<ThreadFacts> {
    let stat = Stat::parse(&dir.read(&format!("task/{tid}/stat")).ok()?)?;
    let status = Status::parse(&dir.read(&format!("task/{tid}/status")).ok()?);
    let inner = status.numbers("NSpid").last().copied().filter(|inner| *inner != tid.0);
    Some(ThreadFacts {
        state: ThreadState(stat.state),
        inner_id: inner.map(ThreadId),
        times: ThreadTimes { user: stat.user_time, kernel: stat.kernel_time, started: Some(stat.started) },
        scheduling: SchedulingFacts {
            policy: Some(stat.policy),
            priority: Some(stat.priority),
            nice: Some(stat.nice),
            processor: Some(stat.processor),
            affinity: Some(status.affinity()),
            voluntary_switches: status.number("voluntary_ctxt_switches"),
            involuntary_switches: status.number("nonvoluntary_ctxt_switches"),
            minor_faults: Some(stat.minor_faults),
            major_faults: Some(stat.major_faults),
            signals_pending: status.mask("SigPnd"),
            signals_blocked: status.mask("SigBlk"),
        },
        tracer: status.tracer(),
        name: Some(stat.name),
    })
}

/// The kernel's side of a thread. Files that may not be read (`stack` needs CAP_SYS_ADMIN) leave their part empty.
#[must_use]
pub fn kernel_facts(dir: &ProcDir, tid: ThreadId, state: Option<char>) -> KernelFacts {
    let read = |name: &str| dir.read(&format!("task/{tid}/{name}")).unwrap_or_default();
    let wait_channel = read("wchan").to_str_lossy().trim().to_owned();
    let mut facts = KernelFacts {
        state,
        // "0" is how the kernel says that it does not wait, or that we may not know.
        wait_channel: if wait_channel == "0" { String::new() } else { wait_channel },
        stack: read("stack").lines().map(|line| line.to_str_lossy().into_owned()).collect(),
        run_delay_ns: read("schedstat")
            .to_str_lossy()
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|text| text.parse().ok()),
        ..KernelFacts::default()
    };
    parse_syscall(&read("syscall").to_str_lossy(), &mut facts);
    facts
}

/// `/proc/PID/syscall`: `running`, or the call's number (−1 when blocked outside a call), its arguments, the stack
/// pointer and the program counter.
fn parse_syscall(text: &str, facts: &mut KernelFacts) {
    let mut fields = text.split_ascii_whitespace();
    let Some(number) = fields.next().and_then(|field| field.parse::<i64>().ok()).filter(|number| *number >= 0) else {
        return;
    };
    facts.syscall = Some(number);
    facts.syscall_name = usize::try_from(number).ok().and_then(syscalls::Sysno::new).map(|call| call.name().to_owned());
    let words: Vec<u64> =
        fields.filter_map(|field| u64::from_str_radix(field.trim_start_matches("0x"), 16).ok()).collect();
    facts.arguments = words.iter().copied().take(6).collect();
    (facts.stack_pointer, facts.program_counter) = (words.get(6).copied(), words.get(7).copied());
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn syscall_lines() {
        let mut facts = KernelFacts::default();
        parse_syscall("202 0x7f00 0x189 0x0 0x0 0x0 0xffffffff 0x7ffe 0x7f01", &mut facts);
        assert_eq!(facts.syscall_name.as_deref(), Some("futex"));
        assert_eq!(facts.arguments, [0x7f00, 0x189, 0, 0, 0, 0xffff_ffff]);
        assert_eq!((facts.stack_pointer, facts.program_counter), (Some(0x7ffe), Some(0x7f01)));
        let mut facts = KernelFacts::default();
        parse_syscall("running", &mut facts);
        assert_eq!(facts.syscall, None);
    }
}
