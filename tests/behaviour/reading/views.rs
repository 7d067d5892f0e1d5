//! What people see: snapshots of each command on dumps of other people's tools.

use super::corpus;
use crate::harness::effigy;

const CORE: &str = "generated/kernel-6.18-crash.core";
const FULL: &str = "generated/lldb19-full-one-exception.dmp";
const WOW64: &str = "lldb/wow64_minidump_fizzbuzz_wow64.dmp";
const MACOS: &str = "symbolic/crash_macos.dmp";
const WINDOWS: &str = "breakpad/tiny-exe-with-cet-xsave.dmp";
const BIG_ENDIAN: &str = "lldb/elf-core_linux-s390x.core";

/// Runs commands in the corpus' folder and compares what they print with what they printed before.
fn check(name: &str, commands: &[&[&str]]) {
    let Some(corpus) = corpus() else { return };
    let mut text = String::new();
    for command in commands {
        // What this system has of the images that a dump was made with is not the dump's.
        let no_images: &[&str] =
            if matches!(command[0], "info" | "memory" | "regions") { &["--no-images"] } else { &[] };
        let run = effigy(*command).args(no_images).dir(&corpus).within(60).run().expect(0);
        let stdout = String::from_utf8(run.stdout).unwrap();
        text = format!("{text}$ effigy {}\n{stdout}{}\n", command.join(" "), run.stderr);
    }
    let text = without_folders(&text);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/behaviour/reading/snapshots");
    insta::with_settings!({snapshot_path => folder, prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, text);
    });
}

/// Without the folders of the machine that some of the dumps were made on.
fn without_folders(text: &str) -> String {
    const PLACE: &str = "/generated/crashme";
    let mut parts = text.split(PLACE);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let folder = clean.rfind([' ', '\'', '[', '\n']).map_or(0, |at| at + 1);
        clean.truncate(folder);
        clean = format!("{clean}[folder]{PLACE}{part}");
    }
    clean
}

#[test]
fn info() {
    let files = [CORE, FULL, WOW64, MACOS, WINDOWS, BIG_ENDIAN];
    let commands = files.map(|file| ["info", file]);
    check("info", &commands.each_ref().map(|command| &command[..]));
}

#[test]
fn threads() {
    check(
        "threads",
        &[
            &["threads", CORE],
            &["threads", WOW64],
            &["threads", "--registers", "--thread", "28008", CORE],
            &["threads", "--registers", BIG_ENDIAN],
            &["threads", "--all-registers", MACOS],
        ],
    );
}

#[test]
fn modules() {
    check(
        "modules",
        &[
            &["modules", CORE],
            &["modules", WINDOWS],
            &["modules", "--verbose", "--name", "nt*", WOW64],
            &["modules", "--verbose", "--name", "crash_macos", MACOS],
            &["modules", "--name", "nothing", CORE],
        ],
    );
}

#[test]
fn regions() {
    check(
        "regions",
        &[
            &["regions", CORE],
            &["regions", "--summary", WOW64],
            &["regions", "--usage", "stack", "--protection", "PAGE_GUARD", WOW64],
            &["regions", "--at", "ntdll+0x1000", WOW64],
            &["regions", "--at", "@rsp", CORE],
            &["regions", MACOS],
        ],
    );
}

#[test]
fn memory() {
    check(
        "memory",
        &[
            &["memory", "read", CORE, "@rsp"],
            &["memory", "read", CORE, "@rsp+4", "--as", "words", "--length", "40"],
            &["memory", "read", CORE, "@rsp", "--as", "dwords", "--end", "@rsp+20"],
            &["memory", "read", CORE, "@rsp", "--as", "qwords", "--length", "0x20"],
            &["memory", "read", CORE, "@rsp", "--as", "pointers+symbols", "--length", "64"],
            &["memory", "read", WOW64, "0020fff0", "--length", "32"],
            &["memory", "read", WOW64, "77cc0000", "--as", "ascii"],
            &["memory", "read", WOW64, "0", "--length", "20"],
            &["memory", "read", BIG_ENDIAN, "@r15", "--as", "qwords", "--length", "32"],
        ],
    );
}

#[test]
fn search() {
    check(
        "search",
        &[
            &["memory", "search", WOW64, "--text", "ProgramFiles", "--limit", "4"],
            &["memory", "search", WOW64, "--text", "fizzbuzz", "--unicode", "--in", "heap"],
            &["memory", "search", WOW64, "--pointer-to", "ntdll", "--in", "stack", "--limit", "3"],
            &["memory", "search", CORE, "--bytes", "7f 45 4c 46", "--in", "image"],
            &["memory", "search", CORE, "--regex", "GLIBC_2\\.[0-9]+", "--limit", "2"],
            &["memory", "search", CORE, "--text", "it is not there"],
        ],
    );
}

#[test]
fn streams() {
    check("streams", &[&["streams", CORE], &["streams", FULL], &["streams", "breakpad/linux_inline.dmp"]]);
}

#[test]
fn handles() {
    check("handles", &[&["handles", WINDOWS], &["handles", CORE]]);
}

#[test]
fn compare() {
    check("compare", &[&["compare", CORE, CORE], &["compare", "--details", "generated/gdb13-gcore.core", FULL]]);
}
