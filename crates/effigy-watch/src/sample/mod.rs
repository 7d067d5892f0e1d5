//! Numbers of a running process, read again and again: files stay open and are read at their start each time, and are
//! taken apart where they lie.

mod cgroup;
mod descriptors;
mod fields;
mod kept;
mod level;
mod metric;
mod network;
mod number;
mod prometheus;
mod rate;
mod switches;

use std::io;
use std::time::Instant;

pub use metric::{Metric, MetricError, Number, Pick, Unit};
pub(crate) use switches::Progress;

use crate::Target;

/// One reading of a number.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The number.
    Value(f64),
    /// A rate is known from the second look on.
    NotYet,
    /// It could not be had.
    Missing(String),
}

impl Reading {
    /// The number, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        if let Self::Value(value) = self { Some(*value) } else { None }
    }
}

/// Reads one number of one target.
pub trait Gauge: Send {
    /// Reads it.
    fn read(&mut self, now: Instant) -> Reading;

    /// Begins anew: what happened until now counts for nothing. For rates, after the target stood still.
    fn restart(&mut self) {}
}

/// Makes what reads a number of a target.
///
/// # Errors
/// When this system or this target does not have it, in words.
pub fn gauge(metric: &Metric, target: &Target) -> Result<Box<dyn Gauge>, String> {
    Ok(match metric {
        Metric::Cpu | Metric::Core => rate::cpu(target, *metric == Metric::Core)?,
        Metric::Private | Metric::Resident | Metric::Swap | Metric::Proportional | Metric::Threads => {
            level::of_process(metric, target)?
        }
        Metric::CgroupMemory => level::cgroup_memory(target)?,
        Metric::Pressure { resource, full, of_group } => level::pressure(resource, *full, *of_group, target)?,
        Metric::Descriptors => Box::new(descriptors::Descriptors::new(target)?),
        Metric::Switches => Box::new(switches::Switches::new(target)?),
        Metric::SoftFaults | Metric::HardFaults => rate::faults(target, *metric == Metric::HardFaults)?,
        Metric::DiskRead | Metric::DiskWrite => rate::disk(target, *metric == Metric::DiskWrite)?,
        Metric::NetworkIn | Metric::NetworkOut => network::gauge(target, *metric == Metric::NetworkOut)?,
        Metric::Number(number) => Box::new(number::NumberGauge::new(number, target)?),
        Metric::Prometheus { url, series } => Box::new(prometheus::Scraped::start(url, series)?),
    })
}

/// A failed read as a reading.
fn missing(what: &str, error: &io::Error) -> Reading {
    Reading::Missing(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use effigy_process::ProcessId;

    use super::*;

    fn own() -> Target {
        Target::open(ProcessId(std::process::id())).unwrap()
    }

    fn read(name: &str) -> f64 {
        let mut gauge = gauge(&name.parse().unwrap(), &own()).unwrap();
        let mut reading = gauge.read(Instant::now());
        if reading == Reading::NotYet {
            std::thread::sleep(Duration::from_millis(20));
            reading = gauge.read(Instant::now());
        }
        reading.value().unwrap_or_else(|| panic!("{name}: {reading:?}"))
    }

    #[test]
    fn levels_of_this_process() {
        let resident = read("resident");
        assert!(resident > 1e6 && resident < 1e11);
        assert!(read("private") <= resident && read("pss") <= resident + 1e6);
        assert!(read("threads") >= 1.0 && read("fds") >= 3.0);
        assert!((read("swap")).abs() < 1e12);
    }

    #[test]
    fn rates_of_this_process() {
        for name in ["cpu", "core", "switches", "soft-faults", "hard-faults", "read", "write"] {
            let value = read(name);
            assert!((0.0..1e12).contains(&value), "{name}: {value}");
        }
    }

    #[test]
    fn numbers_in_files() {
        let threads = read("file:status:/Threads:\\s+(\\d+)/");
        assert!(threads >= 1.0);
        assert!(read("file:/proc/uptime:1") > 1.0);
        assert!(read("file:statm:2") > 100.0);
    }

    #[test]
    fn a_busy_thread_shows_as_one_core() {
        let mut core = gauge(&Metric::Core, &own()).unwrap();
        assert_eq!(core.read(Instant::now()), Reading::NotYet);
        let end = Instant::now() + Duration::from_millis(400);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        // Other tests of this process may run as well, and other programs take their part.
        let value = core.read(Instant::now()).value().unwrap();
        assert!(value > 10.0, "{value}");
    }
}
