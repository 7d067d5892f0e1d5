//! Opening other people's dumps: each file of the shared collection is what its index says.

use std::collections::HashMap;
use std::path::PathBuf;

use super::*;
use crate::source::FileSource;

/// The shared collection of dumps, which lies beside the checkout where it is there at all.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or(beside, PathBuf::from);
    if !path.is_dir() {
        println!("SKIPPED corpus not found");
        return None;
    }
    Some(path)
}

/// The dumps of the index: path and description.
pub(crate) fn index(corpus: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(corpus.join("INDEX.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let dumps = rows.filter(|row| row[4].starts_with("minidump ") || row[4].starts_with("ELF core "));
    dumps.map(|row| (row[0].to_owned(), row[4].to_owned())).collect()
}

pub(super) fn opened_file(path: &Path) -> Result<OpenedDump, OpenError> {
    let source = FileSource::new(File::open(path).unwrap()).unwrap();
    open(Arc::new(source), &mut Folder(Vec::new()))
}

/// The facts `name=value` of a description.
fn facts_of(description: &str) -> HashMap<&str, &str> {
    description.split(' ').filter_map(|word| word.split_once('=')).collect()
}

/// What `generated/INDEX.tsv` says in another form: dumps that several tools made of one program with five threads. Only
/// the kernel's is of a crash.
#[test]
fn dumps_of_one_program_by_several_tools() {
    let Some(corpus) = corpus() else { return };
    for (name, modules, has_fault, exceptions) in [
        ("gdb13-gcore.core", 4, false, 0),
        ("kernel-6.18-crash.core", 4, true, 0),
        ("lldb19-full-one-exception.dmp", 4, false, 1),
        ("lldb19-full.dmp", 4, false, 5),
        ("lldb19-stack.dmp", 4, false, 5),
    ] {
        let opened = opened_file(&corpus.join("generated").join(name)).unwrap();
        exhaust(&opened);
        let process = &opened.process;
        let names: Vec<_> = process.modules.iter().map(|module| module.path.to_string()).collect();
        assert_eq!((process.threads.len(), process.modules.len()), (5, modules), "{name}: {names:?}");
        assert_eq!(process.fault.is_some(), has_fault, "{name}");
        let found = opened.parts.iter().filter(|part| part.name == Some("ExceptionStream")).count();
        assert_eq!(found, exceptions, "{name}");
        assert!(process.identity.pid.is_some() && !process.regions.is_empty(), "{name}");
    }
}

/// Everything that can be asked of an opened dump.
pub(super) fn exhaust(opened: &OpenedDump) {
    let mut buffer = [0; 64];
    let mut end = Address(0);
    for captured in effigy_process::CapturedMemory::captured(&opened.memory) {
        assert!(captured.range.start() >= end && !captured.range.is_empty());
        end = captured.range.end();
        let _ = opened.memory.read(captured.range.start(), &mut buffer);
        let _ = opened.memory.read(Address(end.0.saturating_sub(3)), &mut buffer);
    }
    for thread in &opened.process.threads {
        let general = thread.registers.as_ref().ok().and_then(|registers| registers.general());
        let _ = general.map(|general| general.named().count());
    }
    for module in &opened.process.modules {
        let _ = (module.name(), opened.process.module_at(module.range.start()));
    }
    for part in &opened.parts {
        let _ = opened.fields_of(part);
    }
    assert!(opened.process.regions.is_sorted_by_key(|region| region.range.start()));
}

fn check_minidump(path: &str, description: &str, opened: &OpenedDump) {
    let facts = facts_of(description);
    let number = |name: &str| facts.get(name).filter(|text| **text != "None").map_or(0, |text| text.parse().unwrap());
    let process = &opened.process;
    assert_eq!(process.threads.len(), number("thr"), "{path}: threads");
    let left_out = opened.warnings.iter().find_map(|warning| {
        let (_, rest) = warning.text.split_once("64-bit Windows: ")?;
        rest.split(' ').next()?.parse::<usize>().ok()
    });
    assert_eq!(process.modules.len() + left_out.unwrap_or(0), number("mod"), "{path}: modules");
    let version = process.system.numbers.unwrap_or_default().to_string();
    assert_eq!(version, facts["os"], "{path}: version of the system");
    let name = process.system.platform.as_str();
    assert!(description.contains(&format!(" {name} ")), "{path}: is of {name}");
    let fault = process.fault.as_ref().map(|fault| format!("{:#x}", fault.kind.numbers().0));
    let expected = Some(facts["exc"]).filter(|code| !matches!(*code, "None" | "0xffffffff"));
    assert_eq!(fault.as_deref(), expected, "{path}: exception");
    let memory = description.split(' ').find_map(|word| word.strip_prefix("mem64:").or(word.strip_prefix("mem:")));
    let ranges = effigy_process::CapturedMemory::captured(&opened.memory).len();
    // Stacks that no list has come on top, as do ranges that were cut apart.
    assert!(ranges >= memory.unwrap().parse::<usize>().unwrap().min(1), "{path}: memory");
    for thread in &process.threads {
        let general = thread.registers.as_ref().unwrap_or_else(|_| panic!("{path}: registers")).general().unwrap();
        assert!(general.instruction_pointer().is_some() && general.stack_pointer().is_some(), "{path}");
    }
    assert!(opened.parts.iter().all(|part| part.name.is_some()), "{path}: streams without names");
}

fn check_core(path: &str, description: &str, opened: &OpenedDump) {
    let facts = facts_of(description);
    assert_eq!(opened.process.threads.len(), facts["thr"].parse::<usize>().unwrap(), "{path}: threads");
    let architecture = opened.process.architecture.to_string();
    let known = if architecture == "x86" { "i386" } else { &architecture };
    let known = known.trim_end_matches("le").trim_end_matches("64").trim_end_matches('x');
    assert!(description.contains(known), "{path}: is for {architecture}");
    let truncated = opened.warnings.iter().any(|warning| warning.text.contains("truncated"));
    assert_eq!(truncated, facts["truncated"] == "True", "{path}: truncated");
    for thread in &opened.process.threads {
        let general = thread.registers.as_ref().unwrap().general().unwrap();
        assert!(general.instruction_pointer().is_some_and(|pointer| pointer.0 != 0), "{path}: {general:x?}");
        assert!(general.stack_pointer().is_some_and(|pointer| pointer.0 != 0), "{path}");
    }
    let has = |name: &str| description.contains(&format!(",{name}"));
    assert_eq!(opened.process.modules.is_empty(), !has("FILE") && !has("AUXV"), "{path}: modules");
}

#[test]
fn every_dump_is_what_the_index_says() {
    let Some(corpus) = corpus() else { return };
    let mut wrong = Vec::new();
    for (path, description) in index(&corpus) {
        let outcome = opened_file(&corpus.join(&path));
        if description.contains("malformed") {
            outcome.iter().for_each(exhaust);
            println!("{path}: {:?}", outcome.map(|opened| opened.warnings));
            continue;
        }
        let opened = outcome.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        exhaust(&opened);
        let check = if description.starts_with("minidump") { check_minidump } else { check_core };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&path, &description, &opened)));
        wrong.extend(caught.err().map(|_| path.clone()));
        if !opened.warnings.is_empty() {
            println!("{path}: {:?}", opened.warnings);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a core of another writer says of its memory is no more than follows from what stands in it.
#[test]
fn cores_say_how_much_they_hold_where_that_is_known() {
    let Some(corpus) = corpus() else { return };
    for (name, is_full, why) in [
        // The kernel lists all mappings, those that it writes nothing of as well. This one's process had a mapping that it
        // could only read, of which there is nothing.
        ("generated/kernel-6.18-crash.core", None, "1048576 bytes in 1 mapping that may not be written to"),
        ("lldb/Inputs_x86-64-linux.core", Some(true), ""),
        // gdb may have left out more than it lists.
        ("generated/gdb13-gcore.core", None, "may have left out mappings"),
        ("lldb/elf-core_linux-x86_64.core", None, "may not be listed"),
        // Somebody took memory out of these.
        ("lldb/thread_crash_linux-x86_64.core", Some(false), "the stack of thread"),
        ("lldb/mte_core_file_core.mte", Some(false), "the stack of thread"),
        ("lldb/gcore_linux-x86_64.core", Some(false), "no memory that may be written"),
    ] {
        let coverage = opened_file(&corpus.join(name)).unwrap().coverage;
        assert_eq!(coverage.is_full(), is_full, "{name}: {coverage:?}");
        assert!(coverage.why().contains(why), "{name}: {coverage:?}");
    }
}
