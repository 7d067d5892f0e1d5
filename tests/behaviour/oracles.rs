//! Other people's debuggers on our dumps: every thread's backtrace is the one that gdb took of the living process just
//! before, and registers are what they were.

use std::fs;
use std::path::Path;

use crate::harness::{
    Backtraces, Plan, Target, compare_exactly, compare_places, dump_core, dump_minidump, effigy, eu_stack,
    gdb_commands, gdb_core, gdb_live, lldb, oracle, skip, stackwalk,
};

fn multithreaded() -> Target {
    Plan::c("big").args(["-m", "8", "-t", "12"]).start()
}

/// gdb's view of the living target, which it stops for that.
fn live(gdb: &Path, target: &Target) -> Backtraces {
    let live = gdb_live(gdb, target.pid);
    assert!(live.values().all(|frames| frames.len() >= 3), "gdb sees too little of the living process: {live:?}");
    live
}

#[test]
fn gdb_on_a_core() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    let dump = dump_core(&target, &[]);
    compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &dump.path), &target.threads);
}

/// gdb finds nothing to complain of in the core.
#[test]
fn gdb_does_not_warn() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = multithreaded();
    let dump = dump_core(&target, &[]);
    let said = gdb_commands(&gdb, &target.exe(), &dump.path, &["info threads", "info proc mappings", "info auxv"]);
    let warnings: Vec<_> = said.lines().filter(|line| line.to_lowercase().contains("warning")).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(said.contains("AT_ENTRY") || said.contains("Entry point"), "no auxiliary vector: {said}");
    assert!(said.contains("/libc.so.6"), "no mapped files: {said}");
}

#[test]
fn eu_stack_on_a_core() {
    let (Some(gdb), Some(tool)) = (oracle("gdb"), oracle("eu-stack")) else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    let dump = dump_core(&target, &[]);
    compare_places(&live, &eu_stack(&tool, &target.exe(), &dump.path), &target.threads, usize::MAX);
}

#[test]
fn lldb_on_a_core() {
    let (Some(gdb), Some(tool)) = (oracle("gdb"), oracle("lldb-19")) else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    let dump = dump_core(&target, &[]);
    compare_places(&live, &lldb(&tool, Some(&target.exe()), &dump.path), &target.threads, usize::MAX);
}

/// lldb finds program and libraries by the paths and build ids in the minidump.
#[test]
fn lldb_on_a_minidump() {
    let (Some(gdb), Some(tool)) = (oracle("gdb"), oracle("lldb-19")) else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    let dump = dump_minidump(&target, &[]);
    compare_places(&live, &lldb(&tool, None, &dump.path), &target.threads, usize::MAX);
}

#[test]
fn lldb_on_a_mini_minidump() {
    let (Some(gdb), Some(tool)) = (oracle("gdb"), oracle("lldb-19")) else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    let dump = dump_minidump(&target, &["--kind", "mini"]);
    compare_places(&live, &lldb(&tool, None, &dump.path), &target.threads, usize::MAX);
}

/// minidump-stackwalk unwinds with the local files' debug information. Its last frames may be guesses, so the first
/// four are compared: they lie in the C library and in the program.
#[test]
fn minidump_stackwalk_on_a_minidump() {
    let (Some(gdb), Some(tool)) = (oracle("gdb"), oracle("minidump-stackwalk")) else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    for kind in ["full", "miniplus", "mini"] {
        let dump = dump_minidump(&target, &["--kind", kind]);
        let walked = stackwalk(&tool, &dump.path);
        assert_eq!(walked.len(), live.len(), "threads");
        compare_places(&live, &walked, &target.threads, 4);
    }
}

/// Each kind, as a core: gdb gets the images back from their files.
#[test]
fn gdb_on_smaller_cores() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    for kind in ["miniplus", "mini"] {
        let dump = dump_core(&target, &["--kind", kind]);
        compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &dump.path), &target.threads);
    }
}

