//! Being launched by effigy is like being launched by anybody else.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::harness::{alive, effigy, oracle, scratch, status_field};

use super::{alone, code_of, observe, target};

#[test]
fn statuses_are_passed_through() {
    for (program, arguments, code) in [("true", &[][..], 0), ("false", &[], 1), ("sh", &["-c", "exit 200"], 200)] {
        let run = effigy(["run", "--", program]).args(arguments).run().expect(code);
        assert_eq!(run.stderr, "");
    }
    let target = target();
    assert_eq!(observe(&["-n", "0"], &target, &["segv"]).run.code, Some(code_of(alone(&target, &["segv"]))));
}

#[test]
fn what_cannot_be_started() {
    let dir = scratch();
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    effigy(["run", "--"]).arg(dir.path().join("nothing")).run().expect(127).says("no such file");
    effigy(["run", "--"]).arg(&plain).run().expect(126).says("permission denied");
    effigy(["run", "-o", "-", "--", "true"]).run().expect(1).says("standard output");
    effigy(["run"]).run().expect(1);
}

/// Input, output, arguments, environment, folder and process group are those that the program would have.
#[test]
fn input_and_output() {
    let dir = scratch();
    let script =
        "cat; echo $0 $1 $WORD; pwd; ps -o pgid= -p $$ | tr -d ' '; cut -d' ' -f5 /proc/$PPID/stat; echo err >&2";
    let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["run", "--", "sh", "-c", script, "zero", "-n"])
        .env("WORD", "word")
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let folder = dir.path().canonicalize().unwrap();
    assert_eq!(lines[..3], ["in", "zero -n word", folder.to_str().unwrap()]);
    assert_eq!(lines[3], lines[4], "the program's process group and effigy's");
    assert_eq!(output.stderr, b"err\n");
}

/// The program has no descriptor, no blocked and no ignored signal more than without effigy.
#[test]
fn nothing_is_left_in_it() {
    let script = "ls -l /proc/self/fd | awk '{print $9}'; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    let alone = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output().unwrap();
    let run = effigy(["run", "--", "sh", "-c", script]).run().expect(0);
    assert_eq!(without_internal(&run.stdout), without_internal(&alone.stdout));
}

/// A program that is to outlive its terminal does so under effigy, too, and so does effigy.
#[test]
fn what_is_ignored_stays_ignored() {
    let script = "trap '' HUP; exec \"$0\" run -- sh -c 'kill -HUP $PPID; grep SigIgn /proc/self/status'";
    let run = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_effigy")]).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    let mask = text.strip_prefix("SigIgn:").unwrap_or_else(|| panic!("{text:?}, {}", run.status)).trim();
    assert_eq!((run.status.code(), u64::from_str_radix(mask, 16).unwrap() & 1), (Some(0), 1));
}

/// Ignored signals without the two that are the C library's own: with threads it takes one of them over, which ends at execve.
fn without_internal(output: &[u8]) -> String {
    const INTERNAL: u64 = 1 << 31 | 1 << 32;
    let text = String::from_utf8_lossy(output).into_owned();
    let (before, rest) = text.split_once("SigIgn:\t").unwrap();
    let (mask, after) = rest.split_once('\n').unwrap();
    let mask = u64::from_str_radix(mask, 16).unwrap() & !INTERNAL;
    format!("{before}{mask:x}\n{after}")
}

/// What is sent to the whole process group reaches the program once, though effigy is in it too, and what is sent to effigy
/// is passed on even so.
#[test]
fn signals_to_the_group_come_once() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["run", "--"])
        .arg(target())
        .arg("signals")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let effigy = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.next().unwrap().starts_with("ready"));
    for number in 1..=12 {
        if number % 3 == 0 { kill(effigy, Signal::SIGUSR1) } else { killpg(effigy, Signal::SIGUSR1) }.unwrap();
        assert_eq!(lines.next().unwrap(), format!("got {number}"));
        // A second one would come within this time.
        sleep(Duration::from_millis(60));
    }
    killpg(effigy, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(12));
}

/// Nobody reads what effigy says: the program does not wait for that, and is not held for it.
#[test]
fn nobody_listens() {
    use std::io::{Read, pipe};
    let (mut reader, writer) = pipe().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["run", "--on", "thread-start", "-n", "0", "--"])
        .arg(target())
        .args(["threads", "2000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let program = child_of(i32::try_from(child.id()).unwrap());
    // Some hundred lines fill the pipe.
    let deadline = Instant::now() + Duration::from_secs(100);
    while alive(program) {
        assert!(Instant::now() < deadline, "the program waits for the reader");
        sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    let reading = std::thread::spawn(move || reader.read_to_string(&mut said).map(|_| said));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(reading.join().unwrap().unwrap().lines().count(), 2000);
}

/// On a terminal the program is in the foreground, and Ctrl-C reaches it once.
#[test]
fn on_a_terminal() {
    let Some(script) = oracle("script") else { return };
    // A shell that stays in between (which one does, differs) gets the Ctrl-C too and dies of it.
    let command = format!("exec {} run -- {} interrupts", env!("CARGO_BIN_EXE_effigy"), target().display());
    let mut child = Command::new(script)
        .args(["-qefc", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut terminal = child.stdin.take().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready"), "{line}");
    terminal.write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(41));
}

/// Once all dumps are taken the program is on its own, and its status still counts.
#[test]
fn after_the_last_dump_it_is_not_traced() {
    let target = target();
    let dir = scratch();
    let run = effigy(["run", "--on", "exec", "-k", "mini", "-o"]).arg(dir.path().join("dump.core")).arg("--");
    let mut running =
        run.arg(&target).args(["exec", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.01; done"]).start();
    let program = child_of(running.pid());
    // Before that it is a copy of effigy, which handles SIGTERM and may not be traced yet.
    while !fs::read(format!("/proc/{program}/cmdline")).unwrap().starts_with(b"sh\0") {
        assert!(!running.is_over());
        sleep(Duration::from_millis(5));
    }
    while status_field(program, "TracerPid").is_some_and(|tracer| tracer != "0") {
        assert!(!running.is_over());
        sleep(Duration::from_millis(5));
    }
    assert!(alive(program));
    let handles = |mask: String| u64::from_str_radix(&mask, 16).unwrap() & 1 << (Signal::SIGTERM as u64 - 1) != 0;
    while !status_field(program, "SigCgt").is_some_and(handles) {
        assert!(!running.is_over());
        sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(program), Signal::SIGTERM).unwrap();
    running.wait().expect(9);
}

/// The one child of effigy.
pub(super) fn child_of(pid: i32) -> i32 {
    loop {
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            if let Some(child) = children.split_whitespace().next() {
                return child.parse().unwrap();
            }
        }
        sleep(Duration::from_millis(2));
    }
}
