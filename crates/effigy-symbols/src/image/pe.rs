//! Headers of PE files.

use std::ops::Range;

use effigy_process::{Architecture, ByteOrder, Guid, PdbIdentity, PeIdentity, Protection};
use object::endian::LittleEndian as LE;
use object::pe;
use object::read::ReadCache;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, optional_header_magic};

use super::source::{Headers, Source};
use super::{Damage, Facts, Fixups, ImageIdentity, ImageKind, LONGEST_NAME, PeFixups, Section, Segment};

/// Most entries of the debug directory, and bytes of a CodeView record, that are read.
const MOST_ENTRIES: u32 = 64;
const LONGEST_RECORD: u64 = 4096;
/// Bytes of an entry of the debug directory, and of a symbol.
const ENTRY: u64 = 28;
const SYMBOL: u64 = 18;
/// Bytes of a disk sector: where sections begin in the file is rounded down to one.
const SECTOR: u64 = 512;
const PAGE: u64 = 0x1000;
/// Numbers of data directories: imports, base relocations, debug directory, load configuration, import addresses.
const IMPORTS: usize = 1;
const RELOCATIONS: usize = 5;
const DEBUG: usize = 6;
const CONFIGURATION: usize = 10;
const ADDRESSES: usize = 12;

/// The facts of a file that begins with `MZ`.
pub(super) fn read(source: &Source) -> Result<Facts, Damage> {
    let cache = ReadCache::new(Headers::new(source));
    let magic = optional_header_magic(&cache).map_err(|_| Damage { what: "PE header", offset: 0x3c })?;
    drop(cache);
    match magic {
        pe::IMAGE_NT_OPTIONAL_HDR32_MAGIC => read_as::<pe::ImageNtHeaders32>(source),
        pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC => read_as::<pe::ImageNtHeaders64>(source),
        _ => Err(Damage { what: "magic of the optional header", offset: 0x3c }),
    }
}

fn read_as<Pe: ImageNtHeaders>(source: &Source) -> Result<Facts, Damage> {
    let cache = ReadCache::new(Headers::new(source));
    let damage = |what, offset: u64| Damage { what, offset };
    let dos = pe::ImageDosHeader::parse(&cache).map_err(|_| damage("DOS header", 0))?;
    let place = u64::from(dos.nt_headers_offset());
    let mut offset = place;
    let (header, directories) = Pe::parse(&cache, &mut offset).map_err(|_| damage("PE header", place))?;
    let table = header.sections(&cache, offset).map_err(|_| damage("section table", offset))?;
    let (file, optional) = (header.file_header(), header.optional_header());
    let base = optional.image_base();
    let strings = strings(file).filter(|_| !source.is_loaded());
    let headers = u64::from(optional.size_of_headers());
    let segment = Segment { address: base, memory_size: headers, file: 0..headers, protection: Protection::READ };
    let mut segments = vec![segment];
    segments.extend(table.iter().map(|section| loaded(source, base, section)));
    let directory = |index| directories.get(index).map(|entry: &pe::ImageDataDirectory| entry.address_range());
    let record = directory(DEBUG).and_then(|(address, size)| debug_record(source, base, &segments, address, size));
    let range = |index: usize| {
        let (address, size) = directory(index).unwrap_or_default();
        let start = base.saturating_add(address.into());
        start..start.saturating_add(size.into())
    };
    let fixups = PeFixups {
        stripped: file.characteristics.get(LE).contains(pe::IMAGE_FILE_RELOCS_STRIPPED),
        relocations: range(RELOCATIONS),
        imports: range(IMPORTS),
        addresses: range(ADDRESSES),
        configuration: range(CONFIGURATION),
        is_64: header.is_type_64(),
        headers,
        end: base.saturating_add(optional.size_of_image().into()),
    };
    let pe = PeIdentity {
        time_stamp: file.time_date_stamp.get(LE),
        checksum: optional.check_sum(),
        size_of_image: optional.size_of_image(),
    };
    Ok(Facts {
        kind: ImageKind::Pe,
        architecture: architecture(file.machine.get(LE), header.is_type_64()),
        byte_order: ByteOrder::Little,
        base,
        identity: ImageIdentity { pdb: record, pe: Some(pe), ..ImageIdentity::default() },
        sections: table.iter().map(|header| section(source, base, strings, header)).collect(),
        segments,
        debug_only: false,
        fixups: Fixups::Pe(Box::new(fixups)),
    })
}

/// Where the table of long names lies, behind the symbols that images from GNU tools have.
fn strings(file: &pe::ImageFileHeader) -> Option<u64> {
    let symbols = u64::from(file.pointer_to_symbol_table.get(LE));
    (symbols > 0).then(|| symbols + u64::from(file.number_of_symbols.get(LE)) * SYMBOL)
}

/// Bytes of a section in the file, and in memory.
fn sizes(header: &pe::ImageSectionHeader) -> (u64, u64) {
    let (raw, size) = (u64::from(header.size_of_raw_data.get(LE)), u64::from(header.virtual_size.get(LE)));
    // Linkers of old left the size in memory at zero.
    if size == 0 { (raw, raw) } else { (raw, size) }
}

