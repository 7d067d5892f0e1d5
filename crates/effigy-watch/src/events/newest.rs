//! New processes found by looking: `/proc/loadavg` ends with the id that was given out last. While that stays the same
//! nobody has started, and a look costs one short read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use effigy_live::procfs::{ProcDir, Stat, Status};
use effigy_process::ProcessId;

use super::Started;

/// Time between two looks.
pub(super) const EVERY: Duration = Duration::from_millis(5);
/// How long after its start a process is expected to become a program of its own.
const YOUTH: Duration = Duration::from_secs(2);
/// Ids given out between two looks that are looked at one by one; more are told as missed.
const MOST: u32 = 2000;

/// Finds them.
#[derive(Debug)]
pub(super) struct Newest {
    loadavg: File,
    last: u32,
    /// Processes that have just started: since when, and under what name.
    young: BTreeMap<u32, (Instant, Vec<u8>)>,
}

impl Newest {
    pub(super) fn listen() -> io::Result<Self> {
        let loadavg = File::open("/proc/loadavg")?;
        let last = newest(&loadavg)?;
        Ok(Self { loadavg, last, young: BTreeMap::new() })
    }

    pub(super) fn collect(&mut self, now: Instant, into: &mut Vec<Started>) {
        // Those of the last looks may have become other programs by now.
        self.young.retain(|pid, (since, name)| {
            let Some(found) = look(*pid) else { return false };
            if found.name != *name {
                *name = found.name.to_vec();
                into.push(Started::Named(ProcessId(*pid)));
            }
            now.saturating_duration_since(*since) < YOUTH
        });
        let Ok(newest) = newest(&self.loadavg) else { return };
        let first = std::mem::replace(&mut self.last, newest);
        if newest == first {
            return;
        }
        // Ids begin anew at the largest one.
        if newest < first || newest - first > MOST {
            into.push(Started::Missed);
            return;
        }
        for pid in first + 1..=newest {
            let Some(found) = look(pid) else { continue };
            self.young.insert(pid, (now, found.name.to_vec()));
            into.push(Started::Forked { pid: ProcessId(pid), parent: ProcessId(found.parent) });
            into.push(Started::Named(ProcessId(pid)));
        }
    }
}

/// The id that was given out last.
fn newest(loadavg: &File) -> io::Result<u32> {
    let mut buffer = [0; 128];
    let count = loadavg.read_at(&mut buffer, 0)?;
    let text = std::str::from_utf8(&buffer[..count]).unwrap_or_default();
    let last = text.split_ascii_whitespace().last().and_then(|word| word.parse().ok());
    last.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/loadavg does not end with a process id"))
}

/// A process; `None` for a thread of another one, and for what is gone.
fn look(pid: u32) -> Option<Stat> {
    let dir = ProcDir::open(ProcessId(pid)).ok()?;
    let stat = Stat::parse(&dir.read("stat").ok()?)?;
    // A thread has a directory of its own id too.
    let leader = Status::parse(&dir.read("status").ok()?).number("Tgid");
    (leader == Some(u64::from(pid))).then_some(stat)
}
