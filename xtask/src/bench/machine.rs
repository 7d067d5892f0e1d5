//! The machine that results hold for, and whether it has room for a measurement.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What a reader needs to know before comparing figures with their own.
pub(crate) struct Machine {
    date: String,
    processor: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    file_system: String,
    /// Processes that wanted to run in the minute before.
    load: String,
}

impl Machine {
    /// This machine, with the disk that holds `folder`.
    pub(crate) fn look(folder: &Path) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
        let load = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
        Ok(Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            processor: model.map_or("unknown processor", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().context("cannot count processors")?.get(),
            memory_bytes: of_meminfo("MemTotal:")?,
            kernel: kernel.trim().to_owned(),
            file_system: file_system_of(folder)?,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, cores, memory_bytes, kernel, file_system, load } = self;
        let memory = super::contest::megabytes(*memory_bytes) / 1e3;
        write!(
            f,
            "{date}: {cores} cores ({processor}), {memory:.1} GB memory, Linux {kernel}, disk with {file_system}, load {load} before"
        )
    }
}

/// Memory and disk, free or needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) memory: u64,
    pub(crate) disk: u64,
}

impl Room {
    /// What is too small for what is needed, as a sentence.
    pub(crate) fn lacks(&self, needed: &Self) -> Option<String> {
        let short = |what, free: u64, needed: u64| {
            let gigabytes = |bytes| super::contest::megabytes(bytes) / 1e3;
            (free < needed)
                .then(|| format!("{:.1} GB of {what} free, {:.1} GB needed", gigabytes(free), gigabytes(needed)))
        };
        short("memory", self.memory, needed.memory).or_else(|| short("disk", self.disk, needed.disk))
    }
}

/// What is free now, on the disk that holds `folder`.
pub(crate) fn room(folder: &Path) -> Result<Room> {
    let disk =
        rustix::fs::statvfs(folder).with_context(|| format!("cannot ask for the space at {}", folder.display()))?;
    Ok(Room { memory: of_meminfo("MemAvailable:")?, disk: disk.f_bavail * disk.f_frsize })
}

fn of_meminfo(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
    let kib: u64 = value.with_context(|| format!("/proc/meminfo has no {name}"))?.parse()?;
    Ok(kib * 1024)
}

/// The type of the file system that holds a folder.
fn file_system_of(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(deepest_mount(&mounts, &folder).unwrap_or("an unknown file system").to_owned())
}

fn deepest_mount<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = fields.filter(|(point, _)| folder.starts_with(point));
    // The later of two mounts on one folder is the one that is seen.
    holding.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deepest_mount_holds_a_folder() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        assert_eq!(deepest_mount(mounts, Path::new("/tmp/x/y")), Some("xfs"));
        assert_eq!(deepest_mount(mounts, Path::new("/tmp/z")), Some("tmpfs"));
        assert_eq!(deepest_mount(mounts, Path::new("/home")), Some("ext4"));
    }

    #[test]
    fn what_is_too_small_is_named() {
        let free = Room { memory: 2_000_000_000, disk: 3_000_000_000 };
        assert_eq!(free.lacks(&Room { memory: 1, disk: 3_000_000_000 }), None);
        let lack = free.lacks(&Room { memory: 1, disk: 4_000_000_000 });
        assert_eq!(lack.as_deref(), Some("3.0 GB of disk free, 4.0 GB needed"));
    }
}
