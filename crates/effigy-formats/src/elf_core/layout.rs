//! Structures and numbers of ELF cores: what the bytes mean, no logic.
//!
//! Sources: the System V gABI, chapters 4 and 5 (headers); Linux 6.18 include/uapi/linux/elf.h (numbers),
//! include/linux/elfcore.h and elfcore-compat.h (notes), fs/binfmt_elf.c (order and meaning of the kernel's notes).
//! Every architecture that effigy knows is little endian.

use effigy_process::Architecture;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `ELFMAG`: the first four bytes.
pub(super) const MAGIC: [u8; 4] = *b"\x7fELF";
/// `ELFCLASS32`, at byte 4.
pub(super) const CLASS_32: u8 = 1;
/// `ELFCLASS64`, at byte 4.
pub(super) const CLASS_64: u8 = 2;
/// `ELFDATA2LSB`, at byte 5.
pub(super) const LITTLE_ENDIAN: u8 = 1;
/// `ELFDATA2MSB`, at byte 5.
pub(super) const BIG_ENDIAN: u8 = 2;
/// `EV_CURRENT`, at byte 6 and in `e_version`.
pub(super) const VERSION: u8 = 1;
/// `ET_CORE`, in `e_type`.
pub(super) const TYPE_CORE: u16 = 4;
/// `PN_XNUM`: `e_phnum` of a file with that many program headers or more; the number stands in section header 0.
pub(super) const MANY_SEGMENTS: u16 = 0xffff;
/// `PT_LOAD`, in `p_type`.
pub(super) const SEGMENT_LOAD: u32 = 1;
/// `PT_NOTE`, in `p_type`.
pub(super) const SEGMENT_NOTE: u32 = 4;
/// `PF_X`, in `p_flags`.
pub(super) const FLAG_EXECUTE: u32 = 1;
/// `PF_W`, in `p_flags`.
pub(super) const FLAG_WRITE: u32 = 2;
/// `PF_R`, in `p_flags`.
pub(super) const FLAG_READ: u32 = 4;
/// Notes and their parts begin at multiples of this many bytes, in cores of both classes (the gABI wants 8 for
/// 64 bits, the kernel writes and every reader expects 4).
pub(super) const NOTE_ALIGN: u64 = 4;

/// Owner of the notes whose types are the same on all systems of the System V family.
pub(super) const OWNER_CORE: &str = "CORE";
/// Owner of notes that only Linux has.
pub(super) const OWNER_LINUX: &str = "LINUX";
/// Owner of effigy's own notes.
pub(super) const OWNER_EFFIGY: &str = "EFFIGY";

/// Types of notes that are not registers; those are in [`effigy_process::note`].
pub(super) mod note {
    /// `NT_PRPSINFO`: the process, as `ps` would show it.
    pub(in super::super) const PRPSINFO: u32 = 3;
    /// `NT_AUXV`: the auxiliary vector.
    pub(in super::super) const AUXV: u32 = 6;
    /// `NT_FILE`, "FILE": mapped files.
    pub(in super::super) const FILE: u32 = 0x4649_4c45;
    /// `NT_SIGINFO`, "SIGI": the `siginfo_t` of the signal that ended the process.
    pub(in super::super) const SIGINFO: u32 = 0x5349_4749;
    /// No note type of Linux's; see `write::notes`.
    pub(in super::super) const NOTHING: u32 = 0;
}

