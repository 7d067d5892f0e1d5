//! What cannot be read: which exit code, and what is said.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::corpus;
use crate::harness::{Elsewhere, NOBODY, Plan, State, Tolerance, effigy, is_root, scratch, skip, status_field};

#[test]
fn what_is_no_dump_is_named() {
    let folder = scratch();
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    effigy(["info", &path("empty.dmp", b"")]).run().expect(9).says("the file is empty");
    effigy(["threads", &path("text.txt", b"Hello\n")]).run().expect(9).says("begins with 48 65 6c 6c 6f");
    effigy(["modules", folder.path().to_str().unwrap()]).run().expect(9).says("is a folder");
    effigy(["info", &path("cut.dmp", b"MDMP\x93\xa7\0\0")]).run().expect(9).says("reading the minidump");
    effigy(["info", "/dev/null"]).run().expect(9).says("no regular file");
    effigy(["info", folder.path().join("nothing").to_str().unwrap()]).run().expect(2).says("there is no file");
    effigy(["info", "no-such-program"]).run().expect(2).says("neither a file nor a process");
    effigy(["info", "4194305"]).run().expect(2).says("there is no process 4194305");
}

/// Another tracer holds the process: all can be seen of it but its registers.
#[test]
fn a_traced_process_is_read_without_its_registers() {
    let target = Plan::c("plain").start();
    let tracer = Plan::c("tracer").args([target.pid_text()]).start();
    let pid = target.pid_text();
    let run = effigy(["threads", "--registers", &pid]).run().expect(4).says("already traced");
    assert!(run.stderr.contains(&tracer.pid.to_string()), "names the tracer: {}", run.stderr);
    for command in ["info", "threads", "modules", "regions", "handles"] {
        effigy([command, &pid]).run().expect(0);
    }
    effigy(["memory", "read", &pid, &format!("{:#x}", target.markers[0].address)]).run().expect(0);
    assert_eq!(status_field(target.pid, "TracerPid"), Some(tracer.pid.to_string()), "the tracer was driven away");
}

#[test]
fn rights_are_needed_to_look_at_a_process() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let others = Plan::c("plain").start();
    for command in ["info", "threads", "regions"] {
        place.as_nobody(&[command, &others.pid_text()]).expect(3).says("CAP_SYS_PTRACE");
    }
    let own = Plan::program(place.program("plain")).by_user(NOBODY).start();
    let before = State::of(own.pid);
    for arguments in
        [&["info"][..], &["threads", "--registers"], &["regions", "--summary"], &["memory", "search", "--text", "x"]]
    {
        place.as_nobody(&[arguments, &[&own.pid_text()]].concat()).expect(0);
    }
    before.assert_unharmed(Tolerance::STRICT);
    let secret = scratch();
    let path = secret.path().join("a.dmp");
    fs::write(&path, "MDMP").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    place.as_nobody(&["info", path.to_str().unwrap()]).expect(3).says("Permission denied");
}

/// A file of that name comes before a process of that id.
#[test]
fn a_file_comes_before_a_process() {
    let target = Plan::c("plain").start();
    let folder = scratch();
    fs::write(folder.path().join(target.pid_text()), "no dump").unwrap();
    effigy(["info", &target.pid_text()]).dir(folder.path()).run().expect(9);
    effigy(["info", &target.pid_text()]).run().expect(0);
}

#[test]
fn what_makes_no_sense_is_said() {
    let target = Plan::c("plain").start();
    let pid = target.pid_text();
    effigy(["memory", "read", &pid, "nowhere+0x10"]).run().expect(1).says("is no address");
    effigy(["memory", "read", &pid, "@zax"]).run().expect(1).says("has no register zax");
    effigy(["memory", "read", &pid, "10", "--end", "8"]).run().expect(1).says("--end");
    effigy(["memory", "search", &pid]).run().expect(1).says("--bytes");
    effigy(["memory", "search", &pid, "--regex", "("]).run().expect(1).says("regular expression");
    effigy(["memory", "search", &pid, "--text", "x", "--in", "nowhere"]).run().expect(1).says("neither START-END");
    effigy(["threads", &pid, "--thread", "999999999"]).run().expect(1).says("has no thread");
    effigy(["streams", &pid]).run().expect(1).says("is a running process");
}

#[test]
fn damaged_dumps_are_refused_or_warned_about() {
    let Some(corpus) = corpus() else { return };
    for name in ["invalid-range.dmp", "invalid-record-count.dmp", "invalid-parameter.dmp"] {
        let run = effigy(["info", &format!("rust-minidump/{name}")]).dir(&corpus).within(10).run();
        assert!(matches!(run.code, Some(0 | 9)), "{name}: {:?} {}", run.code, run.stderr);
    }
}

/// Somebody who reads one line and goes away is no error.
#[test]
fn a_closed_pipe_is_no_error() {
    let target = Plan::c("plain").start();
    let pid = target.pid_text();
    for arguments in [
        &["regions", &pid][..],
        &["memory", "read", &pid, "@rsp", "--length", "0x400000"],
        &["modules", &pid, "--json"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let status = child.wait().unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((status.code(), errors.contains("panic")), (Some(0), false), "{arguments:?}: {errors}");
        assert!(!line.is_empty());
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["regions", &std::process::id().to_string()])
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(5));
}
