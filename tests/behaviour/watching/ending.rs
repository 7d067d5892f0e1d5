//! Ends of a watch: the target goes on, untraced, whatever ends the watch.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Watch, moods};
use crate::harness::{State, Tolerance, alive, effigy, status_field};

#[test]
fn by_cancel() {
    let target = moods();
    let before = State::of(target.pid);
    let mut running = Watch::of(&target.pid_text(), &["--above", "threads=1000"]).running();
    running.await_begun(target.pid);
    let other = moods();
    effigy(["watch", "--cancel", &other.pid_text()]).run().expect(2).says("nobody watches");
    assert!(!running.running.is_over());
    let run = effigy(["watch", "--cancel", &target.pid_text()]).run().expect(0);
    assert_eq!(String::from_utf8_lossy(&run.stdout), format!("ended 1 watch of {}\n", target.pid));
    let watched = running.wait().expect(143);
    assert_eq!(watched.dumped(0).events("over")[0]["why"], "cancelled");
    before.assert_unharmed(Tolerance::STRICT);
    assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"));
}

#[test]
fn by_signals() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let target = moods();
        let before = State::of(target.pid);
        let mut running = Watch::of(&target.pid_text(), &["--above", "threads=1000", "--interval", "10m"]).running();
        running.await_begun(target.pid);
        running.running.send(signal);
        // Long before the next look.
        let watched = running.wait().expect(code);
        assert_eq!(watched.dumped(0).events("end")[0]["reason"], "asked");
        before.assert_unharmed(Tolerance::STRICT);
    }
}

/// While nothing happens nobody traces the target.
#[test]
fn nobody_traces_what_is_watched() {
    let target = moods();
    let mut running =
        Watch::of(&target.pid_text(), &["--above", "cpu=99", "--hang", "1h", "--within", "1500ms"]).running();
    running.await_begun(target.pid);
    while !running.running.is_over() {
        assert_eq!(status_field(target.pid, "TracerPid").as_deref(), Some("0"));
        std::thread::sleep(Duration::from_millis(20));
    }
    running.wait().expect(7).dumped(0);
}

#[test]
fn with_the_target() {
    let target = moods();
    Watch::of(&target.pid_text(), &["--kill"]).run().expect(0).dumped(1);
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive(target.pid) {
        assert!(Instant::now() < deadline, "the target lives");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn commands_before_and_after() {
    let target = moods();
    let arguments = [
        "--before",
        "echo \"before $EFFIGY_PID $EFFIGY_NAME\" >> \"$WORDS\"",
        "--after",
        "echo \"after $EFFIGY_DUMP\" >> \"$WORDS\"; exit 5",
    ];
    let mut watch = Watch::of(&target.pid_text(), &arguments);
    let words = watch.dir.path().join("words");
    watch.effigy = watch.effigy.env("WORDS", words.to_str().unwrap());
    let watched = watch.run().expect(0);
    let dump = watched.dumped(1).dumps().remove(0);
    let said = fs::read_to_string(&words).unwrap();
    assert_eq!(said, format!("before {} moods\nafter {}\n", target.pid, dump.display()));
    assert!(watched.run.stderr.contains("exit status: 5"), "{}", watched.run.stderr);
}

/// A folder that is not there: each attempt fails, and after three the watch ends with what went wrong.
#[test]
fn dumps_that_fail() {
    let mut target = moods();
    target.ask("threads 20");
    let run = effigy(["watch", &target.pid_text(), "--json", "--interval", "100ms", "-o", "/nowhere/at/all/x.dmp"]);
    let run = run.args(["--above", "threads=10"]).run().expect(5);
    let events = run.objects();
    assert_eq!(events.iter().filter(|event| event["event"] == "failed").count(), 3);
}

#[test]
fn command_lines_that_make_no_sense() {
    for arguments in [
        &["watch"][..],
        &["watch", "1", "--above", "cpu"],
        &["watch", "1", "--above", "nonsense=5"],
        &["watch", "1", "--above", "cpu=x"],
        &["watch", "1", "--growth", "private=1M,2M"],
        &["watch", "1", "--probe", "ftp://x"],
        &["watch", "1", "-o", "-"],
        &["watch", "1", "--include", "x"],
        &["watch", "--cancel"],
    ] {
        let run = effigy(arguments).run();
        assert_eq!(run.code, Some(1), "{arguments:?}: {}", run.stderr);
    }
}
