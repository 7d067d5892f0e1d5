//! Things of the whole machine that a test borrows and gives back, also when it panics or is killed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// A shell script that runs when this is dropped, and also when this process ends without dropping it: a test that takes
/// too long is ended with all its process group, by signals that no destructor sees.
struct Undo {
    shell: Child,
    /// Closed when this process ends, however that comes about; the shell waits for it.
    alive: Option<ChildStdin>,
}

impl Undo {
    /// `$1` of the script is `path`, `$2` is `value`.
    fn by(script: &str, path: &Path, value: &str) -> Option<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("trap '' HUP INT TERM; read -r line; {script}"), "undo"]).arg(path).arg(value);
        // In a group of its own, where signals to the group of the test do not reach it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut shell = command.spawn().ok()?;
        let alive = shell.stdin.take();
        Some(Self { shell, alive })
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.shell.wait();
    }
}

/// A kernel setting changed for a while.
pub(crate) struct Setting {
    _undo: Undo,
}

impl Setting {
    /// Sets it; `None` when the system does not let us.
    pub(crate) fn set(path: &str, value: &str) -> Option<Self> {
        let before = fs::read_to_string(path).ok()?;
        let undo = Undo::by("printf %s \"$2\" > \"$1\"", Path::new(path), before.trim())?;
        fs::write(path, value).ok()?;
        (fs::read_to_string(path).ok()?.trim() == value).then_some(Self { _undo: undo })
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

/// Lets go, moves away and removes what is in a control group, and the group.
const REMOVE_GROUP: &str = r#"
echo 0 > "$1/cgroup.freeze"
for pid in $(cat "$1/cgroup.procs"); do echo "$pid" > "$1/../cgroup.procs"; done
tries=0
while [ -d "$1" ] && ! rmdir "$1" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done"#;

/// A control group of our own.
pub(crate) struct Cgroup {
    path: PathBuf,
    _undo: Undo,
}

impl Cgroup {
    /// One of version 2; `None` when there is no writable hierarchy.
    pub(crate) fn new(name: &str) -> Option<Self> {
        Self::below(&hierarchies(|kind, _| kind == "cgroup2").pop()?, name)
    }

    /// One that this controller (`pids`, `memory`) is in charge of, of version 2 or 1; `None` when there is none.
    pub(crate) fn with(controller: &str, name: &str) -> Option<Self> {
        let has = |options: &str| options.split(',').any(|option| option == controller);
        let roots = hierarchies(|kind, options| kind == "cgroup2" || kind == "cgroup" && has(options));
        let limit = |group: &Self| {
            ["pids.max", "memory.max", "memory.limit_in_bytes"]
                .iter()
                .any(|file| file.starts_with(controller) && group.path.join(file).exists())
        };
        roots.iter().filter_map(|root| Self::below(root, name)).find(limit)
    }

    fn below(root: &Path, name: &str) -> Option<Self> {
        let path = root.join(format!("effigy-{name}-{}", std::process::id()));
        let undo = Undo::by(REMOVE_GROUP, &path, "")?;
        fs::create_dir(&path).ok()?;
        Some(Self { path, _undo: undo })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn add(&self, pid: i32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Stops (or lets go) everything in it and waits until that is so.
    pub(crate) fn freeze(&self, frozen: bool) {
        fs::write(self.path.join("cgroup.freeze"), if frozen { "1" } else { "0" }).unwrap();
        while self.is_frozen() != frozen {
            sleep(Duration::from_millis(5));
        }
    }

    /// Panics unless it is frozen, or soon again: a thread that a tracer lets go needs a moment.
    #[track_caller]
    pub(crate) fn await_frozen(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.is_frozen() {
            assert!(Instant::now() < deadline, "the group is no longer frozen");
            sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events")).unwrap().contains("frozen 1")
    }

    /// Threads in it, as the limit counts them.
    pub(crate) fn tasks(&self) -> u64 {
        self.number(&["pids.current"])
    }

    pub(crate) fn limit_tasks(&self, most: u64) {
        fs::write(self.path.join("pids.max"), most.to_string()).unwrap();
    }

    /// Bytes of memory that it is charged for.
    pub(crate) fn memory(&self) -> u64 {
        self.number(&["memory.current", "memory.usage_in_bytes"])
    }

    pub(crate) fn limit_memory(&self, bytes: u64) {
        let name = ["memory.max", "memory.limit_in_bytes"].into_iter().find(|name| self.path.join(name).exists());
        fs::write(self.path.join(name.unwrap()), bytes.to_string()).unwrap();
    }

    /// How many of its processes were killed for want of memory.
    pub(crate) fn memory_kills(&self) -> u64 {
        let read = |name: &str| fs::read_to_string(self.path.join(name)).ok();
        let text = read("memory.events").or_else(|| read("memory.oom_control")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().trim().parse().unwrap()
    }

    /// The number in the first of these files that there is.
    fn number(&self, names: &[&str]) -> u64 {
        let text = names.iter().find_map(|name| fs::read_to_string(self.path.join(name)).ok());
        text.unwrap().trim().parse().unwrap()
    }
}

/// Mount points of the control group hierarchies that `wanted` takes by type and options.
fn hierarchies(wanted: impl Fn(&str, &str) -> bool) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = |line: &'_ str| -> Option<PathBuf> {
        let [_, at, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        wanted(kind, options).then(|| PathBuf::from(at))
    };
    mounts.lines().filter_map(fields).collect()
}
