//! The system: `uname(2)`, `/proc/cpuinfo`, `/proc/uptime`, the release file.

use std::fs;
use std::io::Read;

use bstr::{BString, ByteSlice};
use effigy_process::{Cpu, System};

use super::ProcDir;

/// The system, with the texts of `/proc/cpuinfo` and `/proc/uptime`.
#[must_use]
pub fn read_system() -> (System, BString, BString) {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let cpuinfo = BString::from(fs::read("/proc/cpuinfo").unwrap_or_default());
    let uptime = BString::from(fs::read("/proc/uptime").unwrap_or_default());
    let seconds = uptime.to_str_lossy().split_ascii_whitespace().next().and_then(|text| text.parse().ok());
    let system = System {
        name: text(name.sysname()),
        release: text(name.release()),
        version: text(name.version()),
        host: text(name.nodename()),
        processors: std::thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()),
        page_size: rustix::param::page_size() as u64,
        uptime: seconds,
        cpu: cpu(&cpuinfo),
        ..System::default()
    };
    (system, cpuinfo, uptime)
}

/// The first processor of `/proc/cpuinfo`.
fn cpu(cpuinfo: &[u8]) -> Cpu {
    let field = |wanted: &str| {
        cpuinfo.lines().take_while(|line| !line.is_empty()).find_map(|line| {
            let (name, value) = line.split_once_str(":")?;
            (name.trim() == wanted.as_bytes()).then(|| value.trim().to_str_lossy().into_owned())
        })
    };
    let number = |name| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let (family, model, stepping) = (number("cpu family"), number("model"), number("stepping"));
    Cpu {
        vendor: field("vendor_id").unwrap_or_default(),
        model_name: field("model name").unwrap_or_default(),
        family,
        model,
        stepping,
        signature: signature(family, model, stepping),
        features: features(&field("flags").unwrap_or_default()),
        mhz: field("cpu MHz").and_then(|text| text.split('.').next().and_then(|whole| whole.parse().ok())).unwrap_or(0),
    }
}

/// CPUID leaf 1 EAX from family, model and stepping (Intel SDM volume 2, CPUID, "Version Information").
fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base_family, extended_family) = if family > 15 { (15, family - 15) } else { (family, 0) };
    extended_family << 20 | (model >> 4) << 16 | base_family << 8 | (model & 15) << 4 | (stepping & 15)
}

/// CPUID leaf 1 EDX from the flags' names.
fn features(flags: &str) -> u32 {
    // By bit; empty where the manual reserves one.
    const NAMES: [&str; 32] = [
        "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge", "mca", "cmov",
        "pat", "pse36", "pn", "clflush", "", "dts", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64",
        "pbe",
    ];
    let has: std::collections::HashSet<&str> = flags.split_ascii_whitespace().collect();
    NAMES
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty() && has.contains(*name))
        .fold(0, |mask, (bit, _)| mask | 1 << bit)
}

/// The release file of the target's own root: `/etc/lsb-release`, else `/etc/os-release`. Empty when there is none.
#[must_use]
pub fn release_file(dir: &ProcDir) -> BString {
    for path in ["root/etc/lsb-release", "root/etc/os-release", "root/usr/lib/os-release"] {
        let Ok(file) = dir.open_link(path) else { continue };
        // The target's container chooses this file; only a plain, small one is believed.
        if !file.metadata().is_ok_and(|about| about.is_file()) {
            continue;
        }
        let mut bytes = Vec::new();
        if file.take(1 << 16).read_to_end(&mut bytes).is_ok() && !bytes.is_empty() {
            return bytes.into();
        }
    }
    BString::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_of_extended_families() {
        // An AMD family 25 (0x19) model 17 (0x11) stepping 1 reads 0x00a10f11.
        assert_eq!(signature(25, 17, 1), 0x00a1_0f11);
        // Intel family 6 model 85 stepping 7.
        assert_eq!(signature(6, 85, 7), 0x0005_0657);
    }

    #[test]
    fn features_by_bit() {
        assert_eq!(features("fpu de sse2"), 1 | 1 << 2 | 1 << 26);
    }
}