#[test]
fn eu_stack_on_smaller_cores() {
    let (Some(gdb), Some(tool)) = (oracle("gdb"), oracle("eu-stack")) else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    for kind in ["miniplus", "mini"] {
        let dump = dump_core(&target, &["--kind", kind]);
        compare_places(&live, &eu_stack(&tool, &target.exe(), &dump.path), &target.threads, usize::MAX);
    }
}

/// Case 17: backtrace on a stack with a guard page inside its mapping.
#[test]
fn backtrace_over_a_guarded_stack() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("guard").start();
    if target.is_unsupported() {
        return skip("the kernel has no MADV_GUARD_INSTALL");
    }
    let live = live(&gdb, &target);
    for kind in ["full", "mini"] {
        let dump = dump_core(&target, &["--kind", kind]);
        compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &dump.path), &target.threads);
    }
}

/// Case 34: the worker of a zombie leader. gdb does not attach to such a process, so its frames are told by name.
#[test]
fn backtrace_of_a_zombie_leaders_worker() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("zl").start();
    let dump = dump_core(&target, &[]);
    let frames = gdb_core(&gdb, &crate::harness::compile("zl", &[]), &dump.path);
    let worker = u32::try_from(target.number("worker")).unwrap();
    let functions: Vec<_> = frames[&worker].iter().map(|frame| frame.function.as_str()).collect();
    assert!(functions.contains(&"worker") && functions.contains(&"sleep_forever"), "{functions:?}");
}

/// Case 32: the same for a stopped target.
#[test]
fn backtrace_of_a_stopped_target() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = multithreaded();
    let live = live(&gdb, &target);
    target.stop();
    let dump = dump_core(&target, &[]);
    compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &dump.path), &target.threads);
}

/// Case 30: vector registers, in a thread that runs and in one that sleeps in a system call.
#[test]
fn vector_registers() {
    expect_vector_registers(&[]);
}

/// The same with these arguments.
#[track_caller]
pub(crate) fn expect_vector_registers(arguments: &[&str]) {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("avx").start();
    if target.is_unsupported() {
        return skip("the processor has no AVX2");
    }
    let wide = target.number("wide") != 0;
    let dump = dump_core(&target, arguments);
    for thread in ["spinner", "sleeper"] {
        let find = format!("thread find {}", target.number(thread));
        let number = gdb_thread_number(&gdb_commands(&gdb, &target.exe(), &dump.path, &[&find]));
        let commands =
            [format!("thread {number}"), "info registers vector".to_owned(), "info all-registers".to_owned()];
        let said = gdb_commands(&gdb, &target.exe(), &dump.path, &commands.each_ref().map(String::as_str));
        expect_lanes(&said, wide, thread);
        if wide {
            for mask in 1..=7_u32 {
                let wanted = format!("{:#x}", 0x1000 + mask);
                let line = said.lines().find(|line| line.starts_with(&format!("k{mask} "))).unwrap_or("(none)");
                assert!(line.contains(&wanted), "{thread}: k{mask} is not {wanted}: {line}");
            }
        }
    }
}

/// `threads --all-registers` names what the program has put into its registers: of a core and of a minidump, and, where they
/// are stopped for it, of its threads.
#[test]
fn vector_registers_by_name() {
    let target = Plan::c("avx").start();
    if target.is_unsupported() {
        return skip("the processor has no AVX2");
    }
    let wide = target.number("wide") != 0;
    let (prefix, lanes, registers) = if wide { ("zmm", 16, 32) } else { ("ymm", 8, 16) };
    let (core, minidump) = (dump_core(&target, &[]), dump_minidump(&target, &[]));
    let pid = target.pid_text();
    for subject in [core.path.to_str().unwrap(), minidump.path.to_str().unwrap(), &pid] {
        let run = effigy(["threads", "--all-registers", "--json", subject]).run().expect(0).json();
        for name in ["spinner", "sleeper"] {
            let tid = target.number(name);
            let thread = run["threads"].as_array().unwrap().iter().find(|thread| thread["tid"] == tid).unwrap();
            let vectors = &thread["vector_registers"];
            for register in 0..registers {
                let lane = |lane: u32| format!("{:08x}", 0x0101_0000 * register + 0x100 + lane);
                let wanted: String = (0..lanes).rev().map(lane).collect();
                assert_eq!(
                    vectors[format!("{prefix}{register}")],
                    format!("0x{wanted}"),
                    "{subject}: {name}: {register}"
                );
            }
            for mask in (1..=7_u32).filter(|_| wide) {
                let wanted = format!("0x{:016x}", 0x1000 + mask);
                assert_eq!(vectors[format!("k{mask}")], wanted, "{subject}: {name}: k{mask}");
            }
        }
    }
}

