//! Targets that live elsewhere: other namespaces, executables without a path, another word size.

use std::fs;

use crate::harness::{
    Plan, Target, Tolerance, compare_exactly, compile, dump_core, dump_minidump, dump_with, gdb_core, gdb_live,
    is_root, oracle, scratch, skip, status_field, verify,
};

/// Dumps in both formats hold the marks and name the program.
#[track_caller]
fn expect_good_dumps(target: &Target) {
    for dump in [dump_core(target, &[]), dump_minidump(target, &[])] {
        verify(&dump, &target.markers);
        assert_eq!(dump.json["target"]["pid"], target.pid);
        assert!(dump.json["modules"].as_u64() > Some(0), "no modules");
    }
}

/// Case 26: the first process of another PID namespace.
#[test]
fn pid_namespace() {
    if !is_root() {
        return skip("namespaces need root");
    }
    let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let target = Plan::by(&wrapper, &compile("big", &[])).args(["-m", "4", "-t", "3"]).start();
    assert!(status_field(target.pid, "NSpid").unwrap().ends_with("\t1"), "it is PID 1 there");
    let dump = dump_core(&target, &[]);
    verify(&dump, target.markers.iter().filter(|marker| !marker.name.contains('.')));
    assert_eq!(dump.threads().len(), 4);
    // The threads are told as the host sees them; the target itself printed the inner numbers.
    assert!(dump.threads().contains(&u32::try_from(target.pid).unwrap()), "{:?}", dump.threads());
    dump_minidump(&target, &[]);
}

/// Case 26 and 31: gdb's view of it, by the host's thread ids.
#[test]
fn backtraces_in_a_pid_namespace() {
    let Some(gdb) = oracle("gdb") else { return };
    if !is_root() {
        return skip("namespaces need root");
    }
    let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let target = Plan::by(&wrapper, &compile("big", &[])).args(["-m", "4", "-t", "3"]).start();
    let live = gdb_live(&gdb, target.pid);
    let dump = dump_core(&target, &[]);
    let dumped = gdb_core(&gdb, &target.exe(), &dump.path);
    assert_eq!(live.len(), 4, "gdb sees the living process: {live:?}");
    compare_exactly(&live, &dumped, live.keys());
}

/// Case 27: another mount namespace, with the program at a path that means something else outside.
#[test]
fn mount_namespace() {
    if !is_root() {
        return skip("namespaces need root");
    }
    let dir = scratch();
    let inside = dir.path().join("inside");
    fs::create_dir(&inside).unwrap();
    // Outside, the path leads to another program; inside, a tmpfs covers it.
    fs::copy(compile("dd", &[]), inside.join("plain")).unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs '{0}' && cp '{1}' '{0}/plain' && exec '{0}/plain'",
        inside.display(),
        compile("plain", &[]).display()
    );
    let target = Plan::program("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]).start();
    expect_good_dumps(&target);
    let dump = dump_core(&target, &[]);
    let inner = build_id_of(&compile("plain", &[]));
    assert_eq!(dump.json["target"]["build_id"].as_str(), Some(inner.as_str()), "the build id of the file inside");
    // The output path is meant outside.
    let (run, dump) = dump_with(&target, "outside.dmp", &[], Tolerance::STRICT);
    run.expect(0);
    assert!(dump.unwrap().path.exists());
}

/// The build id that the linker noted in a program.
fn build_id_of(program: &std::path::Path) -> String {
    let bytes = fs::read(program).unwrap();
    // NT_GNU_BUILD_ID: name size 4, description size 20, type 3, "GNU\0".
    let header = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = bstr::ByteSlice::find(&bytes[..], header).expect("a build id") + header.len();
    bytes[at..at + 20].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Case 28: the executable was deleted while it ran.
#[test]
fn deleted_executable() {
    let dir = scratch();
    let program = dir.path().join("doomed");
    fs::copy(compile("plain", &[]), &program).unwrap();
    let target = Plan::program(&program).start();
    fs::remove_file(&program).unwrap();
    expect_good_dumps(&target);
    let dump = dump_core(&target, &[]);
    assert_eq!(dump.json["target"]["build_id"].as_str(), Some(build_id_of(&compile("plain", &[])).as_str()));
}

/// Case 28: another program took the path.
#[test]
fn replaced_executable() {
    let dir = scratch();
    let program = dir.path().join("replaced");
    fs::copy(compile("plain", &[]), &program).unwrap();
    let target = Plan::program(&program).start();
    fs::remove_file(&program).unwrap();
    fs::copy(compile("dd", &[]), &program).unwrap();
    let dump = dump_core(&target, &[]);
    verify(&dump, &target.markers);
    assert_eq!(dump.json["target"]["build_id"].as_str(), Some(build_id_of(&compile("plain", &[])).as_str()));
}

/// Case 28: the executable is a memfd and never had a path.
#[test]
fn executable_in_a_memfd() {
    let target = Plan::program(compile("memfdexec", &[])).args([compile("plain", &[])]).start();
    expect_good_dumps(&target);
    let Some(gdb) = oracle("gdb") else { return };
    let dump = dump_core(&target, &[]);
    let live = gdb_live(&gdb, target.pid);
    let dumped = gdb_core(&gdb, &target.exe(), &dump.path);
    compare_exactly(&live, &dumped, &target.threads);
}

/// Case 29: a 32-bit process gives a 32-bit core and an x86 minidump.
#[test]
fn thirty_two_bit_target() {
    let Some(program) = compile_32() else { return skip("gcc -m32 does not work here") };
    let target = Plan::program(&program).args(["-m", "8", "-t", "3"]).start();
    let core = dump_core(&target, &[]);
    verify(&core, &target.markers);
    assert_eq!((core.core().bits, core.core().machine), (32, 3), "class and machine (EM_386) of the core");
    assert_eq!(core.threads().len(), 4);
    let minidump = dump_minidump(&target, &[]);
    verify(&minidump, &target.markers);
    let system = minidump.minidump().get_stream::<minidump::MinidumpSystemInfo>().unwrap();
    assert_eq!(system.cpu, minidump::system_info::Cpu::X86);
    let Some(gdb) = oracle("gdb") else { return };
    let live = gdb_live(&gdb, target.pid);
    compare_exactly(&live, &gdb_core(&gdb, &target.exe(), &core.path), &target.threads);
}

/// lldb on a 32-bit target's minidump.
#[test]
fn lldb_on_a_thirty_two_bit_target() {
    let Some(program) = compile_32() else { return skip("gcc -m32 does not work here") };
    let (Some(gdb), Some(lldb)) = (oracle("gdb"), oracle("lldb-19")) else { return };
    let target = Plan::program(&program).args(["-m", "8", "-t", "3"]).start();
    let live = gdb_live(&gdb, target.pid);
    let dump = dump_minidump(&target, &[]);
    let seen = crate::harness::lldb(&lldb, None, &dump.path);
    // Sleepers are in the vdso, for which lldb has no file and so no way to unwind it: only the first frame is sure.
    crate::harness::compare_places(&live, &seen, &target.threads, 1);
}

pub(crate) fn compile_32() -> Option<std::path::PathBuf> {
    std::panic::catch_unwind(|| compile("big", &["-m32"])).ok()
}
