//! What is asked for on the command line and how it is told: the mode, the pair of files, the two figures; and the other
//! options beside it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::{Mode, dump_in, expect_mode, expect_mode_or_reason, modes};
use crate::harness::{
    Dump, Heartbeat, Mappings, Plan, State, Target, Tolerance, dump_with, effigy, is_root, oracle, scratch, skip,
    stackwalk, verify,
};
use crate::kinds::contains_word;

/// What the best is that this user can have.
const fn best(root: bool) -> Mode {
    if root { Mode::Live } else { Mode::Clone }
}

/// Without a word about it, and with `-r`, full and miniplus dumps are taken in the best mode there is.
#[test]
fn the_best_mode_is_the_default() {
    let target = Plan::c("big").args(["-m", "16", "-t", "3"]).start();
    for arguments in [&[][..], &["-r"], &["--snapshot", "auto"], &["--kind", "miniplus"]] {
        for name in ["dump.core", "dump.dmp"] {
            let (run, dump) = dump_with(&target, name, arguments, Tolerance::STRICT);
            run.expect(0);
            let dump = dump.unwrap();
            assert_eq!(
                dump.json["snapshot"],
                best(is_root()).name(),
                "{arguments:?}: {}",
                dump.json["snapshot_reason"]
            );
            assert_eq!(dump.json["snapshot_reason"] == "", is_root(), "{}", dump.json["snapshot_reason"]);
            verify(&dump, &target.markers);
        }
    }
}

/// For people, the mode is a line of the result, where it is more than a stop.
#[test]
fn the_mode_is_told_to_people() {
    let (dir, target) = (scratch(), Plan::c("plain").start());
    for mode in modes().filter(|mode| *mode != Mode::Stop) {
        let run =
            effigy(["dump", &target.pid_text(), "-o", "a.dmp"]).args(mode.arguments()).dir(dir.path()).run().expect(0);
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(said.contains(&format!("snapshot: {}", mode.name())), "{said}");
    }
}

/// The dump holds how it came about: the command line and what triggered it.
#[test]
fn the_dump_tells_how_it_was_taken() {
    let target = Plan::c("plain").start();
    for mode in modes() {
        for name in ["dump.core", "dump.dmp"] {
            let dump = dump_in(mode, &target, name, &[]);
            for words in [format!("--snapshot {}", mode.name()), "Manual dump".to_owned()] {
                assert!(contains_word(&dump.path, &words), "{words:?} is not in {name}");
            }
        }
    }
}

/// Usage errors are 1.
#[test]
fn usage_errors() {
    let (dir, target) = (scratch(), Plan::c("plain").start());
    for arguments in [
        &["--snapshot", "sideways"][..],
        &["--snapshot"],
        &["-r", "--clones", "0"],
        &["-r", "--clones", "6"],
        &["-r", "--clones", "many"],
    ] {
        let run = effigy(["dump", &target.pid_text()]).args(arguments).dir(dir.path()).run().expect(1);
        assert!(!run.stderr.is_empty(), "nothing is said");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "{arguments:?}: a file was written");
    }
}

/// The keys of the one section of an .ini file.
#[track_caller]
fn section(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';'));
    assert_eq!(lines.next(), Some("[UserModeDump]"), "{text}");
    lines
        .map(|line| {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no key: {line}"));
            (key.trim().to_lowercase(), value.trim().to_owned())
        })
        .collect()
}

/// `--split`: threads and modules in one file, memory in another, and a third that names both.
#[test]
fn split() {
    // By the name of what is opened, too, which no dump must get.
    for (name, arguments) in [
        ("pair.dmp", &["-r"][..]),
        ("pair.dmp", &Mode::Clone.arguments()[..]),
        ("pair.ini", &best(is_root()).arguments()[..]),
    ] {
        let (dir, target) = (scratch(), Plan::c("big").args(["-m", "16", "-t", "5"]).start());
        let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
        let run = effigy(["dump", &target.pid_text(), "--split", "-o", name]).args(arguments);
        run.dir(dir.path()).run().expect(0);
        before.assert_unharmed(Tolerance::STRICT);
        mappings.assert_same();
        expect_pair(dir.path(), &target);
    }
}

#[track_caller]
fn expect_pair(dir: &Path, target: &Target) {
    let mut names: Vec<_> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["pair-1.dmp", "pair-reflected.dmp", "pair.ini"]);
    for name in &names {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}: mode {mode:o}");
    }
    let keys = section(&dir.join("pair.ini"));
    let of = |key: &str| keys.get(key).unwrap_or_else(|| panic!("no key {key}: {keys:?}")).as_str();
    assert_eq!((of("default"), of("memory")), ("pair-1.dmp", "pair-reflected.dmp"));
    assert!(names.iter().any(|name| name == of("module")), "{keys:?}");
    let (threads, memory) = (Dump::open(&dir.join("pair-1.dmp")), Dump::open(&dir.join("pair-reflected.dmp")));
    assert_eq!(threads.threads(), target.threads.iter().copied().collect::<Vec<_>>());
    verify(&memory, &target.markers);
    if let Some(tool) = oracle("minidump-stackwalk") {
        let seen = stackwalk(&tool, &threads.path);
        assert_eq!(seen.len(), target.threads.len(), "threads that minidump-stackwalk sees");
        assert!(seen.values().all(|frames| !frames.is_empty()), "threads without frames: {seen:?}");
    }
}

