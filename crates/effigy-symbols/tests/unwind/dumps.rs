//! Other people's dumps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use effigy_symbols::unwind::{Stop, Trust};
use serde_json::Value;

use crate::beside::{Files, agreement, corpus, counters, eu_stack, hexadecimal, opened, stacks, tool};

fn symbols(corpus: &Path) -> Vec<PathBuf> {
    vec![corpus.join("breakpad/symbols"), corpus.join("rust-minidump/symbols")]
}

/// The dumps of the index: path and description.
fn index(corpus: &Path, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(corpus.join("INDEX.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row[4].starts_with(kind)).map(|row| row[0].to_owned()).collect()
}

/// What Breakpad's own stackwalk recorded of the thread at fault, by STACK WIN records. The dump is called minidump2.dmp
/// there.
#[test]
fn a_recorded_stack_of_breakpad() {
    let Some(corpus) = corpus() else { return };
    let text = std::fs::read_to_string(corpus.join("breakpad/minidump2.stackwalk.out")).unwrap();
    let value = |name: &str| -> Vec<u64> {
        let words: Vec<_> = text.split_whitespace().collect();
        words.windows(3).filter(|words| words[0] == name).filter_map(|words| hexadecimal(words[2])).collect()
    };
    let dump = opened(&corpus.join("rust-minidump/test.dmp"));
    let found = stacks(&dump, &Files::new(&dump.process, &[], &symbols(&corpus)));
    let first = &found[&dump.process.threads[0].id.0];
    let of =
        |name: &str| -> Vec<u64> { first.frames.iter().filter_map(|frame| frame.registers.by_name(name)).collect() };
    assert_eq!(of("eip"), value("eip"), "{:?}", first.stop);
    assert_eq!((of("esp"), of("ebp")), (value("esp"), value("ebp")));
    assert!(first.frames[1..].iter().all(|frame| frame.trust == Trust::Breakpad), "{first:?}");
}

/// Every dump of the collection: the work ends, every stack has a reason, and the first frame is the thread's registers.
#[test]
fn every_dump_of_the_collection_is_unwound() {
    let Some(corpus) = corpus() else { return };
    for path in [index(&corpus, "minidump "), index(&corpus, "ELF core ")].concat() {
        if path.contains("invalid-") {
            continue;
        }
        let dump = opened(&corpus.join(&path));
        let exe = corpus.join(&path).with_extension("out");
        let found = stacks(&dump, &Files::new(&dump.process, &[&exe], &symbols(&corpus)));
        for (thread, stack) in found {
            let known = stack.frames.first().is_some_and(|frame| frame.trust == Trust::Context);
            assert!(known || stack.stop == Stop::NoRegisters, "{path} {thread}: {stack:?}");
        }
    }
}

/// Where eu-stack sees other frames than we do, and why: beginnings of paths.
const EXPLAINED: [(&str, &str); 12] = [
    ("lldb/elf-core_altmain.core", "its last frame is the word 1, which is no code"),
    ("lldb/elf-core_linux-i386.core", "its last frame is the word 1"),
    ("lldb/elf-core_linux-x86_64.core", "its last frame is the word 1"),
    ("lldb/elf-core_linux-fpr_sse_", "its last frame is the word 1"),
    ("lldb/elf-core_linux-aarch64-pac.core", "it leaves the signatures in the return addresses"),
    (
        "lldb/elf-core_linux-aarch64-sve",
        "neither code nor tables are there: it takes the link register, and we the frame pointer",
    ),
    ("lldb/elf-core_linux-ppc64le.core", "the core does not tell where the program is mapped"),
    ("lldb/elf-core_linux-riscv64.core", "it does not unwind riscv64"),
    ("lldb/module-end_test.core", "it has no program, and we go by the frame pointer"),
    ("lldb/mte_core_file", "the stack is not in the core: it takes the link register, and we say so"),
    ("lldb/non_address_bit", "the stack is not in the core"),
    ("lldb/sme_core_file", "the stack is not in the core"),
];

/// Cores of many architectures, some with their program beside them, as elfutils see them.
#[test]
fn cores_of_other_people_beside_eu_stack() {
    let (Some(corpus), Some(tool)) = (corpus(), tool("eu-stack")) else { return };
    let (mut equal, mut all) = (0, 0);
    let mut unused: Vec<&str> = EXPLAINED.iter().map(|(start, _)| *start).collect();
    for path in index(&corpus, "ELF core ") {
        let core = corpus.join(&path);
        let exe = core.with_extension("out");
        let dump = opened(&core);
        let exe = exe.exists().then_some(exe.as_path());
        let Some(theirs) = eu_stack(&tool, exe, &core) else { continue };
        let programs: Vec<&Path> = exe.into_iter().collect();
        let ours = stacks(&dump, &Files::new(&dump.process, &programs, &[]));
        let (same, count) = agreement(&path, &ours, &theirs);
        let explained = EXPLAINED.iter().find(|(start, _)| path.starts_with(start));
        assert!(same == count || explained.is_some(), "{path}: {same} of {count} frames equal");
        if same < count {
            unused.retain(|start| explained.is_some_and(|(known, _)| known != start));
        }
        (equal, all) = (equal + same, all + count);
    }
    println!("eu-stack: {equal} of {all} frames equal");
    assert!(all > 0);
    assert!(unused.is_empty(), "differences that are known and are no more: {unused:?}");
}

/// A frame as minidump-stackwalk sees it: program counter, and how it was found.
fn walked(tool: &Path, dump: &Path, symbols: &[PathBuf]) -> Option<BTreeMap<u32, Vec<(u64, String)>>> {
    let output = Command::new(tool).arg("--json").arg(dump).args(symbols).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    let frame = |frame: &Value| {
        // Inlined frames share their program counter with what they are inlined in, and come without another.
        Some((hexadecimal(frame["offset"].as_str()?)?, frame["trust"].as_str()?.to_owned()))
    };
    let thread = |thread: &Value| {
        let frames = thread["frames"].as_array()?.iter().filter_map(frame).collect();
        Some((u32::try_from(thread["thread_id"].as_u64()?).ok()?, frames))
    };
    report["threads"].as_array()?.iter().map(thread).collect()
}

/// Minidumps with their symbol files: the frames of minidump-stackwalk are among ours, in their order. What it found by
/// scanning is a guess and left out, with what follows. Ours are more: it takes the frame pointer in the stubs of system
/// calls as well, where that is still the caller's. It sees more in two: a return address that a smashed stack was
/// overwritten with, and the 32-bit frames of a process under WOW64, of which this dump shows the 64-bit ones.
#[test]
fn minidumps_beside_minidump_stackwalk() {
    let (Some(corpus), Some(tool)) = (corpus(), tool("minidump-stackwalk")) else { return };
    let (mut found, mut all) = (0, 0);
    for path in index(&corpus, "minidump ") {
        let Some(theirs) = walked(&tool, &corpus.join(&path), &symbols(&corpus)) else { continue };
        let dump = opened(&corpus.join(&path));
        let ours = counters(&stacks(&dump, &Files::new(&dump.process, &[], &symbols(&corpus))));
        for (thread, frames) in theirs {
            let Some(own) = ours.get(&thread) else { continue };
            let sure = frames.iter().take_while(|(_, trust)| !trust.contains("scan")).map(|(counter, _)| *counter);
            let mut sure: Vec<u64> = sure.collect();
            sure.dedup();
            let mut own_left = own.iter();
            let among = |counter: &&u64| own_left.any(|own| *own == **counter || *own == **counter + 1);
            let among = sure.iter().take_while(among).count();
            if among < sure.len() {
                println!("DIFFERS {path} thread {thread}: ours {own:x?}, theirs {sure:x?}");
            }
            (found, all) = (found + among, all + sure.len());
        }
    }
    println!("minidump-stackwalk: {found} of {all} frames found");
    assert!(all > 0 && found * 100 >= all * 99);
}

/// The same program in dumps of several tools: the stacks are those of the core that the kernel wrote, or gdb's.
#[test]
fn one_program_in_dumps_of_several_tools() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("generated");
    let exe = folder.join("crashme");
    for name in ["gdb13-gcore.core", "kernel-6.18-crash.core", "lldb19-full-one-exception.dmp", "lldb19-full.dmp"] {
        let dump = opened(&folder.join(name));
        let found = stacks(&dump, &Files::new(&dump.process, &[&exe], &[]));
        assert_eq!(found.len(), 5, "{name}");
        for (thread, stack) in &found {
            let trusts: Vec<_> = stack.frames.iter().map(|frame| frame.trust).collect();
            println!("{name} {thread} {:x?} {trusts:?} {}", counters(&found)[thread], stack.stop);
        }
    }
}
