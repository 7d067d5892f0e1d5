//! Other people's readers beside ours: bytes at an address.

use std::path::Path;
use std::process::Command;

use super::{corpus, json};
use crate::harness::{gdb_commands, oracle};

/// Numbers of `0x7ffd: 0x01 0x02` lines behind the colon.
fn bytes_of(text: &str) -> Vec<u8> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("0x")?.split_once(':'));
    let words = lines.flat_map(|(_, words)| words.split_whitespace().collect::<Vec<_>>());
    words.filter_map(|word| u8::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect()
}

fn our_bytes(file: &Path, address: &str, length: &str) -> Vec<u8> {
    let answer = json(["memory", "read", "--json", file.to_str().unwrap(), address, "--length", length]);
    let digits = answer["bytes"].as_str().unwrap().as_bytes().to_vec();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn gdb_reads_the_same_bytes_from_a_core() {
    let (Some(corpus), Some(gdb)) = (corpus(), oracle("gdb")) else { return };
    for name in ["kernel-6.18-crash.core", "gdb13-gcore.core"] {
        let core = corpus.join("generated").join(name);
        let text = gdb_commands(&gdb, &corpus.join("generated/crashme"), &core, &["x/256xb $sp"]);
        // gdb names what an address lies in between the address and the colon.
        let lines: String =
            text.lines().filter(|line| line.starts_with("0x")).map(|line| format!("{line}\n")).collect();
        let theirs = bytes_of(&lines);
        assert_eq!(theirs.len(), 256, "{text}");
        assert_eq!(our_bytes(&core, "@rsp", "256"), theirs, "{name}");
    }
}

#[test]
fn lldb_reads_the_same_bytes_from_a_minidump() {
    let (Some(corpus), Some(lldb)) = (corpus(), oracle("lldb-19")) else { return };
    let dump = corpus.join("generated/lldb19-full-one-exception.dmp");
    let threads = json(["threads", "--json", dump.to_str().unwrap()]);
    let at = threads["threads"][0]["stack_pointer"].as_str().unwrap().to_owned();
    let command = format!("memory read --size 1 --format x --count 256 --force {at}");
    let output = Command::new(&lldb).args(["-b", "--no-lldbinit", "-c"]).arg(&dump).args(["-o", &command]).output();
    let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    let theirs = bytes_of(&text);
    assert_eq!(theirs.len(), 256, "{text}");
    assert_eq!(our_bytes(&dump, &at, "256"), theirs);
}
