//! What each kind of dump holds, and what it must not hold.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bstr::ByteSlice;

use crate::harness::{
    Dump, Plan, State, Target, Tolerance, compile, disk_bytes, dump_core, dump_minidump, effigy, file_contains,
    scratch, verify,
};

const KINDS: [&str; 4] = ["triage", "mini", "miniplus", "full"];

fn dump_kind(target: &Target, format: &str, kind: &str) -> Dump {
    if format == "core" { dump_core(target, &["--kind", kind]) } else { dump_minidump(target, &["--kind", kind]) }
}

/// Bytes of memory in the dump, from its own tables.
fn memory_bytes(dump: &Dump) -> u64 {
    dump.json["memory_bytes"].as_u64().unwrap()
}

/// Whatever a mini dump says is in memory is there, above all no zeros in place of pages that it leaves out. The program
/// waits, with a heap full of pointers to everywhere.
#[test]
fn mini_says_what_the_process_says() {
    let script = "held = [[number] * 50 for number in range(50000)]; print('ready', flush=True); input()";
    let target = Plan::program("python3").args(["-c", script]).start();
    target.await_rest();
    let dump = dump_kind(&target, "core", "mini");
    let memory = fs::File::open(format!("/proc/{}/mem", target.pid)).unwrap();
    let core = dump.core();
    let mut differing = Vec::new();
    for load in core.loads().filter(|load| load.in_file > 0) {
        let dumped = core.memory(load.address, usize::try_from(load.in_file).unwrap()).unwrap();
        let mut now = vec![0; dumped.len()];
        // The kernel's own pages cannot be read this way.
        if memory.read_exact_at(&mut now, load.address).is_err() {
            continue;
        }
        let pages = dumped.chunks(4096).zip(now.chunks(4096)).enumerate().filter(|(_, (dumped, now))| dumped != now);
        differing.extend(pages.map(|(page, _)| format!("{:#x}", load.address + page as u64 * 4096)));
    }
    assert!(core.loads().count() > 10);
    assert!(differing.is_empty(), "{differing:?}");
}

/// A mini dump of a large process is under 5 MB, and holds every stack.
#[test]
fn mini_is_small_and_holds_the_stacks() {
    let target = Plan::c("big").args(["-m", "512", "-r", "4", "-t", "50"]).start();
    for format in ["core", "minidump"] {
        let dump = dump_kind(&target, format, "mini");
        let length = fs::metadata(&dump.path).unwrap().len();
        assert!(length < 5_000_000, "{format}: {length} bytes");
        verify(&dump, target.markers.iter().filter(|marker| marker.name.starts_with("stack.")));
        eprintln!(
            "mini {format}: {length} bytes, {} on disk, pause {} us",
            disk_bytes(&dump.path),
            dump.json["pause_us"]
        );
    }
}

/// Stacks whose mapping merged with a large neighbour do not drag it into a mini dump.
#[test]
fn mini_does_not_take_a_stack_for_the_whole_mapping() {
    let target = Plan::c("big").args(["-m", "256", "-t", "2"]).start();
    let dump = dump_kind(&target, "minidump", "mini");
    assert!(memory_bytes(&dump) < 5 << 20, "{} bytes of memory", memory_bytes(&dump));
}

/// Miniplus: everything private or written, no program images.
#[test]
fn miniplus_holds_what_is_private() {
    let target = Plan::c("big").args(["-m", "32", "-t", "4"]).start();
    for format in ["core", "minidump"] {
        let dump = dump_kind(&target, format, "miniplus");
        verify(&dump, &target.markers);
        let code = libc_code(&target);
        assert!(dump.memory(code + 4096, 4096).is_none(), "{format}: code of the C library is in the dump");
    }
    let full = dump_kind(&target, "core", "full");
    assert!(full.memory(libc_code(&target) + 4096, 16).is_some() || has_gaps_of_code(&full, &target));
}

/// Start of the C library's executable mapping.
fn libc_code(target: &Target) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid)).unwrap();
    let line = maps.lines().find(|line| line.contains(" r-xp ") && line.contains("/libc.so")).unwrap();
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}

/// Pages of code that never came into memory are in no dump; then at least some page of the code is.
fn has_gaps_of_code(dump: &Dump, target: &Target) -> bool {
    (0..256).any(|page| dump.memory(libc_code(target) + page * 4096, 16).is_some())
}

/// Miniplus leaves out the largest private area above 512 MiB, and says so.
#[test]
fn miniplus_leaves_out_the_largest_area() {
    let target = Plan::c("big").args(["-m", "600", "-z", "-t", "2"]).start();
    let dump = dump_kind(&target, "minidump", "miniplus");
    let (large, small): (Vec<_>, Vec<_>) = target.markers.iter().partition(|marker| marker.name == "resident");
    verify(&dump, small);
    let large = large[0].address + 4096;
    assert!(dump.memory(large, 4096).is_none(), "the largest area is in the dump");
    dump.expect_gap(large, "largest_area");
}

