//! lldb 19, which reads cores of most architectures and minidumps.
//!
//! Not compared: the modules of cores that lldb does not list, as it lists those only whose files it finds; the names of
//! a core's threads, for which it takes the name of the process; segment registers and their bases, which it shows as 0
//! of CONTEXTs and with chance bits above of cores.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::super::{corpus, list, number};
use super::{Comparison, Known, Ours, dumps, maybe};
use crate::harness::oracle;

const KNOWN: &[Known] = &[
    Known {
        file: "lldb/elf-core_linux-arm.core",
        field: "pid",
        why: "lldb takes it from PRPSINFO only, which is not there",
    },
    Known {
        file: "lldb/elf-core_linux-arm.core",
        field: "pc",
        why: "lldb takes the lowest bit, which says Thumb, away",
    },
    Known {
        file: "lldb/wow64_minidump_fizzbuzz_wow64.dmp",
        field: "modules",
        why: "effigy leaves out the four 64-bit modules of the layer that runs a 32-bit process",
    },
    Known {
        file: "lldb/minidump-new_linux-x86_64*.dmp",
        field: "modules",
        why: "the program is listed twice, and lldb keeps one of two modules with one name",
    },
    Known { file: "symbolic/crash_macos.dmp", field: "registers", why: NO_REGISTERS_OF_MACOS },
    Known { file: "rust-minidump/pipeline-inlines-macos-segv.dmp", field: "registers", why: NO_REGISTERS_OF_MACOS },
];

const NO_REGISTERS_OF_MACOS: &str =
    "lldb 19 shows all registers of minidumps of macOS as 0; minidump-stackwalk does not";

const NOT_COMPARED: [&str; 8] = ["cs", "ds", "es", "fs", "gs", "ss", "fs_base", "gs_base"];

fn ask(lldb: &Path, corpus: &Path, dumps: &[String]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/behaviour/reading/agreement/facts.py");
    let paths: Vec<_> = dumps.iter().map(|dump| corpus.join(dump).to_str().unwrap().to_owned()).collect();
    let command = format!("command script import {script}");
    let mut lldb = Command::new(lldb);
    lldb.args(["-b", "--no-lldbinit", "-o", &command]).env("EFFIGY_DUMPS", paths.join("\n"));
    let output = lldb.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let facts = text.lines().filter_map(|line| line.strip_prefix("FACTS "));
    let facts: Vec<_> = facts.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(facts.len(), dumps.len(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    facts
}

#[test]
fn lldb_agrees_on_every_dump() {
    let (Some(corpus), Some(lldb)) = (corpus(), oracle("lldb-19")) else { return };
    let dumps = dumps(&corpus, &["minidump", "ELF core"]);
    let mut comparison = Comparison::new(KNOWN);
    for (file, theirs) in dumps.iter().zip(ask(&lldb, &corpus, &dumps)) {
        assert_eq!(theirs["opened"], true, "lldb does not open {file}");
        let ours = Ours::of(&corpus.join(file));
        let pid = ours.info["process"]["pid"].as_u64().unwrap_or(0);
        comparison.same(file, "pid", pid, theirs["pid"].as_u64().unwrap());
        threads(&mut comparison, file, &ours, list(&theirs["threads"]));
        modules(&mut comparison, file, &ours, list(&theirs["modules"]));
    }
    comparison.finish(3900);
}

fn threads(comparison: &mut Comparison, file: &str, ours: &Ours, theirs: &[Value]) {
    let ids = |threads: &[Value]| threads.iter().map(|thread| thread["tid"].as_u64().unwrap()).collect::<BTreeSet<_>>();
    comparison.same(file, "threads", ids(&ours.threads), ids(theirs));
    for thread in &ours.threads {
        let Some(their) = theirs.iter().find(|their| their["tid"] == thread["tid"]) else { continue };
        if their["registers"].as_object().unwrap().values().all(is_zero) {
            comparison.same(file, "registers", false, true);
            continue;
        }
        comparison.same(file, "pc", maybe(&thread["instruction_pointer"]), their["pc"].as_u64());
        comparison.same(file, "sp", maybe(&thread["stack_pointer"]), their["sp"].as_u64());
        if let (false, Some(name)) = (ours.is_core(), their["name"].as_str()) {
            comparison.same(file, "name", thread["name"].as_str(), Some(name));
        }
        for (name, value) in their["registers"].as_object().unwrap() {
            let mine = maybe(&thread["registers"][name]);
            if let (Some(mine), Some(value), false) = (mine, maybe(value), NOT_COMPARED.contains(&name.as_str())) {
                comparison.same(file, name, mine, value);
            }
        }
    }
}

fn is_zero(value: &Value) -> bool {
    maybe(value).is_none_or(|value| value == 0)
}

fn modules(comparison: &mut Comparison, file: &str, ours: &Ours, theirs: &[Value]) {
    let bases: BTreeSet<_> = theirs.iter().map(|module| module["base"].as_u64().unwrap()).collect();
    let mut own: BTreeSet<_> = ours.modules.iter().map(|module| number(&module["range"]["start"])).collect();
    if ours.is_core() {
        own.retain(|base| bases.contains(base));
    }
    comparison.same(file, "modules", own, bases);
    for module in theirs {
        let Some(own) = ours.module(module["base"].as_u64().unwrap()) else { continue };
        if let Some(uuid) = module["uuid"].as_str() {
            let uuid = uuid.replace('-', "").to_lowercase();
            // Whichever of its identities lldb shows.
            let known = identities(own);
            let found = if known.contains(&uuid) { uuid.clone() } else { known.join(" or ") };
            comparison.same(file, "identity", found, uuid);
        }
    }
}

/// The identities of a module as lldb writes them: the build id; the GUID, with and without the age; the same with the
/// bytes in the order in which they lie in the file.
fn identities(module: &Value) -> Vec<String> {
    let mut known = Vec::new();
    let plain = |value: &Value| value.as_str().map(|text| text.replace('-', "").to_lowercase());
    known.extend(plain(&module["build_id"]));
    known.extend(plain(&module["uuid"]));
    if let Some(guid) = plain(&module["pdb"]["guid"]) {
        let as_stored = [6, 4, 2, 0, 10, 8, 14, 12].map(|at| &guid[at..at + 2]).concat() + &guid[16..];
        let age = module["pdb"]["age"].as_u64().unwrap();
        known.extend([format!("{guid}{age:08x}"), format!("{as_stored}{age:08x}"), guid, as_stored]);
    }
    known
}
