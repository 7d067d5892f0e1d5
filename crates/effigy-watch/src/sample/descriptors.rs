//! How many descriptors a process has open.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, statat};

use super::{Gauge, Reading};
use crate::Target;

/// Counts what is in `fd`.
#[derive(Debug)]
pub(super) struct Descriptors {
    folder: OwnedFd,
    /// Since Linux 6.2 the size of the folder is their number; older kernels say 0.
    sized: bool,
}

impl Descriptors {
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = target.dir().open_file("fd").map_err(|error| format!("fd: {error}"))?;
        let folder = openat(&folder, ".", flags, Mode::empty()).map_err(|error| format!("fd: {error}"))?;
        let sized = size(&folder).is_ok_and(|size| size > 0);
        Ok(Self { folder, sized })
    }
}

fn size(folder: &OwnedFd) -> rustix::io::Result<i64> {
    statat(folder, ".", AtFlags::empty()).map(|about| about.st_size)
}

impl Gauge for Descriptors {
    fn read(&mut self, _now: Instant) -> Reading {
        let count = if self.sized {
            size(&self.folder).map(|size| u64::try_from(size).unwrap_or(0))
        } else {
            let named = |entry: &rustix::fs::DirEntry| entry.file_name().to_bytes().first() != Some(&b'.');
            Dir::read_from(&self.folder).map(|dir| dir.flatten().filter(named).count() as u64)
        };
        match count {
            Ok(count) => Reading::Value(count as f64),
            Err(error) => Reading::Missing(format!("fd: {error}")),
        }
    }
}
