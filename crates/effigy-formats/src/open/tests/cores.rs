//! What elfutils reads of the same cores, and what lldb reads of a WOW64 minidump. A tool that is not installed is passed
//! over, unless the environment says `CI=true`.
//!
//! Known disagreements: eu-readelf shows flags and segment registers of x86 in words, and calls the two bases
//! `fs.base` and `gs.base`; it passes over notes with empty owners, which qemu's emulator writes.

use std::collections::HashMap;
use std::process::Command;

use effigy_process::Architecture;

use super::corpus::{corpus, index, opened_file};
use super::*;

/// All that a tool says; `None` when it is not installed.
pub(super) fn ask(tool: &str, arguments: &[&str], file: &Path) -> Option<String> {
    match Command::new(tool).args(arguments).arg(file).env("LC_ALL", "C").env("DEBUGINFOD_URLS", "").output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{tool} not found, and all oracles are required");
            println!("SKIPPED {tool} not found");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

/// A note as eu-readelf shows it: its type, the values by their names, and the lines that they are in.
pub(super) struct Shown {
    pub(super) kind: String,
    pub(super) values: HashMap<String, u64>,
    pub(super) lines: Vec<String>,
}

/// Takes the notes apart that eu-readelf shows.
pub(super) fn shown(text: &str) -> Vec<Shown> {
    let mut notes: Vec<Shown> = Vec::new();
    for line in text.lines() {
        if line.starts_with("  ") && !line.starts_with("   ") {
            let kind = line.split_whitespace().nth(2).unwrap_or_default().to_owned();
            notes.push(Shown { kind, values: HashMap::new(), lines: Vec::new() });
        } else if let Some(note) = notes.last_mut() {
            note.lines.push(line.to_owned());
            let line = line.replace("fault address", "fault_address");
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                let (Some(name), value) = (pair[0].strip_suffix(':'), pair[1].trim_end_matches(',')) else { continue };
                let number = match value.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16).ok(),
                    None => value.parse::<i64>().map(i64::cast_unsigned).or_else(|_| value.parse()).ok(),
                };
                note.values.extend(number.map(|number| (name.to_owned(), number)));
            }
        }
    }
    notes
}

#[test]
fn cores_are_read_as_elfutils_reads_them() {
    let Some(corpus) = corpus() else { return };
    let mut compared = 0;
    for (path, _) in index(&corpus).into_iter().filter(|(_, description)| description.starts_with("ELF core")) {
        let Some(text) = ask("eu-readelf", &["-n"], &corpus.join(&path)) else { return };
        let notes = shown(&text);
        let opened = opened_file(&corpus.join(&path)).unwrap();
        let statuses: Vec<_> = notes.iter().filter(|note| note.kind == "PRSTATUS").collect();
        if statuses.iter().all(|status| status.values.is_empty()) {
            println!("{path}: eu-readelf shows nothing");
            continue;
        }
        assert_eq!(statuses.len(), opened.process.threads.len(), "{path}");
        for (theirs, ours) in statuses.iter().zip(&opened.process.threads) {
            same_thread(&path, theirs, ours);
        }
        same_process(&path, &notes, &opened.process);
        compared += 1;
    }
    assert!(compared > 15, "only {compared} cores were compared");
}

fn same_thread(path: &str, theirs: &Shown, ours: &effigy_process::Thread) {
    assert_eq!(theirs.values["pid"], u64::from(ours.id.0), "{path}");
    let general = ours.registers.as_ref().unwrap().general().unwrap();
    let mask = if general.architecture.word_size() == 4 { u64::from(u32::MAX) } else { u64::MAX };
    let mut same = 0;
    for (name, value) in general.named() {
        let name = match name {
            "fs_base" => "fs.base",
            "gs_base" => "gs.base",
            "pc" if matches!(general.architecture, Architecture::Ppc64le | Architecture::Ppc64) => "nip",
            name => name,
        };
        // Segment registers and flags may be shown in words.
        if let Some(expected) = theirs.values.get(name).filter(|_| name != "eflags") {
            assert_eq!(value & mask, expected & mask, "{path}: {name}");
            same += 1;
        }
    }
    assert!(same >= 15, "{path}: only {same} registers in common");
}

