//! Names of notes.

use super::super::layout::{OWNER_CORE, OWNER_EFFIGY, OWNER_LINUX, effigy, note};

/// The name of a note's type; `None` when it is not known. Notes of qemu's emulator have empty owners.
pub(super) fn of(owner: &[u8], kind: u32) -> Option<&'static str> {
    let table = match owner {
        owner if owner.is_empty() || owner == OWNER_CORE.as_bytes() || owner == OWNER_LINUX.as_bytes() => LINUX,
        owner if owner == OWNER_EFFIGY.as_bytes() => OWN,
        b"GDB" => &[(GDB_TARGET, "NT_GDB_TDESC")],
        b"QEMU" => &[(0, "QEMUCPUState")],
        b"VMCOREINFO" => &[(0, "VMCOREINFO")],
        _ => return None,
    };
    table.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

/// gdb's description of the registers that it knows: XML.
pub(super) const GDB_TARGET: u32 = 0xff00_0000;

/// From include/uapi/linux/elf.h of Linux 6.18.
const LINUX: &[(u32, &str)] = &[
    (1, "NT_PRSTATUS"),
    (2, "NT_PRFPREG"),
    (note::PRPSINFO, "NT_PRPSINFO"),
    (4, "NT_TASKSTRUCT"),
    (note::AUXV, "NT_AUXV"),
    (note::SIGINFO, "NT_SIGINFO"),
    (note::FILE, "NT_FILE"),
    (0x46e6_2b7f, "NT_PRXFPREG"),
    (0x100, "NT_PPC_VMX"),
    (0x101, "NT_PPC_SPE"),
    (0x102, "NT_PPC_VSX"),
    (0x103, "NT_PPC_TAR"),
    (0x104, "NT_PPC_PPR"),
    (0x105, "NT_PPC_DSCR"),
    (0x106, "NT_PPC_EBB"),
    (0x107, "NT_PPC_PMU"),
    (0x110, "NT_PPC_PKEY"),
    (0x200, "NT_386_TLS"),
    (0x201, "NT_386_IOPERM"),
    (0x202, "NT_X86_XSTATE"),
    (0x204, "NT_X86_SHSTK"),
    (0x205, "NT_X86_XSAVE_LAYOUT"),
    (0x300, "NT_S390_HIGH_GPRS"),
    (0x301, "NT_S390_TIMER"),
    (0x302, "NT_S390_TODCMP"),
    (0x303, "NT_S390_TODPREG"),
    (0x304, "NT_S390_CTRS"),
    (0x305, "NT_S390_PREFIX"),
    (0x306, "NT_S390_LAST_BREAK"),
    (0x307, "NT_S390_SYSTEM_CALL"),
    (0x308, "NT_S390_TDB"),
    (0x309, "NT_S390_VXRS_LOW"),
    (0x30a, "NT_S390_VXRS_HIGH"),
    (0x30b, "NT_S390_GS_CB"),
    (0x30c, "NT_S390_GS_BC"),
    (0x30d, "NT_S390_RI_CB"),
    (0x400, "NT_ARM_VFP"),
    (0x401, "NT_ARM_TLS"),
    (0x402, "NT_ARM_HW_BREAK"),
    (0x403, "NT_ARM_HW_WATCH"),
    (0x404, "NT_ARM_SYSTEM_CALL"),
    (0x405, "NT_ARM_SVE"),
    (0x406, "NT_ARM_PAC_MASK"),
    (0x407, "NT_ARM_PACA_KEYS"),
    (0x408, "NT_ARM_PACG_KEYS"),
    (0x409, "NT_ARM_TAGGED_ADDR_CTRL"),
    (0x40a, "NT_ARM_PAC_ENABLED_KEYS"),
    (0x40b, "NT_ARM_SSVE"),
    (0x40c, "NT_ARM_ZA"),
    (0x40d, "NT_ARM_ZT"),
    (0x40e, "NT_ARM_FPMR"),
    (0x40f, "NT_ARM_POE"),
    (0x410, "NT_ARM_GCS"),
    (0x900, "NT_RISCV_CSR"),
    (0x901, "NT_RISCV_VECTOR"),
    (0x902, "NT_RISCV_TAGGED_ADDR_CTRL"),
    (0xa00, "NT_LOONGARCH_CPUCFG"),
    (0xa02, "NT_LOONGARCH_LSX"),
    (0xa03, "NT_LOONGARCH_LASX"),
];

const OWN: &[(u32, &str)] = &[
    (effigy::FACTS, "facts"),
    (effigy::GAPS, "gaps"),
    (effigy::ATTACHMENTS, "attachments"),
    (effigy::COMMENT, "comment"),
    (effigy::STATUS, "status"),
    (effigy::LIMITS, "limits"),
    (effigy::CGROUP, "cgroup"),
    (effigy::ENVIRONMENT, "environ"),
    (effigy::COMMAND_LINE, "cmdline"),
    (effigy::CPUINFO, "cpuinfo"),
    (effigy::RELEASE, "release"),
    (effigy::STAT, "stat"),
    (effigy::UPTIME, "uptime"),
    (effigy::MAPS, "maps"),
    (effigy::WORKING_SETS, "working sets"),
];
