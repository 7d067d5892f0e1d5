//! `/proc/PID/stat` and `/proc/PID/task/TID/stat`: proc_pid_stat(5).

use std::time::Duration;

use bstr::{BString, ByteSlice};

/// The fields of `stat` that effigy uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Field 1: the id.
    pub id: u32,
    /// Field 2: `comm`, without its parentheses; any bytes.
    pub name: BString,
    /// Field 3: the state letter.
    pub state: char,
    /// Field 4: parent.
    pub parent: u32,
    /// Field 5: process group.
    pub group: u32,
    /// Field 6: session.
    pub session: u32,
    /// Field 9: kernel flags (`PF_*`).
    pub flags: u32,
    /// Field 10: minor faults.
    pub minor_faults: u64,
    /// Field 12: major faults.
    pub major_faults: u64,
    /// Field 14: time in user mode.
    pub user_time: Duration,
    /// Field 15: time in the kernel.
    pub kernel_time: Duration,
    /// Field 18: priority.
    pub priority: i64,
    /// Field 19: nice value.
    pub nice: i64,
    /// Field 20: number of threads.
    pub threads: u32,
    /// Field 22: start, since the system's.
    pub started: Duration,
    /// Field 28: bottom of the stack at start; 0 or 1 when not shown to us.
    pub start_stack: u64,
    /// Field 39: processor last run on.
    pub processor: u32,
    /// Field 41: scheduling policy.
    pub policy: u32,
}

/// `PF_KTHREAD` of include/linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

impl Stat {
    /// Parses the file's one line; `None` when it has another form.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // The name may hold spaces and parentheses: it ends at the last one.
        let open = bytes.find_byte(b'(')?;
        let close = bytes.rfind_byte(b')')?;
        let id = bytes[..open].to_str().ok()?.trim().parse().ok()?;
        let name = bytes.get(open + 1..close)?.into();
        let rest = bytes.get(close + 1..)?.to_str().ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // fields[0] is field 3 of the manual page.
        let field = |number: usize| fields.get(number - 3).copied();
        let unsigned = |number| field(number)?.parse::<u64>().ok();
        let signed = |number| field(number)?.parse::<i64>().ok();
        let small = |number| signed(number).map(|value| u32::try_from(value).unwrap_or(0));
        Some(Self {
            id,
            name,
            state: field(3)?.chars().next()?,
            parent: small(4)?,
            group: small(5)?,
            session: small(6)?,
            flags: small(9)?,
            minor_faults: unsigned(10)?,
            major_faults: unsigned(12)?,
            user_time: ticks(unsigned(14)?),
            kernel_time: ticks(unsigned(15)?),
            priority: signed(18)?,
            nice: signed(19)?,
            threads: small(20)?,
            started: ticks(unsigned(22)?),
            start_stack: unsigned(28).unwrap_or(0),
            processor: small(39).unwrap_or(0),
            policy: small(41).unwrap_or(0),
        })
    }

    /// Whether it is a kernel thread.
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }
}

/// Clock ticks as `/proc` gives them (sysconf(_SC_CLK_TCK)).
fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let line = b"42 (a) R (b) S 1 42 42 0 -1 4194304 100 0 3 0 250 50 0 0 20 0 7 0 1234 9 9 9 1 1 140000 0 0 0 0 0 0 0 0 0 17 3 0 0 0 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.name, "a) R (b");
        assert_eq!(stat.state, 'S');
        assert_eq!(stat.threads, 7);
        assert_eq!(stat.user_time, Duration::from_millis(2500));
        assert_eq!(stat.start_stack, 140_000);
        assert_eq!(stat.processor, 3);
        assert!(!stat.is_kernel_thread());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Stat::parse(b""), None);
        assert_eq!(Stat::parse(b"1 (x"), None);
        assert_eq!(Stat::parse(b"1 (x) R"), None);
    }
}
