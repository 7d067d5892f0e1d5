//! How many addresses a process can use.

use effigy_process::{Address, Architecture, Platform, Process, Region};

/// End of the addresses that a process can use: the smallest of those that systems of its kind are made with behind which
/// none of `regions` lies, the kernel's fixed page at the top aside.
pub(super) fn user_space(process: &Process, regions: &[Region]) -> Address {
    let highest = regions.iter().rev().map(|region| region.range.end()).find(|end| !is_kernel_half(process, *end));
    let highest = highest.unwrap_or_default();
    let limits = limits(process.architecture, process.system.platform);
    let fits = limits.iter().copied().map(Address).find(|limit| highest <= *limit);
    fits.unwrap_or(Address(u64::MAX))
}

/// Addresses with the highest bit set are the kernel's on 64-bit systems; x86-64 has its vsyscall page there.
fn is_kernel_half(process: &Process, end: Address) -> bool {
    process.architecture.pointer_size() == 8 && end.0 >> 63 == 1
}

/// Ends of user space by rising size. Linux: `TASK_SIZE` of arch/*/include/asm/processor.h (or page.h) of 6.18, for each
/// number of page table levels. Windows: 2 GiB or, for programs that say they can bear it, 4; 128 TiB, also
/// where the dump of a 32-bit program shows the 64-bit half that such a one has on 64-bit Windows.
fn limits(architecture: Architecture, platform: Platform) -> &'static [u64] {
    const GIB: u64 = 1 << 30;
    match (architecture, platform) {
        (Architecture::X86 | Architecture::Arm, Platform::Windows) => &[2 * GIB, 3 * GIB, 4 * GIB, 1 << 47],
        (Architecture::X86 | Architecture::Arm, _) => &[3 * GIB, 4 * GIB],
        (Architecture::X32, _) => &[4 * GIB],
        (Architecture::Aarch64, platform) if platform.is_linux() => &[1 << 39, 1 << 42, 1 << 48, 1 << 52],
        (Architecture::Riscv64, _) => &[1 << 38, 1 << 47, 1 << 56],
        (Architecture::Ppc64 | Architecture::Ppc64le, _) => &[1 << 46, 1 << 47, 1 << 52],
        (Architecture::S390x, _) => &[1 << 42, 1 << 53],
        (Architecture::Other { pointer_size: 4, .. }, _) => &[4 * GIB],
        _ => &[1 << 47, 1 << 56],
    }
}
