//! What lies on disk: constants and structures of a minidump, little endian, for reader and writer alike.
//!
//! Names in the comments are those of the source: minidumpapiset.h of the Windows SDK where nothing else is said,
//! minidump_format.h of Breakpad for what Linux adds. Our own streams are described at their numbers in [`stream`].

pub(super) mod context;
pub(super) mod stream;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `MINIDUMP_SIGNATURE`: the letters `MDMP`.
pub(super) const SIGNATURE: u32 = u32::from_le_bytes(*b"MDMP");
/// `MINIDUMP_VERSION`: the low half of the version field; the high half is the writer's own.
pub(super) const VERSION: u32 = 0xa793;

/// `VER_PLATFORM_ID` of Linux (`MD_OS_LINUX`, Breakpad).
pub(super) const PLATFORM_LINUX: u32 = 0x8201;
/// `VER_PLATFORM_WIN32_NT`, the last of Windows' platforms; Breakpad numbers the others from 0x8000 on.
pub(super) const PLATFORM_WIN32_NT: u32 = 2;

/// `MINIDUMP_TYPE` bits (the header's `Flags`) that bear on the layout.
pub(super) mod flag {
    /// `MiniDumpWithFullMemory`.
    pub(crate) const FULL_MEMORY: u64 = 0x2;
    /// `MiniDumpWithPrivateReadWriteMemory`.
    pub(crate) const PRIVATE_READ_WRITE_MEMORY: u64 = 0x200;
}

/// `MINIDUMP_HEADER`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) signature: U32,
    pub(super) version: U32,
    pub(super) stream_count: U32,
    pub(super) directory_rva: U32,
    pub(super) checksum: U32,
    /// Seconds since 1970.
    pub(super) captured: U32,
    /// `MINIDUMP_TYPE`.
    pub(super) flags: U64,
}

/// `MINIDUMP_LOCATION_DESCRIPTOR`: a block of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Location {
    pub(super) size: U32,
    /// From the start of the file, in bytes.
    pub(super) rva: U32,
}

/// `MINIDUMP_DIRECTORY`: where a stream lies.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Directory {
    pub(super) kind: U32,
    pub(super) location: Location,
}

/// `MINIDUMP_MEMORY_DESCRIPTOR`: memory with its place in the file's first 4 GiB.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemoryDescriptor {
    pub(super) start: U64,
    pub(super) location: Location,
}

/// `MINIDUMP_MEMORY64_LIST` without its ranges. The bytes of all ranges lie one behind the other from `base` on.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Memory64Header {
    pub(super) count: U64,
    pub(super) base: U64,
}

/// `MINIDUMP_MEMORY_DESCRIPTOR64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemoryDescriptor64 {
    pub(super) start: U64,
    pub(super) size: U64,
}

/// `MINIDUMP_THREAD`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Thread {
    pub(super) id: U32,
    pub(super) suspend_count: U32,
    pub(super) priority_class: U32,
    pub(super) priority: U32,
    /// `Teb`, the thread environment block of Windows.
    pub(super) environment_block: U64,
    pub(super) stack: MemoryDescriptor,
    pub(super) context: Location,
}

/// `MINIDUMP_THREAD_INFO`. Times are in units of 100 ns, points in time since 1601.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ThreadInfo {
    pub(super) id: U32,
    pub(super) dump_flags: U32,
    pub(super) dump_error: U32,
    pub(super) exit_status: U32,
    pub(super) created: U64,
    pub(super) exited: U64,
    pub(super) kernel_time: U64,
    pub(super) user_time: U64,
    pub(super) start_address: U64,
    pub(super) affinity: U64,
}

/// `MINIDUMP_THREAD_INFO_LIST` without its entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ThreadInfoHeader {
    pub(super) header_size: U32,
    pub(super) entry_size: U32,
    pub(super) count: U32,
}

/// `MINIDUMP_THREAD_NAME`: the one structure with a 64-bit offset to a string.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ThreadName {
    pub(super) id: U32,
    pub(super) name_rva: U64,
}

/// `MINIDUMP_MODULE`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Module {
    pub(super) base: U64,
    pub(super) size: U32,
    pub(super) checksum: U32,
    pub(super) time_stamp: U32,
    pub(super) name_rva: U32,
    /// `VS_FIXEDFILEINFO`, all zero for images that are not PE.
    pub(super) version: [U32; 13],
    pub(super) code_view: Location,
    pub(super) misc: Location,
    pub(super) reserved: [U64; 2],
}

