//! gdb's core of a process, and the stacks that it sees itself.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use effigy_formats::source::{FileSource, SharedSource};
use effigy_formats::{OpenedDump, Surroundings, open};

use crate::interpreters::skip;
use crate::parked::Parked;

/// Each thread's functions, innermost first, without those that were inlined.
const BACKTRACES: &str = r#"python exec("""
import gdb
for thread in gdb.selected_inferior().threads():
    thread.switch()
    print('THREAD', thread.ptid[1])
    frame = gdb.newest_frame()
    while frame is not None:
        if frame.type() != gdb.INLINE_FRAME:
            print('FRAME', frame.name() or '?')
        try:
            frame = frame.older()
        except gdb.error:
            frame = None
""")"#;

struct Alone;

impl Surroundings for Alone {
    fn open(&mut self, _: &Path) -> io::Result<SharedSource> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn scratch(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }
}

/// A program in the search path; `None` says that the test is skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{name} not found"));
    }
    found
}

/// The core, and by thread id the functions that the machine runs.
pub(crate) fn core_of(gdb: &Path, parked: &Parked) -> (HashMap<u32, Vec<String>>, OpenedDump) {
    let core = parked.folder().join("core");
    let generate = format!("generate-core-file {}", core.display());
    let backtraces = BACKTRACES.replace('\n', "\\n").replace("\"\"\"", "\"");
    let output = Command::new(gdb)
        .args(["-q", "-batch", "-nx", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off", "-p"])
        .arg(parked.pid().to_string())
        .args(["-ex", &generate, "-ex", &backtraces])
        .output()
        .unwrap();
    let mut stacks = HashMap::new();
    let mut thread = 0;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        if let Some(id) = line.strip_prefix("THREAD ") {
            thread = id.parse().unwrap();
        } else if let Some(name) = line.strip_prefix("FRAME ") {
            stacks.entry(thread).or_insert_with(Vec::new).push(name.to_owned());
        }
    }
    assert!(core.exists() && !stacks.is_empty(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let source = FileSource::new(File::open(&core).unwrap()).unwrap();
    (stacks, open(Arc::new(source), &mut Alone).unwrap())
}
