//! ELF images as they lie in a process's memory: how long they are, and what they are called.

use bstr::{BString, ByteSlice};
use effigy_process::{Address, AddressRange, BuildId, Memory};

use crate::elf_core::read::{Cursor, FileHeader, ProgramHeader, Shape};

/// `PT_LOAD`, `PT_DYNAMIC`, `PT_NOTE`.
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const NOTE: u32 = 4;
/// `NT_GNU_BUILD_ID`.
const GNU_BUILD_ID: u32 = 3;
/// `DT_STRTAB`, `DT_SONAME`.
const STRING_TABLE: u64 = 5;
const SONAME: u64 = 14;
/// Most program headers of an image. They have a dozen.
const MOST_HEADERS: usize = 256;
/// Bytes of a note's header.
const NOTE_HEADER: usize = 12;
/// Most bytes of all notes, and of a dynamic section, that are read. Images have a few hundred.
const LONGEST: u64 = 16 << 10;
/// Longest build id that we take, in bytes.
const LONGEST_BUILD_ID: usize = 64;

/// An image, as its headers in memory describe it.
#[derive(Debug)]
pub(crate) struct Image {
    /// From its base to the end of its last loadable segment, page rounded.
    pub(crate) range: AddressRange,
    pub(crate) build_id: Option<BuildId>,
    pub(crate) soname: Option<BString>,
}

/// The image whose ELF header lies at `base`; `None` when there is none, or the dump does not hold it.
pub(crate) fn read(memory: &dyn Memory, base: Address, page: u64) -> Option<Image> {
    let mut start = [0; 64];
    let count = memory.read(base, &mut start).ok()?;
    let header = FileHeader::read(&start[..count]).ok()?;
    let loader = Loader { memory, shape: header.shape, headers: program_headers(memory, base, &header)?, base };
    let loads = loader.headers.iter().filter(|header| header.kind == LOAD);
    let first = loads.clone().map(|header| header.address).min()? & !(page - 1);
    let end = loads.map(|header| header.address.saturating_add(header.memory_size)).max()?;
    let bias = base.0.wrapping_sub(first);
    Some(Image {
        range: AddressRange::new(base, base.saturating_add(end.saturating_sub(first)).page_ceil(page)),
        build_id: loader.build_id(bias),
        soname: loader.soname(bias),
    })
}

fn program_headers(memory: &dyn Memory, base: Address, header: &FileHeader) -> Option<Vec<ProgramHeader>> {
    let size = usize::from(header.shape.class.program_header_size());
    let count = usize::from(header.image_headers());
    if count > MOST_HEADERS {
        return None;
    }
    let mut bytes = vec![0; count * size];
    memory.read_exact(base.checked_add(header.program_headers)?, &mut bytes).ok()?;
    bytes.chunks_exact(size).map(|bytes| ProgramHeader::read(header.shape, bytes)).collect()
}

struct Loader<'a> {
    memory: &'a dyn Memory,
    shape: Shape,
    headers: Vec<ProgramHeader>,
    base: Address,
}

impl Loader<'_> {
    /// The contents of a program header, as far as the dump holds them, and `most` bytes at the most.
    fn contents(&self, header: &ProgramHeader, bias: u64, most: u64) -> Option<Vec<u8>> {
        let size = usize::try_from(header.memory_size.min(most)).ok()?;
        let mut bytes = vec![0; size];
        let count = self.memory.read(Address(bias.wrapping_add(header.address)), &mut bytes).ok()?;
        bytes.truncate(count);
        Some(bytes)
    }

    fn build_id(&self, bias: u64) -> Option<BuildId> {
        let mut left = LONGEST;
        self.headers.iter().filter(|header| header.kind == NOTE).find_map(|header| {
            let bytes = self.contents(header, bias, left)?;
            left -= bytes.len() as u64;
            // Notes of one segment should all be aligned as it is; vdsos have one that says 8 and holds notes of 4.
            [4, 8].into_iter().find_map(|align| find_build_id(self.shape.cursor(&bytes), align))
        })
    }

    fn soname(&self, bias: u64) -> Option<BString> {
        let dynamic = self.headers.iter().find(|header| header.kind == DYNAMIC)?;
        let bytes = self.contents(dynamic, bias, LONGEST)?;
        let mut at = self.shape.cursor(&bytes);
        let (mut table, mut name) = (None, None);
        while let (Some(tag), Some(value)) = (at.word(), at.word()) {
            match tag {
                0 => break,
                STRING_TABLE => table = Some(value),
                SONAME => name = Some(value),
                _ => {}
            }
        }
        // The dynamic linker of most architectures has made an address of what was an offset.
        let table = table.map(|table| if table < self.base.0 { bias.wrapping_add(table) } else { table })?;
        let mut text = [0; 256];
        let count = self.memory.read(Address(table.checked_add(name?)?), &mut text).ok()?;
        let end = text[..count].find_byte(0)?;
        Some(text[..end].into()).filter(|name: &BString| !name.is_empty())
    }
}

/// The build id among notes that are aligned to `align` bytes.
fn find_build_id(mut at: Cursor<'_>, align: usize) -> Option<BuildId> {
    std::iter::from_fn(|| note(&mut at, align)).find_map(|(owner, kind, id)| {
        let found = owner == b"GNU\0" && kind == GNU_BUILD_ID && !id.is_empty() && id.len() <= LONGEST_BUILD_ID;
        found.then(|| BuildId(id.to_vec()))
    })
}

/// The note at hand: owner, type and contents. Contents and the next note begin at multiples of `align` bytes, counted
/// from the note's beginning.
fn note<'a>(at: &mut Cursor<'a>, align: usize) -> Option<(&'a [u8], u32, &'a [u8])> {
    let (name_size, size, kind) = (at.half()?, at.half()?, at.half()?);
    let (name_size, size) = (usize::try_from(name_size).ok()?, usize::try_from(size).ok()?);
    let padding = |end: usize| Some(end.checked_next_multiple_of(align)? - end);
    let owner = at.take(name_size)?;
    at.take(padding(NOTE_HEADER.checked_add(name_size)?)?)?;
    let contents = at.take(size)?;
    // The last note's padding may be missing.
    at.take(padding(size)?.min(at.rest().len()))?;
    Some((owner, kind, contents))
}