/// Miniplus keeps an area of less than 512 MiB.
#[test]
fn miniplus_keeps_smaller_areas() {
    let target = Plan::c("big").args(["-m", "300", "-z"]).start();
    verify(&dump_kind(&target, "minidump", "miniplus"), &target.markers);
}

/// Each kind is no smaller than the one before.
#[test]
fn sizes_rise_with_the_kind() {
    let target = Plan::c("big").args(["-m", "48", "-t", "8"]).start();
    for format in ["core", "minidump"] {
        let dumps: Vec<_> = KINDS.iter().map(|kind| dump_kind(&target, format, kind)).collect();
        for (kind, dump) in KINDS.iter().zip(&dumps) {
            assert_eq!(dump.json["kind"], *kind);
            eprintln!("{format} {kind}: {} bytes of memory, {} on disk", memory_bytes(dump), disk_bytes(&dump.path));
        }
        let sizes: Vec<_> = dumps.iter().map(memory_bytes).collect();
        assert!(sizes.is_sorted(), "{format}: {KINDS:?} hold {sizes:?} bytes");
        assert!(sizes[3] >= 48 << 20, "{format}: {KINDS:?} hold {sizes:?} bytes");
    }
}

/// Every kind has all threads.
#[test]
fn every_kind_has_all_threads() {
    let target = Plan::c("big").args(["-m", "4", "-t", "6"]).start();
    for format in ["core", "minidump"] {
        for kind in KINDS {
            let threads: BTreeSet<_> = dump_kind(&target, format, kind).threads().into_iter().collect();
            assert_eq!(threads, target.threads, "{format} {kind}");
        }
    }
}

struct Secrets {
    target: Target,
    /// Name of the secret, and the secret.
    words: Vec<(&'static str, String)>,
    _dir: tempfile::TempDir,
}

/// A target that carries secrets wherever a program may: environment, arguments, paths, heap, stack, bss.
fn secretive() -> Secrets {
    let dir = scratch();
    let mark = dir.path().file_name().unwrap().to_string_lossy().trim_start_matches("behaviour-.").replace('-', "");
    let word = |name: &str| format!("sesame-{name}-{mark}");
    let home = dir.path().join(word("dir"));
    fs::create_dir(&home).unwrap();
    let program = home.join("plain");
    fs::copy(compile("plain", &[]), &program).unwrap();
    let target = Plan::program(&program)
        .args(["-s", &word("memory"), "-o", home.join(word("file")).to_str().unwrap()])
        .env("EFFIGY_TEST_PASSWORD", &word("environment"))
        .dir(&home)
        .start();
    let words = vec![
        ("argument, heap, stack and bss", word("memory")),
        ("environment", word("environment")),
        ("name of a variable", "EFFIGY_TEST_PASSWORD".to_owned()),
        ("directory of the program", word("dir")),
        ("path of an open file", word("file")),
        ("path of a library", "/x86_64-linux-gnu/libc.so".to_owned()),
    ];
    Secrets { target, words, _dir: dir }
}

/// Whether the words are anywhere in the file, as UTF-8 or UTF-16.
pub(crate) fn contains_word(path: &Path, word: &str) -> bool {
    let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
    file_contains(path, word.as_bytes()) || file_contains(path, &wide)
}

/// Triage: no environment, no arguments, no paths, no data, as UTF-8 or UTF-16, anywhere in the file.
#[test]
fn triage_tells_no_secrets() {
    let secrets = secretive();
    for format in ["core", "minidump"] {
        let dump = dump_kind(&secrets.target, format, "triage");
        let told: Vec<_> = secrets.words.iter().filter(|(_, word)| contains_word(&dump.path, word)).collect();
        assert!(told.is_empty(), "{format}: {told:?}");
        assert_eq!(dump.threads().len(), 1);
    }
}

/// Triage with everything that could add to it.
#[test]
fn triage_with_kernel_stacks_tells_no_secrets() {
    let secrets = secretive();
    let dir = scratch();
    let before = State::of(secrets.target.pid);
    effigy(["dump", &secrets.target.pid_text(), "--kind", "triage", "--kernel-stacks", "-o", "a.dmp"])
        .dir(dir.path())
        .run()
        .expect(0);
    before.assert_unharmed(Tolerance::STRICT);
    for entry in dir.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        let told: Vec<_> = secrets.words.iter().filter(|(_, word)| contains_word(&path, word)).collect();
        assert!(told.is_empty(), "{}: {told:?}", path.display());
    }
}