fn same_process(path: &str, notes: &[Shown], process: &Process) {
    let find = |kind: &str| notes.iter().find(|note| note.kind == kind);
    if let Some(info) = find("PRPSINFO") {
        assert_eq!(info.values.get("pid").copied(), process.identity.pid.map(|pid| pid.0.into()), "{path}");
        let parent = process.identity.parent.map(|parent| u64::from(parent.0));
        assert_eq!(info.values.get("ppid").copied(), parent, "{path}");
    }
    let signal = find("SIGINFO").filter(|info| info.values.get("si_signo").is_some_and(|number| *number != 19));
    if let Some(info) = signal.filter(|info| info.values.contains_key("si_signo")) {
        let (number, code) = process.fault.as_ref().unwrap().as_signal().unwrap();
        assert_eq!(info.values["si_signo"], u64::from(number.unsigned_abs()), "{path}");
        assert_eq!(info.values["si_code"], i64::from(code).cast_unsigned(), "{path}");
        let address = process.fault.as_ref().unwrap().address.map(|address| address.0);
        if let (Some(expected), Some(address)) = (info.values.get("fault_address"), address) {
            assert_eq!(*expected, address, "{path}");
        }
    }
    if let Some(page) = find("AUXV").and_then(|auxv| auxv.values.get("PAGESZ")) {
        assert_eq!(*page, process.system.page_size, "{path}");
    }
}

/// Base, size and build id of the modules, as `eu-unstrip -n` lists them: `0x1000+0x2000 ID@0x1234 FILE DEBUG NAME`.
#[test]
fn modules_of_cores_have_the_build_ids_that_elfutils_finds() {
    let Some(corpus) = corpus() else { return };
    let mut same = 0;
    for (path, _) in index(&corpus).into_iter().filter(|(_, description)| description.starts_with("ELF core")) {
        let core = format!("--core={}", corpus.join(&path).display());
        let Some(text) = ask("eu-unstrip", &["-n"], Path::new(&core)) else { return };
        let opened = opened_file(&corpus.join(&path)).unwrap();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (place, id) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let start =
                place.split('+').next().and_then(|start| u64::from_str_radix(start.strip_prefix("0x")?, 16).ok());
            let (Some(start), Some((id, _))) = (start, id.split_once('@')) else { continue };
            let module = opened.process.module_at(Address(start));
            let found = module.and_then(|module| module.build_id.as_ref()).map(ToString::to_string);
            assert_eq!(found.as_deref(), Some(id), "{path}: {line}");
            same += 1;
        }
    }
    println!("{same} build ids are the same");
}

/// What lldb 19 shows of the one thread, and the 32-bit modules that it lists.
#[test]
fn a_wow64_dump_is_the_32_bit_process() {
    let Some(corpus) = corpus() else { return };
    let opened = opened_file(&corpus.join("lldb/wow64_minidump_fizzbuzz_wow64.dmp")).unwrap();
    let process = &opened.process;
    assert_eq!((process.architecture, process.modules.len()), (Architecture::X86, 12));
    assert_eq!(process.threads[0].id, ThreadId(0x3490));
    let general = process.threads[0].registers.as_ref().unwrap().general().unwrap();
    for (name, value) in [
        ("eax", 0),
        ("ebx", 0x37_f608),
        ("ecx", 0xe6_1578),
        ("edx", 8),
        ("esi", 2),
        ("ebp", 0x37_f654),
        ("esp", 0x37_f5b8),
        ("eip", 0x77ce_01fd),
        ("eflags", 0x246),
        ("cs", 0x23),
        ("fs", 0x53),
    ] {
        assert_eq!(general.get(name), Some(value), "{name}");
    }
    assert!(process.modules.iter().all(|module| module.name() != b"wow64.dll"));
    assert_eq!(process.module_at(Address(0x77ce_01fd)).unwrap().path, r"C:\Windows\SysWOW64\ntdll.dll");
    assert_eq!(opened.coverage.is_full(), Some(true));
    assert_eq!(opened.memory.captured_from(Address(0)).len(), 107);
}
