//! Names of numbers, as they are given on the command line.

use std::fmt;
use std::str::FromStr;

use regex::bytes::Regex;

use crate::http::Url;

/// A number of a process, or of what is around it.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// Processor time, percent of all processors of the machine.
    Cpu,
    /// Processor time, percent of one processor: up to 100 times their number.
    Core,
    /// Memory that is the process's own, in memory or swapped out (what Windows calls private bytes), in bytes.
    Private,
    /// Resident memory, bytes.
    Resident,
    /// Swapped out memory, bytes.
    Swap,
    /// Resident memory where shared pages count by their share (PSS), bytes.
    Proportional,
    /// Memory of the control group that the process is in, bytes.
    CgroupMemory,
    /// Threads.
    Threads,
    /// Open descriptors.
    Descriptors,
    /// Context switches a second, all threads.
    Switches,
    /// Page faults without the disk, a second.
    SoftFaults,
    /// Page faults with the disk, a second.
    HardFaults,
    /// Bytes a second read from the disk.
    DiskRead,
    /// Bytes a second written to the disk.
    DiskWrite,
    /// Bytes a second received in the process's network namespace.
    NetworkIn,
    /// Bytes a second sent in it.
    NetworkOut,
    /// Pressure stall information: percent of the last ten seconds.
    Pressure {
        /// `cpu`, `memory` or `io`.
        resource: &'static str,
        /// Everybody waited, in place of somebody.
        full: bool,
        /// Of the process's control group, in place of the system.
        of_group: bool,
    },
    /// Any number in a file.
    Number(Number),
    /// A metric of a Prometheus endpoint.
    Prometheus {
        /// Where to ask.
        url: String,
        /// A series with its labels, or a name, of which all series are added up.
        series: String,
    },
}

/// A number in a file.
#[derive(Clone, Debug)]
pub struct Number {
    /// The file; a relative path is below `/proc/PID`.
    pub path: String,
    /// Where in it.
    pub pick: Pick,
}

/// Where in a file a number stands.
#[derive(Clone, Debug)]
pub enum Pick {
    /// The word of this number, from 1.
    Word(usize),
    /// What this expression finds: its first group, else all of it.
    Pattern(Regex),
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        let same_pick = match (&self.pick, &other.pick) {
            (Pick::Word(one), Pick::Word(two)) => one == two,
            (Pick::Pattern(one), Pick::Pattern(two)) => one.as_str() == two.as_str(),
            _ => false,
        };
        self.path == other.path && same_pick
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Percent.
    Percent,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Events a second.
    PerSecond,
    /// Things, or anything else.
    Plain,
}

impl Unit {
    /// As it is written into journals; empty for plain numbers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Percent => "%",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes/s",
            Self::PerSecond => "1/s",
            Self::Plain => "",
        }
    }

    /// A value with its unit, for people.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{value:.1} %"),
            Self::Bytes => scaled(value),
            Self::BytesPerSecond => format!("{}/s", scaled(value)),
            Self::PerSecond => format!("{value:.1}/s"),
            Self::Plain if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Plain => format!("{value}"),
        }
    }

    /// Whether it is read as a difference over an interval.
    #[must_use]
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Percent | Self::BytesPerSecond | Self::PerSecond)
    }
}

/// Bytes with a unit of 1024.
fn scaled(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Why a name means no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There is none of that name.
    #[error(
        "there is no number named {0}; there are {names}, file:PATH[:WORD|:/REGEX/] and prometheus:URL#METRIC",
        names = PLAIN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    )]
    Unknown(String),
    /// A part of it makes no sense.
    #[error("{what}: {why}")]
    Part {
        /// The name.
        what: String,
        /// Why.
        why: String,
    },
}

const fn pressure(resource: &'static str, full: bool, of_group: bool) -> Metric {
    Metric::Pressure { resource, full, of_group }
}

