//! The files that come out: their names, their rights, and what is left when they cannot be written.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{
    Dump, Effigy, Heartbeat, Mounted, Plan, State, Target, Tolerance, effigy, is_root, oracle, scratch, skip, verify,
};

fn small() -> Target {
    Plan::c("plain").start()
}

fn files_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn dump_in(dir: &Path, target: &Target, arguments: &[&str]) -> Vec<String> {
    let before = State::of(target.pid);
    effigy(["dump", &target.pid_text()]).args(arguments).dir(dir).run().expect(0);
    before.assert_unharmed(Tolerance::STRICT);
    files_in(dir)
}

/// Whether the name is `PREFIX`, six digits, `_`, six digits, `SUFFIX`.
fn is_stamped(name: &str, prefix: &str, suffix: &str) -> bool {
    let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)).unwrap_or("");
    let (date, time) = middle.split_once('_').unwrap_or_default();
    [date, time].iter().all(|part| part.len() == 6 && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Without -o: PROCESSNAME_YYMMDD_HHMMSS.dmp in the working directory, for its owner only.
#[test]
fn default_name_and_rights() {
    let (dir, target) = (scratch(), small());
    let names = dump_in(dir.path(), &target, &[]);
    assert!(names.len() == 1 && is_stamped(&names[0], "plain_", ".dmp"), "{names:?}");
    let mode = fs::metadata(dir.path().join(&names[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "mode {mode:o}");
    verify(&Dump::open(&dir.path().join(&names[0])), &target.markers);
}

/// A wide-open umask does not widen the rights, a narrow one does not get in the way.
#[test]
fn rights_do_not_depend_on_the_umask() {
    let target = small();
    for umask in ["000", "777"] {
        let dir = scratch();
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let path = dir.path().join("a.dmp");
        Effigy::by(&["sh", "-c", &script], &["dump", &target.pid_text(), "-o", path.to_str().unwrap()]).run().expect(0);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "umask {umask}: mode {mode:o}");
    }
}

/// ProcDump's placeholders in -o, and the format by the ending.
#[test]
fn placeholders_and_formats() {
    let target = small();
    for (given, prefix, suffix, magic) in [
        ("PROCESSNAME_PID_YYMMDD_HHMMSS.dmp", format!("plain_{}_", target.pid), ".dmp", &b"MDMP"[..]),
        ("x-YYMMDD_HHMMSS.core", "x-".to_owned(), ".core", b"\x7fELF"),
        ("YYMMDD_HHMMSS.elf", String::new(), ".elf", b"\x7fELF"),
        ("YYMMDD_HHMMSS.anything", String::new(), ".anything", b"MDMP"),
    ] {
        let dir = scratch();
        let names = dump_in(dir.path(), &target, &["-o", given]);
        assert!(names.len() == 1 && is_stamped(&names[0], &prefix, suffix), "{given}: {names:?}");
        assert!(fs::read(dir.path().join(&names[0])).unwrap().starts_with(magic), "{given}: format");
    }
}

/// Cores are named by what they are called, as the kernel does, and with a number behind.
#[test]
fn names_of_cores() {
    let target = small();
    for name in ["core", "core.1234", "a.core.1234", "a.core", "a.elf"] {
        let dir = scratch();
        assert_eq!(dump_in(dir.path(), &target, &["-o", name]), [name]);
        assert!(fs::read(dir.path().join(name)).unwrap().starts_with(b"\x7fELF"), "{name}: format");
    }
}

/// --format outweighs the ending; a directory as -o gets the default name.
#[test]
fn format_given_and_directory_given() {
    let (dir, target) = (scratch(), small());
    dump_in(dir.path(), &target, &["-o", "a.core", "--format", "minidump"]);
    assert!(fs::read(dir.path().join("a.core")).unwrap().starts_with(b"MDMP"));
    fs::create_dir(dir.path().join("dumps")).unwrap();
    dump_in(dir.path(), &target, &["-o", "dumps", "--format", "core"]);
    let names = files_in(&dir.path().join("dumps"));
    assert!(names.len() == 1 && names[0].starts_with("plain_"), "{names:?}");
    assert!(fs::read(dir.path().join("dumps").join(&names[0])).unwrap().starts_with(b"\x7fELF"));
}

/// An existing file is not replaced but counted round, unless --overwrite is given.
#[test]
fn existing_files_and_overwriting() {
    let (dir, target) = (scratch(), small());
    fs::write(dir.path().join("a.dmp"), "precious").unwrap();
    dump_in(dir.path(), &target, &["-o", "a.dmp"]);
    let names = dump_in(dir.path(), &target, &["-o", "a.dmp"]);
    assert_eq!(names, ["a-1.dmp", "a-2.dmp", "a.dmp"]);
    assert_eq!(fs::read(dir.path().join("a.dmp")).unwrap(), b"precious");
    let names = dump_in(dir.path(), &target, &["-o", "a.dmp", "--overwrite"]);
    assert_eq!(names.len(), 3);
    verify(&Dump::open(&dir.path().join("a.dmp")), &target.markers);
    let mode = fs::metadata(dir.path().join("a.dmp")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the replaced file's rights are not taken over");
}

/// Case 54: never through a symbolic link, not even with --overwrite, not even a dangling one.
#[test]
fn symbolic_links_are_not_followed() {
    let target = small();
    for (points_at, arguments) in [
        ("victim", &["-o", "a.dmp"][..]),
        ("victim", &["-o", "a.dmp", "--overwrite"]),
        ("nowhere", &["-o", "a.dmp"]),
        ("nowhere", &["-o", "a.dmp", "--overwrite"]),
    ] {
        let dir = scratch();
        fs::write(dir.path().join("victim"), "precious").unwrap();
        symlink(points_at, dir.path().join("a.dmp")).unwrap();
        let run = effigy(["dump", &target.pid_text()]).args(arguments).dir(dir.path()).run();
        assert!(matches!(run.code, Some(0 | 5)), "exit code {:?}: {}", run.code, run.stderr);
        assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"precious", "{arguments:?}");
        assert!(!dir.path().join("nowhere").exists(), "written through a dangling link");
    }
}

/// Case 54: a program's name is made safe before it becomes a file's.
#[test]
fn hostile_names() {
    for name in ["../../evil", "a/b", "a\nb", "%s%n", "-rf", "a:b", "\u{1b}[31mred", "..", "a\"b'c", "."] {
        let target = Plan::c("plain").args(["-c", name]).start();
        let dir = scratch();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let names = dump_in(&inner, &target, &[]);
        assert_eq!(names.len(), 1, "{name:?}: {names:?}");
        let good = |letter: char| letter.is_alphanumeric() || "._-+@".contains(letter);
        assert!(names[0].chars().all(good) && !names[0].starts_with(['.', '-']), "{name:?} became {:?}", names[0]);
        assert_eq!(files_in(dir.path()), ["inner"], "{name:?} got out of the directory");
    }
}

/// What the target is called does not reach the terminal raw.
#[test]
fn hostile_names_on_the_terminal() {
    let (dir, target) = (scratch(), Plan::c("plain").args(["-c", "\u{1b}[31mred"]).start());
    let run = effigy(["dump", &target.pid_text()]).dir(dir.path()).run().expect(0);
    assert!(!run.stderr.contains('\u{1b}') && !run.stdout.contains(&0x1b), "an escape sequence is printed");
}

/// Case 42: no room on the disk: said before the target is stopped where it can be known, and nothing is left.
#[test]
fn disk_full() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let dir = scratch();
    let Some(disk) = Mounted::tmpfs(&dir.path().join("small"), "size=20m") else {
        return skip("no file system can be mounted");
    };
    let heart = Heartbeat::new(dir.path());
    let target = Plan::c("big").args(["-m", "64", "-b", heart.path()]).start();
    let before = State::of(target.pid);
    for name in ["a.core", "a.dmp"] {
        heart.reset();
        effigy(["dump", &target.pid_text(), "-o"]).arg(disk.path().join(name)).run().expect(5).says("free");
        before.assert_unharmed(Tolerance::STRICT);
        eprintln!("disk full: the target stood still for {:?} at most", heart.longest_gap());
        assert_eq!(files_in(disk.path()), Vec::<String>::new(), "left behind");
    }
}

/// Case 42: the disk fills up while the dump is written.
#[test]
fn disk_filling_up_midway() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let dir = scratch();
    let Some(disk) = Mounted::tmpfs(&dir.path().join("small"), "size=100m") else {
        return skip("no file system can be mounted");
    };
    // Compression makes the size unknown beforehand, and random data does not shrink.
    let target = Plan::c("big").args(["-m", "160"]).start();
    let before = State::of(target.pid);
    for arguments in [&[][..], &["--compress", "zstd"]] {
        let run = effigy(["dump", &target.pid_text(), "-o"]).arg(disk.path().join("a.core")).args(arguments).run();
        before.assert_unharmed(Tolerance::STRICT);
        if run.code != Some(0) {
            let run = run.expect(5);
            assert!(run.stderr.contains("free") || run.stderr.contains("space"), "{}", run.stderr);
            assert_eq!(files_in(disk.path()), Vec::<String>::new(), "left behind");
        } else {
            fs::remove_file(disk.path().join("a.core.zst")).unwrap();
        }
    }
}

