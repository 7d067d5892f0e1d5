//! `symbol`, `source` and `disassemble`, beside binutils and gdb.

use std::process::Command;

use super::{ask, run};
use crate::harness::{Plan, compile, dump_core, oracle};

#[test]
fn names_and_addresses() {
    let target = Plan::c("frames").start();
    let pid = target.pid_text();
    let found = ask(&["symbol", "--json", &pid, "frames!recurse"]);
    let symbols = found["symbols"].as_array().unwrap();
    assert_eq!(symbols.len(), 1, "{found}");
    let address = symbols[0]["address"].as_str().unwrap();
    let exe = compile("frames", &[]);
    let listed = Command::new("nm").arg(&exe).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed.lines().find(|line| line.ends_with(" recurse")).unwrap();
    let value = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let number = u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap();
    assert_eq!(number & 0xfff, value & 0xfff);
    let at = ask(&["symbol", "--json", &pid, &format!("{:#x}", number + 5)]);
    assert_eq!((&at["symbols"][0]["name"], &at["symbols"][0]["displacement"]), (&"recurse".into(), &5.into()));
    let many = ask(&["symbol", "--json", &pid, "libc*!mem*"]);
    assert!(many["symbols"].as_array().unwrap().len() > 5);
    let none = run(&["symbol", &pid, "frames!no_such_function"]).expect(0);
    assert!(String::from_utf8_lossy(&none.stdout).contains("nothing is known"));
}

#[test]
fn lines_are_those_of_gdb() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("frames").start();
    let answer = ask(&["source", "--json", &target.pid_text(), "frames!wait_here"]);
    let line = &answer["lines"][0];
    let exe = compile("frames", &[]);
    let output = Command::new(gdb).args(["-batch", "-nx", "-ex", "info line *wait_here"]).arg(&exe).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("Line {} of", line["line"])), "{line} and {text}");
    let printed = run(&["source", &target.pid_text(), "frames!wait_here"]).expect(0);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("> ") && printed.contains("wait_here"), "{printed}");
}

/// Instruction by instruction beside objdump.
#[test]
fn instructions_are_those_of_objdump() {
    let target = Plan::c("frames").start();
    let dump = dump_core(&target, &["--kind", "full"]);
    let answer = ask(&["disassemble", "--json", dump.path.to_str().unwrap(), "frames!recurse"]);
    let ours: Vec<_> = answer["instructions"].as_array().unwrap().iter().collect();
    let exe = compile("frames", &[]);
    let mut objdump = Command::new("objdump");
    objdump.args(["-d", "-M", "intel", "--disassemble=recurse", "--no-show-raw-insn"]).arg(&exe);
    let text = String::from_utf8_lossy(&objdump.output().unwrap().stdout).into_owned();
    let theirs: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(":\t")).collect();
    assert!(ours.len() > 10);
    assert_eq!(ours.len(), theirs.len(), "{text}");
    for (own, (address, text)) in ours.iter().zip(theirs) {
        let last = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap() & 0xfff;
        assert_eq!(last(own["address"].as_str().unwrap()), last(address));
        let word = |text: &str| text.split_whitespace().next().unwrap().to_owned();
        assert_eq!(word(own["text"].as_str().unwrap()), word(text));
    }
    assert!(answer.to_string().contains("frames!wait_here"), "calls have names: {answer}");
}

#[test]
fn what_is_not_there_is_said() {
    let target = Plan::c("frames").start();
    run(&["disassemble", &target.pid_text(), "frames!no_such_function"]).expect(1).says("no address");
    run(&["disassemble", &target.pid_text(), "0x10"]).expect(1).says("nothing is mapped there");
}
