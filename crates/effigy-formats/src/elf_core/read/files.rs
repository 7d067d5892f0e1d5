//! Mapped files: `NT_FILE`, the regions and the modules that follow from it.

use bstr::{BString, ByteSlice};
use effigy_process::{Address, AddressRange, Memory, Module, Protection, Region};

use super::cursor::Shape;
use super::process::Mapped;
use super::{Core, CoreError, Segment};
use crate::{MemoryMap, image};

/// Most places where an image is looked for. The kernel allows 65,530 mappings, and an image has several.
const MOST_IMAGES: usize = 32_768;
/// `AT_PHDR`, `AT_EXECFN`, `AT_SYSINFO_EHDR` of the auxiliary vector.
const PROGRAM_HEADERS: u64 = 3;
const EXECUTED_NAME: u64 = 31;
const VDSO: u64 = 33;

/// `NT_FILE`: how many, the unit of offsets, then start, end and offset of each, then all names. Its contents begin at
/// `offset` of the file.
pub(super) fn table(shape: Shape, bytes: &[u8], offset: u64) -> Result<Vec<Mapped>, CoreError> {
    let (word, size) = (shape.word_size(), bytes.len() as u64);
    let mut at = shape.cursor(bytes);
    let (Some(count), Some(unit)) = (at.word(), at.word()) else {
        let least = 2 * word as u64;
        return Err(CoreError::ShortNote { note: "NT_FILE", offset, size, field: "page_size", least });
    };
    let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(3 * word));
    let too_many = CoreError::Count { note: "NT_FILE", offset, count, entry_size: 3 * word as u64, size };
    let places = length.and_then(|length| at.take(length)).ok_or(too_many)?;
    let mut places = shape.cursor(places);
    let mut names = at.rest().split_str(b"\0");
    let entries = std::iter::from_fn(|| {
        let (start, end, offset) = (places.word()?, places.word()?, places.word()?);
        let range = AddressRange::new(Address(start), Address(end));
        Some(Mapped { range, offset: offset.saturating_mul(unit), path: names.next().unwrap_or_default().into() })
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|entry| entry.range.start());
    Ok(entries)
}

/// The regions: what the segments say of protection, and the files that are mapped there. Mappings that have no segment,
/// as debuggers leave them out, are regions whose protection is not known, and empty.
pub(super) fn regions(segments: &[Segment], mapped: &[Mapped]) -> Vec<Region> {
    let mut regions = Vec::with_capacity(segments.len());
    let mut files = mapped.iter().peekable();
    for segment in segments {
        while let Some(file) = files.next_if(|file| file.range.end() <= segment.range.start()) {
            regions.extend(without_segment(file, regions.last()));
        }
        let mut region = Region { range: segment.range, protection: segment.protection, ..Region::default() };
        if let Some(file) = files.peek().filter(|file| file.holds(segment.range.start())) {
            region.offset = file.offset.saturating_add(segment.range.start().0 - file.range.start().0);
            region.name.clone_from(&file.path);
            // The inode is not told; any but 0 says that there is a file.
            region.inode = 1;
        }
        regions.push(region);
    }
    for file in files {
        regions.extend(without_segment(file, regions.last()));
    }
    regions
}

fn without_segment(file: &Mapped, before: Option<&Region>) -> Option<Region> {
    let start = before.map_or(file.range.start(), |before| before.range.end().max(file.range.start()));
    let range = AddressRange::new(start, file.range.end());
    let offset = file.offset.saturating_add(range.start().0 - file.range.start().0);
    let region = Region { range, offset, inode: 1, name: file.path.clone(), ..Region::default() };
    (!range.is_empty()).then_some(region)
}