/// Case 42: RLIMIT_FSIZE.
#[test]
fn file_size_limit() {
    let (dir, target) = (scratch(), Plan::c("big").args(["-m", "32"]).start());
    let before = State::of(target.pid);
    for name in ["a.core", "a.dmp"] {
        let path = dir.path().join(name);
        let arguments = ["dump", &target.pid_text(), "-o", path.to_str().unwrap()];
        Effigy::by(&["prlimit", "--fsize=8000000"], &arguments).run().expect(5);
        before.assert_unharmed(Tolerance::STRICT);
        assert_eq!(files_in(dir.path()), Vec::<String>::new(), "left behind");
    }
}

/// Case 42: a directory that is not there, is no directory, or may not be written.
#[test]
fn unwritable_places() {
    let (dir, target) = (scratch(), small());
    let before = State::of(target.pid);
    fs::write(dir.path().join("file"), "x").unwrap();
    let mut places: Vec<PathBuf> = vec![dir.path().join("missing/a.dmp"), dir.path().join("file/a.dmp")];
    let mounted = is_root().then(|| Mounted::tmpfs(&dir.path().join("readonly"), "ro")).flatten();
    places.extend(mounted.as_ref().map(|disk| disk.path().join("a.dmp")));
    places.push("/proc/a.dmp".into());
    for place in places {
        let run = effigy(["dump", &target.pid_text(), "-o"]).arg(&place).run().expect(5);
        before.assert_unharmed(Tolerance::STRICT);
        assert!(run.stderr.contains(place.parent().unwrap().to_str().unwrap()), "names the place: {}", run.stderr);
    }
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"x");
}

