//! The machine and the system that a process runs on.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Platform {
    /// Linux.
    #[default]
    Linux,
    /// Android.
    Android,
    /// Windows.
    Windows,
    /// macOS.
    MacOs,
    /// iOS and its like.
    Ios,
    /// Another one, by its number in minidumps (`VER_PLATFORM_*` and Breakpad's `MD_OS_*`) or, below 0x100, in ELF files
    /// (`ELFOSABI_*`); `u32::MAX` where nothing is known.
    Other(u32),
}

/// A text for each, so that it is one for those without a name, too: `linux`, `mac_os`, `other_0x8202`.
impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, NAMES.iter().find(|(known, _)| known == self)) {
            (_, Some((_, name))) => serializer.serialize_str(name),
            (Self::Other(number), None) => serializer.collect_str(&format_args!("{OTHER}{number:#x}")),
            (_, None) => serializer.serialize_str(UNKNOWN),
        }
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Text(String),
            /// As dumps have it that older versions wrote.
            Number {
                other: u32,
            },
        }
        let text = match Stored::deserialize(deserializer)? {
            Stored::Text(text) => text,
            Stored::Number { other } => return Ok(Self::Other(other)),
        };
        let known = NAMES.iter().find(|(_, name)| *name == text).map(|(known, _)| *known);
        let number = || u32::from_str_radix(text.strip_prefix(OTHER)?.strip_prefix("0x")?, 16).ok();
        Ok(known.or_else(|| number().map(Self::Other)).unwrap_or(Self::UNKNOWN))
    }
}

/// Platforms that have a name in JSON.
const NAMES: [(Platform, &str); 6] = [
    (Platform::Linux, "linux"),
    (Platform::Android, "android"),
    (Platform::Windows, "windows"),
    (Platform::MacOs, "mac_os"),
    (Platform::Ios, "ios"),
    (Platform::UNKNOWN, UNKNOWN),
];
const UNKNOWN: &str = "unknown";
/// What stands before the number of another.
const OTHER: &str = "other_";

impl Platform {
    /// That of a dump that does not tell.
    pub const UNKNOWN: Self = Self::Other(u32::MAX);

    /// Whether it is a Linux kernel, with signals and `/proc` as one has.
    #[must_use]
    pub fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::Android)
    }

    /// Its name, as shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Android => "Android",
            Self::Windows => "Windows",
            Self::MacOs => "macOS",
            Self::Ios => "iOS",
            Self::Other(9) => "FreeBSD",
            Self::Other(0x8202) => "Solaris",
            Self::Other(0x8204) => "PlayStation 3",
            Self::Other(0x8205) => "Native Client",
            Self::Other(0x8206) => "Fuchsia",
            Self::Other(_) => "unknown",
        }
    }
}

/// A system's version as three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Such as the 10 of Windows 10.0.19045.
    pub major: u32,
    /// Its 0.
    pub minor: u32,
    /// Its 19045.
    pub build: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// The system at the time of capture.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// Which system.
    pub platform: Platform,
    /// Its version as numbers, where it has one or the dump tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Version>,
    /// The text that a minidump keeps beside the numbers (`CSDVersion`): the service pack of Windows, the build of
    /// macOS, `uname` of Linux. May be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_pack: String,
    /// The build that the dump names (`BuildString`), such as
    /// `19041.1.amd64fre.vb_release.191206-1406`. May be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// Of Windows: 1 workstation, 2 domain controller, 3 server (`wProductType`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_type: Option<u8>,
    /// Of Windows: `VER_SUITE_*` bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite_mask: Option<u16>,
    /// `uname -s`, such as `Linux`. This and the next three are empty when not known.
    pub name: String,
    /// `uname -r`, such as `6.18.44`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// `uname -n`.
    pub host: String,
    /// Processors online; `None` when not known.
    pub processors: Option<u32>,
    /// Page size in bytes; the usual one of the architecture where the dump does not tell.
    pub page_size: u64,
    /// Seconds since the system started; `None` when not known.
    pub uptime: Option<f64>,
    /// The processor.
    pub cpu: Cpu,
}

/// The processor, from CPUID by way of `/proc/cpuinfo`; zeros and empty text where the architecture has no such thing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_texts() {
        for (platform, text) in [
            (Platform::MacOs, "\"mac_os\""),
            (Platform::Other(0x8202), "\"other_0x8202\""),
            (Platform::UNKNOWN, "\"unknown\""),
        ] {
            assert_eq!(serde_json::to_string(&platform).unwrap(), text);
            assert_eq!(serde_json::from_str::<Platform>(text).unwrap(), platform);
        }
        assert_eq!(serde_json::from_str::<Platform>("{\"other\":9}").unwrap(), Platform::Other(9));
        assert_eq!(serde_json::from_str::<Platform>("\"plan_9\"").unwrap(), Platform::UNKNOWN);
    }
}
