//! Headers of Mach-O files, and the table of those that a fat file holds.

use std::ops::Range;

use effigy_process::{Architecture, ByteOrder, Guid, Protection};
use object::endian::{Endian, Endianness};
use object::macho;
use object::read::ReadCache;
use object::read::macho::{FatArch, LoadCommandData, MachHeader, MachOFatFile, Section as _, Segment as _};

use super::source::{Headers, Source};
use super::{Damage, Facts, Fixups, ImageIdentity, ImageKind, Section, Segment};

/// Most images that a fat file may hold. One of Java's, which begins alike, says a version above this here.
const MOST_SLICES: u32 = 40;
/// Most sections that are looked at.
const MOST_SECTIONS: usize = 1 << 16;

/// The images in a fat file; `None` where it is none.
pub(super) fn fat_slices(source: &Source) -> Option<Vec<Source>> {
    let mut start = [0; 8];
    source.read_exact_at(0, &mut start)?;
    let count = ByteOrder::Big.half(&start[4..])?;
    match ByteOrder::Big.half(&start)? {
        _ if count > MOST_SLICES => None,
        macho::FAT_MAGIC => slices_of::<macho::FatArch32>(source),
        macho::FAT_MAGIC_64 => slices_of::<macho::FatArch64>(source),
        _ => None,
    }
}

fn slices_of<Fat: FatArch>(source: &Source) -> Option<Vec<Source>> {
    let cache = ReadCache::new(Headers::new(source));
    let file = MachOFatFile::<Fat>::parse(&cache).ok()?;
    let slice = |(offset, size)| source.slice(offset, size);
    Some(file.arches().iter().map(Fat::file_range).filter_map(slice).collect())
}

/// The facts of one image.
pub(super) fn read(source: &Source) -> Result<Facts, Damage> {
    let mut magic = [0; 4];
    source.read_exact_at(0, &mut magic).ok_or(Damage { what: "Mach-O header", offset: 0 })?;
    match magic {
        [0xfe, 0xed, 0xfa, 0xcf] | [0xcf, ..] => read_as::<macho::MachHeader64<Endianness>>(source),
        _ => read_as::<macho::MachHeader32<Endianness>>(source),
    }
}

fn read_as<Mach: MachHeader<Endian = Endianness>>(source: &Source) -> Result<Facts, Damage> {
    let cache = ReadCache::new(Headers::new(source));
    let damage = |what, offset: u64| Damage { what, offset };
    let header = Mach::parse(&cache, 0).map_err(|_| damage("Mach-O header", 0))?;
    let endian = header.endian().map_err(|_| damage("Mach-O byte order", 0))?;
    let place = size_of::<Mach>() as u64;
    let commands = header.load_commands(endian, &cache, 0).map_err(|_| damage("load commands", place))?;
    let mut facts = Facts {
        kind: ImageKind::MachO,
        architecture: architecture(header.cputype(endian), header.is_type_64()),
        byte_order: if endian.is_big_endian() { ByteOrder::Big } else { ByteOrder::Little },
        base: 0,
        identity: ImageIdentity::default(),
        sections: Vec::new(),
        segments: Vec::new(),
        debug_only: header.filetype(endian) == macho::MH_DSYM,
        fixups: Fixups::None,
    };
    let mut text = None;
    for command in commands {
        let command = command.map_err(|_| damage("load command", place))?;
        if let Ok(Some(uuid)) = command.uuid() {
            facts.identity.uuid = Some(Guid(uuid.uuid));
        }
        if let Ok(Some((segment, sections))) = Mach::Segment::from_command(command) {
            let bad = damage("segment", command.offset());
            let address = add_segment::<Mach>(source, endian, segment, sections, &mut facts).ok_or(bad)?;
            text = text.or((segment.name() == b"__TEXT").then_some(address));
        }
        if is_encrypted(command, endian) {
            facts.fixups = Fixups::Encrypted;
        }
    }
    let lowest = || facts.segments.iter().map(|segment| segment.address).min();
    facts.base = text.or_else(lowest).unwrap_or(0);
    Ok(facts)
}

/// Whether a command says that code is encrypted in the file, as in programs of Apple's store.
fn is_encrypted(command: LoadCommandData<'_, Endianness>, endian: Endianness) -> bool {
    let system = match command.cmd() {
        macho::LC_ENCRYPTION_INFO | macho::LC_ENCRYPTION_INFO_64 => {
            command.data::<macho::EncryptionInfoCommand32<Endianness>>().map(|info| info.cryptid.get(endian))
        }
        _ => return false,
    };
    system.is_ok_and(|system| system != 0)
}

