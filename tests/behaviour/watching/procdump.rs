//! `procdump`: its command lines, file names and lines of progress.

use std::path::Path;
use std::process::Command;

use super::moods;
use crate::harness::{Core, Dump, Effigy, Run, Target, effigy, scratch};

fn procdump(dir: &Path, line: &str, target: &Target) -> Run {
    let words: Vec<String> = line.split_whitespace().map(|word| word.replace("PID", &target.pid_text())).collect();
    effigy(["procdump"]).args(words).dir(dir).within(60).run()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A name with its digits for date, time and id replaced.
fn shape(name: &str, target: &Target) -> String {
    let name = name.replace(&format!(".{}", target.pid), ".PID");
    name.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect()
}

#[test]
fn lines_for_windows() {
    let mut target = moods();
    target.ask("threads 20");
    let dir = scratch();
    let run = procdump(dir.path(), "-ma -n 2 -s 1 PID", &target).expect(0);
    let names = files(dir.path());
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(shape(&names[0], &target), "moods_000000_000000.dmp");
    let _ = Dump::open(&dir.path().join(&names[0]));
    let said = String::from_utf8(run.stdout).unwrap();
    for words in ["Dump 1 initiated: moods_", "Dump 1 complete: ", "Dump 2 complete: ", "Dump count reached."] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn lines_for_linux() {
    let mut target = moods();
    target.ask("threads 20");
    let dir = scratch();
    procdump(dir.path(), "-tc 10 PID", &target).expect(0);
    let names = files(dir.path());
    assert_eq!(shape(&names[0], &target), "moods_thread_000000_000000.PID");
    let _ = Core::open(&dir.path().join(&names[0]));
    target.ask("grow 60");
    procdump(dir.path(), "-m 50 PID the_core", &target).expect(0);
    assert!(files(dir.path()).contains(&format!("the_core.{}", target.pid)), "{:?}", files(dir.path()));
}

#[test]
fn processor_time_of_one_core() {
    let mut target = moods();
    target.ask("spin 1");
    let dir = scratch();
    let run = procdump(dir.path(), "-mm -c 30 -u -s 1 -pf 200 PID", &target).expect(0);
    assert!(String::from_utf8_lossy(&run.stdout).contains("Trigger: core "), "{:?}", run.stdout);
}

#[test]
fn by_its_name() {
    let target = moods();
    let dir = scratch();
    let link = dir.path().join("procdump");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_effigy"), &link).unwrap();
    let output = Command::new(&link).args(["-mt", &target.pid_text()]).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(files(dir.path()).len(), 2);
    let run = Effigy::through(&[link.to_str().unwrap()], &["-?"]).run().expect(0);
    assert!(String::from_utf8_lossy(&run.stdout).contains("-cancel"));
}

#[test]
fn what_is_refused() {
    let target = moods();
    let dir = scratch();
    for line in ["-restrack PID", "-c x PID", "-a PID", "-mx PID", "", "-md a.dll PID"] {
        let run = procdump(dir.path(), line, &target);
        assert_eq!((run.code, files(dir.path()).len()), (Some(1), 0), "{line}: {}", run.stderr);
        assert!(!run.stderr.is_empty(), "{line}");
    }
    procdump(dir.path(), "-cancel PID", &target).expect(2).says("nobody watches");
}
