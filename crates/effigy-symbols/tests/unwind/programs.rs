//! Programs that are built in many ways and stopped by gdb, which writes a core and says what it sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use effigy_symbols::unwind::{Stack, Trust};

use crate::beside::{Counters, Files, agreement, hexadecimal, opened, stacks, tool};

/// gdb's own words vary with what it knows; its Python interface gives just the frames, and tells which are none of the
/// machine's.
const BACKTRACES: &str = r#"python exec("import gdb\nfor thread in gdb.selected_inferior().threads():\n    thread.switch()\n    print('THREAD', thread.ptid[1])\n    frame = gdb.newest_frame()\n    while frame is not None:\n        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):\n            print('FRAME', hex(frame.pc()))\n        try:\n            frame = frame.older()\n        except gdb.error:\n            frame = None\n")"#;

/// Builds the program with these flags; `None` where the compiler cannot.
fn build(folder: &Path, compiler: &str, flags: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/frames.c");
    let program = folder.join("frames");
    let output = Command::new(compiler)
        .args(["-pthread", "-w"])
        .args(flags)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output()
        .ok()
        .filter(|output| output.status.success());
    if output.is_none() {
        println!("SKIPPED {compiler} cannot build with {flags:?}");
    }
    output.map(|_| program)
}

/// Runs the program until it stops, and gives gdb's backtraces and the core that it wrote then.
fn stopped(gdb: &Path, program: &Path, shape: &str) -> (Counters, PathBuf) {
    let core = program.with_file_name(format!("{shape}.core"));
    let mut command = Command::new(gdb);
    command.args(["-q", "-batch", "-nx"]);
    for words in [
        "set width 0",
        "set debuginfod enabled off",
        "set backtrace past-main on",
        "set disable-randomization on",
        "set breakpoint pending on",
        "handle SIGUSR1 nostop noprint pass",
    ] {
        command.args(["-iex", words]);
    }
    // A handler is to be run by the fault that it is for.
    let signals = if shape == "interrupted" { "handle SIGSEGV nostop noprint pass" } else { "info line" };
    let generate = format!("generate-core-file {}", core.display());
    for words in [signals, "break stop_here", "run", &generate, BACKTRACES] {
        command.args(["-ex", words]);
    }
    let output = command.arg("--args").arg(program).arg(shape).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut all = Counters::new();
    let mut thread = 0;
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["THREAD", id] => thread = id.parse().unwrap(),
            ["FRAME", counter] => all.entry(thread).or_default().extend(hexadecimal(counter)),
            _ => {}
        }
    }
    assert!(core.exists() && !all.is_empty(), "{shape}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    (all, core)
}

/// Without what we found by scanning: behind a function that nothing describes gdb stops.
fn surely(mut stacks: BTreeMap<u32, Stack>) -> BTreeMap<u32, Stack> {
    for stack in stacks.values_mut() {
        let guessed = stack.frames.iter().position(|frame| frame.trust == Trust::Scan);
        stack.frames.truncate(guessed.unwrap_or(stack.frames.len()));
    }
    stacks
}

/// Without a last frame whose program counter is zero, which gdb shows behind a function that nothing describes.
fn surely_theirs(mut counters: Counters) -> Counters {
    for counters in counters.values_mut() {
        counters.pop_if(|counter| *counter == 0);
    }
    counters
}

/// Every shape of stack of the program when it is built so.
fn check(name: &str, compiler: &str, flags: &[&str], shapes: &[&str]) {
    let Some(gdb) = tool("gdb") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build(folder.path(), compiler, flags) else { return };
    let (mut equal, mut all) = (0, 0);
    for shape in shapes {
        let (theirs, core) = stopped(&gdb, &program, shape);
        let dump = opened(&core);
        // The linker of musl gives no build id.
        let ours = stacks(&dump, &Files::new(&dump.process, &[&program], &[]));
        let (ours, theirs) = (surely(ours), surely_theirs(theirs));
        let (same, count) = agreement(&format!("{name} {shape}"), &ours, &theirs);
        (equal, all) = (equal + same, all + count);
    }
    println!("{name}: {equal} of {all} frames equal");
    assert_eq!(equal, all, "{name}");
}

const SHAPES: [&str; 8] = ["deep", "grows", "sorts", "signals", "interrupted", "nowhere", "aborts", "threads"];

#[test]
fn without_optimisation() {
    check("-O0", "gcc", &["-O0", "-g"], &[&SHAPES[..], &["undescribed"]].concat());
}

#[test]
fn without_frame_pointers() {
    check("-O2", "gcc", &["-O2", "-g", "-fomit-frame-pointer"], &SHAPES);
}

#[test]
fn stripped_and_without_frame_pointers() {
    check("-s", "gcc", &["-O2", "-fomit-frame-pointer", "-Wl,--export-dynamic", "-s"], &SHAPES);
}

#[test]
fn static_programs() {
    check("-static", "gcc", &["-O2", "-g", "-static"], &SHAPES);
}

#[test]
fn with_nothing_but_debug_frame() {
    check("debug_frame", "gcc", &["-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"], &SHAPES);
}

#[test]
fn with_nothing_but_frame_pointers() {
    let flags = ["-O1", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    check("frame pointers", "gcc", &flags, &["deep", "grows"]);
}

#[test]
fn programs_of_32_bits() {
    check("-m32", "gcc", &["-m32", "-O2", "-g", "-fomit-frame-pointer"], &SHAPES);
}

#[test]
fn programs_with_musl() {
    check("musl", "musl-gcc", &["-O2", "-g", "-static"], &["deep", "grows"]);
}