/// Types of notes owned by `EFFIGY`.
///
/// They are "EFF" and a number, and not 1, 2, 3, because BFD (hence gdb and binutils) takes a note of an owner that it
/// does not know for one of `CORE`: an `EFFIGY` note of type 1 would be a thread to it, one of type 2 that thread's
/// floating-point registers (`elf_parse_notes`, bfd/elf.c of binutils 2.40).
pub(super) mod effigy {
    /// What neither format has a place for: one JSON object, see `crate::facts`.
    pub(in super::super) const FACTS: u32 = 0x4546_4601;
    /// What could not be captured: a JSON array of gaps.
    pub(in super::super) const GAPS: u32 = 0x4546_4602;
    /// Files behind the memory: a JSON array of objects with `name`, `build_id`, `offset` (bytes from the start of the
    /// core) and `length` (bytes), spaces behind it.
    pub(in super::super) const ATTACHMENTS: u32 = 0x4546_4603;
    /// Who took the dump and why: UTF-8 text.
    pub(in super::super) const COMMENT: u32 = 0x4546_4604;
    /// `/proc/PID/status` as the kernel prints it; those that follow likewise.
    pub(in super::super) const STATUS: u32 = 0x4546_4605;
    /// `/proc/PID/limits`.
    pub(in super::super) const LIMITS: u32 = 0x4546_4606;
    /// `/proc/PID/cgroup`.
    pub(in super::super) const CGROUP: u32 = 0x4546_4607;
    /// `/proc/PID/environ`: variables, each ended by a zero byte.
    pub(in super::super) const ENVIRONMENT: u32 = 0x4546_4608;
    /// `/proc/PID/cmdline`: arguments, each ended by a zero byte.
    pub(in super::super) const COMMAND_LINE: u32 = 0x4546_4609;
    /// `/proc/cpuinfo`.
    pub(in super::super) const CPUINFO: u32 = 0x4546_460a;
    /// `os-release` or `lsb-release` of the target's root.
    pub(in super::super) const RELEASE: u32 = 0x4546_460b;
    /// `/proc/PID/stat`.
    pub(in super::super) const STAT: u32 = 0x4546_460c;
    /// `/proc/uptime`.
    pub(in super::super) const UPTIME: u32 = 0x4546_460d;
    /// The regions, as lines of `/proc/PID/maps`: the names of those that are no files (`[heap]`, `[anon:…]`) stand
    /// nowhere else.
    pub(in super::super) const MAPS: u32 = 0x4546_460e;
    /// What of each region was in memory, and when that was counted; see `crate::working_set`.
    pub(in super::super) const WORKING_SETS: u32 = 0x4546_460f;
}

/// The width of a file's addresses and offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

impl Class {
    /// The class of the cores of an architecture.
    pub(super) fn of(architecture: Architecture) -> Self {
        if architecture.pointer_size() == 4 { Self::Elf32 } else { Self::Elf64 }
    }

    /// Bytes of the ELF header.
    pub(super) fn file_header_size(self) -> u16 {
        match self {
            Self::Elf32 => 52,
            Self::Elf64 => 64,
        }
    }

    /// Bytes of a program header.
    pub(crate) fn program_header_size(self) -> u16 {
        match self {
            Self::Elf32 => 32,
            Self::Elf64 => 56,
        }
    }

    /// Bytes of a section header.
    pub(super) fn section_header_size(self) -> u16 {
        match self {
            Self::Elf32 => 40,
            Self::Elf64 => 64,
        }
    }
}

/// `e_machine` and `e_flags` of an architecture.
pub(super) fn machine(architecture: Architecture) -> (u16, u32) {
    // EF_ARM_EABI_VER5 (arch/arm/include/asm/elf.h); the others have no flags in a core.
    match architecture {
        Architecture::X86 => (3, 0),
        Architecture::X86_64 => (62, 0),
        Architecture::Arm => (40, 0x0500_0000),
        Architecture::Aarch64 => (183, 0),
        Architecture::Riscv64 => (243, 0),
        // The enum may grow; EM_NONE is what a reader calls unknown.
        _ => (0, 0),
    }
}

