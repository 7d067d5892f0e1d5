//! Memory of ordinary kinds: all that is there is in the dump, nothing that is not there is read or stored.

use crate::harness::{
    MachineLock, Plan, Setting, compare_exactly, disk_bytes, dump_core, dump_minidump, eu_stack, gdb_core, gdb_live,
    heavy, is_root, oracle, scratch, skip, verify, verify_absent,
};

/// Case 1: marks in heap, data, bss, TLS, stacks and mappings, exact in both formats.
#[test]
fn marks_are_exact_in_a_core() {
    let target = Plan::c("big").args(["-m", "32", "-t", "10"]).start();
    verify(&dump_core(&target, &[]), &target.markers);
}

/// Case 1, as a minidump.
#[test]
fn marks_are_exact_in_a_minidump() {
    let target = Plan::c("big").args(["-m", "32", "-t", "10"]).start();
    verify(&dump_minidump(&target, &[]), &target.markers);
}

/// The file takes no more room than the memory that is present, and five in a hundred.
#[test]
fn disk_use_follows_present_memory() {
    let target = Plan::c("big").args(["-m", "100"]).start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        // One word in four is zero, but no page is: all of the 100 MiB must be there, and little else.
        let blocks = disk_bytes(&dump.path);
        assert!(blocks >= 100 << 20, "{blocks} bytes on disk");
        assert!(blocks <= 110 << 20, "{blocks} bytes on disk");
    }
}

/// Zero pages take no room in either format, and are read back as zeros.
#[test]
fn zero_pages_are_holes() {
    let target = Plan::c("big").args(["-m", "0", "-r", "1"]).start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        let blocks = disk_bytes(&dump.path);
        assert!(blocks < 16 << 20, "{blocks} bytes on disk");
    }
}

/// Case 10: 8 GB reserved, 64 MB touched: at most 70 MB on disk.
#[test]
fn reservations_cost_nothing_in_a_core() {
    let target = Plan::c("big").args(["-m", "62", "-r", "4"]).start();
    let dump = dump_core(&target, &[]);
    verify(&dump, &target.markers);
    assert!(disk_bytes(&dump.path) <= 70_000_000, "{} bytes on disk", disk_bytes(&dump.path));
    let reserved = dump.core().load_at(target.number("reserved")).expect("the reservation is a segment of the core");
    assert_eq!(reserved.in_file, 0, "nothing of an untouched PROT_NONE mapping is in the file");
    assert!(reserved.in_memory >= 4 << 30, "its size is told: {reserved:x?}");
}

/// Case 10, as a minidump.
#[test]
fn reservations_cost_nothing_in_a_minidump() {
    let target = Plan::c("big").args(["-m", "62", "-r", "4"]).start();
    let dump = dump_minidump(&target, &[]);
    verify(&dump, &target.markers);
    assert!(disk_bytes(&dump.path) <= 70_000_000, "{} bytes on disk", disk_bytes(&dump.path));
}

/// Case 4: 12,000 mappings.
#[test]
fn twelve_thousand_mappings() {
    let target = Plan::c("maps").args(["6000"]).start();
    let core = dump_core(&target, &[]);
    verify(&core, &target.markers);
    assert!(core.core().loads().count() >= 12_000, "{} segments", core.core().loads().count());
    verify(&dump_minidump(&target, &[]), &target.markers);
}

/// Case 4 at its end: more segments than a program header count can say (PN_XNUM).
#[test]
fn heavy_mappings_beyond_65535() {
    if !heavy() {
        return;
    }
    let _machine = MachineLock::take();
    let Some(_limit) = Setting::set("/proc/sys/vm/max_map_count", "70000") else {
        return skip("vm.max_map_count cannot be raised");
    };
    let target = Plan::c("maps").args(["33000"]).start();
    let core = dump_core(&target, &[]);
    verify(&core, &target.markers);
    assert!(core.core().loads().count() >= 66_000, "{} segments", core.core().loads().count());
    if let Some(gdb) = oracle("gdb") {
        compare_exactly(&gdb_live(&gdb, target.pid), &gdb_core(&gdb, &target.exe(), &core.path), &target.threads);
    }
    if let Some(eu_stack_tool) = oracle("eu-stack") {
        assert_eq!(eu_stack(&eu_stack_tool, &target.exe(), &core.path).len(), 1, "threads that eu-stack sees");
    }
    verify(&dump_minidump(&target, &[]), &target.markers);
}

/// As many mappings as a process may have by default.
#[test]
fn heavy_mappings_as_many_as_allowed() {
    if !heavy() {
        return;
    }
    let target = Plan::c("maps").args(["32740"]).start();
    let core = dump_core(&target, &[]);
    verify(&core, &target.markers);
    assert!(core.core().loads().count() >= 65_480, "{} segments", core.core().loads().count());
}

/// Case 11: untouched shared memory is not touched by us either. That the target does not grow is checked for every
/// dump.
#[test]
fn untouched_shared_memory_stays_untouched() {
    let target = Plan::c("sh").start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        assert!(disk_bytes(&dump.path) < 32 << 20, "{} bytes on disk", disk_bytes(&dump.path));
    }
}

/// Case 12: a shared page that only another process ever wrote.
#[test]
fn shared_page_filled_by_another_process() {
    if !is_root() {
        return skip("map_files is for root");
    }
    let target = Plan::c("shm2").start();
    verify(&dump_core(&target, &[]), &target.markers);
    verify(&dump_minidump(&target, &[]), &target.markers);
}

/// Case 13: holes of a memfd and of a file stay holes, their data stays data.
#[test]
fn holes_of_files_stay_holes() {
    let dir = scratch();
    let target = Plan::c("memfd").args([dir.path().join("sparse")]).start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        assert!(disk_bytes(&dump.path) < 32 << 20, "{} bytes on disk", disk_bytes(&dump.path));
    }
}

/// Case 16: pages that hold data though their protection is now none (or write only) are in the dump, pages that never
/// held any are not.
#[test]
fn data_behind_protection_none() {
    let target = Plan::c("protnone").start();
    let dump = dump_core(&target, &[]);
    verify(&dump, &target.markers);
    assert!(disk_bytes(&dump.path) < 32 << 20, "{} bytes on disk", disk_bytes(&dump.path));
    let never = dump.core().load_at(target.number("never")).expect("the mapping is a segment of the core");
    assert_eq!(never.in_file, 0, "an untouched PROT_NONE mapping is in the file");
    verify(&dump_minidump(&target, &[]), &target.markers);
}

/// Case 9: the address sanitizer's terabytes of shadow.
#[test]
fn address_sanitizer() {
    let target = Plan::c_with("asan", &["-fsanitize=address"]).start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        assert!(disk_bytes(&dump.path) < 128 << 20, "{} bytes on disk", disk_bytes(&dump.path));
    }
}

/// Case 20: memory that the program wants in no dump is in one only when asked for.
#[test]
fn dontdump_memory() {
    let target = Plan::c("dd").start();
    for dump in [dump_core(&target, &[]), dump_minidump(&target, &[])] {
        verify(&dump, &target.markers);
        verify_absent(&dump.path, &target.markers);
        dump.expect_gap(target.number("secret"), "dontdump");
    }
    for asked in [dump_core(&target, &["--include-dontdump"]), dump_minidump(&target, &["--include-dontdump"])] {
        for marker in target.markers.iter().filter(|marker| marker.name.starts_with("secret")) {
            assert_eq!(asked.memory(marker.address, marker.length), Some(marker.bytes()), "{}", marker.name);
        }
    }
}