/// First word of a CodeView record that holds an ELF build id (`MD_CVINFOELF_SIGNATURE`, Breakpad): `BpEL` as a number.
pub(super) const CODE_VIEW_ELF: u32 = 0x4270_454c;
/// First word of a CodeView record with GUID, age and PDB path (`RSDS`). Breakpad's older writers put the first 16
/// bytes of an ELF build id into the GUID.
pub(super) const CODE_VIEW_PDB: u32 = u32::from_le_bytes(*b"RSDS");

/// First word of the CodeView record of a PDB from before there were GUIDs (`NB10`).
pub(super) const CODE_VIEW_OLD_PDB: u32 = u32::from_le_bytes(*b"NB10");
/// First word of a `VS_FIXEDFILEINFO` that holds anything.
pub(super) const VERSION_SIGNATURE: u32 = 0xfeef_04bd;

/// `MINIDUMP_UNLOADED_MODULE_LIST` without its entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct UnloadedModuleHeader {
    pub(super) header_size: U32,
    pub(super) entry_size: U32,
    pub(super) count: U32,
}

/// `MINIDUMP_UNLOADED_MODULE`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct UnloadedModule {
    pub(super) base: U64,
    pub(super) size: U32,
    pub(super) checksum: U32,
    pub(super) time_stamp: U32,
    pub(super) name_rva: U32,
}

/// `MINIDUMP_MEMORY_INFO_LIST` without its entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemoryInfoHeader {
    pub(super) header_size: U32,
    pub(super) entry_size: U32,
    pub(super) count: U64,
}

/// `MINIDUMP_MEMORY_INFO`: a region, as `VirtualQuery` of Windows describes it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemoryInfo {
    pub(super) base: U64,
    pub(super) allocation_base: U64,
    pub(super) allocation_protection: U32,
    pub(super) alignment: U32,
    pub(super) size: U64,
    pub(super) state: U32,
    pub(super) protection: U32,
    pub(super) kind: U32,
    pub(super) alignment2: U32,
}

/// Values in [`MemoryInfo`], from winnt.h.
pub(super) mod memory {
    /// `MEM_COMMIT`.
    pub(crate) const COMMIT: u32 = 0x1000;
    /// `MEM_FREE`.
    pub(crate) const FREE: u32 = 0x1_0000;
    /// `MEM_PRIVATE`.
    pub(crate) const PRIVATE: u32 = 0x2_0000;
    /// `MEM_MAPPED`.
    pub(crate) const MAPPED: u32 = 0x4_0000;
    /// `MEM_IMAGE`.
    pub(crate) const IMAGE: u32 = 0x100_0000;

    /// `PAGE_NOACCESS`.
    pub(crate) const NO_ACCESS: u32 = 0x01;
    /// `PAGE_READONLY`.
    pub(crate) const READ_ONLY: u32 = 0x02;
    /// `PAGE_READWRITE`.
    pub(crate) const READ_WRITE: u32 = 0x04;
    /// `PAGE_WRITECOPY`: writable, and what is written stays private.
    pub(crate) const WRITE_COPY: u32 = 0x08;
    /// `PAGE_EXECUTE`.
    pub(crate) const EXECUTE: u32 = 0x10;
    /// `PAGE_EXECUTE_READ`.
    pub(crate) const EXECUTE_READ: u32 = 0x20;
    /// `PAGE_EXECUTE_READWRITE`.
    pub(crate) const EXECUTE_READ_WRITE: u32 = 0x40;
    /// `PAGE_EXECUTE_WRITECOPY`.
    pub(crate) const EXECUTE_WRITE_COPY: u32 = 0x80;
}

/// `MINIDUMP_EXCEPTION_STREAM`, its `MINIDUMP_EXCEPTION` included.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Exception {
    pub(super) thread_id: U32,
    pub(super) alignment: U32,
    pub(super) code: U32,
    pub(super) flags: U32,
    pub(super) record: U64,
    pub(super) address: U64,
    pub(super) parameter_count: U32,
    pub(super) alignment2: U32,
    pub(super) parameters: [U64; 15],
    pub(super) context: Location,
}

/// Exception code of a dump that was asked for while the process ran (`MD_EXCEPTION_CODE_LIN_DUMP_REQUESTED`, Breakpad).
pub(super) const DUMP_REQUESTED: u32 = 0xffff_ffff;

