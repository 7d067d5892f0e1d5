//! What was measured of a process in the time before its dump: the way that led to it.

use serde::{Deserialize, Serialize};

/// Measurements that a watch took before it took the dump.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// What made the watch take the dump, in words.
    pub trigger: String,
    /// One series for each number that was watched.
    pub series: Vec<Series>,
}

/// A number over time, oldest first.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// What it is, as it is named on the command line.
    pub name: String,
    /// Its unit: `%`, `bytes`, `bytes/s`, `1/s`, or empty for a plain number.
    pub unit: String,
    /// What it was compared with; `None` when it was compared with no fixed number.
    pub threshold: Option<f64>,
    /// When, in seconds since 1970.
    pub times: Vec<f64>,
    /// The number at that time; `None` where it could not be had.
    pub values: Vec<Option<f64>>,
}
