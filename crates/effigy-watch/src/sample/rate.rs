//! Numbers that are differences: how much a counter has risen between two looks, by the monotonic clock.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::kept::KeptFile;
use super::{Gauge, Reading, fields, missing};
use crate::Target;

/// Looks that lie closer together than this tell too little: the kernel counts processor time in ticks.
const SHORTEST: Duration = Duration::from_millis(5);

/// A counter and its last value.
pub(super) struct Rate {
    what: &'static str,
    file: KeptFile,
    parse: fn(&[u8]) -> Option<u64>,
    /// From counts a second to what is told.
    scale: f64,
    before: Option<(Instant, u64)>,
}

impl Rate {
    pub(super) fn gauge(
        what: &'static str,
        file: io::Result<File>,
        parse: fn(&[u8]) -> Option<u64>,
        scale: f64,
    ) -> Result<Box<dyn Gauge>, String> {
        let file = KeptFile::new(file.map_err(|error| format!("{what}: {error}"))?);
        Ok(Box::new(Self { what, file, parse, scale, before: None }))
    }
}

impl Gauge for Rate {
    fn read(&mut self, now: Instant) -> Reading {
        let count = match self.file.read() {
            Ok(text) => match (self.parse)(text) {
                Some(count) => count,
                None => return Reading::Missing(format!("{}: there is no such number", self.what)),
            },
            Err(error) => {
                self.before = None;
                return missing(self.what, &error);
            }
        };
        rise(&mut self.before, now, count).map_or(Reading::NotYet, |rate| Reading::Value(rate * self.scale))
    }

    fn restart(&mut self) {
        self.before = None;
    }
}

/// How much a counter rises each second; `None` at the first look. One that has fallen has begun anew.
pub(super) fn rise(before: &mut Option<(Instant, u64)>, now: Instant, count: u64) -> Option<f64> {
    let Some((then, last)) = *before else {
        *before = Some((now, count));
        return None;
    };
    let time = now.saturating_duration_since(then);
    if time < SHORTEST {
        return None;
    }
    *before = Some((now, count));
    Some(count.checked_sub(last)? as f64 / time.as_secs_f64())
}

/// Processor time: percent of one processor, or of all that are online.
pub(super) fn cpu(target: &Target, one_core: bool) -> Result<Box<dyn Gauge>, String> {
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    let processors = if one_core { 1 } else { online_processors() };
    // Fields 14 and 15: in user mode and in the kernel, of all threads, also of those that have ended.
    let parse = |line: &[u8]| fields::stat_number(line, 14)?.checked_add(fields::stat_number(line, 15)?);
    Rate::gauge("stat", target.dir().open_file("stat"), parse, 100.0 / ticks / f64::from(processors))
}

/// Processors of the machine, whatever part of them effigy itself may use.
fn online_processors() -> u32 {
    let text = std::fs::read("/sys/devices/system/cpu/online").unwrap_or_default();
    let own = || std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    count_of_list(&text).unwrap_or_else(own)
}

/// How many a list as `0-3,5` names.
fn count_of_list(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut count: u32 = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Page faults a second, without (field 10) or with (field 12) the disk.
pub(super) fn faults(target: &Target, hard: bool) -> Result<Box<dyn Gauge>, String> {
    let parse: fn(&[u8]) -> Option<u64> =
        if hard { |line| fields::stat_number(line, 12) } else { |line| fields::stat_number(line, 10) };
    Rate::gauge("stat", target.dir().open_file("stat"), parse, 1.0)
}

/// Bytes a second that the disk has read or written for the process.
pub(super) fn disk(target: &Target, written: bool) -> Result<Box<dyn Gauge>, String> {
    let parse: fn(&[u8]) -> Option<u64> = if written {
        |text| fields::named_number(text, "write_bytes")
    } else {
        |text| fields::named_number(text, "read_bytes")
    };
    Rate::gauge("io", target.dir().open_file("io"), parse, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let start = Instant::now();
        let mut before = None;
        assert_eq!(rise(&mut before, start, 1000), None);
        assert_eq!(rise(&mut before, start + Duration::from_secs(2), 1300), Some(150.0));
        // A counter that falls begins anew.
        assert_eq!(rise(&mut before, start + Duration::from_secs(3), 10), None);
        assert_eq!(rise(&mut before, start + Duration::from_secs(4), 20), Some(10.0));
        assert_eq!(rise(&mut before, start + Duration::from_secs(4), 30), None);
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!((count_of_list(b"0-3,5\n"), count_of_list(b"0\n")), (Some(5), Some(1)));
        assert_eq!((count_of_list(b""), count_of_list(b"3-1"), count_of_list(b"0-4294967295")), (None, None, None));
    }
}
