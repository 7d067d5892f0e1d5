//! `procdump`: its command lines, file names and lines of progress.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::moods;
use crate::events;
use crate::harness::{Core, Dump, Effigy, Plan, Run, Target, effigy, scratch};

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
    let nothing = ["-restrack PID", "-c x PID", "-a PID", "-mx PID", "", "-md a.dll PID"];
    let events =
        ["-i", "-u", "-u PID", "-l PID", "-b PID", "-g PID", "-f x PID", "-x /nowhere/at/all true", "-sig 99 PID"];
    for line in nothing.into_iter().chain(events) {
        let run = procdump(dir.path(), line, &target);
        assert_eq!((run.code, files(dir.path()).len()), (Some(1), 0), "{line}: {}", run.stderr);
        assert!(!run.stderr.is_empty(), "{line}");
    }
    procdump(dir.path(), "-cancel PID", &target).expect(2).says("nobody watches");
}

/// A target that does something when a line comes, and `procdump` on it. What that said, the names of its files, and the
/// target's exit code.
fn observe(line: &str, mode: &[&str]) -> (String, Vec<String>, i32) {
    let mut target = Plan::program(events::target()).args([&["wait"], mode].concat()).start();
    let dir = scratch();
    let words = line.split_whitespace().map(|word| word.replace("PID", &target.pid_text()));
    let words: Vec<String> = words.map(|word| word.replace("NOTHING", "")).collect();
    let mut running = effigy(["procdump"]).args(words).dir(dir.path()).within(60).start();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !super::is_traced(target.pid) {
        assert!(Instant::now() < deadline && !running.is_over(), "{line}: the target is not traced");
        std::thread::sleep(Duration::from_millis(10));
    }
    target.tell("go");
    let code = events::code_of(target.finish());
    let run = running.wait().expect(0);
    let names = files(dir.path()).iter().map(|name| shape(name, &target)).collect();
    (String::from_utf8(run.stdout).unwrap(), names, code)
}

#[test]
fn exceptions() {
    let (said, names, code) = observe("-mm -e PID", &["segv-thread"]);
    assert_eq!((code, &names[..]), (139, &["events_000000_000000.dmp".to_owned()][..]));
    assert!(said.contains("Unhandled: SIGSEGV") && said.contains("Dump count reached."), "{said}");
    let (said, names, code) = observe("-mm -e 1 -n 2 PID first_EXCEPTIONCODE", &["handle", "5"]);
    assert_eq!((code, names.len()), (0, 2), "{said}");
    assert!(names[0].starts_with("first_0000000B") && said.contains("Exception: SIGSEGV"), "{names:?} {said}");
    let (said, names, code) = observe("-mm -e 1 -f NOTHING PID", &["handle", "5"]);
    assert_eq!((code, names.len(), said.matches("Exception: ").count()), (0, 0, 5), "{said}");
    let (_, names, code) = observe("-mm -e 1 -f x,maperr -fx nothing PID", &["handle", "5"]);
    assert_eq!((code, names.len()), (0, 1));
}

#[test]
fn signals_threads_and_ends() {
    let (_, names, code) = observe("-sig 11 PID", &["handle", "5"]);
    assert_eq!((code, &names[..]), (0, &["events_signal_000000_000000.PID".to_owned()][..]));
    let (said, names, code) = observe("-mm -t PID", &["exit", "3"]);
    assert_eq!((code, names.len()), (3, 1), "{said}");
    let (said, names, code) = observe("-mm -ct -et -n 4 PID", &["threads", "9"]);
    assert_eq!((code, names.len()), (0, 4), "{said}");
}

/// `-x` starts a program, which has standard output to itself, and ends as it does.
#[test]
fn a_program_that_is_started() {
    let (dir, dumps) = (scratch(), scratch());
    let words = ["procdump", "-mm", "-e", "-x", dumps.path().to_str().unwrap()];
    let run = effigy(words).arg(events::target()).arg("segv-thread").dir(dir.path()).within(60).run().expect(139);
    assert_eq!((files(dumps.path()).len(), files(dir.path()).len()), (1, 0), "{}", run.stderr);
    assert!(run.stdout.is_empty());
    let run = effigy(words).args(["sh", "-c", "echo hello; exit 7"]).within(60).run().expect(7);
    assert_eq!(run.stdout, b"hello\n");
    effigy(["procdump", "-w", "-x", ".", "true"]).run().expect(1).says("-x out");
}