/// Case 43: `-o -` gives a whole dump to a pipe, in both formats, and prints nothing else there.
#[test]
fn to_a_pipe() {
    let target = Plan::c("big").args(["-m", "24", "-t", "3", "-r", "1"]).start();
    let before = State::of(target.pid);
    for format in ["core", "minidump"] {
        let run = effigy(["dump", &target.pid_text(), "-o", "-", "--format", format]).run().expect(0);
        before.assert_unharmed(Tolerance::STRICT);
        let dir = scratch();
        let path = dir.path().join("from-pipe");
        fs::write(&path, &run.stdout).unwrap();
        verify(&Dump::open(&path), &target.markers);
    }
}

/// Case 43: a reader that goes away midway: the target runs on, effigy ends.
#[test]
fn to_a_pipe_that_closes() {
    let target = Plan::c("big").args(["-m", "64"]).start();
    let before = State::of(target.pid);
    let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["dump", &target.pid_text(), "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut some = [0; 4096];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let since = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running with nobody to read");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    before.assert_unharmed(Tolerance::STRICT);
}

/// A reader that stops reading does not hold the target for longer than --timeout.
#[test]
fn to_a_pipe_that_nobody_reads() {
    let target = Plan::c("big").args(["-m", "64"]).start();
    let before = State::of(target.pid);
    let mut child = Command::new(env!("CARGO_BIN_EXE_effigy"))
        .args(["dump", &target.pid_text(), "--timeout", "2", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let since = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running long after its timeout");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    before.assert_unharmed(Tolerance::STRICT);
    assert_eq!(status.code(), Some(7));
}

/// --compress zstd: `.zst` is added to the name, and zstd unpacks it to a whole dump.
#[test]
fn compressed() {
    let Some(zstd) = oracle("zstd") else { return };
    let target = Plan::c("big").args(["-m", "24", "-z", "-t", "3"]).start();
    for name in ["a.core", "a.dmp"] {
        let dir = scratch();
        assert_eq!(dump_in(dir.path(), &target, &["-o", name, "--compress", "zstd"]), [format!("{name}.zst")]);
        let packed = dir.path().join(format!("{name}.zst"));
        let mode = fs::metadata(&packed).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "mode {mode:o}");
        let output = Command::new(&zstd).args(["-q", "-d"]).arg(&packed).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        verify(&Dump::open(&dir.path().join(name)), &target.markers);
        let whole = fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(fs::metadata(&packed).unwrap().len() < whole / 2, "counted words shrink by more than half");
    }
}

/// Several kinds in one run: one file each.
#[test]
fn several_kinds_at_once() {
    let (dir, target) = (scratch(), small());
    let before = State::of(target.pid);
    let run = effigy(["dump", &target.pid_text(), "--json", "--kind", "full", "--kind", "mini", "-o", "a.dmp"])
        .dir(dir.path())
        .run()
        .expect(0);
    before.assert_unharmed(Tolerance::STRICT);
    let kinds: Vec<_> = run.objects().iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["mini", "full"], "smallest first");
    assert_eq!(files_in(dir.path()).len(), 2);
}