/// Adds a segment and its sections, and says at which image address it lies; `None` where the sections do not fit into
/// the command.
fn add_segment<Mach: MachHeader<Endian = Endianness>>(
    source: &Source,
    endian: Endianness,
    segment: &Mach::Segment,
    sections: &[u8],
    facts: &mut Facts,
) -> Option<u64> {
    let address: u64 = segment.vmaddr(endian).into();
    let (memory_size, (mut offset, mut size)) = (segment.vmsize(endian).into(), segment.file_range(endian));
    if source.is_loaded() {
        // The header that is being read lies at the beginning of this segment.
        if segment.name() == b"__TEXT" {
            facts.base = address;
        }
        (offset, size) = (address.wrapping_sub(facts.base), memory_size);
    }
    let protection = Protection::from_bits_truncate(segment.initprot(endian).0.to_le_bytes()[0]);
    let file = offset..offset.saturating_add(size.min(memory_size));
    let sections = segment.sections(endian, sections).ok()?;
    for (header, offset) in segment.section_offsets(endian, sections).flatten() {
        if facts.sections.len() < MOST_SECTIONS {
            let address: u64 = header.addr(endian).into();
            let offset = if source.is_loaded() { address.wrapping_sub(facts.base) } else { offset };
            facts.sections.push(section::<Mach>(source, endian, header, offset, &file));
        }
    }
    // The segment that keeps the lowest addresses free is no part of the image, and that of the symbols is in no memory.
    let loaded = !protection.is_empty() && memory_size > 0 && segment.name() != b"__DWARF";
    if loaded {
        facts.segments.push(Segment { address, memory_size, file, protection });
    }
    Some(address)
}

/// A section. A dSYM lists those of the program, whose bytes it does not have.
fn section<Mach: MachHeader<Endian = Endianness>>(
    source: &Source,
    endian: Endianness,
    header: &Mach::Section,
    offset: u64,
    segment: &Range<u64>,
) -> Section {
    let (start, size) = header.file_range(endian, offset).unwrap_or((0, 0));
    let end = start.saturating_add(size);
    // In an object all sections lie in one segment without a name.
    let inside = segment.start <= start && end <= segment.end;
    let file = if inside { start..end } else { 0..0 };
    let name = elf_name(header.name());
    let mut section = Section::new(source, &name, header.addr(endian).into(), header.size(endian).into(), file);
    section.loaded = header.segment_name() != b"__DWARF";
    let flags = header.flags(endian);
    section.executable = flags.contains(macho::S_ATTR_PURE_INSTRUCTIONS);
    section
}

/// A section's name as ELF would have it. Mach-O's have 16 letters at most.
fn elf_name(name: &[u8]) -> Vec<u8> {
    match name {
        b"__debug_str_offs" => b".debug_str_offsets".to_vec(),
        name => name.strip_prefix(b"__").map_or_else(|| name.to_vec(), |rest| [b".", rest].concat()),
    }
}

fn architecture(processor: macho::CpuType, is_64: bool) -> Architecture {
    match processor.0 {
        0x0000_0007 => Architecture::X86,
        0x0100_0007 => Architecture::X86_64,
        0x0000_000c => Architecture::Arm,
        0x0100_000c => Architecture::Aarch64,
        0x0100_0012 => Architecture::Ppc64,
        // ELF's number of PowerPC.
        0x0000_0012 => Architecture::Other { machine: 20, pointer_size: 4 },
        _ => Architecture::Other { machine: 0, pointer_size: if is_64 { 8 } else { 4 } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sections() {
        let name = |text: &str| String::from_utf8(elf_name(text.as_bytes())).unwrap();
        assert_eq!(name("__eh_frame"), ".eh_frame");
        assert_eq!(name("__debug_str_offs"), ".debug_str_offsets");
        assert_eq!(name("odd"), "odd");
    }

    #[test]
    fn classes_of_java_are_not_fat() {
        let source = Source::of_bytes(vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61, 0, 0].into());
        assert!(fat_slices(&source).is_none());
        let empty = Source::of_bytes(vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 0].into());
        assert_eq!(fat_slices(&empty).map(|slices| slices.len()), Some(0));
    }
}
