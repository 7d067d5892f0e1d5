//! The machine and the system that a process runs on.

use serde::Serialize;

/// The system at the time of capture.
#[derive(Clone, Debug, PartialEq, Default, Serialize)]
pub struct System {
    /// `uname -s`, such as `Linux`.
    pub name: String,
    /// `uname -r`, such as `6.18.44`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// `uname -n`.
    pub host: String,
    /// Processors online.
    pub processors: u32,
    /// Page size in bytes.
    pub page_size: u64,
    /// Seconds since the system started.
    pub uptime: f64,
    /// The processor.
    pub cpu: Cpu,
}

/// The processor, from CPUID by way of `/proc/cpuinfo`; zeros and empty text where the architecture has no such thing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Cpu {
    /// Vendor, such as `GenuineIntel`.
    pub vendor: String,
    /// Marketing name.
    pub model_name: String,
    /// Family.
    pub family: u32,
    /// Model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// CPUID leaf 1, EAX; 0 when not known.
    pub signature: u32,
    /// CPUID leaf 1, EDX; 0 when not known.
    pub features: u32,
    /// Current frequency in MHz; 0 when not known.
    pub mhz: u32,
}