impl Core {
    /// The modules by rising address, from the mapped files; without these, from the images that begin a segment.
    pub(super) fn modules(&self, mapped: &[Mapped], auxv: &[(u64, u64)], page: u64) -> Vec<Module> {
        let value = |kind| auxv.iter().find(|(known, _)| *known == kind).map(|(_, value)| Address(*value));
        let headers = value(PROGRAM_HEADERS);
        // Headers of images are small, and read bit by bit.
        let memory = self.memory.buffered();
        let nameless = |base| image::read(&memory, base, page).map(from_image);
        let mut modules: Vec<Module> = if mapped.is_empty() {
            let starts = self.segments.iter().filter(|segment| segment.captured > 0);
            starts.take(MOST_IMAGES).filter_map(|segment| nameless(segment.range.start())).collect()
        } else {
            self.images(&memory, mapped, page)
        };
        if let Some(main) = modules.iter_mut().find(|module| headers.is_some_and(|at| module.range.contains(at))) {
            main.is_main = true;
            if main.path.is_empty() {
                main.path = value(EXECUTED_NAME).and_then(|at| self.text(at)).unwrap_or_default();
            }
        }
        if let Some(vdso) = value(VDSO) {
            match modules.iter_mut().find(|module| module.range.start() == vdso) {
                Some(module) => module.path = "linux-gate.so".into(),
                None => {
                    modules.extend(nameless(vdso).map(|module| Module { path: "linux-gate.so".into(), ..module }));
                }
            }
        }
        modules.sort_by_key(|module| module.range.start());
        modules
    }

    /// The modules among mapped files. A file may be mapped as an image more than once (`dlmopen`): where an image's own
    /// headers are in the dump they say where it ends, and a mapping of the file's beginning behind that is another.
    fn images(&self, memory: &MemoryMap, mapped: &[Mapped], page: u64) -> Vec<Module> {
        let (mut modules, mut tried) = (Vec::new(), 0);
        for mut group in mapped.chunk_by(|one, two| one.path == two.path) {
            while let Some(first) = group.first().filter(|_| tried < MOST_IMAGES) {
                tried += 1;
                let image = image::read(memory, first.range.start(), page);
                let end = image.as_ref().map_or(Address(u64::MAX), |image| image.range.end());
                let another = |next: &Mapped| next.offset == 0 && next.range.start() >= end;
                let count = group.iter().position(another).unwrap_or(group.len()).max(1);
                let (own, rest) = group.split_at(count);
                modules.extend(self.module(memory, own, image));
                group = rest;
            }
        }
        modules
    }

    /// The module whose mappings these are; `None` for a file that is no program.
    fn module(&self, memory: &MemoryMap, group: &[Mapped], image: Option<image::Image>) -> Option<Module> {
        let (first, last) = (group.first()?, group.last()?);
        let module = match image {
            Some(image) => from_image(image),
            None if memory.read(first.range.start(), &mut [0]).is_ok() || !self.runs(group) => return None,
            None => Module { range: AddressRange::new(first.range.start(), last.range.end()), ..Module::default() },
        };
        let (path, deleted) = match first.path.strip_suffix(b" (deleted)") {
            Some(path) => (path.into(), true),
            None => (first.path.clone(), false),
        };
        Some(Module { path, deleted, ..module })
    }

    /// Whether one of the mappings may be executed.
    fn runs(&self, group: &[Mapped]) -> bool {
        group.iter().any(|mapped| {
            let after = self.segments.partition_point(|segment| segment.range.end() <= mapped.range.start());
            self.segments.get(after).is_some_and(|segment| {
                segment.range.intersection(&mapped.range).is_some() && segment.protection.contains(Protection::EXECUTE)
            })
        })
    }

    /// Text up to its zero byte.
    fn text(&self, at: Address) -> Option<BString> {
        let mut bytes = vec![0; 4096];
        let count = self.memory.read(at, &mut bytes).ok()?;
        let end = bytes[..count].find_byte(0)?;
        Some(bytes[..end].into())
    }
}

fn from_image(image: image::Image) -> Module {
    Module { range: image.range, build_id: image.build_id, soname: image.soname, ..Module::default() }
}
