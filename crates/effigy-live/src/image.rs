//! Program images in a target's memory: where they lie and who they are.
//!
//! Everything read here is the target's and may be nonsense; all arithmetic is checked and all sizes are bounded.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;

use bstr::{BString, ByteSlice};
use effigy_process::{
    Address, AddressRange, Architecture, BuildId, Device, Gap, GapReason, GapSubject, Memory, Module, Protection,
    Region, RegionUsage,
};

use crate::memory::LiveMemory;

/// Program headers looked at, at most; real images have about a dozen.
const MOST_HEADERS: usize = 128;
/// Length of one string or note looked at, at most, in bytes.
const LONGEST: u64 = 4096;

// Constants of include/uapi/linux/elf.h.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
/// `NT_GNU_BUILD_ID` of the GNU note owner.
const NT_GNU_BUILD_ID: u32 = 3;

/// What was found of images and mapped files while the target ran, so that it need not be looked at again while the
/// target stands still: an image that lies in the same place of the same file is the same image.
#[derive(Debug, Default)]
pub(crate) struct KnownImages {
    by_region: HashMap<Place, (Option<Module>, Option<Gap>)>,
}

/// Addresses, inode and device of a mapping.
type Place = (AddressRange, u64, Device);

impl KnownImages {
    /// Looks at all file mappings.
    pub(crate) fn look(memory: &LiveMemory, regions: &[Region], executable: u64) -> Self {
        let mut modules: HashMap<Address, Module> =
            modules(memory, regions, executable, &Self::default()).into_iter().map(|m| (m.range.start(), m)).collect();
        let by_region = regions
            .iter()
            .filter(|region| region.inode != 0 || region.usage() == RegionUsage::Vdso)
            .map(|region| (key(region), (modules.remove(&region.range.start()), past_end(memory, region))))
            .collect();
        Self { by_region }
    }

    /// What was found of a region, if that region was there.
    fn get(&self, region: &Region) -> Option<&(Option<Module>, Option<Gap>)> {
        self.by_region.get(&key(region))
    }
}

fn key(region: &Region) -> Place {
    (region.range, region.inode, region.device)
}

/// Gaps for the parts of file mappings that lie beyond the end of their files.
pub(crate) fn past_ends(memory: &LiveMemory, regions: &[Region], known: &KnownImages) -> Vec<Gap> {
    regions
        .iter()
        .filter_map(|region| match known.get(region) {
            Some((_, gap)) => gap.clone(),
            None => past_end(memory, region),
        })
        .collect()
}

fn past_end(memory: &LiveMemory, region: &Region) -> Option<Gap> {
    if region.usage() != RegionUsage::File || region.resident >= Some(region.range.size()) {
        return None;
    }
    let file = memory.open_backing(region).ok()?;
    let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mapped = about.len().saturating_sub(region.offset).next_multiple_of(memory.page_size());
    if mapped >= region.range.size() {
        return None;
    }
    let beyond = AddressRange::new(Address(region.range.start().0 + mapped), region.range.end());
    Some(Gap {
        subject: GapSubject::Memory(beyond),
        reason: GapReason::PastEndOfFile,
        detail: region.name.to_str_lossy().into_owned(),
    })
}

/// The modules among `regions`. `executable` is the inode of the main program, 0 when not known.
pub(crate) fn modules(memory: &LiveMemory, regions: &[Region], executable: u64, known: &KnownImages) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for (index, region) in regions.iter().enumerate() {
        if let Some((module, _)) = known.get(region) {
            modules.extend(module.clone());
            continue;
        }
        let starts_an_image = match region.usage() {
            RegionUsage::File | RegionUsage::SharedMemory => region.offset == 0,
            RegionUsage::Vdso => true,
            _ => false,
        };
        if !starts_an_image || modules.last().is_some_and(|last| last.range.contains(region.range.start())) {
            continue;
        }
        let reader = ImageReader { memory, region, siblings: siblings(regions, index) };
        if let Some(image) = Image::read(&reader) {
            modules.extend(image.module(&reader, executable));
        }
    }
    modules
}

