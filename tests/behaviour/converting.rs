//! Dumps that become other dumps: what was in them is in the new ones, other people's debuggers read these as they read the
//! old ones, and what is wrong with a file is found.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{
    Core, Dump, Plan, Run, Target, compare_exactly, compare_places, dump_core, dump_minidump, effigy, eu_stack,
    file_contains, gdb_core, gdb_live, lldb, oracle, scratch, stackwalk,
};

/// effigy's note of facts, a JSON document with times that lose a digit on their way.
const FACTS: u32 = 0x4546_4601;

fn subject() -> Target {
    Plan::c("big").args(["-m", "8", "-t", "6"]).env("EFFIGY_TEST_SECRET", "a secret in the environment").start()
}

/// Converts into a folder of its own, and checks that the new dump is whole.
fn converted(from: &Path, name: &str, arguments: &[&str]) -> (TempDir, PathBuf) {
    let folder = scratch();
    let to = folder.path().join(name);
    let run = effigy(["convert", "--json"]).arg(from).arg(&to).args(arguments).run().expect(0);
    let path = PathBuf::from(run.json()["path"].as_str().unwrap());
    check(&path).expect(0);
    (folder, path)
}

fn check(path: &Path) -> Run {
    effigy(["verify", "--json"]).arg(path).run()
}

/// What of one core is to be in another: all memory, all notes but those that tell how it was written.
fn assert_same_core(before: &Core, after: &Core) {
    for load in before.loads().filter(|load| load.in_file > 0) {
        let size = usize::try_from(load.in_file).unwrap();
        let (old, new) = (before.memory(load.address, size), after.memory(load.address, size));
        assert!(old == new, "memory at {:#x}", load.address);
    }
    let in_file = |core: &Core| core.loads().map(|load| load.in_file).sum::<u64>();
    assert_eq!(in_file(before), in_file(after), "bytes of memory");
    let notes = |core: &Core| {
        core.notes.iter().map(|note| (note.name.clone(), note.kind, note.bytes.clone())).collect::<Vec<_>>()
    };
    let (old, new) = (notes(before), notes(after));
    let names = |notes: &[(String, u32, Vec<u8>)]| {
        notes.iter().map(|(name, kind, _)| (name.clone(), *kind)).collect::<Vec<_>>()
    };
    assert_eq!(names(&old), names(&new), "notes");
    for (old, new) in old.iter().zip(&new).filter(|(old, _)| (&old.0[..], old.1) != ("EFFIGY", FACTS)) {
        assert!(old == new, "note {} {:#x}: {} and {} bytes", old.0, old.1, old.2.len(), new.2.len());
    }
}

#[test]
fn a_core_comes_back_the_same_by_way_of_a_minidump() {
    let target = subject();
    let core = dump_core(&target, &[]);
    check(&core.path).expect(0);
    let (_one, minidump) = converted(&core.path, "a.dmp", &[]);
    let (_two, back) = converted(&minidump, "b.core", &[]);
    assert_same_core(core.core(), &Core::open(&back));
    assert_eq!(Dump::open(&minidump).threads(), core.threads());
}

#[test]
fn debuggers_read_a_minidump_of_a_core() {
    let (Some(gdb), Some(lldb_path), Some(walk)) = (oracle("gdb"), oracle("lldb-19"), oracle("minidump-stackwalk"))
    else {
        return;
    };
    let target = subject();
    let live = gdb_live(&gdb, target.pid);
    let core = dump_core(&target, &[]);
    for kind in [&[][..], &["--kind", "miniplus"], &["--kind", "mini"]] {
        let (_folder, minidump) = converted(&core.path, "a.dmp", kind);
        compare_places(&live, &lldb(&lldb_path, None, &minidump), &target.threads, usize::MAX);
        compare_places(&live, &stackwalk(&walk, &minidump), &target.threads, 4);
    }
}

#[test]
fn debuggers_read_a_core_of_a_minidump() {
    let (Some(gdb), Some(eu)) = (oracle("gdb"), oracle("eu-stack")) else { return };
    let target = subject();
    let live = gdb_live(&gdb, target.pid);
    let minidump = dump_minidump(&target, &[]);
    for kind in [&[][..], &["--kind", "miniplus"], &["--kind", "mini"]] {
        let (_folder, core) = converted(&minidump.path, "a.core", kind);
        compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &core), &target.threads);
        compare_places(&live, &eu_stack(&eu, &target.exe(), &core), &target.threads, usize::MAX);
    }
}

