//! A target's heartbeat, read from outside: how long it stood still, and when it ran again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The page in which a target publishes its beats.
pub(crate) struct Heartbeat {
    page: File,
    path: PathBuf,
}

impl Heartbeat {
    /// A page in `dir`; the target gets its path.
    pub(crate) fn new(dir: &Path) -> Self {
        let path = dir.join("heartbeat");
        let page = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        page.set_len(4096).unwrap();
        Self { page, path }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn word(&self, index: u64) -> u64 {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, index * 8).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Starts the record anew.
    pub(crate) fn reset(&self) {
        self.page.write_all_at(&1_u64.to_le_bytes(), 4 * 8).unwrap();
        while self.word(4) != 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The longest time between two beats.
    pub(crate) fn longest_gap(&self) -> Duration {
        Duration::from_nanos(self.word(0))
    }

    /// When the longest gap ended, as [`monotonic`] counts.
    pub(crate) fn gap_end(&self) -> Duration {
        Duration::from_nanos(self.word(2))
    }

    /// When the heart last beat.
    pub(crate) fn last(&self) -> Duration {
        Duration::from_nanos(self.word(5))
    }

    /// Number of beats.
    pub(crate) fn beats(&self) -> u64 {
        self.word(3)
    }

    /// The clock by which the target beats.
    pub(crate) fn now() -> Duration {
        clock_gettime(ClockId::Monotonic).try_into().unwrap()
    }
}
