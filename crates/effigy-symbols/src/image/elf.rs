//! Headers of ELF files.

use std::ops::Range;

use effigy_process::{Architecture, BuildId, ByteOrder, Protection};
use object::elf;
use object::endian::{Endian, Endianness};
use object::read::ReadCache;
use object::read::elf::{CompressionHeader, FileHeader, ProgramHeader, SectionHeader};

use super::pack::Packing;
use super::source::{Headers, Source};
use super::{Damage, Facts, Fixups, ImageIdentity, ImageKind, LONGEST_NAME, Section, Segment};

/// Most program headers and sections that are looked at. Images have some dozens; objects of one section a function are
/// no images.
const MOST_SEGMENTS: usize = 4096;
const MOST_SECTIONS: usize = 1 << 16;
/// Most bytes of section names, and of the notes of one section, that are read.
const LONGEST_NAMES: u64 = 16 << 20;
const LONGEST_NOTES: u64 = 64 << 10;
/// Most sections and segments in which a build id is looked for.
const MOST_NOTES: usize = 32;
/// Bytes of a note's header.
const NOTE_HEADER: usize = 12;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`: how linkers write the address of `.eh_frame`.
const RELATIVE_HALF: u8 = 0x1b;

/// The facts of a file of a class (`EI_CLASS`).
pub(super) fn read(source: &Source, class: u8) -> Result<Facts, Damage> {
    match class {
        1 => File::<elf::FileHeader32<Endianness>>::read(source),
        2 => File::<elf::FileHeader64<Endianness>>::read(source),
        _ => Err(Damage { what: "ELF class", offset: 4 }),
    }
}

/// A file whose headers were found.
struct File<'a, Elf: FileHeader<Endian = Endianness>> {
    source: &'a Source,
    order: ByteOrder,
    endian: Endianness,
    segments: &'a [Elf::ProgramHeader],
    sections: &'a [Elf::SectionHeader],
    /// The lowest image address that is loaded, page rounded.
    base: u64,
    /// The names of the sections, one behind the other.
    names: Vec<u8>,
}

impl<Elf: FileHeader<Endian = Endianness>> File<'_, Elf> {
    fn read(source: &Source) -> Result<Facts, Damage> {
        let cache = ReadCache::new(Headers::new(source));
        let damage = |what, offset: u64| Damage { what, offset };
        let header = Elf::parse(&cache).map_err(|_| damage("ELF header", 0))?;
        let endian = header.endian().map_err(|_| damage("ELF byte order", 5))?;
        let place = header.e_phoff(endian).into();
        let segments = header.program_headers(endian, &cache).map_err(|_| damage("program headers", place))?;
        if segments.len() > MOST_SEGMENTS {
            return Err(damage("number of program headers", place));
        }
        // Sections may be missing: from what was copied out of memory, from what was cut off.
        let sections: &[Elf::SectionHeader] =
            if source.is_loaded() { &[] } else { header.section_headers(endian, &cache).unwrap_or_default() };
        let sections = &sections[..sections.len().min(MOST_SECTIONS)];
        let names = header.section_strings_index(endian, &cache).ok().and_then(|index| sections.get(index.0));
        let names = names.and_then(|names| names.file_range(endian)).filter(|(_, size)| *size <= LONGEST_NAMES);
        let names = names.and_then(|(offset, size)| source.bytes(offset, size)).unwrap_or_default();
        let order = if endian.is_big_endian() { ByteOrder::Big } else { ByteOrder::Little };
        let architecture = Architecture::of_elf(header.e_machine(endian).0, header.is_class_64(), order);
        let loads = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
        let lowest = loads.map(|segment| -> u64 { segment.p_vaddr(endian).into() }).min().unwrap_or(0);
        let base = lowest & !(architecture.usual_page_size() - 1);
        Ok(File::<Elf> { source, order, endian, segments, sections, base, names }.facts(architecture))
    }

    fn facts(&self, architecture: Architecture) -> Facts {
        let debug_only = self.sections.iter().any(|section| {
            let flags = section.sh_flags(self.endian);
            let code = flags.contains(elf::SHF_ALLOC) && flags.contains(elf::SHF_EXECINSTR);
            code && section.sh_type(self.endian) == elf::SHT_NOBITS
        });
        let segments = self.loaded(debug_only);
        let mut sections: Vec<Section> = self.sections.iter().filter_map(|header| self.section(header)).collect();
        if !sections.iter().any(|section| section.name == ".eh_frame_hdr") && !debug_only {
            self.unwind_sections(&segments, &mut sections);
        }
        let build_id = self.build_id();
        let fixups = self.of_kind(elf::PT_DYNAMIC).next().map(|dynamic| Fixups::Dynamic(self.file_range(dynamic)));
        Facts {
            kind: ImageKind::Elf,
            architecture,
            byte_order: self.order,
            base: self.base,
            identity: ImageIdentity { build_id, ..ImageIdentity::default() },
            sections,
            segments,
            debug_only,
            fixups: fixups.unwrap_or_default(),
        }
    }

    fn of_kind(&self, kind: elf::ProgramType) -> impl Iterator<Item = &Elf::ProgramHeader> {
        self.segments.iter().filter(move |segment| segment.p_type(self.endian) == kind)
    }

    /// Where the bytes of a program header lie: in the file, or in memory, which has also those that the file has not.
    fn file_range(&self, header: &Elf::ProgramHeader) -> Range<u64> {
        let (mut offset, mut size) = header.file_range(self.endian);
        if self.source.is_loaded() {
            let address: u64 = header.p_vaddr(self.endian).into();
            offset = address.saturating_sub(self.base);
            size = header.p_memsz(self.endian).into();
        }
        offset..offset.saturating_add(size)
    }

    /// What is loaded. Tools that cut the code out of a debug file may leave the headers that told where it was.
    fn loaded(&self, debug_only: bool) -> Vec<Segment> {
        let segment = |header: &Elf::ProgramHeader| {
            let memory_size: u64 = header.p_memsz(self.endian).into();
            let file = self.file_range(header);
            let file_end = if debug_only { file.start } else { file.end.min(file.start.saturating_add(memory_size)) };
            let flags = header.p_flags(self.endian);
            let mut protection = Protection::empty();
            protection.set(Protection::READ, flags.contains(elf::PF_R));
            protection.set(Protection::WRITE, flags.contains(elf::PF_W));
            protection.set(Protection::EXECUTE, flags.contains(elf::PF_X));
            let address = header.p_vaddr(self.endian).into();
            Segment { address, memory_size, file: file.start..file_end, protection }
        };
        self.of_kind(elf::PT_LOAD).map(segment).collect()
    }

    fn section(&self, header: &Elf::SectionHeader) -> Option<Section> {
        let kind = header.sh_type(self.endian);
        if kind == elf::SHT_NULL {
            return None;
        }
        let name = self.names.get(usize::try_from(header.sh_name(self.endian)).ok()?..).unwrap_or_default();
        let name = &name[..name.iter().take(LONGEST_NAME).take_while(|byte| **byte != 0).count()];
        // Sections without bytes have no range.
        let (offset, size) = header.file_range(self.endian).unwrap_or((0, 0));
        let file = offset..offset.saturating_add(size);
        let address = header.sh_addr(self.endian).into();
        let mut section = Section::new(self.source, name, address, header.sh_size(self.endian).into(), file);
        let flags = header.sh_flags(self.endian);
        section.loaded = flags.contains(elf::SHF_ALLOC);
        section.executable = flags.contains(elf::SHF_EXECINSTR);
        if flags.contains(elf::SHF_COMPRESSED) && !section.file.is_empty() {
            self.compression(&mut section);
        }
        Some(section)
    }

    /// Reads a section's compression header.
    fn compression(&self, section: &mut Section) {
        let header_size = size_of::<Elf::CompressionHeader>() as u64;
        section.packing = Packing::Unknown;
        if section.file.end.saturating_sub(section.file.start) < header_size {
            return;
        }
        let Some(bytes) = self.source.bytes(section.file.start, header_size) else { return };
        let Ok((header, _)) = object::pod::from_bytes::<Elf::CompressionHeader>(&bytes) else { return };
        section.packing = match header.ch_type(self.endian) {
            elf::ELFCOMPRESS_ZLIB => Packing::Zlib,
            elf::ELFCOMPRESS_ZSTD => Packing::Zstd,
            _ => Packing::Unknown,
        };
        section.size = header.ch_size(self.endian).into();
        section.file.start += header_size;
    }

    /// The build id: in a section of notes, or in a segment of them where there are no sections.
    fn build_id(&self) -> Option<BuildId> {
        let sections = self.sections.iter().filter(|section| section.sh_type(self.endian) == elf::SHT_NOTE);
        let sections = sections.filter_map(|section| section.file_range(self.endian)).take(MOST_NOTES);
        let segments = self.of_kind(elf::PT_NOTE).take(MOST_NOTES).map(|segment| {
            let range = self.file_range(segment);
            (range.start, range.end - range.start)
        });
        sections.chain(segments).find_map(|(offset, size)| {
            let bytes = self.source.bytes(offset, size.min(LONGEST_NOTES))?;
            // Notes of one segment should all be aligned as it is; vdsos have one that says 8 and holds notes of 4.
            [4, 8].into_iter().find_map(|align| find_build_id(&bytes, self.order, align))
        })
    }

    /// The sections that unwinding needs, by the program header that leads to them, where there are no section headers.
    fn unwind_sections(&self, segments: &[Segment], sections: &mut Vec<Section>) {
        let Some(header) = self.of_kind(elf::PT_GNU_EH_FRAME).next() else { return };
        let (address, file): (u64, _) = (header.p_vaddr(self.endian).into(), self.file_range(header));
        let size = file.end.saturating_sub(file.start);
        let mut start = [0; 8];
        let known = self.source.read_exact_at(file.start, &mut start).is_some() && start[0] == 1;
        if !known {
            return;
        }
        let mut add = |name: &[u8], address, size, file| {
            let section = Section::new(self.source, name, address, size, file);
            sections.push(Section { loaded: true, ..section });
        };
        add(b".eh_frame_hdr", address, size, file);
        let distance = self.order.half(&start[4..]).map(u32::cast_signed).filter(|_| start[1] == RELATIVE_HALF);
        let frames = distance.and_then(|distance| address.checked_add(4)?.checked_add_signed(distance.into()));
        let holds = |segment: &&Segment, at| segment.address <= at && at - segment.address < segment.file_size();
        let found = frames.and_then(|at| Some((at, segments.iter().find(|segment| holds(segment, at))?)));
        if let Some((at, segment)) = found {
            let start = segment.file.start.saturating_add(at - segment.address);
            add(b".eh_frame", at, segment.file.end.saturating_sub(start), start..segment.file.end);
        }
    }
}

/// The build id among notes that are aligned to `align` bytes.
fn find_build_id(mut rest: &[u8], order: ByteOrder, align: usize) -> Option<BuildId> {
    while rest.len() >= NOTE_HEADER {
        let number = |at: usize| usize::try_from(order.half(rest.get(at..)?)?).ok();
        let (name_size, size, kind) = (number(0)?, number(4)?, number(8)?);
        let name = rest.get(NOTE_HEADER..NOTE_HEADER.checked_add(name_size)?)?;
        let start = NOTE_HEADER.checked_add(name_size)?.checked_next_multiple_of(align)?;
        let end = start.checked_add(size)?;
        let contents = rest.get(start..end)?;
        if kind == 3 && name == b"GNU\0" && (1..=64).contains(&size) {
            return Some(BuildId(contents.to_vec()));
        }
        rest = rest.get(end.checked_next_multiple_of(align)?..)?;
    }
    None
}
