//! The ELF header and the program headers, of either class.

use effigy_process::Protection;
use zerocopy::FromBytes;

use super::super::layout::{
    CLASS_32, CLASS_64, Class, FLAG_EXECUTE, FLAG_READ, FLAG_WRITE, FileHeader32, FileHeader64, LITTLE_ENDIAN, MAGIC,
    MANY_SEGMENTS, ProgramHeader32, ProgramHeader64, SectionHeader32, SectionHeader64, TYPE_CORE,
};
use super::CoreError;

/// What is needed of the ELF header.
pub(super) struct FileHeader {
    pub(super) class: Class,
    pub(super) machine: u16,
    program_headers: u64,
    program_header_size: u16,
    program_header_count: u16,
    section_headers: u64,
}

/// What is needed of a program header.
pub(super) struct ProgramHeader {
    pub(super) kind: u32,
    flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
    pub(super) align: u64,
}

impl FileHeader {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, CoreError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(CoreError::NotElf);
        }
        let truncated = CoreError::Truncated { what: "ELF header" };
        let (Some(class), Some(order)) = (bytes.get(4), bytes.get(5)) else { return Err(truncated) };
        if *order != LITTLE_ENDIAN {
            return Err(CoreError::Unsupported { what: "big-endian cores" });
        }
        let (kind, header) = match *class {
            CLASS_64 => FileHeader64::read_from_prefix(bytes).ok().map(|(header, _)| Self::wide(&header)),
            CLASS_32 => FileHeader32::read_from_prefix(bytes).ok().map(|(header, _)| Self::narrow(&header)),
            _ => return Err(CoreError::Unsupported { what: "ELF files that are neither 32 nor 64 bits" }),
        }
        .ok_or(truncated)?;
        if kind == TYPE_CORE { Ok(header) } else { Err(CoreError::NotCore { kind }) }
    }

    fn wide(header: &FileHeader64) -> (u16, Self) {
        let this = Self {
            class: Class::Elf64,
            machine: header.machine.get(),
            program_headers: header.program_headers.get(),
            program_header_size: header.program_header_size.get(),
            program_header_count: header.program_header_count.get(),
            section_headers: header.section_headers.get(),
        };
        (header.kind.get(), this)
    }

    fn narrow(header: &FileHeader32) -> (u16, Self) {
        let this = Self {
            class: Class::Elf32,
            machine: header.machine.get(),
            program_headers: header.program_headers.get().into(),
            program_header_size: header.program_header_size.get(),
            program_header_count: header.program_header_count.get(),
            section_headers: header.section_headers.get().into(),
        };
        (header.kind.get(), this)
    }

    /// The program headers, all of which are in the file.
    pub(super) fn program_headers<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<impl Iterator<Item = ProgramHeader> + use<'a>, CoreError> {
        let class = self.class;
        let count = self.count(bytes)?;
        if count > 0 && self.program_header_size != class.program_header_size() {
            return Err(CoreError::Damaged { what: "program headers of an unknown length" });
        }
        let table = count
            .checked_mul(u64::from(class.program_header_size()))
            .and_then(|size| part(bytes, self.program_headers, size))
            .ok_or(CoreError::Truncated { what: "program headers" })?;
        let each = table.chunks_exact(usize::from(class.program_header_size()));
        Ok(each.filter_map(move |header| ProgramHeader::read(class, header)))
    }

    /// How many program headers there are. Where that is too many for the ELF header, it stands in section header 0.
    fn count(&self, bytes: &[u8]) -> Result<u64, CoreError> {
        if self.program_header_count != MANY_SEGMENTS {
            return Ok(self.program_header_count.into());
        }
        let section = part(bytes, self.section_headers, self.class.section_header_size().into())
            .ok_or(CoreError::Truncated { what: "section header" })?;
        let count = match self.class {
            Class::Elf64 => SectionHeader64::read_from_bytes(section).map(|section| section.info).ok(),
            Class::Elf32 => SectionHeader32::read_from_bytes(section).map(|section| section.info).ok(),
        };
        count.map(|count| count.get().into()).ok_or(CoreError::Truncated { what: "section header" })
    }
}

impl ProgramHeader {
    fn read(class: Class, bytes: &[u8]) -> Option<Self> {
        match class {
            Class::Elf64 => ProgramHeader64::read_from_bytes(bytes).ok().map(|header| Self {
                kind: header.kind.get(),
                flags: header.flags.get(),
                offset: header.offset.get(),
                address: header.address.get(),
                file_size: header.file_size.get(),
                memory_size: header.memory_size.get(),
                align: header.align.get(),
            }),
            Class::Elf32 => ProgramHeader32::read_from_bytes(bytes).ok().map(|header| Self {
                kind: header.kind.get(),
                flags: header.flags.get(),
                offset: header.offset.get().into(),
                address: header.address.get().into(),
                file_size: header.file_size.get().into(),
                memory_size: header.memory_size.get().into(),
                align: header.align.get().into(),
            }),
        }
    }

    pub(super) fn protection(&self) -> Protection {
        [(FLAG_READ, Protection::READ), (FLAG_WRITE, Protection::WRITE), (FLAG_EXECUTE, Protection::EXECUTE)]
            .into_iter()
            .filter(|(flag, _)| self.flags & flag != 0)
            .fold(Protection::empty(), |all, (_, right)| all | right)
    }
}

/// `size` bytes at `offset`, when the file has them all.
pub(super) fn part(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    bytes.get(start..end)
}