macro_rules! on_disk {
    ($($(#[$about:meta])* struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$about])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $($(#[$doc])* pub(super) $field: $type,)* })*
    };
}

on_disk! {
    /// `Elf64_Ehdr`.
    struct FileHeader64 {
        ident: [u8; 16],
        kind: U16,
        machine: U16,
        version: U32,
        entry: U64,
        program_headers: U64,
        section_headers: U64,
        flags: U32,
        header_size: U16,
        program_header_size: U16,
        program_header_count: U16,
        section_header_size: U16,
        section_header_count: U16,
        section_names: U16,
    }

    /// `Elf32_Ehdr`.
    struct FileHeader32 {
        ident: [u8; 16],
        kind: U16,
        machine: U16,
        version: U32,
        entry: U32,
        program_headers: U32,
        section_headers: U32,
        flags: U32,
        header_size: U16,
        program_header_size: U16,
        program_header_count: U16,
        section_header_size: U16,
        section_header_count: U16,
        section_names: U16,
    }

    /// `Elf64_Phdr`.
    struct ProgramHeader64 {
        kind: U32,
        flags: U32,
        offset: U64,
        address: U64,
        physical: U64,
        file_size: U64,
        memory_size: U64,
        align: U64,
    }

    /// `Elf32_Phdr`.
    struct ProgramHeader32 {
        kind: U32,
        offset: U32,
        address: U32,
        physical: U32,
        file_size: U32,
        memory_size: U32,
        flags: U32,
        align: U32,
    }

    /// `Elf64_Shdr`. Of section 0, the only one in a core, `info` counts the program headers and `size` the sections.
    struct SectionHeader64 {
        name: U32,
        kind: U32,
        flags: U64,
        address: U64,
        offset: U64,
        size: U64,
        link: U32,
        info: U32,
        align: U64,
        entry_size: U64,
    }

    /// `Elf32_Shdr`, likewise.
    struct SectionHeader32 {
        name: U32,
        kind: U32,
        flags: U32,
        address: U32,
        offset: U32,
        size: U32,
        link: U32,
        info: U32,
        align: U32,
        entry_size: U32,
    }

    /// `Elf64_Nhdr` and `Elf32_Nhdr`, which are the same. The name's length counts its final zero byte; neither length
    /// counts padding.
    struct NoteHeader {
        name_size: U32,
        description_size: U32,
        kind: U32,
    }

    /// `struct __kernel_old_timeval` of 64-bit systems.
    struct Time64 {
        seconds: U64,
        microseconds: U64,
    }

    /// `struct old_timeval32`.
    struct Time32 {
        seconds: U32,
        microseconds: U32,
    }

    /// `struct elf_prstatus_common`, the part of `NT_PRSTATUS` before the registers. Behind them stands an `int` that
    /// says whether there are floating-point registers, then padding to a multiple of the word.
    struct ThreadStatus64 {
        signal: U32,
        signal_code: U32,
        signal_error: U32,
        current_signal: U16,
        pad: U16,
        pending: U64,
        blocked: U64,
        pid: U32,
        parent: U32,
        group: U32,
        session: U32,
        user: Time64,
        system: Time64,
        children_user: Time64,
        children_system: Time64,
    }

    /// `struct compat_elf_prstatus_common`, and `elf_prstatus_common` of 32-bit systems.
    struct ThreadStatus32 {
        signal: U32,
        signal_code: U32,
        signal_error: U32,
        current_signal: U16,
        pad: U16,
        pending: U32,
        blocked: U32,
        pid: U32,
        parent: U32,
        group: U32,
        session: U32,
        user: Time32,
        system: Time32,
        children_user: Time32,
        children_system: Time32,
    }

    /// `struct elf_prpsinfo`, 136 bytes (lldb refuses any other length on x86-64).
    struct ProcessInfo64 {
        state: u8,
        letter: u8,
        zombie: u8,
        nice: i8,
        pad: U32,
        flags: U64,
        uid: U32,
        gid: U32,
        pid: U32,
        parent: U32,
        group: U32,
        session: U32,
        name: [u8; 16],
        arguments: [u8; 80],
    }

    /// `struct compat_elf_prpsinfo`, 124 bytes: i386 and arm have 16-bit user ids here.
    struct ProcessInfo32 {
        state: u8,
        letter: u8,
        zombie: u8,
        nice: i8,
        flags: U32,
        uid: U16,
        gid: U16,
        pid: U32,
        parent: U32,
        group: U32,
        session: U32,
        name: [u8; 16],
        arguments: [u8; 80],
    }

    /// `struct x86_xfeat_component` (arch/x86/include/uapi/asm/elf.h): one entry of `NT_X86_XSAVE_LAYOUT`.
    struct XsaveComponent {
        /// Bit in XCR0.
        component: U32,
        /// Its length in bytes.
        size: U32,
        /// Where it begins, in bytes from the start of the XSAVE area.
        offset: U32,
        /// ECX of CPUID leaf 0xd.
        flags: U32,
    }
}

/// Bytes of `siginfo_t`, on every architecture.
pub(super) const SIGINFO_SIZE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!(size_of::<FileHeader64>(), usize::from(Class::Elf64.file_header_size()));
        assert_eq!(size_of::<FileHeader32>(), usize::from(Class::Elf32.file_header_size()));
        assert_eq!(size_of::<ProgramHeader64>(), usize::from(Class::Elf64.program_header_size()));
        assert_eq!(size_of::<ProgramHeader32>(), usize::from(Class::Elf32.program_header_size()));
        assert_eq!(size_of::<SectionHeader64>(), usize::from(Class::Elf64.section_header_size()));
        assert_eq!(size_of::<SectionHeader32>(), usize::from(Class::Elf32.section_header_size()));
        assert_eq!(size_of::<ThreadStatus64>(), 112);
        assert_eq!(size_of::<ThreadStatus32>(), 72);
        assert_eq!(size_of::<ProcessInfo64>(), 136);
        assert_eq!(size_of::<ProcessInfo32>(), 124);
    }
}
