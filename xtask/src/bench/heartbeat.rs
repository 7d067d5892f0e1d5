//! What the target itself feels of being dumped, read from outside.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A page that a thread of the target writes every half millisecond, and its writer with each page that it dirties
/// (`struct heartbeat` in `tests/targets/target.h`).
pub(crate) struct Heartbeat {
    page: PathBuf,
}

const MAX_GAP: u64 = 0;
const BEATS: u64 = 24;
const RESET: u64 = 32;
const WRITTEN: u64 = 64;
const LONGEST_WRITE: u64 = 72;

/// The heart beats this often: it cannot feel what is shorter.
pub(crate) const BEAT: Duration = Duration::from_micros(500);

/// What the target felt while it was watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Felt {
    /// The longest time between two beats.
    pub(crate) longest_gap: Duration,
    /// The longest that its writer needed for one page; zero without a writer.
    pub(crate) longest_write: Duration,
    /// Pages a second that its writer dirtied; zero without a writer.
    pub(crate) write_rate: f64,
}

/// A time during which the target is watched.
pub(crate) struct Watch<'a> {
    heartbeat: &'a Heartbeat,
    begun: Instant,
    written: u64,
}

impl Heartbeat {
    /// In a page that the target makes.
    pub(crate) fn at(page: PathBuf) -> Self {
        Self { page }
    }

    pub(crate) fn page(&self) -> &Path {
        &self.page
    }

    /// Forgets what the target felt so far.
    pub(crate) fn watch(&self) -> Result<Watch<'_>> {
        self.set(RESET, 1)?;
        self.beats_on()?;
        self.set(LONGEST_WRITE, 0)?;
        Ok(Watch { heartbeat: self, begun: Instant::now(), written: self.word(WRITTEN)? })
    }

    fn beats_on(&self) -> Result<()> {
        let before = self.word(BEATS)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.word(BEATS)? < before + 2 {
            if Instant::now() > deadline {
                bail!("the target's heart has stopped");
            }
            thread::sleep(BEAT);
        }
        Ok(())
    }

    fn open(&self) -> Result<File> {
        let path = &self.page;
        File::options().read(true).write(true).open(path).with_context(|| format!("cannot open {}", path.display()))
    }

    fn set(&self, offset: u64, value: u64) -> Result<()> {
        self.open()?.write_all_at(&value.to_ne_bytes(), offset).context("cannot reset the heartbeat")
    }

    fn word(&self, offset: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.open()?.read_exact_at(&mut bytes, offset).context("cannot read the heartbeat")?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

impl Watch<'_> {
    pub(crate) fn end(self) -> Result<Felt> {
        let heartbeat = self.heartbeat;
        let written = heartbeat.word(WRITTEN)?.saturating_sub(self.written);
        let watched = self.begun.elapsed();
        // The gap that has just ended is written down by the beat that ends it.
        heartbeat.beats_on()?;
        Ok(Felt {
            longest_gap: Duration::from_nanos(heartbeat.word(MAX_GAP)?),
            longest_write: Duration::from_nanos(heartbeat.word(LONGEST_WRITE)?),
            write_rate: written as f64 / watched.as_secs_f64(),
        })
    }
}
