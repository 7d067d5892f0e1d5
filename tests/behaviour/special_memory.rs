//! Memory of odd kinds: guard pages, pages past the end of a file, secret memory, swap, huge pages, the kernel's own
//! pages, a file system that does not answer.

use std::fs;

use crate::harness::{
    Dump, MachineLock, Plan, Setting, Swap, Target, Tolerance, dump_core, dump_minidump, dump_with, is_root, scratch,
    skip, status_field, verify, verify_absent,
};

/// Case 17: a guard page inside a mapping is a gap of one page, and the stack above it is whole.
#[test]
fn guard_pages_inside_a_stack() {
    let target = Plan::c("guard").start();
    if target.is_unsupported() {
        return skip("the kernel has no MADV_GUARD_INSTALL");
    }
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        let guard = target.number("guard");
        for address in [guard - 1, guard + 4096] {
            assert!(dump.memory(address, 1).is_some(), "the byte at {address:#x}, beside the guard page, is missing");
        }
    }
}

/// Case 17 in a mini dump: the stack is found and bounded though its mapping has a guard inside.
#[test]
fn guard_pages_in_a_mini_dump() {
    let target = Plan::c("guard").start();
    if target.is_unsupported() {
        return skip("the kernel has no MADV_GUARD_INSTALL");
    }
    let dump = dump_minidump(&target, &["--kind", "mini"]);
    verify(&dump, target.markers.iter().filter(|marker| marker.name == "stack"));
}

/// Case 18: the pages of a mapping past the end of its (cut) file are a gap, the rest is whole.
#[test]
fn mapping_past_the_end_of_its_file() {
    let dir = scratch();
    let target = Plan::c("pasteof").args([dir.path().join("cut")]).start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        for name in ["shared", "private"] {
            let past = target.number(name) + 5 * 4096;
            assert_ne!(dump.memory(past, 4096), Some(vec![0; 4096]), "{name}: zeros stand for what cannot be read");
            assert!(dump.gap_at(past).is_some(), "{name}: no gap is told at {past:#x}: {:?}", dump.gaps());
        }
    }
}

/// Case 21: memory of memfd_secret is left out, and said to be.
#[test]
fn secret_memory() {
    let target = Plan::c("secret").start();
    if target.is_unsupported() {
        return skip("the kernel offers no memfd_secret");
    }
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        verify_absent(&dump.path, &target.markers);
        dump.expect_gap(target.number("secret"), "secret_memory");
    }
}

/// Case 14: swapped-out pages are captured, without bringing them all back.
#[test]
fn swapped_out_memory() {
    let _machine = MachineLock::take();
    let dir = scratch();
    let Some(_swap) = Swap::on(dir.path(), 160) else {
        return skip("swap cannot be switched on");
    };
    let mut target = Plan::c("pageout").start();
    target.ask("out");
    let swapped = swapped_kib(&target);
    if swapped < 32 * 1024 {
        return skip(&format!("the kernel swapped out only {swapped} KiB"));
    }
    let tolerance = Tolerance { growth_kib: 16 * 1024, ..Tolerance::STRICT };
    let (run, dump) = dump_with(&target, "dump.core", &[], tolerance);
    run.expect(0);
    verify(&dump.unwrap(), &target.markers);
    eprintln!("swapped out before {swapped} KiB, after the dump {} KiB", swapped_kib(&target));
}

fn swapped_kib(target: &Target) -> u64 {
    status_field(target.pid, "VmSwap").and_then(|text| text.trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Case 15: transparent huge pages, and hugetlbfs.
#[test]
fn huge_pages() {
    let _machine = MachineLock::take();
    let borrowed = Setting::set("/proc/sys/vm/nr_hugepages", "8");
    let target = Plan::c("huge").start();
    if borrowed.is_none() || target.number("hugetlb") == 0 {
        skip("no pages of hugetlbfs to be had; transparent ones are tested");
    }
    // The default filter of core(5), 0x33, holds huge private pages (bit 5) and not huge shared ones (bit 6).
    verify(&dump_core(&target, &[]), &target.markers);
    verify(&dump_minidump(&target, &[]), &target.markers);
}

/// Case 23: the kernel's clock pages are left out, its code page (vdso) is in.
#[test]
fn pages_of_the_kernel() {
    let target = Plan::c("plain").start();
    let dump = dump_core(&target, &[]);
    let minidump = dump_minidump(&target, &[]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid)).unwrap();
    for line in maps.lines() {
        let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        if line.ends_with("[vdso]") {
            for dump in [&dump, &minidump] {
                assert_eq!(dump.memory(start, 4).as_deref(), Some(&b"\x7fELF"[..]), "the vdso is in the dump");
            }
        } else if line.ends_with("[vvar]") {
            for dump in [&dump, &minidump] {
                assert!(dump.memory(start, 8).is_none(), "the vvar pages are in the dump");
                dump.expect_gap(start, "kernel_data");
            }
        }
    }
}

/// Case 19: a mapped file of a file system that no longer answers cannot hold up the dump, nor the target.
#[test]
fn file_system_that_does_not_answer() {
    if !is_root() {
        return skip("mounting needs root");
    }
    let dir = scratch();
    let target = Plan::c("silent_fs").args([dir.path()]).start();
    if target.is_unsupported() {
        return skip("no /dev/fuse");
    }
    let (run, dump) = dump_with(&target, "dump.core", &["--timeout", "20"], Tolerance::STRICT);
    assert!(run.wall.as_secs() < 30, "took {:?}", run.wall);
    match run.code {
        Some(7) => assert!(dump.is_none(), "a dump that timed out leaves nothing behind"),
        Some(0 | 6) => verify(&dump.unwrap(), &target.markers),
        other => panic!("exit code {other:?}: {}", run.stderr),
    }
}

/// A dump of a dump: memory that was never written is not in the file, so that reading it is told apart from zeros.
#[test]
fn absent_is_not_zero() {
    let target = Plan::c("big").args(["-m", "1", "-r", "1"]).start();
    let dump: Dump = dump_minidump(&target, &[]);
    assert!(dump.memory(target.number("reserved"), 4096).is_none(), "a PROT_NONE page reads as if it were there");
}
