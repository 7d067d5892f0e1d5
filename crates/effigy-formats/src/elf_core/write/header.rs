//! The ELF header, the program headers, and section header 0.

use std::io::{self, Write};

use effigy_process::{Architecture, Protection};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::super::layout::{
    CLASS_32, CLASS_64, Class, FLAG_EXECUTE, FLAG_READ, FLAG_WRITE, FileHeader32, FileHeader64, LITTLE_ENDIAN, MAGIC,
    MANY_SEGMENTS, NOTE_ALIGN, ProgramHeader32, ProgramHeader64, SEGMENT_LOAD, SEGMENT_NOTE, SectionHeader32,
    SectionHeader64, TYPE_CORE, VERSION, machine,
};
use super::segments::segments;
use crate::{Contents, WriteError};

/// What the headers need to know before the first is written.
pub(super) struct Headers {
    pub(super) class: Class,
    /// Number of `PT_LOAD`s.
    pub(super) segments: u64,
    /// Length of all notes.
    pub(super) note_bytes: u64,
}

impl Headers {
    /// Where the notes end.
    pub(super) fn end(&self) -> u64 {
        self.notes_offset() + self.note_bytes
    }

    /// Whether every number has room in its field; `memory` is the length of the memory in bytes.
    pub(super) fn check(&self, memory: u64) -> Result<(), WriteError> {
        u32_field(self.count())?;
        match self.class {
            Class::Elf32 => u32_field(self.end().saturating_add(memory)).map(|_| ()).map_err(WriteError::from),
            Class::Elf64 => Ok(()),
        }
    }

    /// Writes everything that stands before the notes.
    pub(super) fn write(&self, contents: &Contents<'_>, data_offset: u64, out: &mut dyn Write) -> io::Result<()> {
        self.file_header(contents.process.architecture, out)?;
        self.note_header(out)?;
        let page = contents.extents.page_size();
        for segment in segments(contents) {
            let header = ProgramHeader {
                kind: SEGMENT_LOAD,
                flags: flags(segment.protection),
                offset: data_offset + segment.offset,
                address: segment.start,
                file_size: segment.captured,
                memory_size: segment.size,
                align: page,
            };
            header.write(self.class, out)?;
        }
        if self.is_many() { self.section_header(out) } else { Ok(()) }
    }

    /// Number of program headers: the notes' and the segments'.
    fn count(&self) -> u64 {
        1 + self.segments
    }

    fn is_many(&self) -> bool {
        self.count() >= u64::from(MANY_SEGMENTS)
    }

    fn section_header_offset(&self) -> u64 {
        u64::from(self.class.file_header_size()) + self.count() * u64::from(self.class.program_header_size())
    }

    fn notes_offset(&self) -> u64 {
        let sections = if self.is_many() { u64::from(self.class.section_header_size()) } else { 0 };
        self.section_header_offset() + sections
    }

    fn file_header(&self, architecture: Architecture, out: &mut dyn Write) -> io::Result<()> {
        let class = if self.class == Class::Elf32 { CLASS_32 } else { CLASS_64 };
        let mut ident = [0; 16];
        ident[..4].copy_from_slice(&MAGIC);
        // Byte 7, EI_OSABI, stays 0 (System V) as in the kernel's cores.
        ident[4..7].copy_from_slice(&[class, LITTLE_ENDIAN, VERSION]);
        let (machine, flags) = machine(architecture);
        let many = self.is_many();
        let header = FileHeader64 {
            ident,
            kind: U16::new(TYPE_CORE),
            machine: U16::new(machine),
            version: U32::new(u32::from(VERSION)),
            entry: U64::ZERO,
            program_headers: U64::new(u64::from(self.class.file_header_size())),
            section_headers: U64::new(if many { self.section_header_offset() } else { 0 }),
            flags: U32::new(flags),
            header_size: U16::new(self.class.file_header_size()),
            program_header_size: U16::new(self.class.program_header_size()),
            program_header_count: U16::new(u16::try_from(self.count()).unwrap_or(MANY_SEGMENTS)),
            section_header_size: U16::new(if many { self.class.section_header_size() } else { 0 }),
            section_header_count: U16::new(u16::from(many)),
            section_names: U16::ZERO,
        };
        match self.class {
            Class::Elf64 => out.write_all(header.as_bytes()),
            Class::Elf32 => out.write_all(narrow(&header)?.as_bytes()),
        }
    }