/// A section as it is loaded: in whole pages, as far as the file has bytes for them.
fn loaded(source: &Source, base: u64, header: &pe::ImageSectionHeader) -> Segment {
    let (raw, size) = sizes(header);
    let (start, in_file) = match u64::from(header.pointer_to_raw_data.get(LE)) & !(SECTOR - 1) {
        _ if source.is_loaded() => (header.virtual_address.get(LE).into(), size),
        0 => (0, 0),
        start => (start, raw.min(size.next_multiple_of(PAGE))),
    };
    let flags = header.characteristics.get(LE);
    let mut protection = Protection::empty();
    protection.set(Protection::READ, flags.contains(pe::IMAGE_SCN_MEM_READ));
    protection.set(Protection::WRITE, flags.contains(pe::IMAGE_SCN_MEM_WRITE));
    protection.set(Protection::EXECUTE, flags.contains(pe::IMAGE_SCN_MEM_EXECUTE));
    let address = base.saturating_add(header.virtual_address.get(LE).into());
    Segment { address, memory_size: size.max(in_file), file: start..start + in_file, protection }
}

fn section(source: &Source, base: u64, strings: Option<u64>, header: &pe::ImageSectionHeader) -> Section {
    let (raw, size) = sizes(header);
    let start = u64::from(header.pointer_to_raw_data.get(LE));
    let file = match start {
        _ if source.is_loaded() => {
            let start = u64::from(header.virtual_address.get(LE));
            start..start + size
        }
        0 => 0..0,
        start => start..start + raw.min(size),
    };
    let long = header.name_offset().ok().flatten().and_then(|offset| long_name(source, strings?, offset));
    let name = long.unwrap_or_else(|| header.raw_name().to_vec());
    let address = base.saturating_add(header.virtual_address.get(LE).into());
    let mut section = Section::new(source, &name, address, size, file);
    section.loaded = true;
    section.executable = header.characteristics.get(LE).contains(pe::IMAGE_SCN_MEM_EXECUTE);
    section
}

fn long_name(source: &Source, strings: u64, offset: u32) -> Option<Vec<u8>> {
    let mut name = vec![0; LONGEST_NAME + 1];
    let count = source.read_at(strings.checked_add(offset.into())?, &mut name).ok()?;
    name.truncate(count);
    let end = name.iter().position(|byte| *byte == 0)?;
    name.truncate(end);
    Some(name)
}

fn architecture(machine: pe::Machine, is_64: bool) -> Architecture {
    match machine.0 {
        0x014c => Architecture::X86,
        0x8664 => Architecture::X86_64,
        // ARM, Thumb, ARMNT.
        0x01c0 | 0x01c2 | 0x01c4 => Architecture::Arm,
        // ARM64, ARM64EC, ARM64X.
        0xaa64 | 0xa641 | 0xa64e => Architecture::Aarch64,
        _ => Architecture::Other { machine: 0, pointer_size: if is_64 { 8 } else { 4 } },
    }
}

/// The CodeView record that the debug directory leads to.
fn debug_record(source: &Source, base: u64, segments: &[Segment], address: u32, size: u32) -> Option<PdbIdentity> {
    let directory = in_file(segments, base.checked_add(address.into())?)?;
    let count = (u64::from(size) / ENTRY).min(MOST_ENTRIES.into());
    let entries =
        source.bytes(directory.start, (count * ENTRY).min(directory.end - directory.start) / ENTRY * ENTRY)?;
    let count = entries.len() / usize::try_from(ENTRY).ok()?;
    let (entries, _) = object::pod::slice_from_bytes::<pe::ImageDebugDirectory>(&entries, count).ok()?;
    let mut records = entries.iter().filter(|entry| entry.typ.get(LE) == pe::IMAGE_DEBUG_TYPE_CODEVIEW);
    records.find_map(|entry| {
        let size = u64::from(entry.size_of_data.get(LE)).min(LONGEST_RECORD);
        let place = if source.is_loaded() { entry.address_of_raw_data } else { entry.pointer_to_raw_data };
        code_view(&source.bytes(place.get(LE).into(), size)?)
    })
}

/// Where an image address lies in the file, up to the end of its section.
fn in_file(segments: &[Segment], address: u64) -> Option<Range<u64>> {
    let holds = |segment: &&Segment| segment.address <= address && address - segment.address < segment.file_size();
    let segment = segments.iter().rev().find(holds)?;
    Some(segment.file.start.checked_add(address - segment.address)?..segment.file.end)
}

/// A CodeView record: `RSDS`, GUID, age and path, or `NB10`, an offset, a signature, age and path.
fn code_view(record: &[u8]) -> Option<PdbIdentity> {
    let (magic, rest) = record.split_first_chunk::<4>()?;
    let mut guid = Guid::default();
    let rest = match magic {
        b"RSDS" => {
            let (id, rest) = rest.split_first_chunk::<16>()?;
            guid.0 = *id;
            rest
        }
        b"NB10" => {
            guid.0[..4].copy_from_slice(rest.get(4..8)?);
            rest.get(8..)?
        }
        _ => return None,
    };
    let (age, path) = rest.split_first_chunk::<4>()?;
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    Some(PdbIdentity { guid, age: u32::from_le_bytes(*age), path: path[..end].into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_both_kinds() {
        let mut record = b"RSDS".to_vec();
        record.extend(1..=16);
        record.extend([2, 0, 0, 0]);
        record.extend(b"C:\\a.pdb\0");
        let read = code_view(&record).unwrap();
        assert_eq!((read.age, read.path.as_slice(), read.guid.0[15]), (2, &b"C:\\a.pdb"[..], 16));
        let old = code_view(b"NB10\0\0\0\0\x01\x02\x03\x04\x05\0\0\0b.pdb").unwrap();
        assert_eq!((old.age, &old.guid.0[..5], old.path.as_slice()), (5, &[1, 2, 3, 4, 0][..], &b"b.pdb"[..]));
        assert_eq!((code_view(b"RSDS1234"), code_view(b"NB09"), code_view(b"")), (None, None, None));
    }
}