/// The same search finds them in a full dump: it is the kind that keeps them out.
#[test]
fn full_holds_what_triage_leaves_out() {
    let secrets = secretive();
    for format in ["core", "minidump"] {
        let dump = dump_kind(&secrets.target, format, "full");
        let untold: Vec<_> = secrets.words.iter().filter(|(_, word)| !contains_word(&dump.path, word)).collect();
        assert!(untold.is_empty(), "{format}: {untold:?}");
    }
}

/// Triage stacks still unwind: words that are no pointers are defaced, pointers stay.
#[test]
fn triage_defaces_data_on_stacks() {
    let target = Plan::c("plain").start();
    let dump = dump_kind(&target, "minidump", "triage");
    let stack = target.markers.iter().find(|marker| marker.name == "stack").unwrap();
    let found = dump.memory(stack.address, stack.length).expect("the stack is in the dump");
    let same = found.chunks(8).zip(stack.bytes().chunks(8)).filter(|(a, b)| a == b).count();
    assert_eq!(same, 0, "{same} of {} random words are as they were", stack.length / 8);
}

/// `--mask` with the bits of a full dump gives one.
#[test]
fn mask_of_a_full_dump() {
    let target = Plan::c("big").args(["-m", "16", "-t", "2"]).start();
    verify(&dump_minidump(&target, &["--mask", "0x61826"]), &target.markers);
    let normal = dump_minidump(&target, &["--mask", "0x0"]);
    assert!(disk_bytes(&normal.path) < 5 << 20, "MiniDumpNormal is small");
}

/// `--mask` with a bit that means nothing is a usage error.
#[test]
fn mask_of_nonsense() {
    let target = Plan::c("plain").start();
    effigy(["dump", &target.pid_text(), "--mask", "0x8000000"]).run().expect(1);
}

/// `--size-limit` keeps the dump's memory below it and tells what was left out.
#[test]
fn size_limit() {
    let target = Plan::c("big").args(["-m", "64", "-t", "4"]).start();
    for format in ["core", "minidump"] {
        let arguments = ["--size-limit", "8M", "--format", format];
        let dump = dump_minidump(&target, &arguments);
        assert!(disk_bytes(&dump.path) < 9 << 20, "{format}: {} bytes on disk", disk_bytes(&dump.path));
        verify(&dump, target.markers.iter().filter(|marker| marker.name.starts_with("stack.")));
        let large = target.markers.iter().find(|marker| marker.name == "resident").unwrap();
        dump.expect_gap(large.address + 4096, "size_limit");
    }
}

/// `--comment` is in the dump, with the command line.
#[test]
fn comment() {
    let target = Plan::c("plain").start();
    for dump in
        [dump_core(&target, &["--comment", "why-we-took-it"]), dump_minidump(&target, &["--comment", "why-we-took-it"])]
    {
        assert!(contains_word(&dump.path, "why-we-took-it"), "{}", dump.path.display());
        assert!(contains_word(&dump.path, "effigy"), "the command line");
    }
}

/// `--embed-binaries` puts the program's file in, byte for byte.
#[test]
fn embedded_binaries() {
    let target = Plan::c("plain").start();
    let program = fs::read(target.exe()).unwrap();
    // Debug information is never mapped, so it can only come from the file.
    let at = program.find(b".debug_info").expect("section names");
    let piece = &program[at - 64..at + 64];
    for format in ["core", "minidump"] {
        assert!(!file_contains(&dump_minidump(&target, &["--format", format]).path, piece));
        let dump = dump_minidump(&target, &["--format", format, "--embed-binaries"]);
        assert!(file_contains(&dump.path, piece), "{format}: the program is not in the dump");
    }
}

/// `--kernel-stacks`: in the dump, and as text beside it.
#[test]
fn kernel_stacks() {
    let target = Plan::c("big").args(["-m", "1", "-t", "3"]).start();
    let dir = scratch();
    let before = State::of(target.pid);
    effigy(["dump", &target.pid_text(), "--kernel-stacks", "-o", "a.dmp"]).dir(dir.path()).run().expect(0);
    before.assert_unharmed(Tolerance::STRICT);
    let beside: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let text = beside.iter().find(|path| !path.ends_with("a.dmp")).expect("a text beside the dump");
    let said = fs::read_to_string(text).unwrap();
    for tid in &target.threads {
        assert!(said.contains(&tid.to_string()), "thread {tid} is not in {}", text.display());
    }
    // Where `pause` sleeps, by its name as a system call; the kernel's function as well when root asks.
    assert!(said.contains("pause"), "{said}");
    assert!(file_contains(&dir.path().join("a.dmp"), b"pause"), "the dump holds no kernel facts");
}
