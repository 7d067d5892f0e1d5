//! Numbers that are what they are at each look: memory, threads, pressure.

use std::io;
use std::time::{Duration, Instant};

use super::kept::KeptFile;
use super::{Gauge, Metric, Reading, cgroup, fields, missing};
use crate::Target;

/// How a number is found in a file's text.
type Parse = Box<dyn Fn(&[u8]) -> Option<f64> + Send>;

/// A number in a file that stays open.
struct Level {
    what: String,
    file: KeptFile,
    parse: Parse,
}

impl Gauge for Level {
    fn read(&mut self, _now: Instant) -> Reading {
        match self.file.read() {
            Ok(text) => (self.parse)(text)
                .map_or_else(|| Reading::Missing(format!("{}: there is no such number", self.what)), Reading::Value),
            Err(error) => missing(&self.what, &error),
        }
    }
}

/// A number that is rested for so many times as long as reading it takes: that is half a percent of a processor at most.
const REST: u32 = 200;

/// A number that is dear to read, and is then not read at every look: what was read last stands until it has rested.
struct Sparing {
    gauge: Box<dyn Gauge>,
    last: Option<(Reading, Instant)>,
}

impl Gauge for Sparing {
    fn read(&mut self, now: Instant) -> Reading {
        if let Some((reading, _)) = self.last.as_ref().filter(|(_, until)| now < *until) {
            return reading.clone();
        }
        let began = Instant::now();
        let reading = self.gauge.read(now);
        self.last = Some((reading.clone(), rested(now, began.elapsed())));
        reading
    }

    fn restart(&mut self) {
        self.last = None;
        self.gauge.restart();
    }
}

/// When a number may be read again, the reading of which took so long.
fn rested(now: Instant, took: Duration) -> Instant {
    now + took.saturating_mul(REST)
}

fn level(what: &str, file: io::Result<std::fs::File>, parse: Parse) -> Result<Box<dyn Gauge>, String> {
    let file = KeptFile::new(file.map_err(|error| format!("{what}: {error}"))?);
    Ok(Box::new(Level { what: what.to_owned(), file, parse }))
}

/// The sum of lines in kB, in bytes. A line that is not there counts for nothing, as long as the first is there.
fn kilobytes(names: &'static [&'static str]) -> Parse {
    Box::new(move |text: &[u8]| {
        let first = fields::named_number(text, names.first()?)?;
        let others = names[1..].iter().filter_map(|name| fields::named_number(text, name));
        Some(others.fold(first, u64::saturating_add) as f64 * 1024.0)
    })
}

/// Memory and threads of a process.
pub(super) fn of_process(metric: &Metric, target: &Target) -> Result<Box<dyn Gauge>, String> {
    let (file, parse): (_, Parse) = match metric {
        // What nobody else has: the pages of its own that it has written, in memory or swapped out. This is what Windows
        // calls its private bytes; smaps_rollup would tell the same and walk all page tables for it.
        Metric::Private => ("status", kilobytes(&["RssAnon", "VmSwap"])),
        Metric::Resident => ("status", kilobytes(&["VmRSS"])),
        Metric::Swap => ("status", kilobytes(&["VmSwap"])),
        Metric::Proportional => ("smaps_rollup", kilobytes(&["Pss"])),
        _ => ("stat", Box::new(|text: &[u8]| fields::stat_number(text, 20).map(|threads| threads as f64))),
    };
    let gauge = level(file, target.dir().open_file(file), parse)?;
    Ok(match metric {
        // The kernel walks all page tables for it, while the target may have to wait for its address space.
        Metric::Proportional => Box::new(Sparing { gauge, last: None }),
        _ => gauge,
    })
}

/// Memory of the control group that the process is in, in bytes.
pub(super) fn cgroup_memory(target: &Target) -> Result<Box<dyn Gauge>, String> {
    let names = ["memory.current", "memory.usage_in_bytes"];
    let parse = Box::new(|text: &[u8]| fields::words(text).next().and_then(fields::float));
    level("the control group's memory", cgroup::open(target, "memory", &names), parse)
}

/// Pressure stall: percent of the last ten seconds in which somebody (or everybody) waited for a resource.
pub(super) fn pressure(resource: &str, full: bool, of_group: bool, target: &Target) -> Result<Box<dyn Gauge>, String> {
    let file = if of_group {
        cgroup::open(target, resource, &[&format!("{resource}.pressure")])
    } else {
        std::fs::File::open(format!("/proc/pressure/{resource}"))
    };
    let kind = if full { "full" } else { "some" };
    level(&format!("pressure of {resource}"), file, Box::new(move |text: &[u8]| fields::pressure(text, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes some time to say how often it was asked.
    struct Slow(f64);

    impl Gauge for Slow {
        fn read(&mut self, _now: Instant) -> Reading {
            std::thread::sleep(Duration::from_millis(2));
            self.0 += 1.0;
            Reading::Value(self.0)
        }
    }

    #[test]
    fn what_is_dear_is_read_less_often() {
        let mut gauge = Sparing { gauge: Box::new(Slow(0.0)), last: None };
        let now = Instant::now();
        let mut after = |ms| gauge.read(now + Duration::from_millis(ms)).value();
        assert_eq!(after(0), Some(1.0));
        // At least 200 times 2 ms, and on a machine that is not stuck no hour.
        assert_eq!(after(399), Some(1.0));
        assert_eq!(after(3_600_000), Some(2.0));
        gauge.restart();
        assert_eq!(gauge.read(now + Duration::from_millis(3_600_001)).value(), Some(3.0));
    }
}