/// The regions from `regions[index]` on that map the same file, and those between them.
fn siblings(regions: &[Region], index: usize) -> &[Region] {
    let first = &regions[index];
    let same = |region: &Region| region.inode == first.inode && region.device == first.device && first.inode != 0;
    let count = regions[index..]
        .iter()
        .take(64)
        .enumerate()
        .filter(|(offset, region)| *offset == 0 || same(region) && region.offset != 0)
        .map(|(offset, _)| offset + 1)
        .max()
        .unwrap_or(1);
    &regions[index..index + count]
}

/// Reads an image's bytes: from memory where its page is present, else from the mapped file, so that looking does not
/// pull pages into the target.
struct ImageReader<'a> {
    memory: &'a LiveMemory,
    region: &'a Region,
    siblings: &'a [Region],
}

impl ImageReader<'_> {
    fn bytes(&self, address: Address, size: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size.min(1 << 16)).ok()?];
        let page = self.memory.page_size();
        let mut done = 0;
        while done < bytes.len() {
            let at = address.checked_add(done as u64)?;
            let in_page = page - (at.0 & (page - 1));
            let until = bytes.len().min(done + usize::try_from(in_page).ok()?);
            self.page_part(at, &mut bytes[done..until])?;
            done = until;
        }
        Some(bytes)
    }

    fn page_part(&self, at: Address, part: &mut [u8]) -> Option<()> {
        if self.memory.is_present(at) {
            return self.memory.read_exact(at, part).ok();
        }
        let region = self.siblings.iter().find(|region| region.range.contains(at))?;
        if region.inode == 0 {
            return None;
        }
        let file = self.memory.open_backing(region).ok()?;
        file.read_exact_at(part, region.offset.checked_add(at.0 - region.range.start().0)?).ok()
    }

    fn string(&self, address: Address) -> Option<BString> {
        let bytes = self.bytes(address, 256)?;
        let end = bytes.find_byte(0)?;
        (end > 0).then(|| bytes[..end].into())
    }
}

/// One program header.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u32,
    address: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

/// An image's headers.
#[derive(Debug)]
struct Image {
    wide: bool,
    /// What is added to an address in the image to get one in memory.
    bias: u64,
    range: AddressRange,
    headers: Vec<Header>,
}

impl Image {
    fn read(reader: &ImageReader<'_>) -> Option<Self> {
        let base = reader.region.range.start();
        let identity = reader.bytes(base, 64)?;
        if !identity.starts_with(b"\x7fELF") || identity[5] != 1 {
            return None;
        }
        let wide = identity[4] == 2;
        let table = word(&identity, if wide { 32 } else { 28 }, wide)?;
        let entry = half(&identity, if wide { 54 } else { 42 })?;
        let count = usize::from(half(&identity, if wide { 56 } else { 44 })?).min(MOST_HEADERS);
        if usize::from(entry) != if wide { 56 } else { 32 } {
            return None;
        }
        let bytes = reader.bytes(base.checked_add(table)?, count as u64 * u64::from(entry))?;
        let headers: Vec<Header> =
            bytes.chunks_exact(usize::from(entry)).filter_map(|part| header(part, wide)).collect();
        let page = reader.memory.page_size();
        let loads = || headers.iter().filter(|header| header.kind == PT_LOAD);
        let lowest = loads().map(|load| load.address & !(page - 1)).min()?;
        let highest = loads().filter_map(|load| load.address.checked_add(load.memory_size)).max()?;
        let size = highest.checked_sub(lowest)?;
        let end = base.checked_add(size)?.page_ceil(page);
        Some(Self { wide, bias: base.0.wrapping_sub(lowest), range: AddressRange::new(base, end), headers })
    }

    fn module(&self, reader: &ImageReader<'_>, executable: u64) -> Option<Module> {
        let region = reader.region;
        let is_vdso = region.usage() == RegionUsage::Vdso;
        // A file that merely is read as data (by a debugger, say) has no executable part.
        let runs = reader.siblings.iter().any(|sibling| {
            sibling.protection.contains(Protection::EXECUTE) && self.range.contains(sibling.range.start())
        });
        let (path, deleted) = region.path();
        let is_main = !is_vdso && region.inode == executable && executable != 0;
        if !runs && !is_main {
            return None;
        }
        Some(Module {
            path: if is_vdso { "linux-gate.so".into() } else { path.into() },
            range: self.range,
            build_id: self.build_id(reader),
            soname: self.soname(reader),
            is_main,
            deleted: deleted && !is_vdso,
            file_size: reader.memory.open_backing(region).ok().and_then(|file| Some(file.metadata().ok()?.len())),
            ..Module::default()
        })
    }

