//! minidump-stackwalk, as JSON.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::super::{corpus, list, number};
use super::{Comparison, Known, Ours, dumps, maybe};
use crate::harness::oracle;

const WOW64: &str = "lldb/wow64_minidump_fizzbuzz_wow64.dmp";
const WHY_WOW64: &str = "it shows the 64-bit layer, effigy the 32-bit process that runs in it";

const KNOWN: &[Known] = &[
    Known { file: WOW64, field: "pc", why: WHY_WOW64 },
    Known { file: WOW64, field: "cpu_arch", why: WHY_WOW64 },
    Known { file: WOW64, field: "modules", why: WHY_WOW64 },
    Known {
        file: "lldb/minidump-new_linux-x86_64_not_crashed.dmp",
        field: "crashing thread",
        why: "its exception stream says 0xffffffff: that nothing happened",
    },
];

/// What it says of a dump; `None` where it refuses one, for want of a stream.
fn ask(stackwalk: &Path, dump: &Path) -> Option<Value> {
    let output = Command::new(stackwalk).args(["--json", "--no-color"]).arg(dump).output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

#[test]
fn minidump_stackwalk_agrees_on_every_minidump() {
    let (Some(corpus), Some(stackwalk)) = (corpus(), oracle("minidump-stackwalk")) else { return };
    let mut comparison = Comparison::new(KNOWN);
    let mut refused = Vec::new();
    for file in &dumps(&corpus, &["minidump"]) {
        let Some(theirs) = ask(&stackwalk, &corpus.join(file)) else {
            refused.push(file.clone());
            continue;
        };
        let ours = Ours::of(&corpus.join(file));
        comparison.same(file, "pid", &ours.info["process"]["pid"], &theirs["pid"]);
        system(&mut comparison, file, &ours.info, &theirs["system_info"]);
        threads(&mut comparison, file, &ours, list(&theirs["threads"]));
        crash(&mut comparison, file, &ours, &theirs);
        modules(&mut comparison, file, &ours, list(&theirs["modules"]));
    }
    // It has no stream that tells the system.
    assert_eq!(refused, ["lldb/Inputs_regions-memlist64.dmp"]);
    comparison.finish(5000);
}

fn system(comparison: &mut Comparison, file: &str, info: &Value, theirs: &Value) {
    let system = &info["system"];
    let platform = match theirs["os"].as_str().unwrap() {
        "Windows NT" => "windows",
        "Mac OS X" => "mac_os",
        "iOS" => "ios",
        "Android" => "android",
        _ => "linux",
    };
    comparison.same(file, "os", system["platform"].as_str().unwrap(), platform);
    let architecture = match theirs["cpu_arch"].as_str().unwrap() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    comparison.same(file, "cpu_arch", info["architecture"].as_str().unwrap(), architecture);
    comparison.same(file, "cpu_count", &system["processors"], &theirs["cpu_count"]);
    let own = match &system["numbers"] {
        Value::Null => {
            format!("{} {}", system["release"].as_str().unwrap(), system["version"].as_str().unwrap())
        }
        numbers => format!("{}.{}.{}", numbers["major"], numbers["minor"], numbers["build"]),
    };
    let version = theirs["os_ver"].as_str().unwrap_or_default();
    let theirs = if version.starts_with(&own) { own.clone() } else { version.to_owned() };
    comparison.same(file, "os_ver", own, theirs);
}

fn threads(comparison: &mut Comparison, file: &str, ours: &Ours, theirs: &[Value]) {
    let ids = |threads: &[Value], name| threads.iter().map(|thread| thread[name].clone()).collect::<Vec<_>>();
    comparison.same(file, "threads", ids(&ours.threads, "tid"), ids(theirs, "thread_id"));
    for (own, their) in ours.threads.iter().zip(theirs) {
        let pc = &their["frames"][0]["offset"];
        if !pc.is_null() {
            comparison.same(file, "pc", maybe(&own["instruction_pointer"]), maybe(pc));
        }
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        comparison.same(file, "name", name(&own["name"]), name(&their["thread_name"]));
    }
}

fn crash(comparison: &mut Comparison, file: &str, ours: &Ours, theirs: &Value) {
    let fault = &ours.info["fault"];
    let crash = &theirs["crash_info"];
    let thread = crash["crashing_thread"].as_u64().map(|index| {
        let index = usize::try_from(index).unwrap();
        list(&theirs["threads"])[index]["thread_id"].clone()
    });
    comparison.same(file, "crashing thread", fault["thread"].as_u64(), thread.and_then(|thread| thread.as_u64()));
    if fault.is_null() {
        return;
    }
    let kind = crash["type"].as_str().unwrap();
    let about_an_address = ["EXCEPTION_ACCESS_VIOLATION", "EXCEPTION_IN_PAGE_ERROR"];
    let name = fault["name"].as_str().unwrap_or_default();
    let address =
        if about_an_address.contains(&name) { fault["parameters"][1].as_u64() } else { maybe(&fault["address"]) };
    comparison.same(file, "crash address", address, maybe(&crash["address"]));
    // It has more names for one code than winnt.h, and shows what it has no name for by its numbers.
    let last = |text: &str| text.replacen("EXCEPTION_", "", 1).replacen("STATUS_", "", 1);
    if !kind.starts_with("unknown") {
        let theirs = if last(kind).starts_with(&last(name)) { name } else { kind };
        comparison.same(file, "crash type", name, theirs);
        if let (Some(detail), Some((_, their_detail))) = (fault["detail"].as_str(), kind.split_once(" / ")) {
            comparison.same(file, "crash detail", detail, their_detail);
        }
    }
    let thread = ours.threads.iter().find(|thread| thread["tid"] == fault["thread"]);
    let registers = &theirs["crashing_thread"]["frames"][0]["registers"];
    if let (Some(thread), Some(registers)) = (thread, registers.as_object())
        && file != WOW64
    {
        for (name, value) in registers {
            comparison.same(file, name, maybe(&thread["registers"][name]), maybe(value));
        }
    }
}

fn modules(comparison: &mut Comparison, file: &str, ours: &Ours, theirs: &[Value]) {
    let bases: BTreeSet<_> = theirs.iter().map(|module| number(&module["base_addr"])).collect();
    let own: BTreeSet<_> = ours.modules.iter().map(|module| number(&module["range"]["start"])).collect();
    comparison.same(file, "modules", own, bases);
    for their in theirs {
        let Some(own) = ours.module(number(&their["base_addr"])) else { continue };
        comparison.same(file, "end", &own["range"]["end"], &normalised(&their["end_addr"]));
        comparison.same(file, "filename", &own["name"], &their["filename"]);
        let version = own["version"]["file"].as_array().map(|numbers| {
            let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            numbers.join(".")
        });
        comparison.same(file, "version", version.as_deref(), their["version"].as_str());
        let (identity, field) = identity(own);
        if let (Some(identity), Some(theirs)) = (identity, their[field].as_str()) {
            comparison.same(file, field, identity, theirs.to_lowercase());
        }
    }
}

/// The same number without leading zeros.
fn normalised(value: &Value) -> Value {
    format!("{:#x}", number(value)).into()
}

/// The strongest identity that a module has, and what minidump-stackwalk calls it.
fn identity(module: &Value) -> (Option<String>, &'static str) {
    let plain = |value: &Value| value.as_str().map(|text| text.replace('-', "").to_lowercase());
    if let Some(guid) = plain(&module["pdb"]["guid"]) {
        return (Some(format!("{guid}{:x}", module["pdb"]["age"].as_u64().unwrap())), "debug_id");
    }
    if let Some(uuid) = plain(&module["uuid"]) {
        return (Some(format!("{uuid}0")), "debug_id");
    }
    (plain(&module["build_id"]), "code_id")
}
