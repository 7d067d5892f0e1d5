//! Targets that cannot be dumped: the exit code is right, the message names the cause, nobody is harmed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{
    Elsewhere, NOBODY, Plan, Run, State, Target, Tolerance, alive, dump_with, effigy, is_root, scratch, skip, verify,
};

/// A dump that must be refused, into a directory that must stay empty.
fn refused(arguments: &[&str], code: i32) -> Run {
    let dir = scratch();
    let run = effigy(["dump", "-o", "refused.dmp"]).args(arguments).dir(dir.path()).run().expect(code);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a file was left behind");
    assert!(!run.stderr.is_empty(), "nothing is said");
    run
}

/// Case 24: another user's process.
#[test]
fn another_users_process() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let target = Plan::c("plain").start();
    let run = Elsewhere::new().dump_as_nobody(&target, &[]).expect(3);
    assert!(run.stderr.contains("uid") || run.stderr.contains("user"), "names the cause: {}", run.stderr);
    assert!(
        ["root", "sudo", "CAP_SYS_PTRACE"].iter().any(|word| run.stderr.contains(word)),
        "the remedy: {}",
        run.stderr
    );
}

/// One's own process, but for its group: the message says what differs.
#[test]
fn own_process_with_another_group() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("plain")).by_user(NOBODY).of_group(1).start();
    place.dump_as_nobody(&target, &[]).expect(3).says("same user").says("with group 1,").says("CAP_SYS_PTRACE");
}

/// One's own process, without any rights but its owner's.
#[test]
fn own_process_without_privileges() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("plain")).by_user(NOBODY).start();
    place.dump_as_nobody(&target, &[]).expect(0);
    let path = place.output();
    verify(&crate::harness::Dump::open(&path), &target.markers);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "mode {mode:o}");
}

/// Case 24: a process of one's own that declared itself not dumpable: refused, but not to root.
#[test]
fn process_that_is_not_dumpable() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("plain")).args(["-n"]).by_user(NOBODY).start();
    let run = place.dump_as_nobody(&target, &[]).expect(3);
    assert!(run.stderr.to_lowercase().contains("dumpable"), "names the cause: {}", run.stderr);
    let (run, dump) = dump_with(&target, "dump.core", &[], Tolerance::STRICT);
    run.expect(0);
    verify(&dump.unwrap(), &target.markers);
}

/// Case 25: effigy in a sandbox that refuses ptrace: the message says so.
#[test]
fn under_a_filter_that_refuses_ptrace() {
    let filter = crate::harness::compile("filtered", &[]);
    let target = Plan::c("plain").start();
    let dir = scratch();
    let before = State::of(target.pid);
    let arguments = ["dump", &target.pid_text(), "-o", "refused.dmp"];
    let run = crate::harness::Effigy::by(&[filter.to_str().unwrap()], &arguments).dir(dir.path()).run().expect(3);
    before.assert_unharmed(Tolerance::STRICT);
    assert!(run.stderr.to_lowercase().contains("seccomp"), "names the cause: {}", run.stderr);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a file was left behind");
}

/// Case 25: root without the one capability that counts.
#[test]
fn root_without_the_capability() {
    if !is_root() {
        return skip("dropping a capability needs root");
    }
    let place = Elsewhere::new();
    let target = Plan::program(place.program("plain")).by_user(NOBODY).start();
    let dir = scratch();
    let before = State::of(target.pid);
    let wrapper = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let arguments = ["dump", &target.pid_text(), "-o", "refused.dmp"];
    let run = crate::harness::Effigy::by(&wrapper, &arguments).dir(dir.path()).run().expect(3);
    before.assert_unharmed(Tolerance::STRICT);
    assert!(run.stderr.contains("CAP_SYS_PTRACE"), "names the cause: {}", run.stderr);
}

