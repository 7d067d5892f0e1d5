//! The ELF header and the program headers, of either class and either order of bytes.

use effigy_process::{ByteOrder, Protection};

use super::super::layout::{
    BIG_ENDIAN, CLASS_32, CLASS_64, Class, FLAG_EXECUTE, FLAG_READ, FLAG_WRITE, LITTLE_ENDIAN, MAGIC, MANY_SEGMENTS,
    SEGMENT_LOAD, SEGMENT_NOTE,
};
use super::CoreError;
use super::cursor::{Cursor, Shape};
use crate::opened::{Field, FieldValue};
use crate::source::{Source, largest_part};

/// Bytes of an ELF header.
const SIZE_32: u64 = 52;
const SIZE_64: u64 = 64;

/// Most bytes of program headers that are read: those of a million segments.
const LARGEST_TABLE: u64 = 64 << 20;

/// What is needed of the ELF header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileHeader {
    pub(crate) shape: Shape,
    /// `e_ident[EI_OSABI]`.
    pub(crate) system: u8,
    /// `e_type`.
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    /// `e_phoff`.
    pub(crate) program_headers: u64,
    program_header_size: u16,
    program_header_count: u16,
    section_headers: u64,
}

/// What is needed of a program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramHeader {
    pub(crate) kind: u32,
    flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
    pub(crate) align: u64,
}

/// A program header of memory or notes, as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawSegment {
    /// Whether it is memory.
    pub(crate) is_load: bool,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
    pub(crate) align: u64,
}

impl RawSegment {
    /// `None` for another kind.
    pub(super) fn new(header: &ProgramHeader) -> Option<Self> {
        let is_load = header.kind == SEGMENT_LOAD;
        (is_load || header.kind == SEGMENT_NOTE).then_some(Self {
            is_load,
            offset: header.offset,
            address: header.address,
            file_size: header.file_size,
            memory_size: header.memory_size,
            align: header.align,
        })
    }
}

/// The program headers that a file has.
pub(super) struct Table {
    pub(super) headers: Vec<ProgramHeader>,
    /// How many more it should have.
    pub(super) cut: u64,
}