/// The two figures stand to each other as they must: the target cannot have stood still longer than it could not go on, nor
/// either longer than the dump took. How long that is depends on the machine and is not tested.
#[test]
fn figures() {
    let beats = scratch();
    let heart = Heartbeat::new(beats.path());
    let target = Plan::c("big").args(["-m", "64", "-t", "10", "-d", "100", "-b", heart.path()]).start();
    for mode in modes() {
        for name in ["dump.core", "dump.dmp"] {
            heart.reset();
            let json = dump_in(mode, &target, name, &[]).json;
            let figure = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("no {name}: {json}"));
            let (pause, stall, wall) = (figure("pause_us"), figure("stall_us"), figure("wall_us"));
            assert!(0 < pause && pause <= stall && stall <= wall, "pause {pause}, stall {stall}, wall {wall} us");
            eprintln!("{}: pause {pause}, stall {stall}, wall {wall} us, {:?}", mode.name(), heart.longest_gap());
        }
    }
}

/// With half a GiB of memory, neither a clone nor a live snapshot stops the target for as long as copying takes: the
/// shortest of three pauses each.
#[test]
fn exclusive_order_of_pauses() {
    let target = Plan::c("big").args(["-m", "512", "-z", "-t", "10"]).start();
    let shortest = |mode: Mode| -> u64 {
        let pauses = (0..3).map(|_| dump_in(mode, &target, "dump.core", &[]).json["pause_us"].as_u64().unwrap());
        pauses.min().unwrap()
    };
    let pauses: Vec<_> = modes().map(|mode| (mode.name(), shortest(mode))).collect();
    eprintln!("shortest pauses in us: {pauses:?}");
    let (stop, others) = pauses.split_first().unwrap();
    assert!(others.iter().all(|(_, pause)| pause < &stop.1), "{pauses:?}");
}

/// Every dump of several kinds tells its mode, and the first is not taken of another moment than the last.
#[test]
fn several_kinds() {
    let target = Plan::c("big").args(["-m", "16", "-t", "3"]).start();
    for mode in modes() {
        let dir = scratch();
        let kinds = ["--kind", "miniplus", "--kind", "full", "-o", "a.dmp", "--json"];
        let (before, mappings) = (State::of(target.pid), Mappings::of(target.pid));
        let run =
            effigy(["dump", &target.pid_text()]).args(kinds).args(mode.arguments()).dir(dir.path()).run().expect(0);
        before.assert_unharmed(Tolerance::STRICT);
        mappings.assert_same();
        let told: Vec<Value> = run.objects();
        assert_eq!(told.len(), 2);
        for json in &told {
            expect_mode_or_reason(mode, json);
            verify(&Dump::open(&dir.path().join(json["path"].as_str().unwrap())), &target.markers);
        }
    }
}

/// To standard output, where nothing can be put right afterwards.
#[test]
fn to_standard_output() {
    let target = Plan::c("big").args(["-m", "16", "-t", "3"]).start();
    for mode in modes() {
        for format in ["core", "minidump"] {
            let (before, mappings, dir) = (State::of(target.pid), Mappings::of(target.pid), scratch());
            let run = effigy(["dump", &target.pid_text(), "-o", "-", "--format", format]).args(mode.arguments());
            let run = run.run().expect(0);
            before.assert_unharmed(Tolerance::STRICT);
            mappings.assert_same();
            let path = dir.path().join("dump");
            fs::write(&path, &run.stdout).unwrap();
            verify(&Dump::open(&path), &target.markers);
        }
    }
}

/// Compressed and limited in size, as any other dump.
#[test]
fn other_options() {
    let Some(zstd) = oracle("zstd") else { return };
    // Without threads: a stack that the kernel has merged with the large mapping would have to be in the dump.
    let target = Plan::c("big").args(["-m", "32"]).start();
    for mode in modes() {
        // A live snapshot does not know in time what it would leave out.
        let arguments = [&mode.arguments(), &["--size-limit", "8M"][..]].concat();
        let (run, small) = dump_with(&target, "dump.dmp", &arguments, Tolerance::STRICT);
        run.expect(0);
        let small = small.unwrap();
        expect_mode_or_reason(mode, &small.json);
        let large = target.markers.iter().find(|marker| marker.name == "resident").unwrap();
        small.expect_gap(large.address + 4096, "size_limit");
        verify(&small, target.markers.iter().filter(|marker| marker.name.starts_with("stack.")));
        let dir = scratch();
        let run = effigy(["dump", &target.pid_text(), "--compress", "zstd", "--json", "-o", "dump.dmp"]);
        let json = run.args(mode.arguments()).dir(dir.path()).run().expect(0).json();
        expect_mode(mode, &json);
        let (packed, plain) = (dir.path().join(json["path"].as_str().unwrap()), dir.path().join("plain.dmp"));
        let output =
            std::process::Command::new(&zstd).args(["-q", "-d", "-o"]).arg(&plain).arg(packed).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        verify(&Dump::open(&plain), &target.markers);
    }
    if !is_root() {
        skip("a live snapshot was not tried");
    }
}