/// A full minidump that is made smaller shows the same stacks.
#[test]
fn debuggers_read_smaller_minidumps() {
    let (Some(gdb), Some(walk)) = (oracle("gdb"), oracle("minidump-stackwalk")) else { return };
    let target = subject();
    let live = gdb_live(&gdb, target.pid);
    let full = dump_minidump(&target, &[]);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let mut last = size(&full.path);
    for kind in ["miniplus", "mini"] {
        let (_folder, smaller) = converted(&full.path, "a.dmp", &["--kind", kind]);
        compare_places(&live, &stackwalk(&walk, &smaller), &target.threads, 4);
        assert!(size(&smaller) < last, "{kind} is no smaller");
        last = size(&smaller);
    }
}

#[test]
fn a_triage_dump_of_a_full_one_has_no_secrets() {
    let target = subject();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        assert!(file_contains(&dump.path, b"a secret in the environment"));
        for name in ["a.core", "a.dmp"] {
            let (_folder, triage) = converted(&dump.path, name, &["--kind", "triage"]);
            assert!(!file_contains(&triage, b"a secret in the environment"), "{name}");
            let folder = target.exe().parent().unwrap().as_os_str().as_encoded_bytes().to_vec();
            assert!(!file_contains(&triage, &folder), "{name} has the program's folder");
            assert_eq!(Dump::open(&triage).threads(), dump.threads());
        }
    }
}

#[test]
fn compression_comes_on_and_off() {
    let target = subject();
    let core = dump_core(&target, &[]);
    let plain = fs::read(&core.path).unwrap();
    let (_one, packed) = converted(&core.path, "a.core.zst", &[]);
    assert!(zstd::decode_all(&fs::read(&packed).unwrap()[..]).unwrap() == plain);
    let (_two, unpacked) = converted(&packed, "b.core", &[]);
    assert!(fs::read(&unpacked).unwrap() == plain);
    // Ordinary zstd, which is unpacked into a temporary file.
    let folder = scratch();
    let ordinary = folder.path().join("c.core.zst");
    fs::write(&ordinary, zstd::encode_all(&plain[..], 1).unwrap()).unwrap();
    let (_three, unpacked) = converted(&ordinary, "d.core", &[]);
    assert!(fs::read(&unpacked).unwrap() == plain);
    let run = effigy(["convert", "--json"]).arg(&packed).arg("-").run().expect(0);
    assert!(run.stdout == plain, "to standard output");
}

#[test]
fn what_cannot_be_made_is_refused() {
    let target = subject();
    let mini = dump_minidump(&target, &["--kind", "mini"]);
    let folder = scratch();
    let to = |name: &str| folder.path().join(name);
    let convert = |from: &Path, to: &Path| effigy(["convert"]).arg(from).arg(to);
    convert(&mini.path, &to("a.dmp"))
        .args(["--kind", "full"])
        .run()
        .expect(11)
        .says("mini dump does not hold")
        .says("mini or triage");
    convert(Path::new("/nowhere/x.dmp"), &to("a.dmp")).run().expect(2).says("no file");
    convert(&target.exe(), &to("a.dmp")).run().expect(9).says("not a core");
    convert(&mini.path, &to("a.dmp.gz")).run().expect(1).says(".zst");
    convert(&mini.path, &to("a.ini")).run().expect(1).says("--split");
    convert(Path::new("4194399"), &to("a.dmp")).dir(folder.path()).run().expect(2).says("effigy dump 4194399");
    convert(&mini.path, Path::new("/nowhere/a.dmp")).run().expect(5).says("cannot be opened");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left");
}

#[test]
fn a_file_that_was_cut_off_has_defects() {
    let target = subject();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        let folder = scratch();
        let cut = folder.path().join("cut");
        let bytes = fs::read(&dump.path).unwrap();
        fs::write(&cut, &bytes[..bytes.len() - 100_000]).unwrap();
        let verdict = check(&cut).expect(10).json();
        assert_eq!(verdict["whole"], false);
        let defects = verdict["defects"].as_array().unwrap();
        let beyond = |defect: &&serde_json::Value| defect["text"].as_str().unwrap().contains("beyond the file's end");
        let found = defects.iter().find(beyond).unwrap_or_else(|| panic!("{verdict}"));
        assert!(found["offset"].as_u64().unwrap() > 0 && !found["field"].as_str().unwrap().is_empty());
        fs::write(&cut, &bytes[..20]).unwrap();
        check(&cut).expect(9);
    }
}