    fn at(&self, address: u64) -> Address {
        Address(self.bias.wrapping_add(address))
    }

    fn build_id(&self, reader: &ImageReader<'_>) -> Option<BuildId> {
        self.headers.iter().filter(|header| header.kind == PT_NOTE).find_map(|header| {
            let notes = reader.bytes(self.at(header.address), header.file_size.min(LONGEST))?;
            find_build_id(&notes, if header.align == 8 { 8 } else { 4 })
        })
    }

    fn soname(&self, reader: &ImageReader<'_>) -> Option<BString> {
        let dynamic = self.headers.iter().find(|header| header.kind == PT_DYNAMIC)?;
        let entry = if self.wide { 16 } else { 8 };
        let bytes = reader.bytes(self.at(dynamic.address), dynamic.memory_size.min(LONGEST))?;
        let (mut strings, mut name) = (None, None);
        for part in bytes.chunks_exact(entry) {
            let value = word(part, entry / 2, self.wide)?;
            match word(part, 0, self.wide)? {
                DT_NULL => break,
                DT_STRTAB => strings = Some(value),
                DT_SONAME => name = Some(value),
                _ => {}
            }
        }
        // glibc writes the table's real address into the running image; musl and the vdso leave the image's own.
        let table = Address(strings?);
        let table = if self.range.contains(table) { table } else { self.at(table.0) };
        reader.string(table.checked_add(name?)?)
    }
}

fn header(part: &[u8], wide: bool) -> Option<Header> {
    let kind = u32::from_le_bytes(part.get(..4)?.try_into().ok()?);
    let (address, file_size, memory_size, align) = if wide { (16, 32, 40, 48) } else { (8, 16, 20, 28) };
    Some(Header {
        kind,
        address: word(part, address, wide)?,
        file_size: word(part, file_size, wide)?,
        memory_size: word(part, memory_size, wide)?,
        align: word(part, align, wide)?,
    })
}

fn word(bytes: &[u8], offset: usize, wide: bool) -> Option<u64> {
    if wide {
        Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
    } else {
        Some(u64::from(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?)))
    }
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

/// Finds the build id among notes padded to `align` bytes.
fn find_build_id(notes: &[u8], align: usize) -> Option<BuildId> {
    let mut rest = notes;
    while rest.len() >= 12 {
        let number = |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let name_size = usize::try_from(number(0)).ok()?;
        let size = usize::try_from(number(4)).ok()?;
        let kind = number(8);
        let start = 12usize.checked_add(name_size)?.checked_next_multiple_of(align)?;
        let end = start.checked_add(size)?;
        let name = rest.get(12..12usize.checked_add(name_size)?)?;
        let body = rest.get(start..end)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && (1..=64).contains(&size) {
            return Some(BuildId(body.to_vec()));
        }
        rest = rest.get(end.checked_next_multiple_of(align)?..)?;
    }
    None
}

/// The architecture of the process whose memory begins its main program at `regions`, by its ELF header; `None` when
/// it cannot be told.
pub(crate) fn architecture_of(header: &[u8]) -> Option<Architecture> {
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    // e_machine: EM_386 3, EM_ARM 40, EM_X86_64 62, EM_AARCH64 183, EM_RISCV 243.
    match half(header, 18)? {
        3 => Some(Architecture::X86),
        40 => Some(Architecture::Arm),
        62 => Some(Architecture::X86_64),
        183 => Some(Architecture::Aarch64),
        243 => Some(Architecture::Riscv64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&u32::try_from(owner.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(owner);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn build_id_is_found_behind_other_notes() {
        let mut notes = note(b"GNU\0", 1, &[0; 16]);
        notes.extend(note(b"stapsdt\0", 3, &[9; 5]));
        notes.extend(note(b"GNU\0", 3, &[7; 20]));
        assert_eq!(find_build_id(&notes, 4), Some(BuildId(vec![7; 20])));
    }

    #[test]
    fn hostile_notes_end_the_search() {
        assert_eq!(find_build_id(&[0xff; 64], 4), None);
        assert_eq!(find_build_id(&note(b"GNU\0", 3, &[1; 20])[..20], 4), None);
    }
}
