//! Failures on demand, by name, so that tests can see what happens when something fails that rarely does.
//!
//! Only in builds with the feature `fault-injection`: the environment variable `EFFIGY_FAULT` holds names, separated
//! by commas. Without the feature [`hit`] is always false and costs nothing.

/// Pretend that the kernel does not know the ioctl `PAGEMAP_SCAN` (it is older than 6.7).
pub const NO_PAGEMAP_SCAN: &str = "no-pagemap-scan";
/// Pretend that `/proc/PID/map_files` may not be opened (no CAP_CHECKPOINT_RESTORE).
pub const NO_MAP_FILES: &str = "no-map-files";
/// Fail the read of every 16th page of anonymous memory with EIO.
pub const READ_ERROR: &str = "read-error";
/// Hold every read of the target's memory for ten minutes, as a page on a dead network would.
pub const READ_HANGS: &str = "read-hangs";
/// Sleep 20 ms before each chunk of memory, so that a test can act in the middle of a dump.
pub const SLOW_READ: &str = "slow-read";
/// Hold every read of the target's memory for as long as the file that `EFFIGY_FAULT_HOLD` names exists, so that a test
/// decides how long a dump takes, on however slow a machine.
pub const HOLD_READS: &str = "hold-reads";
/// Panic on the tracer thread while the target is stopped.
pub const TRACER_PANIC: &str = "tracer-panic";
/// Panic on the thread that writes the dump while the target is stopped.
pub const WORKER_PANIC: &str = "worker-panic";

/// Pretend that the kernel refuses a userfaultfd.
pub const NO_USERFAULTFD: &str = "no-userfaultfd";
/// Fail the injected clone with EAGAIN.
pub const NO_CLONE: &str = "no-clone";
/// Pretend that the target writes faster than a live snapshot can follow.
pub const NO_CONVERGENCE: &str = "no-convergence";
/// Print, at the end, how many steps [`step`] has counted.
pub const COUNT_STEPS: &str = "count-steps";

/// Counts an operation on the target: a ptrace request, an ioctl, a write to its memory. With the failure
/// `die-at-step:N`, effigy dies by SIGKILL right before the Nth.
#[inline]
pub fn step() {
    #[cfg(feature = "fault-injection")]
    {
        let this = STEPS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if Some(this) == last_step() {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[cfg(feature = "fault-injection")]
static STEPS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[cfg(feature = "fault-injection")]
fn last_step() -> Option<u64> {
    use std::sync::OnceLock;
    static LAST: OnceLock<Option<u64>> = OnceLock::new();
    *LAST.get_or_init(|| {
        let asked = std::env::var("EFFIGY_FAULT").unwrap_or_default();
        asked.split(',').find_map(|name| name.trim().strip_prefix("die-at-step:")?.parse().ok())
    })
}

/// How many steps were made, if that was asked for.
#[must_use]
pub fn counted_steps() -> Option<u64> {
    #[cfg(feature = "fault-injection")]
    {
        hit(COUNT_STEPS).then(|| STEPS.load(std::sync::atomic::Ordering::Relaxed))
    }
    #[cfg(not(feature = "fault-injection"))]
    {
        None
    }
}

/// Returns when reads are not, or no longer, to be held ([`HOLD_READS`]).
pub(crate) fn hold_reads() {
    if hit(HOLD_READS)
        && let Some(path) = std::env::var_os("EFFIGY_FAULT_HOLD")
    {
        while std::path::Path::new(&path).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Whether the failure `name` is asked for.
#[must_use]
pub fn hit(name: &str) -> bool {
    #[cfg(feature = "fault-injection")]
    {
        use std::sync::OnceLock;
        static NAMES: OnceLock<Vec<String>> = OnceLock::new();
        let names = NAMES.get_or_init(|| {
            std::env::var("EFFIGY_FAULT").unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect()
        });
        names.iter().any(|asked| asked == name)
    }
    #[cfg(not(feature = "fault-injection"))]
    {
        let _ = name;
        false
    }
}