/// `MINIDUMP_SYSTEM_INFO`, with the x86 arm of its `CPU_INFORMATION` (used for x86-64 too, as Breakpad does).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SystemInfo {
    pub(super) architecture: U16,
    /// Family.
    pub(super) processor_level: U16,
    /// Model in the high byte, stepping in the low one.
    pub(super) processor_revision: U16,
    pub(super) processors: u8,
    pub(super) product_type: u8,
    pub(super) major_version: U32,
    pub(super) minor_version: U32,
    pub(super) build_number: U32,
    pub(super) platform: U32,
    pub(super) csd_version_rva: U32,
    pub(super) suite_mask: U16,
    pub(super) reserved: U16,
    /// CPUID leaf 0: EBX, EDX, ECX.
    pub(super) cpu_vendor: [u8; 12],
    /// CPUID leaf 1, EAX.
    pub(super) cpu_signature: U32,
    /// CPUID leaf 1, EDX.
    pub(super) cpu_features: U32,
    pub(super) cpu_amd_features: U32,
}

/// `PROCESSOR_ARCHITECTURE_*` of winnt.h.
pub(super) mod processor {
    /// 32-bit x86.
    pub(crate) const X86: u16 = 0;
    /// 32-bit ARM.
    pub(crate) const ARM: u16 = 5;
    /// 64-bit x86.
    pub(crate) const AMD64: u16 = 9;
    /// 32-bit x86 on a 64-bit Windows.
    pub(crate) const X86_ON_64: u16 = 10;
    /// 64-bit ARM.
    pub(crate) const ARM64: u16 = 12;
    /// 64-bit ARM as Breakpad had it before Windows ran on it.
    pub(crate) const ARM64_OLD: u16 = 0x8003;
}

/// Bits of [`MiscInfo::flags`].
pub(super) mod misc {
    /// `MINIDUMP_MISC1_PROCESS_ID`.
    pub(crate) const PROCESS_ID: u32 = 1;
    /// `MINIDUMP_MISC1_PROCESS_TIMES`.
    pub(crate) const PROCESS_TIMES: u32 = 2;
    /// `MINIDUMP_MISC1_PROCESSOR_POWER_INFO`.
    pub(crate) const PROCESSOR_POWER_INFO: u32 = 4;
}

/// `MINIDUMP_MISC_INFO_2`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MiscInfo {
    pub(super) size: U32,
    /// Which of the fields are valid.
    pub(super) flags: U32,
    pub(super) process_id: U32,
    /// Seconds since 1970.
    pub(super) process_created: U32,
    /// Seconds.
    pub(super) process_user_time: U32,
    /// Seconds.
    pub(super) process_kernel_time: U32,
    pub(super) processor_max_mhz: U32,
    pub(super) processor_current_mhz: U32,
    pub(super) processor_mhz_limit: U32,
    pub(super) processor_max_idle_state: U32,
    pub(super) processor_current_idle_state: U32,
}

/// `MINIDUMP_HANDLE_DATA_STREAM`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HandleHeader {
    pub(super) header_size: U32,
    pub(super) entry_size: U32,
    pub(super) count: U32,
    pub(super) reserved: U32,
}

/// `MINIDUMP_HANDLE_DESCRIPTOR_2`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HandleDescriptor {
    pub(super) handle: U64,
    pub(super) type_name_rva: U32,
    pub(super) object_name_rva: U32,
    pub(super) attributes: U32,
    pub(super) granted_access: U32,
    pub(super) handle_count: U32,
    pub(super) pointer_count: U32,
    pub(super) object_info_rva: U32,
    pub(super) reserved: U32,
}

/// `MINIDUMP_PROCESS_VM_COUNTERS_2`. All sizes in bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct VmCounters {
    pub(super) revision: U16,
    pub(super) flags: U16,
    pub(super) page_faults: U32,
    pub(super) peak_working_set: U64,
    pub(super) working_set: U64,
    pub(super) quota: [U64; 4],
    pub(super) pagefile_usage: U64,
    pub(super) peak_pagefile_usage: U64,
    pub(super) peak_virtual_size: U64,
    pub(super) virtual_size: U64,
    pub(super) private_usage: U64,
    pub(super) private_working_set: U64,
    pub(super) shared_commit: U64,
    pub(super) job: [U64; 5],
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Directory>() == 12);
    assert!(size_of::<MemoryDescriptor>() == 16);
    assert!(size_of::<Thread>() == 48);
    assert!(size_of::<ThreadInfo>() == 64);
    assert!(size_of::<ThreadName>() == 12);
    assert!(size_of::<Module>() == 108);
    assert!(size_of::<MemoryInfo>() == 48);
    assert!(size_of::<Exception>() == 168);
    assert!(size_of::<SystemInfo>() == 56);
    assert!(size_of::<MiscInfo>() == 44);
    assert!(size_of::<HandleDescriptor>() == 40);
    assert!(size_of::<VmCounters>() == 152);
};
