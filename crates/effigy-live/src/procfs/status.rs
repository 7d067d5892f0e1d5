//! `/proc/PID/status`: proc_pid_status(5).

use std::collections::BTreeMap;

use bstr::ByteSlice;
use effigy_process::{Credentials, MemoryCounters};

/// The file's lines by their names.
#[derive(Clone, Debug, Default)]
pub struct Status {
    fields: BTreeMap<String, String>,
}

impl Status {
    /// Takes the file apart. Lines of another form are passed over.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let fields = bytes
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once_str(":")?;
                Some((name.to_str_lossy().into_owned(), value.to_str_lossy().trim().to_owned()))
            })
            .collect();
        Self { fields }
    }

    /// A line's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// A line whose value begins with a decimal number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.split_ascii_whitespace().next()?.parse().ok()
    }

    /// A line whose value is a hexadecimal mask.
    #[must_use]
    pub fn mask(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(name)?, 16).ok()
    }

    /// A line whose value is a size in kB, in bytes.
    fn size(&self, name: &str) -> u64 {
        self.number(name).unwrap_or(0).saturating_mul(1024)
    }

    /// All numbers of a line.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Vec<u32> {
        self.get(name).map_or_else(Vec::new, |value| {
            value.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
        })
    }

    /// The process that traces this one; 0 for none.
    #[must_use]
    pub fn tracer(&self) -> u32 {
        self.number("TracerPid").and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
    }

    /// The lowest 64 processors that may be run on.
    #[must_use]
    pub fn affinity(&self) -> u64 {
        // Groups of 32 bits, highest first, separated by commas.
        let Some(text) = self.get("Cpus_allowed") else { return 0 };
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let low = digits.len().saturating_sub(16);
        u64::from_str_radix(&digits[low..], 16).unwrap_or(0)
    }

    /// Whose rights it has. The security label is not in this file.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        let four = |name| {
            let mut all = [0; 4];
            for (slot, id) in all.iter_mut().zip(self.numbers(name)) {
                *slot = id;
            }
            all
        };
        Credentials {
            uid: four("Uid"),
            gid: four("Gid"),
            groups: self.numbers("Groups"),
            capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), self.mask(name)?)))
                .collect(),
            no_new_privileges: self.number("NoNewPrivs") == Some(1),
            seccomp: self.number("Seccomp").and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0),
            seccomp_filters: self.number("Seccomp_filters").and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            security_label: String::new(),
        }
    }

    /// Its memory.
    #[must_use]
    pub fn memory(&self) -> MemoryCounters {
        MemoryCounters {
            size: self.size("VmSize"),
            peak_size: self.size("VmPeak"),
            resident: self.size("VmRSS"),
            peak_resident: self.size("VmHWM"),
            resident_anonymous: self.size("RssAnon"),
            resident_file: self.size("RssFile"),
            resident_shared: self.size("RssShmem"),
            swapped: self.size("VmSwap"),
            locked: self.size("VmLck"),
            page_tables: self.size("VmPTE"),
            data: self.size("VmData"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_name() {
        let status = Status::parse(
            b"Name:\tx\nUid:\t1\t2\t3\t4\nTracerPid:\t77\nVmRSS:\t  12 kB\nCapEff:\t000001ffffffffff\nCpus_allowed:\tff,00000003\nGroups:\t \n",
        );
        assert_eq!(status.tracer(), 77);
        assert_eq!(status.credentials().uid, [1, 2, 3, 4]);
        assert_eq!(status.credentials().groups, Vec::<u32>::new());
        assert_eq!(status.credentials().capabilities["CapEff"], 0x1ff_ffff_ffff);
        assert_eq!(status.memory().resident, 12 * 1024);
        assert_eq!(status.affinity(), 0xff_0000_0003);
    }
}
