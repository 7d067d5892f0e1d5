//! `--json` of every command that reads, on dumps of every kind: of the documented types, and true to what people see.

mod tables;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use self::types::{Findings, Types};
use super::agreement::dumps;
use super::{corpus, list};
use crate::harness::{Plan, Run, dump_core, dump_minidump, effigy, heavy, scratch};

/// Dumps of which each has something that no other has: a system, an architecture, a writer, a stream, damage.
const REPRESENTATIVES: [&str; 16] = [
    "generated/kernel-6.18-crash.core",
    "generated/lldb19-stack.dmp",
    "breakpad/linux_inline.dmp",
    "breakpad/minidump_crashpad_annotation.dmp",
    "breakpad/thread_name_list.dmp",
    "breakpad/tiny-exe-with-cet-xsave.dmp",
    "lldb/Inputs_regions-memlist64.dmp",
    "lldb/Inputs_sigsegv.dmp",
    "lldb/Inputs_x86-64-linux.core",
    "lldb/elf-core_linux-arm.core",
    "lldb/elf-core_linux-ppc64le.core",
    "lldb/elf-core_linux-s390x.core",
    "lldb/mte_core_file_core.mte",
    "rust-minidump/invalid-parameter.dmp",
    "rust-minidump/invalid-record-count.dmp",
    "rust-minidump/linux-mini.dmp",
];

/// What is known of all answers by now.
struct Review {
    types: Types,
    findings: Findings,
    /// Types of the fields of streams and notes, by kind of part and place in it.
    fields: BTreeMap<String, BTreeSet<&'static str>>,
    folder: TempDir,
}

/// A dump, or a running process, and what commands are asked about it.
struct Subject<'a> {
    review: &'a mut Review,
    /// As the command line names it.
    name: String,
    /// Where images come from. With `--no-images`, what this system has of them makes no difference.
    images: &'static [&'static str],
}

impl Review {
    fn new() -> Self {
        Self { types: Types::read(), findings: Findings::default(), fields: BTreeMap::new(), folder: scratch() }
    }

    fn of(&mut self, name: &str, images: &'static [&'static str]) -> Subject<'_> {
        Subject { review: self, name: name.to_owned(), images }
    }

    #[track_caller]
    fn expect_nothing_wrong(&self) {
        let mut wrong: Vec<String> = self.findings.wrong.iter().cloned().collect();
        let several = self.fields.iter().filter(|(_, types)| types.len() > 1);
        wrong.extend(several.map(|(place, types)| format!("{place} is of several types: {types:?}")));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

impl Subject<'_> {
    /// Asks everything that can be asked.
    fn ask_all(&mut self) {
        self.whole();
        let threads = self.ask(&["threads", "--all-registers"], "Threads", &[0]);
        self.counted(&["threads"], &threads, tables::threads);
        let named = |field: &str| {
            let found = list(&threads["threads"]).iter().find_map(|thread| thread[field].as_str());
            found.map(str::to_owned)
        };
        if let Some(stack) = named("stack_pointer") {
            self.memory(&stack);
        }
        if let Some(code) = named("instruction_pointer") {
            self.code(&code);
        }
    }

    fn whole(&mut self) {
        let info = self.ask_with_images(&["info"], "Info", &[0]);
        self.counted(&["info"], &info, tables::info);
        let modules = self.ask(&["modules"], "Modules", &[0]);
        self.counted(&["modules"], &modules, tables::modules);
        let regions = self.ask_with_images(&["regions"], "Regions", &[0]);
        self.counted(&["regions"], &regions, tables::regions);
        let summary = self.ask_with_images(&["regions", "--summary"], "RegionsSummary", &[0]);
        self.counted(&["regions", "--summary"], &summary, tables::summary);
        let handles = self.ask(&["handles"], "Handles", &[0]);
        self.counted(&["handles"], &handles, tables::handles);
        let itself = self.name.clone();
        let same = self.ask(&["compare", &itself, "--no-memory"], "Compare", &[0]);
        self.counted(&["compare", &itself, "--no-memory"], &same, tables::compare);
        if info["source"]["kind"] != "live" {
            self.file();
        }
    }

    /// What is asked of files only.
    fn file(&mut self) {
        let streams = self.ask(&["streams"], "Streams", &[0]);
        self.counted(&["streams"], &streams, tables::streams);
        for part in list(&streams["parts"]) {
            let kind = format!("{} {}", part["owner"].as_str().unwrap(), part["name"].as_str().unwrap_or("unknown"));
            // A protobuf message says itself of what type a value is.
            if part["name"] != "StabilityReport" {
                types_of(&part["fields"], kind.trim(), &mut self.review.fields);
            }
        }
        let verdict = self.ask(&["verify"], "Verify", &[0, 10]);
        self.counted(&["verify"], &verdict, tables::verify);
        for name in ["a.dmp", "a.core"] {
            let out = self.review.folder.path().join(name).to_str().unwrap().to_owned();
            // There is no core of some processes.
            self.ask(&["convert", &out, "--kind", "mini", "--overwrite"], "Convert", &[0, 11]);
        }
    }

    fn memory(&mut self, at: &str) {
        for shape in ["bytes", "dwords", "pointers+symbols", "ascii", "unicode"] {
            self.ask_with_images(&["memory read", at, "--as", shape], "MemoryRead", &[0]);
        }
        let search =
            ["memory search", "--in", "stack", "--text", "a", "--bytes", "00", "--regex", "[b-d]+", "--limit", "20"];
        self.ask_with_images(&search, "MemorySearch", &[0]);
        self.ask_with_images(&["memory search", "--pointer-to", at, "--in", "stack"], "MemorySearch", &[0]);
        let out = self.review.folder.path().join("memory").to_str().unwrap().to_owned();
        let write = ["memory write-file", at, "64", "--fill", "--overwrite", "-o", &out];
        self.ask_with_images(&write, "MemoryWriteFile", &[0, 6]);
    }

    fn code(&mut self, at: &str) {
        let stacks = self.ask_with_images(&["stacks", "--unique", "--no-index"], "Stacks", &[0]);
        self.counted(&[&["stacks", "--no-index"][..], self.images].concat(), &stacks, tables::stacks);
        self.ask_with_images(&["symbol", at, "--no-index"], "Symbols", &[0]);
        self.ask_with_images(&["source", at, "--no-index"], "Lines", &[0]);
        // The code is not in every dump, nor of an architecture that is taken apart.
        self.ask_with_images(&["disassemble", at, "--no-index"], "Disassembly", &[0, 1]);
    }

    fn ask_with_images(&mut self, arguments: &[&str], name: &str, codes: &[i32]) -> Value {
        self.ask(&[arguments, self.images].concat(), name, codes)
    }

    /// Asks, and holds the answer against its type. One that is refused has nothing on standard output.
    fn ask(&mut self, arguments: &[&str], name: &str, codes: &[i32]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        let command = format!("{} {}", arguments.join(" "), self.name);
        assert!(run.code.is_some_and(|code| codes.contains(&code)), "{command}: {:?} {}", run.code, run.stderr);
        if run.stdout.is_empty() {
            assert!(run.code != Some(0) && !run.stderr.is_empty(), "{command} says nothing");
            return Value::Null;
        }
        assert!(run.stdout.ends_with(b"}\n") && !run.stdout.ends_with(b"\n\n"), "{command}: not one line");
        let answer = run.json();
        let mut findings = Findings::default();
        self.review.types.check(&answer, name, &mut findings);
        self.review.findings.wrong.extend(findings.wrong.into_iter().map(|wrong| format!("{command}: {wrong}")));
        self.review.findings.seen.extend(findings.seen);
        answer
    }

    /// Holds what people see against the answer.
    fn counted(&mut self, arguments: &[&str], answer: &Value, counts: fn(&Value, &str) -> tables::Counts) {
        let text = String::from_utf8(self.run(arguments).stdout).unwrap();
        let (json, table) = counts(answer, &text);
        if json != table {
            let wrong = format!("{} {}: {json:?} in JSON, {table:?} in\n{text}", arguments.join(" "), self.name);
            self.review.findings.wrong.insert(wrong);
        }
    }

    /// Runs a command whose words stand before what it is asked about, which stands before the rest.
    fn run(&self, arguments: &[&str]) -> Run {
        let (command, rest) = arguments.split_first().unwrap();
        effigy(command.split(' ')).arg(&self.name).args(rest).within(120).run()
    }
}

