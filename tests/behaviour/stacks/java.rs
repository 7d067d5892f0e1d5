//! Stacks of a JVM: those of its own code beside the oracles', and the names of what it compiled, by its own account.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use serde_json::Value;

use super::programs::beside;
use super::{backtraces, stacks, stacks_of};
use crate::harness::{Plan, Target, oracle, skip, source_dir};
use crate::real_programs::dump_lively;

/// A program whose threads wait, and the JVM that runs it.
fn start(words: &[&str]) -> Option<(PathBuf, Target)> {
    // The program itself, not a link to it, so that its libraries are beside it.
    let java = oracle("java")?.canonicalize().unwrap();
    let arguments = ["-Xmx64m", "-XX:+UseSerialGC"];
    let plan = Plan::program(&java).args(arguments).args([source_dir().join("Waiting.java")]);
    Some((java, plan.args(words).start()))
}

/// Where code of files is mapped; what lies elsewhere was made at run time.
fn code_of_files(pid: i32) -> Vec<Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let code = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains(" /"));
    let ranges = code.map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        u64::from_str_radix(start, 16).unwrap()..u64::from_str_radix(end, 16).unwrap()
    });
    ranges.collect()
}

/// What the JVM made at run time has no call frame information: of that only the first frame can be judged, as it is found
/// from the native one that it called.
#[test]
fn native_frames() {
    let Some((java, target)) = start(&[]) else { return };
    let dump = dump_lively(&target, "dump.core", &["--kind", "full"]);
    let files = code_of_files(target.pid);
    let ours = backtraces(&stacks_of(&dump.path, &[]));
    let is_native = |pc: u64| files.iter().any(|range| range.contains(&pc));
    let judged: BTreeMap<_, _> = ours
        .iter()
        .map(|(tid, frames)| (*tid, frames.iter().take_while(|frame| is_native(frame.pc)).count() + 1))
        .collect();
    beside(&dump.path, &java, "Java, native", 80, &ours, &judged);
}

/// A line of the file for perf.
struct Compiled {
    code: Range<u64>,
    name: String,
}

/// The file that a JVM writes for perf; it goes with this.
struct PerfMap(PathBuf);

impl PerfMap {
    fn of(target: &Target) -> Self {
        Self(format!("/tmp/perf-{}.map", target.pid).into())
    }

    /// Has it written anew, and reads it.
    fn write(&self, jcmd: &Path, target: &Target) -> Vec<Compiled> {
        let output = Command::new(jcmd).args([&target.pid_text(), "Compiler.perfmap"]).output().unwrap();
        let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let text = fs::read(&self.0).unwrap_or_else(|error| panic!("no file for perf: {error}: {}", said()));
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut number = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
            let (start, size) = (number()?, number()?);
            Some(Compiled { code: start..start + size, name: words.next()?.to_owned() })
        });
        lines.collect()
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// Checks that frames in code that the JVM made have the names that it gave, and counts them.
#[track_caller]
fn check_names(answer: &Value, compiled: &[Compiled]) -> Vec<String> {
    let mut names = Vec::new();
    for thread in answer["threads"].as_array().unwrap() {
        for (index, frame) in thread["frames"].as_array().unwrap().iter().enumerate() {
            if !frame["module"].is_null() {
                continue;
            }
            let address = frame["address"].as_str().unwrap().trim_start_matches("0x");
            // A call may be the last instruction of its function.
            let address = u64::from_str_radix(address, 16).unwrap() - u64::from(index > 0);
            let there: Vec<_> = compiled.iter().filter(|code| code.code.contains(&address)).collect();
            let name = frame["function"].as_str();
            assert!(
                there.is_empty() == name.is_none() && there.iter().all(|code| Some(code.name.as_str()) == name),
                "{frame} is of {:?}",
                there.iter().map(|code| &code.name).collect::<Vec<_>>()
            );
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

#[test]
fn compiled_code_has_the_names_of_its_map() {
    let Some((java, target)) = start(&["busy"]) else { return };
    let Some(jcmd) = java.parent().map(|dir| dir.join("jcmd")).filter(|path| path.exists()) else {
        return skip("this Java has no jcmd to ask for its map");
    };
    let map = PerfMap::of(&target);
    // When the loop is compiled is up to the JVM.
    for _ in 0..200 {
        let compiled = map.write(&jcmd, &target);
        assert!(compiled.len() > 100, "the JVM told of {} pieces of code", compiled.len());
        let names = check_names(&stacks(&target.pid_text(), &[]), &compiled);
        if names.iter().any(|name| name.contains("Waiting.")) && names.iter().any(|name| name == "Interpreter") {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("no frame is of compiled code");
}