fn gdb_thread_number(said: &str) -> u32 {
    // Thread 2 has target id 'Thread 0x… (LWP 77)'
    let line = said.lines().find(|line| line.contains(" has target id ")).expect("gdb found no such thread");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// 32-bit lane J of register I is 0x01010000 · I + 0x100 + J.
#[track_caller]
fn expect_lanes(said: &str, wide: bool, thread: &str) {
    let (prefix, lanes, registers) = if wide { ("zmm", 16, 32) } else { ("ymm", 8, 16) };
    for register in 0..registers {
        let name = format!("{prefix}{register} ");
        let line = said.lines().find(|line| line.starts_with(&name)).unwrap_or("(none)");
        let field = format!("v{lanes}_int32 = {{");
        let values =
            line.split_once(&field).and_then(|(_, rest)| rest.split_once('}')).map_or("", |(values, _)| values);
        let values: Vec<_> = values.split(", ").map(str::to_owned).collect();
        let wanted: Vec<_> =
            (0..lanes).map(|lane: u32| format!("{:#x}", 0x0101_0000 * register + 0x100 + lane)).collect();
        assert_eq!(values, wanted, "{thread}: {name}: {line}");
    }
}

/// eu-readelf reads every note without complaint, and each thread has its general, floating and extended registers.
#[test]
fn notes_of_a_core() {
    let Some(tool) = oracle("eu-readelf") else { return };
    let target = multithreaded();
    let dump = dump_core(&target, &[]);
    let output = std::process::Command::new(tool).args(["-n", "-l", "-h"]).arg(&dump.path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for note in ["PRSTATUS", "PRPSINFO", "SIGINFO", "AUXV", "FILE", "FPREGSET", "X86_XSTATE"] {
        assert!(said.contains(note), "no note {note}");
    }
    let core = dump.core();
    assert!(core.notes.iter().any(|note| note.name == "LINUX"), "lldb wants a note named LINUX");
    assert_eq!(core.threads().len(), target.threads.len());
    // No signal ended this program, and gdb would say so if pr_cursig named one; see docs/decisions/0004.
    for status in core.notes_of("CORE", crate::harness::NT_PRSTATUS) {
        assert_eq!(u16::from_le_bytes([status[12], status[13]]), 0, "pr_cursig");
    }
}

/// The general registers that gdb reads from the core are those that the kernel gives for the sleeping thread.
#[test]
fn registers_of_a_sleeping_thread() {
    let Some(gdb) = oracle("gdb") else { return };
    let target = Plan::c("plain").start();
    target.await_rest();
    // syscall NUMBER ARG0 … ARG5 SP PC, of proc_pid_syscall(5)
    let facts = fs::read_to_string(format!("/proc/{}/syscall", target.pid)).unwrap();
    let words: Vec<_> = facts.split_whitespace().collect();
    let [.., sp, pc] = words[..] else { panic!("{facts}") };
    let dump = dump_core(&target, &[]);
    let said = gdb_commands(&gdb, &target.exe(), &dump.path, &["p/x $sp", "p/x $pc", "p $orig_rax", "p/x $fs_base"]);
    let values: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix('$')?.split_once(" = ")).map(|(_, value)| value).collect();
    assert_eq!(&values[..3], [sp, pc, words[0]], "{said}");
    assert_ne!(values[3], "0x0", "fs_base");
}