/// The types of a part's fields, and those of the records in it.
fn types_of(fields: &Value, place: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    for (name, value) in fields.as_object().unwrap() {
        let place = format!("{place}.{name}");
        let kind = match value {
            Value::Number(_) => "number",
            Value::String(_) => "text",
            Value::Array(_) => "list",
            _ => "another",
        };
        if let Value::Array(records) = value {
            records.iter().for_each(|record| types_of(record, &place, found));
        }
        found.entry(place).or_default().insert(kind);
    }
}

fn review(corpus: &Path, files: &[String]) -> Review {
    let mut review = Review::new();
    for file in files {
        review.of(corpus.join(file).to_str().unwrap(), &["--no-images"]).ask_all();
    }
    review
}

#[test]
fn answers_on_representative_dumps_are_of_the_documented_types() {
    let Some(corpus) = corpus() else { return };
    review(&corpus, &REPRESENTATIVES.map(str::to_owned)).expect_nothing_wrong();
}

#[test]
fn heavy_answers_on_all_other_dumps_are_of_the_documented_types() {
    if !heavy() {
        return;
    }
    let Some(corpus) = corpus() else { return };
    let files: BTreeSet<String> = dumps(&corpus, &["minidump", "ELF core"]).into_iter().collect();
    let rest: Vec<String> = files.into_iter().filter(|file| !REPRESENTATIVES.contains(&file.as_str())).collect();
    review(&corpus, &rest).expect_nothing_wrong();
}

/// Our own dumps have most to tell, and running processes are asked by the same commands.
#[test]
fn answers_on_a_process_and_its_dumps_are_of_the_documented_types() {
    let target = Plan::c("big").args(["-m", "4", "-t", "3"]).start();
    let (core, dump) = (dump_core(&target, &[]), dump_minidump(&target, &["--kind", "mini"]));
    let (core, dump) = (core.path.to_str().unwrap().to_owned(), dump.path.to_str().unwrap().to_owned());
    let mut review = Review::new();
    // No test asks a server.
    review.of(&target.pid_text(), &["--offline"]).ask_all();
    review.of(&core, &["--offline"]).ask_all();
    review.of(&dump, &["--no-images"]).ask_all();
    review.of(&dump, &[]).ask(&["compare", &core], "Compare", &[0]);
    review.of(&core, &[]).ask(&["symbol", "big!main", "--no-index", "--offline"], "Symbols", &[0]);
    review.expect_nothing_wrong();
}

/// Every field of the types is explained in words.
#[test]
fn documented_types_are_explained() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let words = fs::read_to_string(path).unwrap();
    let fields = Types::read().fields();
    assert!(fields.len() > 200, "{}", fields.len());
    let unexplained: Vec<_> = fields.iter().filter(|(_, field)| !words.contains(&format!("`{field}`"))).collect();
    assert!(unexplained.is_empty(), "not in docs/json.md: {unexplained:?}");
}
