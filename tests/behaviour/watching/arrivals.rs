//! Processes that come, and those that go.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Watch, moods};
use crate::harness::{Plan, compile, is_root, oracle, skip};

/// A program of a name that no other test uses.
fn named(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = crate::harness::scratch();
    let path = dir.path().join(name);
    fs::copy(compile("brief", &[]), &path).unwrap();
    (dir, path)
}

fn start(program: &std::path::Path, milliseconds: u32) -> std::process::Child {
    Command::new(program).arg(milliseconds.to_string()).stdout(Stdio::null()).spawn().unwrap()
}

/// Waits until a watch hears of new processes.
fn await_waiting(running: &mut super::Running) {
    // It says so on standard output, which is read at the end: its socket for requests is there by then.
    let socket = effigy_control(running.running.pid());
    let deadline = Instant::now() + Duration::from_secs(30);
    while !socket.exists() {
        assert!(Instant::now() < deadline && !running.running.is_over(), "the watch did not begin");
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(300));
}

fn effigy_control(pid: i32) -> std::path::PathBuf {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from).filter(|dir| dir.is_dir()) {
        Some(folder) => folder.join("effigy"),
        None if is_root() => "/run/effigy".into(),
        None => format!("/tmp/effigy-{}", nix::unistd::geteuid()).into(),
    };
    folder.join(format!("{pid}.watch"))
}

#[test]
fn a_process_that_is_not_there_yet() {
    let (_dir, program) = named("watch-late");
    let mut running = Watch::of("watch-late", &["--wait", "--within", "30s"]).running();
    await_waiting(&mut running);
    let mut child = start(&program, 3000);
    let watched = running.wait().expect(0);
    watched.dumped(1);
    assert_eq!(watched.events("dump")[0]["target"]["pid"], child.id());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn one_that_is_there_is_not_waited_for() {
    let (_dir, program) = named("watch-here");
    let mut child = start(&program, 10_000);
    thread::sleep(Duration::from_millis(100));
    Watch::of("watch-here", &["--wait", "--within", "30s"]).run().expect(0).dumped(1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn nobody_comes() {
    Watch::of("watch-nobody", &["--wait", "--within", "500ms"]).run().expect(7).dumped(0);
    Watch::of("4194000", &["--wait"]).run().expect(1).dumped(0);
    Watch::of("watch-nobody", &[]).run().expect(2).dumped(0);
}

/// Two hundred that live for 50 ms, one after the other: 198 dumps at least.
#[test]
fn exclusive_short_lives_are_caught() {
    let (_dir, program) = named("watch-brief");
    let mut running = Watch::of("watch-brief", &["--wait", "--all"]).running();
    await_waiting(&mut running);
    for _ in 0..200 {
        let mut child = start(&program, 50);
        child.wait().unwrap();
    }
    thread::sleep(Duration::from_millis(500));
    running.running.send(nix::sys::signal::Signal::SIGTERM);
    let watched = running.wait().expect(143);
    let (seen, dumps) = (watched.events("watching").len(), watched.dumps().len());
    eprintln!("of 200: {seen} seen, {dumps} dumped; {}", watched.events("waiting")[0]["manner"]);
    if is_root() {
        assert_eq!(watched.events("waiting")[0]["manner"], "the kernel tells of new processes");
    }
    assert!(dumps >= 198, "{seen} seen, {dumps} dumped: {}", watched.text());
}

/// In a PID namespace of its own, where the kernel does not tell, processes are looked for.
#[test]
fn short_lives_are_caught_by_looking() {
    if !is_root() {
        return skip("needs root to make a PID namespace");
    }
    let Some(unshare) = oracle("unshare") else { return };
    let (dir, program) = named("watch-looked");
    // It says that it waits when it does. Lives that are long beside 5 ms, for a machine that has much else to do.
    let script = "\"$0\" watch watch-looked --wait --all --json -k mini --total 10 --within 60s > said & watch=$!
        while [ ! -s said ]; do sleep 0.05; done
        for i in 1 2 3 4 5 6 7 8 9 10 11 12; do \"$1\" 300 > /dev/null; done; wait $watch; status=$?; cat said; exit $status";
    let mut command = Command::new(unshare);
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", script]).current_dir(dir.path());
    let output = command.arg(env!("CARGO_BIN_EXE_effigy")).arg(&program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("looked for every"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), super::dumps_in(dir.path()).len()), (Some(0), 10), "{text}");
}

#[test]
fn children() {
    let mut target = moods();
    let (_dir, program) = named("watch-child");
    // The target itself never has so few threads; its child has one.
    target.ask("threads 5");
    let arguments = ["--children", "--below", "threads=2", "--total", "1", "--within", "20s"];
    let mut running = Watch::of(&target.pid_text(), &arguments).running();
    running.await_begun(target.pid);
    let child = target.ask(&format!("child {}", program.display()));
    let watched = running.wait().expect(0);
    watched.dumped(1);
    assert_eq!(watched.events("dump")[0]["target"]["pid"].to_string(), child["child"]);
}

#[test]
fn all_of_a_name() {
    let (_dir, program) = named("watch-many");
    let mut children: Vec<_> = (0..5).map(|_| start(&program, 20_000)).collect();
    thread::sleep(Duration::from_millis(100));
    Watch::of("watch-many", &[]).run().expect(1).dumped(0);
    let watched = Watch::of("watch-many", &["--all"]).run().expect(0);
    watched.dumped(5);
    let newest = Watch::of("watch-many", &["--newest"]).run().expect(0);
    assert_eq!(newest.dumped(1).events("dump")[0]["target"]["pid"], children[4].id());
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_process_group() {
    let target = moods();
    let group = target.pid_text();
    let run = crate::harness::effigy(["watch", "--group", &group, "--json", "-k", "mini"]).dir(&std::env::temp_dir());
    let run = run.args(["--above", "threads=1000", "--within", "500ms"]).run().expect(7);
    assert_eq!(run.objects()[0]["target"]["pid"], target.pid);
}

#[test]
fn a_target_that_ends() {
    let mut target = moods();
    let mut running = Watch::of(&target.pid_text(), &["--above", "threads=1000", "--interval", "10m"]).running();
    running.await_begun(target.pid);
    target.end();
    // It is told at once, and not at the next look.
    let watched = running.wait().expect(2);
    assert_eq!(watched.dumped(0).events("over")[0]["why"], "ended");
}

/// An id that is used again is another process.
#[test]
fn exclusive_an_id_that_is_used_again() {
    if !is_root() {
        return skip("needs root to choose process ids");
    }
    let mut target = moods();
    let pid = target.pid;
    let mut running = Watch::of(&pid.to_string(), &["--above", "fds=20", "--interval", "2s"]).running();
    running.await_begun(pid);
    target.end();
    let path = Plan::c("moods");
    if fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
        return skip("process ids cannot be chosen");
    }
    let mut other = path.start();
    other.ask("files 50");
    eprintln!("the id {pid} was used again: {}", other.pid == pid);
    running.wait().expect(2).dumped(0);
}