/// Case 25: from inside a user namespace, at a process outside of it.
#[test]
fn from_inside_a_user_namespace() {
    if !is_root() {
        return skip("whether users may make namespaces differs");
    }
    let target = Plan::c("plain").start();
    let dir = scratch();
    let before = State::of(target.pid);
    let arguments = ["dump", &target.pid_text(), "-o", "refused.dmp"];
    let run = crate::harness::Effigy::by(&["unshare", "--user", "--map-root-user"], &arguments)
        .dir(dir.path())
        .run()
        .expect(3);
    before.assert_unharmed(Tolerance::STRICT);
    assert!(run.stderr.contains("namespace"), "names the cause: {}", run.stderr);
}

/// Case 31: a process that somebody traces already: refused, naming the tracer.
#[test]
fn process_that_is_traced() {
    let target = Plan::c("plain").start();
    let tracer = Plan::c("tracer").args([target.pid_text()]).start();
    let traced = format!("{}", tracer.pid);
    let run = refused(&[&target.pid_text()], 4);
    assert!(run.stderr.contains(&traced), "names the tracer {traced}: {}", run.stderr);
    assert!(run.stderr.contains("--no-registers"), "names the way out: {}", run.stderr);
    assert_eq!(crate::harness::status_field(target.pid, "TracerPid"), Some(traced), "the tracer was driven away");
    assert!(alive(target.pid));
}

/// Case 31: its memory can be had all the same, when asked for.
#[test]
fn process_that_is_traced_without_registers() {
    let target = Plan::c("plain").start();
    let tracer = Plan::c("tracer").args([target.pid_text()]).start();
    let dir = scratch();
    for name in ["a.core", "a.dmp"] {
        let path = dir.path().join(name);
        let run = effigy(["dump", &target.pid_text(), "--no-registers", "--json", "-o"]).arg(&path).run();
        assert!(matches!(run.code, Some(0 | 6)), "exit code {:?}: {}", run.code, run.stderr);
        verify(&crate::harness::Dump::open(&path), &target.markers);
        let gaps = run.json()["gaps"].clone();
        let told = gaps.as_array().unwrap().iter().any(|gap| gap["subject"] == "registers");
        assert!(told, "a gap for the registers is told: {gaps}");
    }
    assert_eq!(crate::harness::status_field(target.pid, "TracerPid"), Some(tracer.pid.to_string()));
}

/// Case 35: no such process.
#[test]
fn nonexistent_pid() {
    refused(&["4194000"], 2).says("4194000");
}

/// Case 35: a process of that name does not run.
#[test]
fn nonexistent_name() {
    refused(&["no-such-program-here"], 2).says("no-such-program-here");
}

/// Case 35: a process that has ended and is not yet reaped.
#[test]
fn zombie() {
    let target = Plan::c("plain").start();
    target.send(nix::sys::signal::Signal::SIGKILL);
    while alive(target.pid) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let run = refused(&[&target.pid_text()], 2);
    assert!(["ended", "zombie", "exited"].iter().any(|word| run.stderr.contains(word)), "{}", run.stderr);
}

/// Case 35: a kernel thread.
#[test]
fn kernel_thread() {
    let Some(pid) = kernel_thread_pid() else { return skip("no kernel thread is visible here") };
    let run = refused(&[&pid.to_string()], 2);
    assert!(run.stderr.contains("kernel thread"), "{}", run.stderr);
}

fn kernel_thread_pid() -> Option<i32> {
    // PF_KTHREAD in the flags of proc_pid_stat(5), field 9.
    let is_kernel_thread = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let flags: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(6)?.parse().ok()?;
        Some(flags & 0x0020_0000 != 0)
    };
    (2..200).find(|pid| is_kernel_thread(*pid) == Some(true))
}

/// Case 35: effigy itself.
#[test]
fn itself() {
    // The name of the running program is the only handle on a pid that is not known before.
    let dir = scratch();
    let script = "exec \"$0\" dump $$ -o self.dmp";
    let run = crate::harness::Effigy::by(&["sh", "-c", script], &[]).dir(dir.path()).run();
    assert!(matches!(run.code, Some(1 | 2)), "exit code {:?}: {}", run.code, run.stderr);
    assert!(run.stderr.contains("itself"), "{}", run.stderr);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a file was left behind");
}

