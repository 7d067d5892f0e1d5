//! Stacks in dumps of programs that no linker gave an identity: Go's before 1.24, those of Alpine Linux.

use std::fs;

use super::{functions, stacks_of};
use crate::harness::{Plan, compile, compile_go, dump_core, scratch};
use crate::real_programs::dump_lively;

/// No build id, and code that differs in one place.
const NAMELESS: &str = "-Wl,--build-id=none";
const OTHER: &[&str] = &[NAMELESS, "-O2"];

/// A program at a path of its own, so that another can take its place.
fn copied(flags: &[&str], dir: &tempfile::TempDir) -> std::path::PathBuf {
    let program = dir.path().join("frames");
    // Not written to while it may be run: what is run keeps its file.
    let beside = dir.path().join("new");
    fs::copy(compile("frames", flags), &beside).unwrap();
    fs::rename(&beside, &program).unwrap();
    program
}

#[test]
fn by_code() {
    let dir = scratch();
    let target = Plan::program(copied(&[NAMELESS], &dir)).start();
    let dump = dump_core(&target, &["--kind", "full"]);
    let names = |answer| {
        let names = functions(&answer, "deep");
        names.iter().any(|name| name == "recurse")
    };
    assert!(names(stacks_of(&dump.path, &[])));
    copied(OTHER, &dir);
    let answer = stacks_of(&dump.path, &[]);
    assert!(answer.to_string().contains("other code than was in memory"), "{answer}");
    assert!(!names(answer));
}

/// Go's own build id lies in the first page of a program, which every dump has.
#[test]
fn by_the_build_id_of_go() {
    let dir = scratch();
    let program = dir.path().join("unwinding");
    if !compile_go("unwinding", &[], &program) {
        return;
    }
    let target = Plan::program(&program).start();
    let dump = dump_lively(&target, "dump.core", &["--kind", "mini"]);
    let names = functions(&stacks_of(&dump.path, &[]), "recursion");
    assert!(names.iter().any(|name| name == "main.recurse"), "{names:?}");
}