impl FileHeader {
    /// The header at the beginning of `bytes`, of which 64 are enough.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CoreError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(CoreError::NotElf);
        }
        let truncated = |size| CoreError::Truncated { what: "ELF header", offset: 0, size, end: bytes.len() as u64 };
        let (Some(class), Some(order)) = (bytes.get(4), bytes.get(5)) else { return Err(truncated(SIZE_32)) };
        let unknown =
            |field, offset, value: u8, known| CoreError::Unsupported { field, offset, value: value.into(), known };
        let (class, size) = match *class {
            CLASS_64 => (Class::Elf64, SIZE_64),
            CLASS_32 => (Class::Elf32, SIZE_32),
            other => return Err(unknown("e_ident[EI_CLASS]", 4, other, "1 (32 bits) or 2 (64 bits)")),
        };
        let order = match *order {
            LITTLE_ENDIAN => ByteOrder::Little,
            BIG_ENDIAN => ByteOrder::Big,
            other => return Err(unknown("e_ident[EI_DATA]", 5, other, "1 (low byte first) or 2 (high byte first)")),
        };
        Self::fields(Shape { class, order }, bytes).ok_or(truncated(size))
    }

    fn fields(shape: Shape, bytes: &[u8]) -> Option<Self> {
        let mut at = shape.cursor(bytes);
        let system = at.take(16)?[7];
        let (kind, machine) = (at.short()?, at.short()?);
        let _version = at.half()?;
        let _entry = at.word()?;
        let (program_headers, section_headers) = (at.word()?, at.word()?);
        let _flags = at.half()?;
        let _header_size = at.short()?;
        let (program_header_size, program_header_count) = (at.short()?, at.short()?);
        at.take(6)?;
        Some(Self {
            shape,
            system,
            kind,
            machine,
            program_headers,
            program_header_size,
            program_header_count,
            section_headers,
        })
    }

    /// What it says, by the names that it has in `Elf64_Ehdr`.
    pub(super) fn named(&self) -> Vec<Field> {
        let class = match self.shape.class {
            Class::Elf32 => 1,
            Class::Elf64 => 2,
        };
        let order = match self.shape.order {
            ByteOrder::Little => 1,
            ByteOrder::Big => 2,
        };
        let fields: [(&str, u64); 8] = [
            ("e_ident[EI_CLASS]", class),
            ("e_ident[EI_DATA]", order),
            ("e_ident[EI_OSABI]", self.system.into()),
            ("e_type", self.kind.into()),
            ("e_machine", self.machine.into()),
            ("e_phoff", self.program_headers),
            ("e_phnum", self.program_header_count.into()),
            ("e_shoff", self.section_headers),
        ];
        fields.map(|(name, value)| Field { name, value: FieldValue::Number(value) }).into()
    }

    /// How many program headers an image has; one with too many for the ELF header has none that we want.
    pub(crate) fn image_headers(&self) -> u16 {
        let known = self.program_header_size == self.shape.class.program_header_size();
        if known && self.program_header_count != MANY_SEGMENTS { self.program_header_count } else { 0 }
    }

    /// The program headers of a core, as many as are in the file.
    pub(super) fn program_headers(&self, file: &dyn Source) -> Result<Table, CoreError> {
        let count = self.count(file)?;
        let each = u64::from(self.shape.class.program_header_size());
        if count > 0 && u64::from(self.program_header_size) != each {
            let (offset, known) = match self.shape.class {
                Class::Elf32 => (42, "32"),
                Class::Elf64 => (54, "56"),
            };
            let value = self.program_header_size.into();
            return Err(CoreError::Unsupported { field: "e_phentsize", offset, value, known });
        }
        if self.program_headers > file.size() {
            let (what, offset, size) = ("program headers", self.program_headers, count * each);
            return Err(CoreError::Truncated { what, offset, size, end: file.size() });
        }
        let room = (file.size() - self.program_headers) / each;
        let there = count.min(room).min(largest_part(file, LARGEST_TABLE) / each);
        let bytes = part(file, self.program_headers, there * each, "program headers")?;
        let headers = bytes
            .chunks_exact(usize::from(self.shape.class.program_header_size()))
            .filter_map(|header| ProgramHeader::read(self.shape, header))
            .collect();
        Ok(Table { headers, cut: count - there })
    }

    /// How many program headers there are. Where that is too many for the ELF header, it stands in section header 0.
    fn count(&self, file: &dyn Source) -> Result<u64, CoreError> {
        if self.program_header_count != MANY_SEGMENTS {
            return Ok(self.program_header_count.into());
        }
        if self.section_headers == 0 {
            let offset = if self.shape.class == Class::Elf32 { 32 } else { 40 };
            let known = "the place of the section header that counts the segments (e_phnum is 65535)";
            return Err(CoreError::Unsupported { field: "e_shoff", offset, value: 0, known });
        }
        let size = self.shape.class.section_header_size();
        let section = part(file, self.section_headers, size.into(), "section header")?;
        let mut at = self.shape.cursor(&section);
        let mut info = || {
            // Name and type; flags, address, offset and size; link; then info.
            at.take(8)?;
            (0..4).try_for_each(|_| at.word().map(drop))?;
            at.half()?;
            at.half()
        };
        let (offset, size) = (self.section_headers, u64::from(size));
        let cut = CoreError::Truncated { what: "section header", offset, size, end: file.size() };
        info().map(u64::from).ok_or(cut)
    }
}

impl ProgramHeader {
    pub(crate) fn read(shape: Shape, bytes: &[u8]) -> Option<Self> {
        let mut at = shape.cursor(bytes);
        let kind = at.half()?;
        let (flags, header) = match shape.class {
            Class::Elf64 => (at.half()?, Self::places(&mut at)?),
            Class::Elf32 => {
                let header = Self::places(&mut at)?;
                (at.half()?, header)
            }
        };
        Some(Self { kind, flags, align: at.word()?, ..header })
    }

    /// Offset, address, physical address and the two sizes.
    fn places(at: &mut Cursor<'_>) -> Option<Self> {
        let (offset, address, _physical) = (at.word()?, at.word()?, at.word()?);
        let (file_size, memory_size) = (at.word()?, at.word()?);
        Some(Self { kind: 0, flags: 0, offset, address, file_size, memory_size, align: 0 })
    }

    pub(super) fn protection(&self) -> Protection {
        [(FLAG_READ, Protection::READ), (FLAG_WRITE, Protection::WRITE), (FLAG_EXECUTE, Protection::EXECUTE)]
            .into_iter()
            .filter(|(flag, _)| self.flags & flag != 0)
            .fold(Protection::empty(), |all, (_, right)| all | right)
    }
}

/// `size` bytes at `offset`, when the file has them all.
pub(super) fn part(file: &dyn Source, offset: u64, size: u64, what: &'static str) -> Result<Vec<u8>, CoreError> {
    let inside = offset.checked_add(size).is_some_and(|end| end <= file.size());
    let cut = CoreError::Truncated { what, offset, size, end: file.size() };
    let length = usize::try_from(size).ok().filter(|_| inside).ok_or(cut)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(offset, &mut bytes).map_err(|error| CoreError::Input {
        what,
        offset,
        kind: error.kind(),
        detail: error.to_string(),
    })?;
    Ok(bytes)
}