/// Processes with a name that no other test uses.
fn namesakes(name: &str, count: usize) -> Vec<Target> {
    (0..count).map(|_| Plan::c("plain").args(["-c", name]).start()).collect()
}

/// Two of a name without a choice: an error that lists both.
#[test]
fn ambiguous_name() {
    let targets = namesakes("twins", 2);
    let run = refused(&["twins"], 1);
    for target in &targets {
        assert!(run.stderr.contains(&target.pid_text()), "lists {}: {}", target.pid, run.stderr);
    }
}

/// `--newest`, `--oldest`, `--all`, and the name alone when it is the only one.
#[test]
fn choices_among_namesakes() {
    let targets = namesakes("triplets", 3);
    for (choice, wanted) in [("--newest", &targets[2..]), ("--oldest", &targets[..1]), ("--all", &targets[..])] {
        let dir = scratch();
        let arguments = ["dump", "triplets", choice, "--json", "-o", "PROCESSNAME-PID.dmp"];
        let run = effigy(arguments).dir(dir.path()).run().expect(0);
        let mut dumped: Vec<_> = run.objects().iter().map(|object| object["target"]["pid"].as_i64().unwrap()).collect();
        dumped.sort_unstable();
        let wanted: Vec<_> = wanted.iter().map(|target| i64::from(target.pid)).collect();
        assert_eq!(dumped, wanted, "{choice}");
        assert_eq!(dir.path().read_dir().unwrap().count(), wanted.len(), "{choice}");
    }
    let dir = scratch();
    let only = namesakes("onlychild", 1);
    let run = effigy(["dump", "onlychild", "--json", "-o", "a.dmp"]).dir(dir.path()).run().expect(0);
    assert_eq!(run.json()["target"]["pid"], only[0].pid);
}

/// `--cgroup PATH`: the processes of a control group.
#[test]
fn processes_of_a_control_group() {
    let Some(group) = crate::harness::Cgroup::new("members") else { return skip("no control group can be made") };
    let targets = namesakes("member", 2);
    targets.iter().for_each(|target| group.add(target.pid));
    let dir = scratch();
    let path = group.path().to_str().unwrap();
    let arguments = ["dump", "--cgroup", path, "--all", "--json", "-o", "PID.dmp"];
    let run = effigy(arguments).dir(dir.path()).run().expect(0);
    let mut dumped: Vec<_> = run.objects().iter().map(|object| object["target"]["pid"].as_i64().unwrap()).collect();
    dumped.sort_unstable();
    assert_eq!(dumped, targets.iter().map(|target| i64::from(target.pid)).collect::<Vec<_>>());
    refused(&["--cgroup", path], 1).says(&targets[0].pid_text());
    refused(&["--cgroup", "/no/such/group"], 2);
}

/// Usage errors are 1, not clap's usual 2, which means another thing here.
#[test]
fn usage_errors() {
    for arguments in [
        &[][..],
        &["1", "--kind", "huge"],
        &["1", "--nonsense"],
        &["1", "--newest", "--oldest"],
        &["1", "--size-limit", "many"],
        &["1", "--timeout", "soon"],
        &["1", "--mask", "xyz"],
    ] {
        refused(arguments, 1);
    }
}

/// Help is no error.
#[test]
fn help_is_no_error() {
    let run = effigy(["dump", "--help"]).run().expect(0);
    let text = String::from_utf8(run.stdout).unwrap();
    let options = ["--kind", "--mask", "--format", "--kernel-stacks", "--json", "--timeout", "--no-registers"];
    let reflection = ["--snapshot", "-r", "--clones", "--avoid-outage", "--split"];
    for option in options.into_iter().chain(reflection) {
        assert!(text.contains(option), "{option} is not in the help");
    }
}
