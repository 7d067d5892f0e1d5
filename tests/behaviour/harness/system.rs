//! Things of the whole machine that a test borrows and gives back, also when it panics.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A directory for one test.
pub(crate) fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("behaviour-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Whether the tests may change the machine.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The machine to itself, among the tests that ask for it. Held until dropped.
pub(crate) struct MachineLock(#[allow(dead_code, reason = "the open file holds the lock")] File);

impl MachineLock {
    pub(crate) fn take() -> Self {
        let file = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine.lock")).unwrap();
        file.lock().unwrap();
        Self(file)
    }
}

/// A kernel setting raised for a while.
pub(crate) struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Sets it; `None` when the system does not let us.
    pub(crate) fn set(path: &str, value: &str) -> Option<Self> {
        let before = fs::read_to_string(path).ok()?;
        fs::write(path, value).ok()?;
        let setting = Self { path: path.into(), before };
        (fs::read_to_string(path).ok()?.trim() == value).then_some(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}

/// A file system mounted for a while.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// A tmpfs; `None` when the system does not let us.
    pub(crate) fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        Self::by(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at), at)
    }

    fn by(command: &mut Command, at: &Path) -> Option<Self> {
        command.output().is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A swap file in use for a while.
pub(crate) struct Swap(PathBuf);

impl Swap {
    /// `None` when the system does not let us.
    pub(crate) fn on(dir: &Path, mebibytes: u64) -> Option<Self> {
        let path = dir.join("swapfile");
        let mut made = Command::new("dd");
        made.args(["if=/dev/zero", "bs=1M"]).arg(format!("of={}", path.display())).arg(format!("count={mebibytes}"));
        let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let ready = succeeds(&mut made)
            && succeeds(Command::new("chmod").arg("600").arg(&path))
            && succeeds(Command::new("mkswap").arg(&path))
            && succeeds(Command::new("swapon").arg(&path));
        ready.then_some(Self(path))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(&self.0).output();
    }
}

/// A control group (version 2) of our own.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` when there is no writable hierarchy.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let root = mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [_, at, "cgroup2", ..] => Some(PathBuf::from(at)),
            _ => None,
        })?;
        let path = root.join(format!("effigy-{name}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn add(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Stops (or lets go) everything in it and waits until that is so.
    pub(crate) fn freeze(&self, frozen: bool) {
        fs::write(self.0.join("cgroup.freeze"), if frozen { "1" } else { "0" }).unwrap();
        while self.is_frozen() != frozen {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.events")).unwrap().contains("frozen 1")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        if let Some(parent) = self.0.parent() {
            for pid in members.lines() {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
        }
        let _ = fs::remove_dir(&self.0);
    }
}
