//! A Python process whose threads stand still in known places.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use effigy_live::snapshot::{LiveSnapshot, LiveView, Prelude, PreludeOptions};
use effigy_process::ProcessId;

use crate::interpreters::Interpreter;

/// Function, file and line.
pub(crate) type Frame = (String, String, Option<u32>);

/// What the process says of one of its threads.
pub(crate) struct Told {
    pub(crate) ident: u64,
    pub(crate) native_id: u32,
    pub(crate) name: String,
    /// Innermost first.
    pub(crate) frames: Vec<Frame>,
}

/// The process, which ends with the test.
pub(crate) struct Parked {
    child: Child,
    pub(crate) told: Vec<Told>,
    folder: tempfile::TempDir,
}

impl Parked {
    /// Starts `parked.py`, from a folder whose name needs every width of character that there is.
    pub(crate) fn start(interpreter: &Interpreter) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("żmija 🐍").join("parked.py");
        std::fs::create_dir(script.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/parked.py"), &script).unwrap();
        let mut child = Command::new(&interpreter.program)
            .args(["-I", "-X", "utf8"])
            .arg(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut parked = Self { child, told: Vec::new(), folder };
        let all: Vec<(u64, u32, String, Vec<Frame>)> = serde_json::from_str(&line).unwrap();
        assert_eq!(all.len(), 7, "{interpreter}");
        parked.told.extend(all.into_iter().map(|(ident, native_id, name, frames)| Told {
            ident,
            native_id,
            name,
            frames,
        }));
        parked.settle();
        parked
    }

    /// Waits until every thread sleeps: the main one may still be on its way from saying so to waiting.
    fn settle(&self) {
        let sleeps = |path: PathBuf| {
            let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
        };
        let tasks = format!("/proc/{}/task", self.pid());
        for _ in 0..1000 {
            let all = std::fs::read_dir(&tasks).unwrap().all(|task| sleeps(task.unwrap().path()));
            if all {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the threads of {} do not come to rest", self.pid());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process as it runs, without stopping it.
    pub(crate) fn view(&self) -> LiveView {
        let prelude = Prelude::read(ProcessId(self.pid()), PreludeOptions::default()).unwrap();
        LiveView::new(LiveSnapshot::of_unstopped(prelude).unwrap())
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
