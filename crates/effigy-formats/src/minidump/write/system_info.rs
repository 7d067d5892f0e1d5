//! SystemInfo: the system and the processor.

use std::array;

use effigy_process::{Architecture, Process, System};
use zerocopy::FromZeros;

use super::Scene;
use super::output::{Output, narrow};
use crate::WriteError;
use crate::minidump::layout::{PLATFORM_LINUX, SystemInfo, processor};

/// Writes the stream, and behind it the system's full version as text.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let process = scene.process;
    let size = size_of::<SystemInfo>() as u64;
    let [major, minor, build] = version_numbers(&process.system.release);
    let cpu = &process.system.cpu;
    out.record(&SystemInfo {
        architecture: architecture(process.architecture).into(),
        processor_level: low16(cpu.family).into(),
        processor_revision: (low16(cpu.model) << 8 | low16(cpu.stepping) & 0xff).into(),
        processors: process.system.processors.map_or(0, |count| u8::try_from(count).unwrap_or(u8::MAX)),
        major_version: major.into(),
        minor_version: minor.into(),
        build_number: build.into(),
        platform: PLATFORM_LINUX.into(),
        csd_version_rva: narrow(out.position() + size).into(),
        cpu_vendor: vendor(&cpu.vendor),
        cpu_signature: cpu.signature.into(),
        cpu_features: cpu.features.into(),
        ..SystemInfo::new_zeroed()
    })?;
    out.string(&version_text(process))?;
    Ok(Some(size))
}

fn architecture(architecture: Architecture) -> u16 {
    match architecture {
        Architecture::X86 => processor::X86,
        Architecture::Arm => processor::ARM,
        Architecture::Aarch64 => processor::ARM64,
        // No other gets as far as this; see `ContextLayout::of`.
        _ => processor::AMD64,
    }
}

/// What `uname -srvm` prints. Breakpad's writer and reader have made this the form of the text.
fn version_text(process: &Process) -> String {
    let System { name, release, version, .. } = &process.system;
    let machine = match process.architecture {
        Architecture::X86 => "i686",
        Architecture::Arm => "armv7l",
        Architecture::Aarch64 => "aarch64",
        _ => "x86_64",
    };
    // Cores of others do not tell; a system with no name at all is none to some readers.
    let name = if name.is_empty() { "Linux" } else { name };
    format!("{name} {release} {version} {machine}")
}

/// The three numbers that a kernel's release begins with; missing ones are 0.
fn version_numbers(release: &str) -> [u32; 3] {
    let numeric = release.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    let mut parts = numeric.split('.');
    array::from_fn(|_| parts.next().and_then(|part| part.parse().ok()).unwrap_or(0))
}

/// The vendor's 12 letters, cut off or filled up with zeros. Readers print them in the order in which they lie here.
fn vendor(name: &str) -> [u8; 12] {
    let bytes = name.as_bytes();
    array::from_fn(|index| bytes.get(index).copied().unwrap_or(0))
}

fn low16(number: u32) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_of_releases() {
        assert_eq!(version_numbers("6.18.44-foo"), [6, 18, 44]);
        assert_eq!(version_numbers("6.1.0-37-amd64"), [6, 1, 0]);
        assert_eq!(version_numbers("5.10+"), [5, 10, 0]);
        assert_eq!(version_numbers("6.18-rc3"), [6, 18, 0]);
        assert_eq!(version_numbers(""), [0, 0, 0]);
    }
}