/// Numbers whose name is all there is to say.
static PLAIN: [(&str, Metric); 28] = [
    ("cpu", Metric::Cpu),
    ("core", Metric::Core),
    ("private", Metric::Private),
    ("resident", Metric::Resident),
    ("swap", Metric::Swap),
    ("pss", Metric::Proportional),
    ("cgroup-memory", Metric::CgroupMemory),
    ("threads", Metric::Threads),
    ("fds", Metric::Descriptors),
    ("switches", Metric::Switches),
    ("soft-faults", Metric::SoftFaults),
    ("hard-faults", Metric::HardFaults),
    ("read", Metric::DiskRead),
    ("write", Metric::DiskWrite),
    ("net-in", Metric::NetworkIn),
    ("net-out", Metric::NetworkOut),
    ("pressure-cpu", pressure("cpu", false, false)),
    ("pressure-memory", pressure("memory", false, false)),
    ("pressure-io", pressure("io", false, false)),
    ("pressure-cpu-full", pressure("cpu", true, false)),
    ("pressure-memory-full", pressure("memory", true, false)),
    ("pressure-io-full", pressure("io", true, false)),
    ("cgroup-pressure-cpu", pressure("cpu", false, true)),
    ("cgroup-pressure-memory", pressure("memory", false, true)),
    ("cgroup-pressure-io", pressure("io", false, true)),
    ("cgroup-pressure-cpu-full", pressure("cpu", true, true)),
    ("cgroup-pressure-memory-full", pressure("memory", true, true)),
    ("cgroup-pressure-io-full", pressure("io", true, true)),
];

impl Metric {
    /// What it counts.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self {
            Self::Cpu | Self::Core | Self::Pressure { .. } => Unit::Percent,
            Self::Private | Self::Resident | Self::Swap | Self::Proportional | Self::CgroupMemory => Unit::Bytes,
            Self::DiskRead | Self::DiskWrite | Self::NetworkIn | Self::NetworkOut => Unit::BytesPerSecond,
            Self::Switches | Self::SoftFaults | Self::HardFaults => Unit::PerSecond,
            Self::Threads | Self::Descriptors | Self::Number(_) | Self::Prometheus { .. } => Unit::Plain,
        }
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, MetricError> {
        if let Some((_, metric)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(metric.clone());
        }
        let part = |why: String| MetricError::Part { what: text.to_owned(), why };
        if let Some(rest) = text.strip_prefix("prometheus:") {
            let (url, series) = rest.split_once('#').ok_or_else(|| part("a metric's name follows behind #".into()))?;
            Url::parse(url).map_err(part)?;
            if series.is_empty() {
                return Err(part("a metric's name follows behind #".into()));
            }
            return Ok(Self::Prometheus { url: url.to_owned(), series: series.to_owned() });
        }
        let rest = text.strip_prefix("file:").ok_or_else(|| MetricError::Unknown(text.to_owned()))?;
        Number::parse(rest).map(Self::Number).map_err(part)
    }
}

impl Number {
    /// `PATH`, `PATH:WORD` or `PATH:/REGEX/`.
    fn parse(text: &str) -> Result<Self, String> {
        let (path, pick) = match text.strip_suffix('/').and_then(|text| text.split_once(":/")) {
            Some((path, pattern)) => {
                (path, Pick::Pattern(Regex::new(pattern).map_err(|error| format!("no regular expression: {error}"))?))
            }
            None => match text.rsplit_once(':').map(|(path, word)| (path, word.parse::<usize>())) {
                Some((path, Ok(word))) if word > 0 => (path, Pick::Word(word)),
                Some((_, Ok(_))) => return Err("words are counted from 1".into()),
                _ => (text, Pick::Word(1)),
            },
        };
        if path.is_empty() { Err("no file is named".into()) } else { Ok(Self { path: path.to_owned(), pick }) }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(Number { path, pick: Pick::Word(1) }) => write!(f, "file:{path}"),
            Self::Number(Number { path, pick: Pick::Word(word) }) => write!(f, "file:{path}:{word}"),
            Self::Number(Number { path, pick: Pick::Pattern(pattern) }) => write!(f, "file:{path}:/{pattern}/"),
            Self::Prometheus { url, series } => write!(f, "prometheus:{url}#{series}"),
            plain => {
                let found = PLAIN.iter().find(|(_, metric)| metric == plain);
                f.write_str(found.map_or("?", |(name, _)| name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let others =
            ["file:/proc/loadavg", "file:status:/VmRSS:\\s+(\\d+)/", "file:statm:2", "prometheus:http://h:9/m#up"];
        for name in PLAIN.iter().map(|(name, _)| *name).chain(others) {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for name in ["", "x", "file:", "file:a:0", "file:a:/(/", "prometheus:http://h", "prometheus:ftp://h#x", "cpu "]
        {
            assert!(name.parse::<Metric>().is_err(), "{name}");
        }
    }

    #[test]
    fn values_with_their_units() {
        assert_eq!(Unit::Percent.show(12.345), "12.3 %");
        assert_eq!(Unit::Bytes.show(3.5 * 1024.0 * 1024.0), "3.5 MiB");
        assert_eq!(
            (Unit::Bytes.show(12.0), Unit::Plain.show(7.0), Unit::Plain.show(0.5)),
            ("12 B".into(), "7".into(), "0.5".into())
        );
    }
}