    fn note_header(&self, out: &mut dyn Write) -> io::Result<()> {
        // No address and no size in memory: notes are not memory (`fill_elf_note_phdr`, fs/binfmt_elf.c).
        let header = ProgramHeader {
            kind: SEGMENT_NOTE,
            flags: 0,
            offset: self.notes_offset(),
            address: 0,
            file_size: self.note_bytes,
            memory_size: 0,
            align: NOTE_ALIGN,
        };
        header.write(self.class, out)
    }

    /// Section 0, whose `sh_info` is the number of program headers and `sh_size` that of sections
    /// (`fill_extnum_info`, fs/binfmt_elf.c).
    fn section_header(&self, out: &mut dyn Write) -> io::Result<()> {
        let info = u32_field(self.count())?;
        match self.class {
            Class::Elf64 => out.write_all(
                SectionHeader64 {
                    name: U32::ZERO,
                    kind: U32::ZERO,
                    flags: U64::ZERO,
                    address: U64::ZERO,
                    offset: U64::ZERO,
                    size: U64::new(1),
                    link: U32::ZERO,
                    info,
                    align: U64::ZERO,
                    entry_size: U64::ZERO,
                }
                .as_bytes(),
            ),
            Class::Elf32 => out.write_all(
                SectionHeader32 {
                    name: U32::ZERO,
                    kind: U32::ZERO,
                    flags: U32::ZERO,
                    address: U32::ZERO,
                    offset: U32::ZERO,
                    size: U32::new(1),
                    link: U32::ZERO,
                    info,
                    align: U32::ZERO,
                    entry_size: U32::ZERO,
                }
                .as_bytes(),
            ),
        }
    }
}

/// A program header of either class.
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

impl ProgramHeader {
    fn write(&self, class: Class, out: &mut dyn Write) -> io::Result<()> {
        match class {
            Class::Elf64 => out.write_all(
                ProgramHeader64 {
                    kind: U32::new(self.kind),
                    flags: U32::new(self.flags),
                    offset: U64::new(self.offset),
                    address: U64::new(self.address),
                    physical: U64::ZERO,
                    file_size: U64::new(self.file_size),
                    memory_size: U64::new(self.memory_size),
                    align: U64::new(self.align),
                }
                .as_bytes(),
            ),
            Class::Elf32 => out.write_all(
                ProgramHeader32 {
                    kind: U32::new(self.kind),
                    offset: u32_field(self.offset)?,
                    address: u32_field(self.address)?,
                    physical: U32::ZERO,
                    file_size: u32_field(self.file_size)?,
                    memory_size: u32_field(self.memory_size)?,
                    flags: U32::new(self.flags),
                    align: u32_field(self.align)?,
                }
                .as_bytes(),
            ),
        }
    }
}

/// The same header with 32-bit offsets.
fn narrow(wide: &FileHeader64) -> io::Result<FileHeader32> {
    Ok(FileHeader32 {
        ident: wide.ident,
        kind: wide.kind,
        machine: wide.machine,
        version: wide.version,
        entry: u32_field(wide.entry.get())?,
        program_headers: u32_field(wide.program_headers.get())?,
        section_headers: u32_field(wide.section_headers.get())?,
        flags: wide.flags,
        header_size: wide.header_size,
        program_header_size: wide.program_header_size,
        program_header_count: wide.program_header_count,
        section_header_size: wide.section_header_size,
        section_header_count: wide.section_header_count,
        section_names: wide.section_names,
    })
}

fn flags(protection: Protection) -> u32 {
    [(Protection::READ, FLAG_READ), (Protection::WRITE, FLAG_WRITE), (Protection::EXECUTE, FLAG_EXECUTE)]
        .into_iter()
        .filter(|(right, _)| protection.contains(*right))
        .fold(0, |flags, (_, flag)| flags | flag)
}

fn u32_field(value: u64) -> io::Result<U32> {
    u32::try_from(value).map(U32::new).map_err(|_| {
        io::Error::new(io::ErrorKind::FileTooLarge, format!("{value} does not fit in a 32-bit field of an ELF core"))
    })
}
